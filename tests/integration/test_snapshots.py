"""Still pictures by a real worker: what is on them, a wall of them at once, and workers that fail."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable

import pytest

from load_tests.media import encoded_clip
from mediasrv.clock import SystemClock
from mediasrv.errors import Unavailable
from mediasrv.hub import Hub
from mediasrv.media import nal
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef
from mediasrv.settings import TranscodeSettings
from mediasrv.snapshots import Snapshots
from mediasrv.transcoding.process import OnMessage, WorkerProcess, start_worker
from tests.integration.test_transcode import is_there, until
from tests.integration.transcode_media import decoded_jpeg, marked_pictures

REF = StreamRef("gate-1", StreamName.MAIN)


class Rig:
    def __init__(self) -> None:
        self.hub = Hub()
        self.workers: list[WorkerProcess] = []
        settings = TranscodeSettings(nice=0, hang_s=2.0)
        self.snapshots = Snapshots(self.hub, settings, SystemClock(), self._ensure, self._start)

    async def _ensure(self, ref: StreamRef) -> None:
        assert self.hub.mountpoint(ref).live

    async def _start(self, job: str, nice: int, on_message: OnMessage) -> WorkerProcess:
        worker = await start_worker(job, nice, on_message)
        self.workers.append(worker)
        return worker

    def session(self, ref: StreamRef = REF) -> Session:
        session = Session(f"{ref}", ref, 1, 1_800_000_000_000_000, time.monotonic())
        self.hub.mountpoint(ref).start_session(session)
        return session

    def publish(self, units: Iterable[AccessUnit]) -> None:
        for unit in units:
            self.hub.mountpoint(unit.session.ref).publish(unit)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    task = asyncio.create_task(rig.snapshots.run())
    await until(lambda: rig.snapshots._group)
    yield rig
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not any(is_there(worker) for worker in rig.workers)


def h264_units(session: Session, width: int, height: int) -> list[AccessUnit]:
    clip = encoded_clip(width, height, 25, 2000, 2.0, 2.0)
    video = nal.video_format(*nal.parameter_sets(nal.iter_avcc(clip[0])))
    return [
        AccessUnit(session, video, index * 3600, index * 3600, session.started_us + index * 40_000, index == 0, payload)
        for index, payload in enumerate(clip[:10])
    ]


async def test_a_picture_of_h265_is_the_last_keyframe(rig: Rig) -> None:
    rig.publish(marked_pictures(rig.session(), [60] * 10 + [180] * 10, gop=10, size=(320, 192)))
    picture = decoded_jpeg((await rig.snapshots.take(REF)).jpeg)
    assert (picture.width, picture.height) == (320, 192)
    small = decoded_jpeg((await rig.snapshots.take(REF, 100)).jpeg)
    assert (small.width, small.height) == (100, 60)
    wide = decoded_jpeg((await rig.snapshots.take(REF, 1000)).jpeg)
    assert wide.width == 320  # never larger than it is
    for one in (picture, small, wide):
        shown = one.reformat(format="gray")
        assert abs(bytes(shown.planes[0])[0] - (180 - 16) * 255 / 219) < 6


async def test_a_picture_of_h264(rig: Rig) -> None:
    rig.publish(h264_units(rig.session(), 640, 360))
    picture = decoded_jpeg((await rig.snapshots.take(REF)).jpeg)
    assert (picture.width, picture.height) == (640, 360)


async def test_a_wall_of_36_at_once(rig: Rig) -> None:
    refs = [StreamRef(f"gate-{number}", StreamName.MAIN) for number in range(36)]
    for ref in refs:
        rig.publish(h264_units(rig.session(ref), 1280, 720))
    began = time.monotonic()
    taken = await asyncio.gather(*(rig.snapshots.take(ref, 480) for ref in refs))
    print(f"36 pictures of 1280x720 in {time.monotonic() - began:.2f} s, {rig.snapshots.counts.cpu_us / 1e6:.2f} s CPU")
    assert all(decoded_jpeg(one.jpeg).width == 480 for one in taken)
    assert len(rig.workers) == 1


async def test_a_picture_that_hurts_costs_nobody_else_theirs(rig: Rig) -> None:
    bad = StreamRef("gate-2", StreamName.MAIN)
    units = list(marked_pictures(rig.session(bad), [60] * 3))
    units[0].payload = nal.join_avcc([b"\x26\x01" + bytes(range(1, 200))])
    rig.publish(units[:1])
    rig.publish(h264_units(rig.session(), 640, 360))
    spoilt, fine = await asyncio.gather(rig.snapshots.take(bad), rig.snapshots.take(REF), return_exceptions=True)
    assert isinstance(spoilt, Unavailable)
    assert not isinstance(fine, BaseException)
    assert decoded_jpeg(fine.jpeg).width == 640


async def test_a_worker_that_dies_with_nothing_to_do_is_not_noticed(rig: Rig) -> None:
    rig.publish(h264_units(rig.session(), 640, 360))
    await rig.snapshots.take(REF, 100)
    os.kill(rig.workers[0].pid, signal.SIGKILL)
    await until(lambda: rig.workers[0]._closed.is_set())
    assert (await rig.snapshots.take(REF, 200)).jpeg
    assert rig.snapshots.counts.failed == 0


async def test_a_worker_that_hangs_is_replaced(rig: Rig) -> None:
    rig.publish(h264_units(rig.session(), 640, 360))
    await rig.snapshots.take(REF, 100)
    os.kill(rig.workers[0].pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await rig.snapshots.take(REF, 200)
    assert (await rig.snapshots.take(REF, 300)).jpeg
    assert not is_there(rig.workers[0])
