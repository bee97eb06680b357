"""Faults of the simulated cameras: each befalls what it is said to, and ends when it is told to."""

from __future__ import annotations

import asyncio
import itertools
import struct
import sys
import time
from datetime import datetime

import aiohttp
import pytest

from load_tests.camera_farm.process import FarmProcess
from tests.integration.farm_client import (
    OPEN,
    Puller,
    ffprobe,
    pulling,
    run,
    sequences,
    steps,
    timestamps,
    udp_track,
    until,
)

NTP_EPOCH_S = 2_208_988_800
DAY_S = 86_400


def reported_s(report: bytes) -> float:
    """Wall time of a sender report, in Unix seconds."""
    whole, fraction = struct.unpack_from(">II", report, 8)
    return float(whole + fraction / 2**32 - NTP_EPOCH_S)


def jumps(packets: list[bytes]) -> list[float]:
    """Steps of RTP time, in seconds, other than those of 25 pictures a second; signed."""
    signed = [step - (1 << 32) * (step >= 1 << 31) for step in steps(timestamps(packets), 1 << 32)]
    return [round(step / 90_000, 3) for step in signed if step not in (0, 3600)]


async def hears_nothing(one: Puller, seconds: float) -> bool:
    """Whether the connection stays open and silent."""
    before = len(one.received)
    return await one.receive(seconds) and len(one.received) == before


async def test_faults_befall_the_stream_and_the_log_says_so() -> None:
    async with FarmProcess(cameras=1, audio="none", **OPEN) as farm:
        async with pulling(farm.url("cam-1")) as one:
            await one.play((0,))
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
        taken = steps(sequences(one.packets(0)), 1 << 16)
        # One packet was lost on the way; what was left out while stalled never took a number.
        assert sorted(set(taken)) == [1, 2]
        assert taken.count(2) == 1
        [log] = (await farm.camera("cam-1"))["streams"]["main"]["sessions"]
        held_back = sum(end - start + 1 for start, end in log["left_out"])
        assert log["video_count"] == log["last"] - log["first"] + 1 - held_back


async def test_junk_breaks_the_framing() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
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


async def test_a_stall_of_video_leaves_audio_and_reports_of_it() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await farm.fault("cam-1", "stall", tracks="video")
        await one.receive(0.2)
        one.received.clear()
        await one.receive(0.5)
        assert not one.packets(0)
        assert len(one.packets(2)) > 15
        await farm.fault("cam-1", "stall", on=False)
        await one.receive(0.3)
        assert one.packets(0)


async def test_a_stall_that_lasts_holds_for_who_comes_later_and_ends_after_its_time() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await farm.fault("cam-1", "stall", lasting=True, for_s=1)
        await one.play()
        assert await hears_nothing(one, 0.5)
        assert await one.receive(1.0)
        assert one.packets(0)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_share_of_packets_is_lost_on_either_transport(transport: str) -> None:
    async with (
        FarmProcess(cameras=1, audio="none", fault="cam-1:loss,share=0.2", **{**OPEN, "bitrate": 2000}) as farm,
        pulling(farm.url("cam-1")) as one,
        udp_track() as track,
    ):
        if transport == "udp":
            await one.play((0,), track.transport)
            await track.until(200)
        else:
            await one.play((0,))
            await one.receive(1.5)
        packets = track.rtp if transport == "udp" else one.packets(0)
        taken = steps(sequences(packets), 1 << 16)
        assert 0.1 < 1 - len(taken) / sum(taken) < 0.3
        state = await farm.camera("cam-1")
        [log] = state["streams"]["main"]["sessions"]
        assert log["lost_packets"] > 20
        assert log["damaged"] == sorted(set(log["damaged"]))
        await farm.fault("cam-1", "loss", on=False)
        lost = (await farm.camera("cam-1"))["streams"]["main"]["sessions"][0]["lost_packets"]
        await until(lambda state: state["streams"]["main"]["units_sent"] > log["video_count"] + 5, farm, "cam-1")
        assert (await farm.camera("cam-1"))["streams"]["main"]["sessions"][0]["lost_packets"] == lost


