"""The simulated cameras, looked at by tools that others wrote: what they prove later must first be true of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from load_tests.camera_farm.counters import Counter, read_audio_counter, read_counters, verify
from load_tests.camera_farm.process import FarmProcess, expected_counters
from load_tests.media import join_avcc

SMALL = {"width": 320, "height": 180, "rate": 25, "bitrate": 300, "gop": 1.0}
START_CODE = re.compile(rb"\x00\x00\x00?\x01")


async def run(*command: str, timeout_s: float = 30) -> tuple[int, bytes, str]:
    """Status, standard output and standard error of a program."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out, err.decode()


async def ffprobe(url: str) -> tuple[int, list[dict[str, Any]], str]:
    options = ("-v", "warning", "-rtsp_transport", "tcp", "-show_streams", "-of", "json")
    status, out, err = await run("ffprobe", *options, url)
    return status, json.loads(out or b"{}").get("streams", []), err


async def until(condition: Callable[[dict[str, Any]], bool], farm: FarmProcess, camera: str) -> dict[str, Any]:
    """The first state of a camera for which the condition holds."""
    async with asyncio.timeout(10):
        while not condition(state := await farm.camera(camera)):  # noqa: ASYNC110 - its process has no event for us
            await asyncio.sleep(0.02)
    return state


class Puller:
    """The least of an RTSP client: it asks, and keeps every byte that comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url = reader, writer, url
        self.received = bytearray()

    async def ask(self, method: str, path: str = "", *headers: str) -> str:
        lines = [f"{method} {self.url}{path} RTSP/1.0", "CSeq: 1", *headers]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head)
            return head + (await self.reader.readexactly(int(length[1]))).decode() if length else head

    async def play(self) -> None:
        await self.ask("DESCRIBE")
        head = await self.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        session = "Session: " + head.split("Session: ")[1].split(";")[0]
        await self.ask("SETUP", "/trackID=1", "Transport: RTP/AVP/TCP;unicast;interleaved=2-3", session)
        await self.ask("PLAY", "", session)

    async def receive(self, seconds: float) -> bool:
        """Collects for a while; False as soon as the camera has closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while data := await self.reader.read(65536):
                    self.received += data
                return False
        return True

    def packets(self, channel: int) -> list[bytes]:
        found, at = [], 0
        while at + 4 <= len(self.received) and self.received[at] == 0x24:
            size = int.from_bytes(self.received[at + 2 : at + 4], "big")
            if self.received[at + 1] == channel and at + 4 + size <= len(self.received):
                found.append(bytes(self.received[at + 4 : at + 4 + size]))
            at += 4 + size
        return found


@contextlib.asynccontextmanager
async def pulling(url: str) -> AsyncIterator[Puller]:
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Puller(reader, writer, url)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def counters_of(annexb: bytes) -> list[Counter]:
    found = (read_counters(join_avcc([nal])) for nal in START_CODE.split(annexb))
    return [counter for counter in found if counter is not None]


@pytest.mark.parametrize("audio", ["pcma", "aac"])
async def test_ffprobe_reads_both_streams_of_a_demo_camera_without_complaint(audio: str) -> None:
    async with FarmProcess(cameras=1, mode="demo", audio=audio) as farm:
        for stream, size, rate in (("main", (640, 360), "15/1"), ("sub", (320, 180), "8/1")):
            status, (video, sound), complaints = await ffprobe(farm.url("cam-1", stream, credentials=True))
            assert (status, complaints) == (0, "")
            assert (video["codec_name"], (video["width"], video["height"])) == ("h264", size)
            assert video["avg_frame_rate"] == rate
            assert sound["codec_name"] == {"pcma": "pcm_alaw", "aac": "aac"}[audio]


