"""Still pictures over a worker that is none: what is decoded, how often, and what is said where there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mediasrv.errors import NotFound, TooManyRequests, Unavailable
from mediasrv.hub import GOP_CACHE_LIMIT, Hub, Mountpoint
from mediasrv.media.access_unit import Format, StreamName, StreamRef
from mediasrv.settings import TranscodeSettings
from mediasrv.snapshots import FRESH_S, Snapshots
from mediasrv.transcoding.framing import Consumed, End, Unit
from tests.unit.media.streams import H265, REF, VIDEO, publish, session, video_units
from tests.unit.transcoding.fake_worker import FakeWorkers
from tests.unit.transcoding.test_transcode import streams_clock, until


class Rig:
    def __init__(self, waiting: int = 64) -> None:
        self.hub, self.clock, self.workers = Hub(), streams_clock(), FakeWorkers()
        settings = TranscodeSettings(snapshots_waiting=waiting, hang_s=1.0)
        self.ensured: list[StreamRef] = []
        self.away: Unavailable | None = None
        self.snapshots = Snapshots(self.hub, settings, self.clock, self._ensure, self.workers)

    async def _ensure(self, ref: StreamRef) -> None:
        self.ensured.append(ref)
        if self.away:
            raise self.away

    def camera(self, ref: StreamRef = REF, seconds: float = 1.0, format: Format = H265) -> Mountpoint:
        mountpoint, one = self.hub.mountpoint(ref), session(f"{ref}")
        mountpoint.start_session(one)
        publish(mountpoint, video_units(one, seconds, format=format))
        return mountpoint

    @property
    def decoded(self) -> int:
        return sum(isinstance(message, End) for worker in self.workers.all for message in worker.sent)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    task = asyncio.create_task(rig.snapshots.run())
    await until(lambda: rig.snapshots._group)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    async with running(rig):
        yield rig
    assert rig.workers.running == []


async def test_the_last_keyframe_is_what_is_decoded(rig: Rig) -> None:
    mountpoint = rig.camera(seconds=3.0)
    taken = await rig.snapshots.take(REF, 320)
    assert taken.jpeg.startswith(b"\xff\xd8")
    assert taken.taken_us == mountpoint.gop[0].arrived_us
    assert [unit.payload for unit in rig.workers.all[0].units] == [mountpoint.gop[0].payload]
    assert rig.ensured == [REF]


async def test_one_decode_serves_all_who_ask_for_a_while(rig: Rig) -> None:
    mountpoint = rig.camera()
    first = await asyncio.gather(*(rig.snapshots.take(REF) for _ in range(20)))
    assert (len(set(map(id, first))), rig.decoded) == (1, 1)
    rig.clock.advance(100)
    assert await rig.snapshots.take(REF) is first[0]  # there is no newer keyframe
    assert mountpoint.session
    publish(mountpoint, video_units(mountpoint.session, 1.0, format=H265, start_s=2.0))
    second = await rig.snapshots.take(REF)
    assert (second.etag == first[0].etag, rig.decoded) == (False, 2)
    publish(mountpoint, video_units(mountpoint.session, 1.0, format=H265, start_s=4.0))
    rig.clock.advance(FRESH_S - 0.1)
    assert await rig.snapshots.take(REF) is second
    rig.clock.advance(0.2)
    assert (await rig.snapshots.take(REF)).etag != second.etag


async def test_widths_are_pictures_of_their_own(rig: Rig) -> None:
    rig.camera()
    tags = {(await rig.snapshots.take(REF, width)).etag for width in (0, 160, 320, 160)}
    assert (len(tags), rig.decoded) == (3, 3)


async def test_a_wall_of_cameras_is_served_by_one_worker(rig: Rig) -> None:
    refs = [StreamRef(f"gate-{number}", StreamName.SUB) for number in range(36)]
    for ref in refs:
        rig.camera(ref)
    taken = await asyncio.gather(*(rig.snapshots.take(ref, 480) for ref in refs))
    assert len({one.etag for one in taken}) == 36
    assert len(rig.workers.all) == 1


async def test_more_than_may_wait_are_refused() -> None:
    rig = Rig(waiting=2)
    rig.workers.obliging = False
    refs = [StreamRef(f"gate-{number}", StreamName.SUB) for number in range(3)]
    async with running(rig):
        for ref in refs:
            rig.camera(ref)
        waiting = [asyncio.create_task(rig.snapshots.take(ref)) for ref in refs[:2]]
        await until(lambda: len(rig.snapshots._making) == 2)
        with pytest.raises(TooManyRequests) as full:
            await rig.snapshots.take(refs[2])
        assert full.value.code == "snapshots_full"
        for one in waiting:
            one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_camera_that_is_away_says_why(rig: Rig) -> None:
    rig.away = Unavailable("The camera does not answer.", code="host_unreachable")
    with pytest.raises(Unavailable) as away:
        await rig.snapshots.take(REF)
    assert away.value.code == "host_unreachable"
    rig.away = None
    with pytest.raises(NotFound):
        await rig.snapshots.take(REF)


async def test_what_cannot_be_decoded_is_not_tried_again_before_the_next_keyframe(rig: Rig) -> None:
    mountpoint = rig.camera()
    rig.workers.obliging = False
    asked = asyncio.create_task(rig.snapshots.take(REF))
    await until(lambda: rig.decoded)
    rig.workers.all[0].say(Consumed(2, 1, 0))
    with pytest.raises(Unavailable) as nothing:
        await asked
    assert nothing.value.code == "snapshot_failed"
    rig.clock.advance(60)
    with pytest.raises(Unavailable):
        await rig.snapshots.take(REF)
    assert rig.decoded == 1
    rig.workers.all[0].obliging = True
    assert mountpoint.session
    publish(mountpoint, video_units(mountpoint.session, 0.1, format=H265, start_s=2.0))
    assert (await rig.snapshots.take(REF)).jpeg


async def test_a_worker_that_dies_or_hangs_costs_one_picture(rig: Rig) -> None:
    refs = [StreamRef(f"gate-{number}", StreamName.SUB) for number in range(3)]
    for ref in refs:
        rig.camera(ref)
    rig.workers.obliging = False
    asked = [asyncio.create_task(rig.snapshots.take(ref)) for ref in refs]
    await until(lambda: rig.decoded)
    rig.workers.all[0].kill()
    await until(lambda: len(rig.workers.all) == 2 and rig.decoded == 2)  # and this one hangs
    rig.workers.obliging = True
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(one, "code", "a picture") for one in found] == ["snapshot_failed", "snapshot_failed", "a picture"]
    assert (rig.snapshots.counts.failed, rig.snapshots.counts.hung, rig.snapshots.counts.running) == (2, 1, 1)


async def test_a_picture_of_an_earlier_question_is_no_answer(rig: Rig) -> None:
    rig.camera()
    await rig.snapshots.take(REF, 100)
    worker = rig.workers.all[0]
    worker.obliging = False
    asked = asyncio.create_task(rig.snapshots.take(REF, 200))
    await until(lambda: rig.decoded == 2)
    generation = worker.units[-1].generation
    worker.say(Unit(generation, 0, 0, True, b"this one"))
    worker.say(Unit(generation - 1, 0, 0, True, b"another camera's"))
    worker.say(Consumed(2, 0, 0))
    assert (await asked).jpeg == b"this one"


async def test_a_recovery_point_is_decoded_with_what_makes_it_whole(rig: Rig) -> None:
    mountpoint = rig.camera(seconds=2.0, format=VIDEO)
    assert len((await rig.snapshots.take(REF)).jpeg)
    assert len(rig.workers.all[0].units) == 1
    one = session("no-idr")
    mountpoint.start_session(one)
    for unit in video_units(one, 2.0, format=VIDEO):
        unit.payload = unit.payload.replace(b"\x65", b"\x61", 1)
        mountpoint.publish(unit)
    rig.clock.advance(10)
    await rig.snapshots.take(REF)
    assert len(rig.workers.all[0].units) == 1 + 13


async def test_where_the_gop_is_too_long_to_be_cached_the_next_keyframe_is_waited_for(rig: Rig) -> None:
    mountpoint = rig.camera(seconds=(GOP_CACHE_LIMIT + 2) / 25, format=H265)
    one = session("long")
    mountpoint.start_session(one)
    publish(mountpoint, video_units(one, (GOP_CACHE_LIMIT + 2) / 25, gop_s=100.0, format=H265))
    assert mountpoint.gop == []
    asked = asyncio.create_task(rig.snapshots.take(REF))
    await until(lambda: mountpoint.subscribers)
    publish(mountpoint, video_units(one, 0.1, format=H265, start_s=30.0))
    assert (await asked).taken_us == mountpoint.gop[0].arrived_us
    assert mountpoint.subscribers == 0


async def test_nothing_is_kept_for_long_behind_the_last_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediasrv.snapshots.IDLE_S", 0.02)
    rig = Rig()
    async with running(rig):
        rig.camera()
        await rig.snapshots.take(REF)
        rig.clock.advance(0.01)
        await until(lambda: not rig.workers.running)
        assert rig.snapshots._kept
        rig.clock.advance(0.02)
        await until(lambda: not rig.snapshots._kept)


async def test_a_worker_that_was_asked_since_the_last_look_stays(rig: Rig) -> None:
    rig.camera()
    await rig.snapshots.take(REF)
    await rig.snapshots._still.end_if_idle()
    assert rig.workers.running
    await rig.snapshots._still.end_if_idle()
    assert not rig.workers.running


async def test_all_pictures_together_take_no_more_than_so_much_memory(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediasrv.snapshots._MOST_KEPT_BYTES", 100)
    rig.camera()
    for width in range(100, 120):
        await rig.snapshots.take(REF, width)
    assert 0 < sum(one.size_bytes for one in rig.snapshots._kept.values()) <= 100
