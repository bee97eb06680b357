"""An unwatched stream wakes the server rarely and loses nothing; a watched one is read as it comes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from load_tests.camera_farm.counters import read_counters
from load_tests.camera_farm.process import FarmProcess
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AccessUnit, Part, Session, TrackKind
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.fmp4 import read_samples
from mediasrv.pulling.connection import READ_BYTES, RtspConnection
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.wire.rtsp import Event
from tests.integration.pull_rig import REF, SETTINGS, SystemClock, until

MEASURED_S = 2.0


class Recording:
    """Takes parts, as the recorder does."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def on_part(self, part: Part) -> None:
        self.parts.append(part)

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass


class Watching:
    """Takes access units, as WebRTC does."""

    def on_access_unit(self, unit: AccessUnit) -> None:
        pass

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass


class Taking:
    """The protocol core of a connection: counts bytes, and may be surprised by them."""

    has_data_to_send = False

    def __init__(self, *, surprised: bool = False) -> None:
        self.received_bytes = 0
        self.surprised = surprised

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        if self.surprised:
            raise ValueError("what nobody expected")
        self.received_bytes += len(data)
        return ()


async def connect(address: tuple[str, int], core: Taking) -> RtspConnection:
    connection = RtspConnection(core, SystemClock(), 1.0)  # type: ignore[arg-type]
    await connection.connect(*address)
    await connection.start(None, 1.0)
    return connection


async def test_a_beat_takes_all_that_has_come_and_a_surprise_costs_only_its_own_connection() -> None:
    sent = bytes(3 * READ_BYTES + 1)
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    beats: list[int] = []
    gatherer = Gatherer(0.1, after=lambda: beats.append(good.received_bytes))
    bad, good = Taking(surprised=True), Taking()
    async with server:
        address = server.sockets[0].getsockname()[:2]
        first, second = await connect(address, bad), await connect(address, good)
        first.gather(gatherer)
        second.gather(gatherer)
        await until(lambda: len(writers) == 2)
        for writer in writers:
            writer.write(sent)
        await until(lambda: first.failure is not None and good.received_bytes == len(sent))
        assert first.failure is not None
        assert (first.failure.code, second.failure) == ("camera_failed", None)
        assert max(later - earlier for earlier, later in itertools.pairwise([0, *beats])) > READ_BYTES
        for connection in (first, second):
            connection.abort()
        for writer in writers:
            writer.close()
        await until(lambda: first.closed.is_set() and second.closed.is_set())


async def reads_per_s(pull: RtspPull) -> float:
    before = pull.report.reads
    await asyncio.sleep(MEASURED_S)  # the measured time
    return (pull.report.reads - before) / MEASURED_S


async def test_reads_follow_who_watches_and_no_access_unit_is_lost() -> None:
    async with FarmProcess(cameras=1, mode="load", audio="pcma", rate=25, bitrate=2050, gop=1) as farm:
        mountpoint, recording, clock = Mountpoint(REF, 0.48), Recording(), SystemClock()
        source = RtspSource(farm.url("cam-1"), farm.username, farm.password)
        pull = RtspPull(
            source,
            mountpoint,
            lambda: Session("one", REF, 1, clock.wall_us(), clock.monotonic()),
            clock,
            SETTINGS,
            Gatherer(SETTINGS.gather_s),
        )
        mountpoint.subscribe_parts(recording)
        task = asyncio.create_task(pull.run())
        try:
            await until(lambda: pull.report.video_units > 25)
            assert not pull.report.gathered, "what arrives first sets the session's clock: it is not kept waiting"
            await until(lambda: pull.report.gathered)
            unwatched = await reads_per_s(pull)
            viewer = mountpoint.subscribe(Watching())
            watched = await reads_per_s(pull)
            viewer.close()
            await until(lambda: pull.report.gathered)
            unwatched_again = await reads_per_s(pull)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert watched > 40
    assert max(unwatched, unwatched_again) <= 1.2 / SETTINGS.gather_s
    video = [part for part in recording.parts if part.format.kind is TrackKind.VIDEO]
    counters = [read_counters(sample.payload) for part in video for sample in read_samples(part.fragment)]
    numbers = [counter.counter for counter in counters if counter]
    assert len(numbers) == len(counters) > 100
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(numbers))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_the_cameras_clock_is_not_blamed_for_the_wait_for_a_beat(transport: str) -> None:
    """Cameras of this machine have its clock. A report that waited to be read seems as much older as it waited; over
    UDP reports do not wait, and tell more for it."""
    async with FarmProcess(cameras=1, mode="load", audio="none", rate=25, gop=1) as farm:
        mountpoint, clock = Mountpoint(REF, 0.48), SystemClock()
        pull = RtspPull(
            RtspSource(farm.url("cam-1"), farm.username, farm.password, transport),
            mountpoint,
            lambda: Session("one", REF, 1, clock.wall_us(), clock.monotonic()),
            clock,
            SETTINGS,
            Gatherer(SETTINGS.gather_s),
        )
        task = asyncio.create_task(pull.run())
        try:
            await until(lambda: pull.report.gathered)
            session = pull._session
            assert session is not None
            session._camera_clock = CameraClock()  # of reports that were read as they came it knows too well
            await until(lambda: pull.report.camera_offset_us is not None)
            report = pull.report
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert report.camera_offset_us is not None
    assert report.camera_uncertainty_us is not None
    assert (report.camera_uncertainty_us >= SETTINGS.gather_s * 1e6 / 2) is (transport == "tcp")
    assert abs(report.camera_offset_us) <= report.camera_uncertainty_us