@pytest.mark.parametrize("mode", ["load", "demo"])
async def test_ffmpeg_copies_every_access_unit_once_in_order_and_signed(mode: str, tmp_path: Path) -> None:
    options = SMALL if mode == "load" else {}
    async with FarmProcess(cameras=1, mode=mode, audio="none", **options) as farm:
        file = tmp_path / "copy.h264"
        url = farm.url("cam-1", credentials=True)
        copy = ("-v", "error", "-rtsp_transport", "tcp", "-i", url, "-t", "3", "-c", "copy", "-f", "h264", str(file))
        status, _, complaints = await run("ffmpeg", *copy)
        assert (status, complaints) == (0, "")
        found = counters_of(file.read_bytes())
        [log] = (await farm.camera("cam-1"))["streams"]["main"]["sessions"]
        expected = expected_counters(log)
        assert len(found) > 30
        assert [counter.counter for counter in found] == expected[: len(found)]
        assert all(verify(counter, farm.key) for counter in found)
        assert {(counter.camera, counter.run) for counter in found} == {("cam-1/main", log["run"])}
        assert found[0].keyframe
        assert abs(found[-1].wall_us / 1e6 - time.time()) < 10


async def test_ffmpeg_decodes_what_a_camera_sends(tmp_path: Path) -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        url = farm.url("cam-1", credentials=True)
        command = ("-v", "warning", "-xerror", "-rtsp_transport", "tcp", "-i", url, "-t", "2", "-f", "null", "-")
        assert await run("ffmpeg", *command) == (0, b"", "")


async def test_audio_of_a_load_camera_is_counted() -> None:
    async with (
        FarmProcess(cameras=2, audio="pcma", rtsp_auth="none", **SMALL) as farm,
        pulling(farm.url("cam-2")) as one,
    ):
        await one.play()
        await one.receive(1.0)
        counters = [read_audio_counter(packet[12:]) for packet in one.packets(2)]
        assert len(counters) > 40
        first = counters[0]
        assert first is not None
        assert counters == [(2, first[1] + index) for index in range(len(counters))]


async def test_a_sender_report_comes_early_and_tells_the_time() -> None:
    async with FarmProcess(cameras=1, rtsp_auth="none", **SMALL) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await one.receive(0.8)
        [report] = one.packets(1)
        whole, fraction = struct.unpack_from(">II", report, 8)
        assert abs(whole + fraction / 2**32 - 2_208_988_800 - time.time()) < 2


@pytest.mark.parametrize("scheme", ["digest", "basic"])
async def test_a_wrong_password_is_refused(scheme: str) -> None:
    async with FarmProcess(cameras=1, mode="demo", rtsp_auth=scheme) as farm:
        assert (await ffprobe(farm.url("cam-1", credentials=True)))[0] == 0
        status, _, complaints = await ffprobe(farm.url("cam-1", credentials=True).replace(":camera-farm@", ":wrong@"))
        assert status != 0
        assert "401" in complaints
        await farm.fault("cam-1", "wrong_password")
        assert "401" in (await ffprobe(farm.url("cam-1", credentials=True)))[2]
        await farm.fault("cam-1", "wrong_password", on=False)
        assert (await ffprobe(farm.url("cam-1", credentials=True)))[0] == 0


async def test_sessions_are_counted_per_stream() -> None:
    async with FarmProcess(cameras=1, rtsp_auth="none", **SMALL) as farm:
        async with pulling(farm.url("cam-1")) as one, pulling(farm.url("cam-1")) as two:
            await one.play()
            await two.play()
            state = await until(lambda state: state["streams"]["main"]["units_sent"] > 0, farm, "cam-1")
            assert state["streams"]["main"]["sessions_now"] == 2
            assert state["streams"]["sub"]["sessions_total"] == 0
        state = await until(lambda state: state["streams"]["main"]["sessions_now"] == 0, farm, "cam-1")
        main = state["streams"]["main"]
        assert (main["sessions_total"], main["sessions_most"]) == (2, 2)
        assert all(log["ended_us"] for log in main["sessions"])


async def test_a_client_that_falls_silent_is_dropped_and_one_that_keeps_alive_is_not() -> None:
    async with (
        FarmProcess(cameras=1, rtsp_auth="none", session_timeout=1, **SMALL) as farm,
        pulling(farm.url("cam-1")) as silent,
        pulling(farm.url("cam-1")) as alive,
    ):
        await silent.play()
        await alive.play()
        gone = asyncio.create_task(silent.receive(10))
        while not gone.done():
            alive.writer.write(f"GET_PARAMETER {alive.url} RTSP/1.0\r\nCSeq: 2\r\n\r\n".encode())
            await alive.receive(0.3)
        assert not await gone
        assert await alive.receive(0.3)


