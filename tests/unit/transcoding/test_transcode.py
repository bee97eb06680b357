"""Renditions over workers that are none: who gets what, when workers run, and what happens when they do not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from mediasrv.errors import NotFound, ProtocolError, TooManyRequests, Unavailable
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Codec, Rendition, Session, StreamName, StreamRef, TrackKind
from mediasrv.settings import TranscodeSettings
from mediasrv.transcode import Transcoder
from mediasrv.transcoding.framing import Consumed, Message, Unit, Wish
from mediasrv.transcoding.process import OnMessage
from tests.clocks import SimulatedClock
from tests.sinks import Viewer
from tests.unit.media.streams import (
    AAC,
    H265,
    OPUS,
    PCMA,
    REF,
    STARTED_US,
    VIDEO,
    audio_units,
    interleave,
    publish,
    session,
    video_units,
)
from tests.unit.transcoding.fake_worker import FakeWorker, FakeWorkers, made

SETTINGS = TranscodeSettings(backoff_first_s=0.01, backoff_most_s=0.02)
H264_OPUS = Rendition(video=Codec.H264, audio=Codec.OPUS)
TO_OPUS = Rendition(audio=Codec.OPUS)


def streams_clock() -> SimulatedClock:
    """It agrees with the clocks of `streams.session`."""
    return SimulatedClock(STARTED_US, 100.0)


class Rig:
    def __init__(self, workers: FakeWorkers, settings: TranscodeSettings = SETTINGS) -> None:
        self.hub, self.clock, self.workers = Hub(), streams_clock(), workers
        self.transcoder = Transcoder(self.hub, settings, self.clock, workers)
        self.source = self.hub.mountpoint(REF)

    def begin(self, *tracks: list[AccessUnit]) -> Session:
        """The source is live, with these access units."""
        units = interleave(*tracks)
        self.source.start_session(units[0].session)
        publish(self.source, units)
        return units[0].session

    def another(self, name: str) -> StreamRef:
        """One more camera, live, of H.265."""
        ref = StreamRef(name, StreamName.MAIN)
        mountpoint = self.hub.mountpoint(ref)
        one = dataclasses.replace(session(), ref=ref)
        mountpoint.start_session(one)
        publish(mountpoint, video_units(one, 0.2, format=H265))
        return ref

    def watch(self, ref: StreamRef = REF, rendition: Rendition = H264_OPUS) -> tuple[Mountpoint, Viewer]:
        mountpoint, viewer = self.transcoder.mountpoint(ref, rendition), Viewer()
        mountpoint.subscribe(viewer)
        return mountpoint, viewer

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.transcoder.check()


@asynccontextmanager
async def running(transcoder: Transcoder) -> AsyncIterator[None]:
    task = asyncio.create_task(transcoder.run())
    await until(lambda: transcoder._group)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig(FakeWorkers())
    async with running(rig.transcoder):
        yield rig
    assert rig.workers.running == []


async def test_what_needs_no_transcoding_comes_at_once_and_as_the_same_objects(rig: Rig) -> None:
    one = session()
    units = interleave(video_units(one, 4.0), audio_units(one, 4.0, format=OPUS))
    rig.begin(units[:100])
    mountpoint, viewer = rig.watch()
    assert mountpoint.gop == rig.source.gop
    assert mountpoint.session is one
    publish(rig.source, units[100:])
    assert all(got is sent for got, sent in zip(viewer.units, units[100:], strict=True))
    await asyncio.sleep(0)
    assert rig.workers.all == []


async def test_a_rendition_of_nothing_is_the_stream_itself(rig: Rig) -> None:
    assert rig.transcoder.mountpoint(REF, Rendition()) is rig.source


async def test_a_stream_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(NotFound, match="no such stream"):
        rig.transcoder.mountpoint(StreamRef("nobody", StreamName.MAIN), H264_OPUS)


async def test_both_tracks_carry_the_sessions_times_and_arrivals_of_the_source(rig: Rig) -> None:
    one = session()
    pictures, sounds = list(video_units(one, 4.0, format=H265)), list(audio_units(one, 4.0, format=AAC))
    rig.begin(pictures[:60], sounds[:100])
    rig.clock.advance(2.4)
    mountpoint, viewer = rig.watch()
    await until(lambda: mountpoint.live)
    publish(rig.source, interleave(pictures[60:], sounds[100:]))
    await until(lambda: len(viewer.of(TrackKind.VIDEO)) == 41 and viewer.units[-1].arrived_us > STARTED_US + 3_900_000)
    video, audio = viewer.of(TrackKind.VIDEO), viewer.of(TrackKind.AUDIO)
    # The GOP that was cached is decoded only; the newest picture of it is the first that is shown.
    assert [(unit.dts, unit.arrived_us) for unit in video] == [(unit.dts, unit.arrived_us) for unit in pictures[59:]]
    assert {unit.session for unit in viewer.units} == {one}
    assert {unit.format.codec for unit in viewer.units} == {Codec.H264, Codec.OPUS}
    assert audio[0].arrived_us >= video[0].arrived_us
    arrivals = {unit.dts: unit.arrived_us for unit in sounds}
    assert all(unit.arrived_us == arrivals[unit.dts] for unit in audio)
    assert all(unit.dts < after.dts for unit, after in pairwise(audio))


async def test_one_worker_a_track_serves_all_viewers_and_all_renditions(rig: Rig) -> None:
    one = session()
    rig.begin(list(video_units(one, 1.0, format=H265)), list(audio_units(one, 1.0)))
    renditions = [H264_OPUS, Rendition(video=Codec.H264), Rendition(audio=Codec.OPUS), H264_OPUS]
    mountpoints = [rig.transcoder.mountpoint(REF, rendition) for rendition in renditions]
    assert mountpoints[0] is mountpoints[3]
    await until(lambda: mountpoints[1].live)
    assert sorted(worker.job for worker in rig.workers.all) == ["audio", "video"]
    later = rig.transcoder.mountpoint(REF, Rendition(video=Codec.H264, audio=Codec.AAC))
    assert later.gop == mountpoints[1].gop != []  # what was made already is there at once


async def test_it_works_while_somebody_watches_and_lingers_behind_the_last(rig: Rig) -> None:
    rig.begin(list(video_units(session(), 1.0, format=H265)))
    mountpoint = rig.transcoder.mountpoint(REF, H264_OPUS)
    first, second = mountpoint.subscribe(Viewer()), mountpoint.subscribe(Viewer())
    await until(lambda: mountpoint.live)
    first.close()
    rig.wait(60)
    assert len(rig.workers.running) == 1
    assert rig.source.subscribers == 2  # the rendition, and its worker
    second.close()
    rig.wait(SETTINGS.linger_s - 0.1)
    assert len(rig.workers.running) == 1
    rig.wait(0.2)
    await until(lambda: not rig.workers.running and not rig.source.subscribers)
    assert mountpoint.session is None
    counts = rig.transcoder.counts["video"]
    assert (counts.started, counts.running, counts.failed) == (1, 0, 0)


async def test_a_rendition_that_is_never_subscribed_to_ends(rig: Rig) -> None:
    rig.transcoder.mountpoint(rig.another("gate-2"), H264_OPUS)
    await until(lambda: rig.workers.running)
    rig.wait(SETTINGS.linger_s + 0.1)
    await until(lambda: not rig.workers.running)


async def test_who_held_on_to_a_rendition_that_ended_can_subscribe_again(rig: Rig) -> None:
    rig.begin(list(video_units(session(), 1.0, format=H265)))
    mountpoint = rig.transcoder.mountpoint(REF, H264_OPUS)
    await until(lambda: mountpoint.live)
    rig.wait(SETTINGS.linger_s + 0.1)
    assert not mountpoint.live
    viewer = Viewer()
    mountpoint.subscribe(viewer)
    await until(lambda: mountpoint.live)
    assert rig.transcoder.mountpoint(REF, H264_OPUS) is mountpoint
    assert viewer.units[0].keyframe


async def test_one_that_comes_back_beside_another_of_its_kind_ends_with_the_transcoder_too() -> None:
    rig = Rig(FakeWorkers())
    async with running(rig.transcoder):
        rig.begin(list(video_units(session(), 1.0, format=H265)))
        first = rig.transcoder.mountpoint(REF, H264_OPUS)
        rig.wait(SETTINGS.linger_s + 0.1)
        second, _ = rig.watch()
        assert second is not first
        first.subscribe(Viewer())
        await until(lambda: first.live and second.live)
        assert len(rig.workers.running) == 1
    assert (first.session, second.session, rig.source.subscribers) == (None, None, 0)
    assert rig.workers.running == []


async def test_a_bound_that_is_reached_is_said_plainly_and_kept(rig: Rig) -> None:
    held = [rig.watch(rig.another(name))[0] for name in ("gate-2", "gate-3")]
    third = rig.another("gate-4")
    with pytest.raises(TooManyRequests) as full:
        rig.transcoder.mountpoint(third, H264_OPUS)
    assert full.value.code == "transcoders_full"
    assert "as many streams" in full.value.sentence
    await until(lambda: all(mountpoint.live for mountpoint in held))
    rig.wait(60)
    assert len(rig.workers.running) == 2
    assert rig.transcoder.refused == 1
    assert rig.hub.mountpoint(third).subscribers == 0  # nothing is left of the attempt


async def test_a_worker_that_only_lingers_makes_room(rig: Rig) -> None:
    refs = [rig.another(name) for name in ("gate-2", "gate-3", "gate-4")]
    mountpoints = [rig.transcoder.mountpoint(ref, H264_OPUS) for ref in refs[:2]]
    subscriptions = [mountpoint.subscribe(Viewer()) for mountpoint in mountpoints]
    subscriptions[0].close()
    with pytest.raises(TooManyRequests):  # it may be about to come back
        rig.transcoder.mountpoint(refs[2], H264_OPUS)
    rig.wait(3)
    third = rig.transcoder.mountpoint(refs[2], H264_OPUS)
    await until(lambda: third.live and len(rig.workers.running) == 2)
    assert not mountpoints[0].live
    assert mountpoints[1].live


async def test_a_worker_that_somebody_else_watches_is_taken_from_nobody(rig: Rig) -> None:
    first, second, third = (rig.another(name) for name in ("gate-2", "gate-3", "gate-4"))
    rig.watch(first, Rendition(video=Codec.H264))
    rig.watch(second)
    lingering = rig.transcoder.mountpoint(first, H264_OPUS)  # of the same worker
    await until(lambda: lingering.live)
    rig.wait(3)
    with pytest.raises(TooManyRequests):
        rig.transcoder.mountpoint(third, H264_OPUS)
    assert lingering.live


async def test_a_rendition_that_made_room_takes_nothing_of_what_it_lost() -> None:
    """It makes room while the source hands out an access unit, which it is about to be given itself."""
    rig = Rig(FakeWorkers(), dataclasses.replace(SETTINGS, most_audio=1))
    async with running(rig.transcoder):
        one, other = session("one"), session("other")
        rig.begin(list(video_units(one, 1.0)), list(audio_units(one, 1.0, format=OPUS)))
        watched, _ = rig.watch(rendition=TO_OPUS)
        rig.transcoder.mountpoint(REF, Rendition(audio=Codec.AAC))
        rig.wait(3)
        rig.source.end_session("format_changed")
        rig.begin(list(video_units(other, 1.0)), list(audio_units(other, 1.0, format=PCMA)))
        await until(lambda: watched.audio_format)
        assert rig.transcoder.refused == 0


async def test_a_camera_that_turns_to_another_codec_when_all_workers_are_taken(rig: Rig) -> None:
    refs = [rig.another(name) for name in ("gate-2", "gate-3")]
    watched = [rig.transcoder.mountpoint(ref, H264_OPUS).subscribe(Viewer()) for ref in refs]
    rig.begin(list(video_units(session("one"), 1.0)))
    mountpoint, viewer = rig.watch()
    assert mountpoint.live
    rig.source.end_session("format_changed")
    other = session("other")
    rig.begin(list(video_units(other, 1.0, format=H265)))
    assert viewer.ended == ["format_changed"]
    assert not mountpoint.live
    watched[0].close()
    rig.clock.advance(3)
    publish(rig.source, video_units(other, 1.0, format=H265, start_s=1.0))
    await until(lambda: mountpoint.live)  # as soon as there is a worker for it
    assert mountpoint.session is other


async def test_the_end_of_the_source_s_session_ends_it_here_and_nothing_of_it_comes_later(rig: Rig) -> None:
    rig.workers.obliging = False
    other = session("other")
    rig.begin(list(video_units(session("one"), 1.0, format=H265)))
    mountpoint, viewer = rig.watch()
    await until(lambda: rig.workers.all and len(rig.workers.all[0].units) == 4)
    worker = rig.workers.all[0]
    old = made(Unit(worker.units[0].generation, 0, 0, True, b""))
    worker.say(old)
    assert mountpoint.live
    rig.source.end_session("camera_lost")
    assert viewer.ended == ["camera_lost"]
    rig.begin(list(video_units(other, 1.0, format=H265)))
    worker.say(dataclasses.replace(old, dts=3600, pts=3600))
    assert len(viewer.units) == 1
    worker.obliging = True
    worker.say(Consumed(4, 0, 0))
    await until(lambda: len(viewer.units) == 26)
    assert {unit.session for unit in viewer.units[1:]} == {other}
    assert viewer.units[1].keyframe
    assert sum(isinstance(message, Wish) for message in worker.sent) == 2


async def test_a_worker_that_crashes_ends_the_session_of_its_rendition_alone_and_is_started_again(rig: Rig) -> None:
    one, plain = session(), Viewer()
    rig.begin(list(video_units(one, 1.2, format=H265)))
    mountpoint, viewer = rig.watch()
    await until(lambda: mountpoint.live)
    neighbour, other = rig.watch(rig.another("gate-2"))
    rig.source.subscribe(plain)
    await until(lambda: neighbour.live)
    rig.workers.all[0].kill()
    await until(lambda: viewer.ended)
    assert viewer.ended == ["transcoder_failed"]
    assert plain.ended == other.ended == []
    await until(lambda: mountpoint.live)  # without waiting for the next keyframe of the camera
    assert mountpoint.session is one
    assert viewer.units[-1].keyframe
    assert len(rig.workers.all) == 3
    assert (rig.transcoder.counts["video"].failed, rig.transcoder.counts["video"].hung) == (1, 0)


async def test_sound_that_fails_pauses_and_the_picture_goes_on(rig: Rig) -> None:
    one = session()
    rig.begin(list(video_units(one, 1.0)), list(audio_units(one, 1.0, format=AAC)))
    mountpoint, viewer = rig.watch()
    await until(lambda: mountpoint.audio_format)
    rig.workers.running[0].kill()
    await until(lambda: len(rig.workers.all) == 2)
    assert viewer.ended == []
    assert mountpoint.live
    assert rig.transcoder.counts["audio"].failed == 1


async def test_a_worker_that_does_not_answer_is_ended(rig: Rig) -> None:
    rig.workers.obliging = False
    rig.watch(rig.another("gate-2"))
    await until(lambda: rig.workers.all and rig.workers.all[0].units)
    rig.wait(SETTINGS.hang_s - 0.1)
    assert not rig.workers.all[0].killed
    rig.wait(0.2)
    assert rig.workers.all[0].killed
    await until(lambda: len(rig.workers.all) == 2)
    assert rig.transcoder.counts["video"].hung == 1


async def test_a_worker_that_never_gets_ready_is_ended(rig: Rig) -> None:
    rig.workers.ready = False
    rig.watch(rig.another("gate-2"))
    await until(lambda: rig.transcoder.counts["video"].running)
    rig.wait(SETTINGS.hang_s + 0.1)
    assert rig.workers.all[0].killed


async def test_an_idle_worker_is_no_hanging_one(rig: Rig) -> None:
    """A camera that sends nothing for a while gives a worker nothing to answer."""
    units = list(video_units(session(), 1.0, format=H265))
    rig.begin(units[:10])
    mountpoint, _ = rig.watch()
    await until(lambda: mountpoint.live and len(rig.workers.all[0].units) == 10)
    await asyncio.sleep(0)
    rig.wait(100)
    rig.workers.all[0].obliging = False
    rig.source.publish(units[10])
    rig.transcoder.check()
    assert not rig.workers.all[0].killed


LIES: list[Callable[[Unit], Message]] = [
    lambda unit: Consumed(50, 0, 0),
    lambda unit: Unit(unit.generation, 10**12, 10**12, True, made(unit).payload),
    lambda unit: Unit(unit.generation, 0, 0, False, made(unit).payload),
    lambda unit: Unit(unit.generation, 0, 0, True, b"\x00\x00\x10\x00nonsense"),
    lambda unit: Unit(unit.generation, 0, 0, True, b""),
]


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_worker_says_is_not_believed(rig: Rig, lie: Callable[[Unit], Message]) -> None:
    rig.workers.obliging = False
    _, viewer = rig.watch(rig.another("gate-2"))
    await until(lambda: rig.workers.all and rig.workers.all[0].units)
    with pytest.raises(ProtocolError):
        rig.workers.all[0].say(lie(rig.workers.all[0].units[0]))
    assert viewer.units == []


async def test_a_keyframe_is_what_it_says_it_is(rig: Rig) -> None:
    rig.workers.obliging = False
    _, viewer = rig.watch(rig.another("gate-2"))
    await until(lambda: rig.workers.all and rig.workers.all[0].units)
    worker = rig.workers.all[0]
    sent = worker.units[0]
    worker.say(made(dataclasses.replace(sent, dts=0, pts=0)))
    for keyframe in (True, False):
        other = made(dataclasses.replace(sent, dts=3600, pts=3600, keyframe=not keyframe))
        with pytest.raises(ProtocolError):
            worker.say(dataclasses.replace(other, keyframe=keyframe))
    assert len(viewer.units) == 1


async def test_sound_that_is_made_late_is_kept_for_parts_but_not_played_late(rig: Rig) -> None:
    """A worker begins with what is cached: seconds old, which who plays as it comes would play on top of the rest."""
    one = session()
    rig.begin(list(video_units(one, 1.9)), list(audio_units(one, 1.9, format=AAC)))
    rig.clock.advance(1.9)
    mountpoint, viewer = rig.watch()
    await until(lambda: len(mountpoint.sound) >= len(rig.source.sound) - 3)  # the last wait for more
    heard = viewer.of(TrackKind.AUDIO)
    assert 0 < len(heard) < 30 < len(mountpoint.sound)
    assert heard[0].arrived_us >= STARTED_US + 1_400_000


async def test_sound_is_sent_in_batches_and_what_waits_is_not_lost(rig: Rig) -> None:
    """A worker that wakes for every 20 ms of sound spends its time on waking."""
    one = session()
    sounds = list(audio_units(one, 3.0, format=PCMA))
    rig.begin(list(video_units(one, 1.0)), sounds[:50])
    mountpoint, _ = rig.watch()
    await until(lambda: mountpoint.audio_format)
    await asyncio.sleep(0.01)
    worker, wakes = rig.workers.all[0], list[int]()
    for unit in sounds[50:]:
        before = len(worker.units)
        rig.source.publish(unit)
        if len(worker.units) > before:
            wakes.append(len(worker.units) - before)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert set(wakes[1:]) == {4}  # 60 ms from the first to the last
    first = sounds.index(next(unit for unit in sounds if unit.dts == worker.units[0].dts))
    assert [unit.dts for unit in worker.units] == [unit.dts for unit in sounds[first : first + len(worker.units)]]


async def test_the_sound_before_the_first_picture_is_left_out(rig: Rig) -> None:
    one = session()
    rig.begin(list(video_units(one, 1.9, format=H265)), list(audio_units(one, 1.9, format=OPUS)))
    mountpoint, viewer = rig.watch()
    publish(rig.source, audio_units(one, 0.1, format=OPUS, start_s=1.9))
    assert viewer.units == []
    await until(lambda: mountpoint.live)
    publish(rig.source, audio_units(one, 0.5, format=OPUS, start_s=2.0))
    assert [unit.format.codec for unit in viewer.units] == [Codec.H264] + [Codec.OPUS] * 25


async def test_a_camera_that_turns_to_what_is_wanted_needs_no_worker_any_more(rig: Rig) -> None:
    rig.begin(list(video_units(session("one"), 1.0, format=H265)))
    mountpoint, _ = rig.watch()
    await until(lambda: mountpoint.live)
    rig.source.end_session("format_changed")
    rig.begin(list(video_units(session("other"), 1.0)))
    assert mountpoint.gop == rig.source.gop
    assert mountpoint.gop[0].format is VIDEO
    await until(lambda: not rig.workers.running)


async def test_a_process_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    workers, failures = FakeWorkers(), [OSError("no more processes"), OSError("no more processes")]

    async def start(job: str, nice: int, on_message: OnMessage) -> FakeWorker:
        if failures:
            raise failures.pop()
        return await workers(job, nice, on_message)

    rig = Rig(workers)
    rig.transcoder = Transcoder(rig.hub, SETTINGS, rig.clock, start)
    async with running(rig.transcoder):
        mountpoint, _ = rig.watch(rig.another("gate-2"))
        await until(lambda: mountpoint.live)
    assert rig.transcoder.counts["video"].failed == 2
    assert caplog.text.count("could not be started") == 2


async def test_without_a_run_nothing_is_transcoded() -> None:
    rig = Rig(FakeWorkers())
    with pytest.raises(Unavailable):
        rig.watch(rig.another("gate-2"))


async def test_nothing_is_kept_of_what_ended(rig: Rig) -> None:
    for _ in range(30):
        mountpoint, viewer = rig.transcoder.mountpoint(rig.another("gate-2"), H264_OPUS), Viewer()
        subscription = mountpoint.subscribe(viewer)
        await until(lambda found=mountpoint: found.live)
        subscription.close()
        rig.wait(SETTINGS.linger_s + 0.1)
        rig.hub.remove(mountpoint.ref)
    await until(lambda: not rig.workers.running)
    transcoder = rig.transcoder
    assert not transcoder._feeds
    assert not transcoder._transcodes
    assert not transcoder._since
    assert transcoder.counts["video"].started == 30