async def test_packets_come_late_and_twice_over_udp_and_none_is_missing() -> None:
    faults = ["cam-1:reorder,share=0.1,by=4", "cam-1:duplicate,share=0.1"]
    async with (
        FarmProcess(cameras=1, audio="none", fault=faults, **{**OPEN, "bitrate": 2000}) as farm,
        pulling(farm.url("cam-1")) as one,
        udp_track() as track,
    ):
        await one.play((0,), track.transport)
        await track.until(300)
        first = sequences(track.rtp)[0]
        numbers = [(number - first + 0x8000) % 0x10000 - 0x8000 for number in sequences(track.rtp)]
        late = [earlier - later for earlier, later in itertools.pairwise(numbers) if later < earlier]
        assert late
        # Each is overtaken by four, some of which may be late themselves.
        assert max(late) < 12
        assert len(numbers) > len(set(numbers))
        assert set(range(min(numbers), max(numbers) - 12)) <= set(numbers)


async def test_reordering_does_not_befall_tcp() -> None:
    options = {**OPEN, "audio": "none", "fault": "cam-1:reorder,share=0.5"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        await one.receive(0.6)
        assert set(steps(sequences(one.packets(0)), 1 << 16)) == {1}


async def test_both_counters_wrap_soon_in_a_new_session() -> None:
    options = {**OPEN, "audio": "none", "fault": "cam-1:wrap,in_s=0.5,packets=20"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        await one.receive(1.2)
        packets = one.packets(0)
        numbers, times = sequences(packets), timestamps(packets)
        assert numbers[19:21] == [65_535, 0]
        assert min(times) < 1 << 24 < (1 << 32) - (1 << 24) < max(times)
        assert set(steps(numbers, 1 << 16)) == {1}
        assert jumps(packets) == []


async def test_rtp_time_jumps_and_an_encoder_starts_anew() -> None:
    options = {**OPEN, "audio": "none"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        await one.receive(0.2)
        await farm.fault("cam-1", "jump", by_s=3600)
        await one.receive(0.2)
        await farm.fault("cam-1", "jump", by_s=-7200)
        await one.receive(0.2)
        assert jumps(one.packets(0)) == [3600.04, -7199.96]
        assert set(steps(sequences(one.packets(0)), 1 << 16)) == {1}
        await farm.fault("cam-1", "new_ssrc")
        await one.receive(0.2)
        assert len({packet[8:12] for packet in one.packets(0)}) == 2


async def test_a_fast_crystal_sends_faster_while_rtp_time_claims_the_rate() -> None:
    options = {**OPEN, "audio": "none"}
    async with FarmProcess(cameras=1, **options) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        await farm.fault("cam-1", "drift", ppm=400_000)
        await one.receive(0.1)
        one.received.clear()
        await one.receive(2.0)
        pictures = len(set(timestamps(one.packets(0))))
        assert 66 <= pictures <= 73
        assert jumps(one.packets(0)) == []
        state = await farm.camera("cam-1")
        assert state["clock"]["drift_ppm"] == pytest.approx(400_000)
        assert state["clock"]["offset_s"] > 0.5


async def test_a_wrong_wall_clock_shows_in_reports_while_media_goes_on() -> None:
    async with FarmProcess(cameras=1, audio="none", fault="cam-1:clock", **OPEN) as farm:
        async with pulling(farm.url("cam-1")) as one:
            await one.play((0,))
            await one.receive(0.8)
            [report] = one.packets(1)
            assert 0 <= reported_s(report) - datetime.fromisoformat("2000-01-01T00:00:00+00:00").timestamp() < 60
            assert jumps(one.packets(0)) == []
        await farm.fault("cam-1", "clock", offset_s=DAY_S)
        assert (await farm.camera("cam-1"))["clock"]["offset_s"] == pytest.approx(DAY_S, abs=1)
        await farm.fault("cam-1", "clock", on=False)
        async with pulling(farm.url("cam-1")) as one:
            await one.play((0,))
            await one.receive(0.8)
            assert abs(reported_s(one.packets(1)[0]) - time.time()) < 2


async def test_a_half_open_connection_is_silent_until_it_breaks_and_a_new_one_is_served() -> None:
    async with FarmProcess(cameras=1, session_timeout=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        await farm.fault("cam-1", "half_open")
        await one.receive(0.2)
        one.writer.write(f"OPTIONS {one.url} RTSP/1.0\r\nCSeq: 2\r\n\r\n".encode())
        assert await hears_nothing(one, 3.5)
        async with pulling(farm.url("cam-1")) as two:
            assert " 200 " in await two.play()
        await farm.fault("cam-1", "half_open", on=False)
        assert not await one.receive(2)


async def test_a_vanished_camera_answers_neither_connections_nor_requests_until_it_is_back() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play()
        state = await farm.fault("cam-1", "vanish")
        assert not state["online"]
        await one.receive(0.2)
        assert await hears_nothing(one, 0.5)
        for door in ("rtsp_port", "onvif_port"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.6):
                    await asyncio.open_connection("127.0.0.1", state[door])
        await farm.fault("cam-1", "vanish", on=False)
        assert (await ffprobe(farm.url("cam-1")))[0] == 0


async def test_slow_accept_and_slow_answers() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm:
        for fault in ("slow_accept", "slow_answers"):
            await farm.fault("cam-1", fault, delay_s=0.6)
            async with pulling(farm.url("cam-1")) as one:
                begun = time.monotonic()
                assert " 200 " in await one.ask("OPTIONS")
                assert 0.5 < time.monotonic() - begun < 3
            await farm.fault("cam-1", fault, on=False)
        async with pulling(farm.url("cam-1")) as one:
            begun = time.monotonic()
            assert " 200 " in await one.ask("OPTIONS")
            assert time.monotonic() - begun < 0.5


async def test_a_camera_out_of_sessions() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await farm.fault("cam-1", "out_of_sessions", for_s=0.5)
        assert " 453 " in await one.set_up(0)
        async with asyncio.timeout(5):
            while " 200 " not in await one.set_up(0):  # noqa: ASYNC110 - the camera has no event for us
                await asyncio.sleep(0.05)


async def test_a_camera_becomes_another_at_the_same_address() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm:
        async with pulling(farm.url("cam-1")) as one:
            await one.play()
            await farm.fault("cam-1", "reconfigure", codec="h265", audio="opus")
            assert not await one.receive(2)
        _, (video, sound), complaints = await ffprobe(farm.url("cam-1"))
        assert (video["codec_name"], sound["codec_name"], complaints) == ("hevc", "opus", "")


async def test_a_resolution_changes_back() -> None:
    async with FarmProcess(cameras=1, audio="none", codec="h265", **OPEN) as farm, pulling(farm.url("cam-1")) as one:
        await one.play((0,))
        for width in (160, 320):
            await farm.fault("cam-1", "resolution_change")
            await until(lambda state, width=width: state["streams"]["main"]["width"] == width, farm, "cam-1")  # type: ignore[misc]


async def test_faults_ordered_on_the_command_line_come_end_and_come_again() -> None:
    faults = ["cam-1:drop@0.3/0.5", "cam-2:offline@0.2+0.6"]
    async with FarmProcess(cameras=2, fault=faults, **OPEN) as farm:
        await until(lambda state: not state["online"], farm, "cam-2")
        for _ in range(2):
            async with pulling(farm.url("cam-1")) as one:
                await one.play()
                assert not await one.receive(3)
        await until(lambda state: state["online"], farm, "cam-2")
        assert (await ffprobe(farm.url("cam-2")))[0] == 0


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ("cam-9:drop", "beyond the 1 cameras"),
        ("cam-1:explode", "The kinds of fault are"),
        ("cam-1:drop+5", "cannot last"),
        ("cam-1", "is no CAMERAS:KIND"),
        ("cam-1:loss,share", "NAME=VALUE"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_a_word_why(order: str, complaint: str) -> None:
    farm = ("-m", "load_tests.camera_farm", "--cameras", "1", "--fault", order)
    status, _, complaints = await run(sys.executable, *farm)
    assert status == 2
    assert complaint in complaints
    assert "Traceback" not in complaints


async def test_a_wish_that_makes_no_sense_is_refused_over_the_control_door() -> None:
    async with FarmProcess(cameras=1, **OPEN) as farm:
        wishes: tuple[tuple[str, dict[str, object]], ...] = (
            ("explode", {}),
            ("drop", {"for_s": 3}),
            ("redirect", {"to": "x"}),
            ("loss", {"share": "x"}),
        )
        for kind, options in wishes:
            with pytest.raises(aiohttp.ClientResponseError, match="400"):
                await farm.fault("cam-1", kind, **options)