async def test_faults_befall_the_stream_and_the_log_says_so() -> None:
    async with FarmProcess(cameras=1, rtsp_auth="none", audio="none", **SMALL) as farm:
        async with pulling(farm.url("cam-1")) as one:
            await one.ask("DESCRIBE")
            head = await one.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            await one.ask("PLAY", "", "Session: " + head.split("Session: ")[1].split(";")[0])
            await one.receive(0.3)
            await farm.fault("cam-1", "lose", packets=1)
            await until(lambda state: bool(state["streams"]["main"]["sessions"][0]["damaged"]), farm, "cam-1")
            await farm.fault("cam-1", "stall")
            await until(lambda state: bool(state["streams"]["main"]["sessions"][0]["left_out"]), farm, "cam-1")
            await farm.fault("cam-1", "stall", on=False)
            before = (await farm.camera("cam-1"))["streams"]["main"]["units_sent"]
            await until(lambda state: state["streams"]["main"]["units_sent"] > before + 2, farm, "cam-1")
            await farm.fault("cam-1", "junk", bytes=999)
            await farm.fault("cam-1", "drop")
            assert not await one.receive(5)
        sequences = [int.from_bytes(packet[2:4], "big") for packet in one.packets(0)]
        steps = [(later - earlier) & 0xFFFF for earlier, later in itertools.pairwise(sequences)]
        # One packet was lost on the way; what was left out while stalled never took a number.
        assert sorted(set(steps)) == [1, 2]
        assert steps.count(2) == 1
        [log] = (await farm.camera("cam-1"))["streams"]["main"]["sessions"]
        held_back = sum(end - start + 1 for start, end in log["left_out"])
        assert log["video_count"] == log["last"] - log["first"] + 1 - held_back


async def test_junk_breaks_the_framing() -> None:
    async with FarmProcess(cameras=1, rtsp_auth="none", **SMALL) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await one.receive(0.3)
        await farm.fault("cam-1", "junk", bytes=999)
        await one.receive(0.5)
        clean = sum(4 + len(packet) for channel in range(4) for packet in one.packets(channel))
        assert clean < len(one.received) - 999


async def test_a_resolution_change_begins_with_new_parameter_sets() -> None:
    async with FarmProcess(cameras=1, mode="demo", audio="none") as farm:
        url = farm.url("cam-1", credentials=True)
        sizes = ("-show_entries", "frame=width", "-of", "csv=p=0")
        looking = asyncio.create_task(
            run("ffprobe", "-v", "error", "-rtsp_transport", "tcp", *sizes, "-read_intervals", "%+4", url)
        )
        await until(lambda state: state["streams"]["main"]["units_sent"] > 20, farm, "cam-1")
        await farm.fault("cam-1", "resolution_change")
        _, out, _ = await looking
        assert list(dict.fromkeys(out.decode().replace(",", "").split())) == ["640", "320"]


async def test_an_offline_camera_refuses_connections_until_it_is_online_again() -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        url = farm.url("cam-1", credentials=True)
        await farm.fault("cam-1", "offline")
        assert "Connection refused" in (await ffprobe(url))[2]
        await farm.fault("cam-1", "online")
        assert (await ffprobe(url))[0] == 0
        assert farm.url("cam-1", credentials=True) == url


async def test_a_refused_status_is_answered_as_asked() -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        await farm.fault("cam-1", "503")
        assert "503" in (await ffprobe(farm.url("cam-1", credentials=True)))[2]
        await farm.fault("cam-1", "status", status="454 Session Not Found")
        assert "454" in (await ffprobe(farm.url("cam-1", credentials=True)))[2]


async def test_a_killed_test_leaves_no_farm_behind() -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        process = farm._process
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(5):
            assert await process.wait() == 0
