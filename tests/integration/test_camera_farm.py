"""The simulated cameras, looked at by tools that others wrote: what they prove later must first be true of them."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
import time
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from load_tests.camera_farm.counters import Counter, read_audio_counter, read_counters, verify
from load_tests.camera_farm.process import FarmProcess, expected_counters
from load_tests.media import join_avcc
from tests.integration.farm_client import (
    OPEN,
    SMALL,
    ffprobe,
    pulling,
    run,
    steps,
    timestamps,
    udp_track,
    until,
)

TT = "{http://www.onvif.org/ver10/schema}"
START_CODE = re.compile(rb"\x00\x00\x00?\x01")


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


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("mode", ["load", "demo"])
async def test_ffmpeg_copies_every_access_unit_once_in_order_and_signed(mode: str, codec: str, tmp_path: Path) -> None:
    options = SMALL if mode == "load" else {}
    async with FarmProcess(cameras=1, mode=mode, codec=codec, audio="none", **options) as farm:
        file = tmp_path / "copy"
        url = farm.url("cam-1", credentials=True)
        form = {"h264": "h264", "h265": "hevc"}[codec]
        copy = ("-v", "error", "-rtsp_transport", "tcp", "-i", url, "-t", "3", "-c", "copy", "-f", form, str(file))
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


@pytest.mark.parametrize("audio", ["pcma", "pcmu"])
async def test_audio_of_a_load_camera_is_counted(audio: str) -> None:
    async with FarmProcess(cameras=2, audio=audio, **OPEN) as farm, pulling(farm.url("cam-2")) as one:
        await one.play()
        await one.receive(1.0)
        counters = [read_audio_counter(packet[12:]) for packet in one.packets(2)]
        assert len(counters) > 40
        first = counters[0]
        assert first is not None
        assert counters == [(2, first[1] + index) for index in range(len(counters))]


async def test_a_sender_report_comes_early_and_tells_the_time() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await one.receive(0.8)
        [report] = one.packets(1)
        whole, fraction = struct.unpack_from(">II", report, 8)
        assert abs(whole + fraction / 2**32 - 2_208_988_800 - time.time()) < 2


async def test_a_camera_without_rtcp_sends_none() -> None:
    async with FarmProcess(cameras=1, rtcp="off", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await one.receive(0.8)
        assert len(one.packets(0)) > 10
        assert one.packets(1) == one.packets(3) == []


async def test_sessions_are_counted_per_stream() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm:
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
        assert main["transports"]["tcp"]["sessions"] == 2
        assert main["transports"]["tcp"]["bytes"] == main["bytes_sent"] > 0
        assert main["transports"]["tcp"]["packets"] == sum(log["packets"] for log in main["sessions"]) > 0


async def test_a_metadata_track_tells_states_at_first_and_then_each_event_at_its_time() -> None:
    async with FarmProcess(cameras=1, metadata="on", audio="none", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0, 2))
        await farm.event("cam-1", "motion")
        await one.receive(1.2)
        found = [ElementTree.fromstring(document) for document in documents(one.packets(4))]
        events = [event for document in found for event in document.iter(f"{TT}Message")]
        assert [event.get("PropertyOperation") for event in events] == ["Initialized"] * 6 + ["Changed"]
        motion = events[-1].find(f"{TT}Data/{TT}SimpleItem")
        assert motion is not None
        assert motion.attrib == {"Name": "IsMotion", "Value": "true"}
        happened_at = datetime.fromisoformat(events[-1].get("UtcTime") or "")
        assert abs((datetime.now(UTC) - happened_at).total_seconds()) < 5
        assert sum(len(list(document.iter(f"{TT}Frame"))) for document in found) >= 2
        [log] = (await farm.camera("cam-1"))["streams"]["main"]["sessions"]
        assert log["metadata_count"] >= len(found)


def documents(packets: list[bytes]) -> list[bytes]:
    """The marker ends a document."""
    found, piece = [], b""
    for packet in packets:
        piece += packet[12:]
        if packet[1] & 0x80:
            found.append(piece)
            piece = b""
    return found


async def test_motion_comes_and_goes_by_itself_where_it_is_told_to() -> None:
    async with FarmProcess(cameras=1, motion_every=0.3, motion_for=0.1, **OPEN) as farm:
        await until(lambda state: state["events"]["states"]["motion"], farm, "cam-1")
        await until(lambda state: not state["events"]["states"]["motion"], farm, "cam-1")


@pytest.mark.parametrize("rate", [1, 5])
async def test_a_slow_camera_sends_whole_pictures_in_their_time(rate: int) -> None:
    options = {**OPEN, "rate": rate, "audio": "none"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        begun = time.monotonic()
        await one.receive(2.5)
        times = list(dict.fromkeys(timestamps(one.packets(0))))
        assert len(times) == pytest.approx((time.monotonic() - begun) * rate, abs=1)
        assert all(abs(step - 90_000 // rate) <= 1 for step in steps(times, 1 << 32))


async def test_a_camera_may_claim_more_pictures_than_it_sends() -> None:
    options = {**OPEN, "rate": 21, "declared_rate": 25, "audio": "none"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        assert "a=framerate:25" in await one.ask("DESCRIBE")
        await one.play((0,))
        begun = time.monotonic()
        await one.receive(2.0)
        times = list(dict.fromkeys(timestamps(one.packets(0))))
        assert len(times) == pytest.approx((time.monotonic() - begun) * 21, abs=2)
        assert all(abs(step - 90_000 / 21) <= 1 for step in steps(times, 1 << 32))


async def test_pictures_without_a_marker() -> None:
    async with FarmProcess(cameras=1, marker="off", audio="none", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        await one.receive(0.6)
        assert len(one.packets(0)) > 10
        assert not any(packet[1] & 0x80 for packet in one.packets(0))


async def test_packets_are_sent_all_at_once_or_spread_over_the_interval() -> None:
    spread_s: dict[str, float] = {}
    for pacing in ("burst", "packet"):
        options = {**OPEN, "rate": 5, "bitrate": 700, "pacing": pacing, "audio": "none"}
        async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one, udp_track() as track:
            await one.play((0,), track.transport)
            await track.until(60)
            times = timestamps(track.rtp)
            second = [at for at, time in zip(track.arrived, times, strict=True) if time == sorted(set(times))[1]]
            spread_s[pacing] = second[-1] - second[0]
    assert spread_s["burst"] < spread_s["packet"] / 2
    assert 0.1 < spread_s["packet"] < 0.25


@pytest.mark.parametrize(("sets", "in_band"), [("same", True), ("other", True), ("none", True), ("same", False)])
async def test_parameter_sets_of_sdp_and_stream(sets: str, in_band: bool) -> None:
    options = {**OPEN, "sdp_sets": sets, "in_band_sets": "on" if in_band else "off", "audio": "none"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        found = re.search(r"sprop-parameter-sets=([^,]+),", await one.ask("DESCRIBE"))
        await one.play((0,))
        await one.receive(1.2)
        # SPS and PPS share a STAP-A, in which the SPS comes first, behind its size.
        sent = {
            packet[15 : 15 + packet[14]] for packet in one.packets(0) if packet[12] & 31 == 24 and packet[15] & 31 == 7
        }
        assert bool(sent) == in_band
        assert (found is None) == (sets == "none")
        if found is not None and in_band:
            assert (base64.b64decode(found[1]) in sent) == (sets == "same")


async def test_a_camera_of_its_own_among_others() -> None:
    changes = ["cam-2..3:codec=h265,audio=opus,rtsp-auth=digest,basic", "cam-3:password=other"]
    async with FarmProcess(cameras=3, set=changes, **SMALL) as farm:
        state = {camera["id"]: camera for camera in await farm.refresh()}
        assert [state[f"cam-{number}"]["streams"]["main"]["codec"] for number in (1, 2, 3)] == ["h264", "h265", "h265"]
        assert state["cam-3"]["password"] == "other"
        _, (video, sound), _ = await ffprobe(farm.url("cam-3", credentials=True))
        assert (video["codec_name"], sound["codec_name"]) == ("hevc", "opus")


async def test_a_killed_test_leaves_no_farm_behind() -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        process = farm._process
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(5):
            assert await process.wait() == 0
