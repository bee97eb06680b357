"""Real worker processes on real encoded streams: what comes out is decoded again, and says what went in."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import av
import pytest
import uvloop

from load_tests.media import AAC_CONFIG
from mediasrv.clock import SystemClock
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Codec,
    Part,
    Rendition,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.media.fmp4 import init_segment
from mediasrv.media.nal import NAL_IDR, iter_avcc, join_avcc, nal_type, parse_sps
from mediasrv.settings import TranscodeSettings
from mediasrv.transcode import Transcoder
from mediasrv.transcoding.process import OnMessage, WorkerProcess, start_worker
from tests.integration.transcode_media import (
    BRIGHT,
    DARK,
    clicks,
    clicks_in,
    flashes_in,
    frequency_of,
    levels_of,
    marked_pictures,
    sound_units,
    tone,
)
from tests.sinks import Viewer

AAC = AudioFormat(Codec.AAC, 48_000, 1, AAC_CONFIG)
AAC_16K = AudioFormat(Codec.AAC, 16_000, 1, bytes.fromhex("1408"))
PCMA = AudioFormat(Codec.PCMA, 8000, 1)
PCMU = AudioFormat(Codec.PCMU, 8000, 1)
OPUS = AudioFormat(Codec.OPUS, 48_000, 1)
VAST_SPS = bytes.fromhex("42010101600000030090000003000003001ea000200080010005965654a4c2e68080000003008000000c84")
"""Of H.265 pictures of 16384 x 16384: one takes 400 MB."""
H264, TO_OPUS, TO_AAC = Rendition(video=Codec.H264), Rendition(audio=Codec.OPUS), Rendition(audio=Codec.AAC)
BOTH = Rendition(Codec.H264, Codec.OPUS)
SETTINGS = TranscodeSettings(nice=0, linger_s=1.0, hang_s=1.5, backoff_first_s=0.05, backoff_most_s=0.2)


class Parts:
    """Keeps the parts that it is given."""

    def __init__(self) -> None:
        self.all: list[Part] = []

    def on_part(self, part: Part) -> None:
        self.all.append(part)

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass

    def of(self, kind: TrackKind) -> list[Part]:
        return [part for part in self.all if part.format.kind is kind]


class Rig:
    def __init__(self, settings: TranscodeSettings = SETTINGS) -> None:
        self.hub = Hub()
        self.workers: list[WorkerProcess] = []
        self.transcoder = Transcoder(self.hub, settings, SystemClock(), self._start)

    async def _start(self, job: str, nice: int, on_message: OnMessage) -> WorkerProcess:
        worker = await start_worker(job, nice, on_message)
        self.workers.append(worker)
        return worker

    def camera(self, name: str, session_id: str = "one") -> tuple[Mountpoint, Session]:
        mountpoint = self.hub.mountpoint(StreamRef(name, StreamName.MAIN))
        # Ahead of time: what a test plays faster or slower than it would come is not late.
        began_s = time.monotonic() + 1000.0
        session = Session(f"{name}-{session_id}", mountpoint.ref, 1, 1_800_000_000_000_000, began_s)
        mountpoint.start_session(session)
        return mountpoint, session

    def watch(self, source: Mountpoint, rendition: Rendition) -> tuple[Mountpoint, Viewer]:
        mountpoint, viewer = self.transcoder.mountpoint(source.ref, rendition), Viewer()
        mountpoint.subscribe(viewer)
        return mountpoint, viewer

    async def play(self, source: Mountpoint, units: Iterable[AccessUnit]) -> None:
        """As fast as workers can follow."""
        for number, unit in enumerate(units):
            source.publish(unit)
            if number % 16 == 0:
                await self.idle()
        await self.idle()

    async def idle(self) -> None:
        """Nothing is under way, and no more waits than what is sent together."""
        queues = [transcode._queue for transcode, _ in self.transcoder._transcodes.values()]
        await until(lambda: not any(queue.under_way or queue.waiting_s > 0.1 for queue in queues))


async def until(condition: Callable[[], object], most_s: float = 20.0) -> None:
    async with asyncio.timeout(most_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(settings: TranscodeSettings = SETTINGS) -> AsyncIterator[Rig]:
    rig = Rig(settings)
    task = asyncio.create_task(rig.transcoder.run())
    await until(lambda: rig.transcoder._group)
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not any(is_there(worker) for worker in rig.workers)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as rig:
        yield rig


def is_there(worker: WorkerProcess) -> bool:
    return Path(f"/proc/{worker.pid}").exists()


def merged(*tracks: Iterable[AccessUnit]) -> list[AccessUnit]:
    return sorted((unit for track in tracks for unit in track), key=lambda unit: unit.arrived_us)


def ramp(count: int) -> list[int]:
    return [DARK + number * 7 % 160 for number in range(count)]


@pytest.mark.parametrize(
    ("source", "rendition"), [(AAC, TO_OPUS), (AAC_16K, TO_OPUS), (PCMA, TO_OPUS), (PCMU, TO_AAC), (OPUS, TO_AAC)]
)
async def test_a_tone_stays_the_tone_it_was(rig: Rig, source: AudioFormat, rendition: Rendition) -> None:
    mountpoint, session = rig.camera("gate-1")
    pictures = list(marked_pictures(session, ramp(75)))
    sound = list(sound_units(session, source, tone(440, 3.0, source.clock_rate)))
    mountpoint.publish(pictures[0])
    mountpoint.publish(sound[0])
    made, viewer = rig.watch(mountpoint, rendition)
    await until(lambda: mountpoint.subscribers == 2)
    await rig.play(mountpoint, merged(pictures[1:], sound[1:]))
    audio = viewer.of(TrackKind.AUDIO)
    assert made.audio_format == audio[0].format
    assert audio[0].format.codec is rendition.audio
    assert audio[0].format.clock_rate == 48_000
    assert frequency_of(audio) == pytest.approx(440, abs=3)
    length = 960 if rendition.audio is Codec.OPUS else 1024
    assert {after.dts - unit.dts for unit, after in pairwise(audio)} == {length}
    assert audio[-1].dts - audio[0].dts == pytest.approx(3.0 * 48_000, abs=0.2 * 48_000)
    assert all(got is sent for got, sent in zip(viewer.of(TrackKind.VIDEO), pictures[1:], strict=True))


async def test_parts_of_a_rendition_play(rig: Rig) -> None:
    """As HLS takes them: from the cached keyframe on, with the sound that goes with it, though that is made later."""
    mountpoint, session = rig.camera("gate-1")
    pictures = list(marked_pictures(session, ramp(100)))
    sound = list(sound_units(session, PCMA, tone(440, 4.0, 8000)))
    units = merged(pictures, sound)
    for unit in units[:120]:
        mountpoint.publish(unit)
    made = rig.transcoder.mountpoint(mountpoint.ref, Rendition(audio=Codec.AAC))
    parts = Parts()
    made.subscribe_parts(parts)
    await until(lambda: made.audio_format and mountpoint.subscribers == 2)
    await rig.play(mountpoint, units[120:])
    made.end_session("camera_lost")
    audio, video = parts.of(TrackKind.AUDIO), parts.of(TrackKind.VIDEO)
    assert audio[0].decode_time / 48_000 < 0.1 + video[0].decode_time / 90_000
    for track in (audio, video):
        assert all(part.decode_time + part.duration == after.decode_time for part, after in pairwise(track))
        assert track[-1].decode_time / track[-1].format.clock_rate > 3.5
    with av.open(io.BytesIO(b"".join([init_segment(audio[0].format), *(part.fragment for part in audio)]))) as file:
        samples = [one for frame in file.decode(audio=0) for one in frame.to_ndarray()[0]]
    rises = sum(before < 0 <= after for before, after in pairwise(samples[4800:]))
    assert rises * 48_000 / (len(samples) - 4800) == pytest.approx(440, abs=3)


async def test_pictures_are_the_ones_that_they_were_at_the_times_that_they_had(rig: Rig) -> None:
    mountpoint, session = rig.camera("gate-1")
    levels = ramp(150)
    pictures = list(marked_pictures(session, levels))
    for unit in pictures[:60]:
        mountpoint.publish(unit)
    made, viewer = rig.watch(mountpoint, H264)
    await until(lambda: made.live)
    await rig.play(mountpoint, pictures[60:])
    assert [unit.dts for unit in viewer.units] == [unit.dts for unit in pictures[59:]]
    assert [unit.arrived_us for unit in viewer.units] == [unit.arrived_us for unit in pictures[59:]]
    assert {unit.session for unit in viewer.units} == {session}
    decoded = levels_of(viewer.units)
    assert [pts for pts, _ in decoded] == [unit.pts for unit in pictures[59:]]
    assert all(abs(level - levels[round(pts / 3600)]) <= 4 for pts, level in decoded)
    # At once, where the camera's are, and each is an IDR picture with all it needs.
    assert [index + 59 for index, unit in enumerate(viewer.units) if unit.keyframe] == [59, 100]
    video = viewer.units[0].format
    assert isinstance(video, VideoFormat)
    sps = parse_sps(video.parameter_sets[0])
    assert (sps.profile_idc, sps.constraint_flags & 0x40) == (66, 0x40)  # Constrained Baseline
    assert (video.width, video.height, video.reorder) == (128, 96, 0)
    assert all(unit.format is video for unit in viewer.units)
    kinds = [nal_type(one) for one in iter_avcc(viewer.units[0].payload)]
    assert kinds == [7, 8, NAL_IDR]


async def test_b_frames_are_put_in_order_and_keep_their_times(rig: Rig) -> None:
    """WebRTC knows no B-frames: what is made of them has none, and each picture comes when its turn to be shown is."""
    mountpoint, session = rig.camera("gate-1")
    levels = ramp(50)
    pictures = list(marked_pictures(session, levels, gop=25, b_frames=2))
    assert any(unit.pts != unit.dts + 7200 for unit in pictures)
    mountpoint.publish(pictures[0])
    made, viewer = rig.watch(mountpoint, H264)
    await until(lambda: mountpoint.subscribers == 2)
    await rig.play(mountpoint, pictures[1:])
    assert made.live
    assert [unit.dts for unit in viewer.units] == [7200 + number * 3600 for number in range(len(viewer.units))]
    assert len(viewer.units) >= 46
    assert all(unit.pts == unit.dts for unit in viewer.units)
    assert all(unit.arrived_us == session.started_us + unit.pts * 100 // 9 for unit in viewer.units)
    assert all(abs(level - levels[pts // 3600 - 2]) <= 4 for pts, level in levels_of(viewer.units))


async def test_a_long_gop_gets_keyframes_each_two_seconds_and_large_pictures_are_made_smaller() -> None:
    async with running(TranscodeSettings(video_height=96, nice=0)) as rig:
        mountpoint, session = rig.camera("gate-1")
        pictures = list(marked_pictures(session, ramp(200), gop=1000, size=(320, 192)))
        mountpoint.publish(pictures[0])
        made, viewer = rig.watch(mountpoint, H264)
        await until(lambda: made.live)
        await rig.play(mountpoint, pictures[1:])
        assert [index for index, unit in enumerate(viewer.units) if unit.keyframe] == [0, 50, 100, 150]
        video = viewer.units[0].format
        assert isinstance(video, VideoFormat)
        assert (video.width, video.height) == (160, 96)


@pytest.mark.parametrize(("source", "stretch"), [(AAC, 1.0), (PCMA, 1.0), (AAC, 1.0004)])
async def test_lips_stay_in_step_for_minutes_though_the_camera_s_clock_drifts(
    rig: Rig, source: AudioFormat, stretch: float
) -> None:
    """A click and a flash each second; `stretch` has the sound's samples come more slowly than the pictures' clock
    says, as the time line does where media time is not reliable."""
    seconds, rate = 180, 15
    mountpoint, session = rig.camera("gate-1")
    flashes = (BRIGHT if number % rate < 3 else DARK for number in range(seconds * rate))
    pictures = marked_pictures(session, flashes, rate=rate, size=(64, 64))
    rendition = BOTH if source is AAC else Rendition(Codec.H264, Codec.AAC)
    sound = list(sound_units(session, source, clicks(seconds, source.clock_rate), stretch=stretch))
    units = merged(pictures, sound)
    for unit in units[:20]:
        mountpoint.publish(unit)
    made, viewer = rig.watch(mountpoint, rendition)
    await until(lambda: made.live and mountpoint.subscribers == 3)
    await rig.play(mountpoint, units[20:])
    heard, seen = clicks_in(viewer.of(TrackKind.AUDIO)), flashes_in(levels_of(viewer.of(TrackKind.VIDEO)))
    heard, seen = heard[-(seconds - 2) :], seen[-(seconds - 2) :]
    assert len(heard) == len(seen) == seconds - 2
    off_ms = [1000 * (one - other * stretch) for one, other in zip(heard, seen, strict=True)]
    print(f"sound against picture: {min(off_ms):.1f} to {max(off_ms):.1f} ms")
    assert max(map(abs, off_ms)) < 3  # 20 would do
    assert rig.transcoder.counts["audio"].dropped == rig.transcoder.counts["video"].dropped == 0


async def test_first_picture_and_first_sound_come_soon(rig: Rig) -> None:
    mountpoint, session = rig.camera("gate-1")
    units = merged(
        marked_pictures(session, ramp(75), size=(1280, 720)), sound_units(session, AAC, tone(440, 3.0, 48_000))
    )
    cached = next(at for at, unit in enumerate(units) if unit.arrived_us > session.started_us + 1_950_000)
    for unit in units[:cached]:
        mountpoint.publish(unit)
    began = time.monotonic()
    made, viewer = rig.watch(mountpoint, BOTH)
    await until(lambda: made.live)
    picture_s = time.monotonic() - began
    for unit in units[cached:]:
        mountpoint.publish(unit)
    await until(lambda: viewer.of(TrackKind.AUDIO))
    sound_s = time.monotonic() - began
    print(f"first picture {picture_s * 1000:.0f} ms, first sound {sound_s * 1000:.0f} ms")
    assert picture_s < 1.0
    assert sound_s < 1.2


def test_all_of_it_works_on_the_loop_that_the_server_runs_on() -> None:
    """Its transports are no asyncio.Transport."""

    async def transcode() -> int:
        async with running() as rig:
            mountpoint, session = rig.camera("gate-1")
            pictures = list(marked_pictures(session, ramp(20)))
            mountpoint.publish(pictures[0])
            made, viewer = rig.watch(mountpoint, H264)
            await until(lambda: made.live)
            await rig.play(mountpoint, pictures[1:])
            return len(viewer.units)

    assert uvloop.run(transcode()) == 20


async def test_a_killed_worker_ends_its_own_session_alone_and_comes_back(rig: Rig) -> None:
    first, one = rig.camera("gate-1")
    second, other = rig.camera("gate-2")
    pictures, others = list(marked_pictures(one, ramp(50))), list(marked_pictures(other, ramp(50)))
    for unit in (*pictures[:20], *others[:20]):
        (first if unit.session is one else second).publish(unit)
    made, viewer = rig.watch(first, H264)
    await until(lambda: made.live)
    neighbour, untouched = rig.watch(second, H264)
    await until(lambda: neighbour.live)
    os.kill(rig.workers[0].pid, signal.SIGKILL)
    await until(lambda: viewer.ended)
    assert viewer.ended == ["transcoder_failed"]
    await until(lambda: made.live)
    await rig.play(first, pictures[20:])
    await rig.play(second, others[20:])
    assert untouched.ended == []
    assert len(untouched.units) == 31
    assert len(viewer.units) == 1 + 1 + 30
    assert rig.transcoder.counts["video"].failed == 1
    assert len(rig.workers) == 3


async def test_a_worker_that_is_stopped_is_ended_and_replaced(rig: Rig) -> None:
    mountpoint, session = rig.camera("gate-1")
    pictures = list(marked_pictures(session, ramp(50)))
    for unit in pictures[:20]:
        mountpoint.publish(unit)
    made, viewer = rig.watch(mountpoint, H264)
    await until(lambda: made.live)
    await rig.idle()
    os.kill(rig.workers[0].pid, signal.SIGSTOP)
    for unit in pictures[20:]:
        mountpoint.publish(unit)
    await until(lambda: viewer.ended == ["transcoder_failed"])
    assert not is_there(rig.workers[0])
    await until(lambda: made.live)
    assert rig.transcoder.counts["video"].hung == 1


async def test_another_session_goes_through_with_its_own_pictures(rig: Rig) -> None:
    mountpoint, one = rig.camera("gate-1", "one")
    for unit in marked_pictures(one, [DARK] * 30):
        mountpoint.publish(unit)
    made, viewer = rig.watch(mountpoint, H264)
    await until(lambda: made.live)
    mountpoint.end_session("camera_lost")
    _, other = rig.camera("gate-1", "other")
    await rig.play(mountpoint, marked_pictures(other, [BRIGHT] * 30, size=(192, 128)))
    assert viewer.ended == ["camera_lost"]
    later = [unit for unit in viewer.units if unit.session is other]
    assert [unit.dts for unit in later] == [number * 3600 for number in range(30)]
    assert all(abs(level - BRIGHT) <= 4 for _, level in levels_of(later))
    assert isinstance(later[0].format, VideoFormat)
    assert later[0].format.width == 192
    assert len(rig.workers) == 1


async def test_a_picture_that_changes_its_size_within_a_session_gets_another_format(rig: Rig) -> None:
    mountpoint, session = rig.camera("gate-1")
    first = list(marked_pictures(session, ramp(25)))
    second = list(marked_pictures(session, ramp(25), size=(192, 128)))
    for unit in second:
        unit.dts += 90_000
        unit.pts += 90_000
        unit.arrived_us += 1_000_000
    mountpoint.publish(first[0])
    made, viewer = rig.watch(mountpoint, H264)
    await until(lambda: made.live)
    await rig.play(mountpoint, [*first[1:], *second])
    assert [unit.dts for unit in viewer.units] == [number * 3600 for number in range(50)]
    formats = [unit.format for unit in viewer.units]
    assert len({id(one) for one in formats}) == 2
    assert viewer.units[25].keyframe
    assert isinstance(formats[25], VideoFormat)
    assert (formats[25].width, formats[25].height) == (192, 128)


async def test_a_gap_in_the_source_is_a_gap_of_what_is_made(rig: Rig) -> None:
    mountpoint, session = rig.camera("gate-1")
    pictures = list(marked_pictures(session, ramp(100)))
    sound = list(sound_units(session, AAC, tone(440, 4.0, 48_000)))
    units = [unit for unit in merged(pictures, sound) if not 0.3 < (unit.arrived_us / 1e6) % 100 < 1.99]
    assert len(units) < len(pictures) + len(sound) - 100
    for unit in units[:10]:
        mountpoint.publish(unit)
    made, viewer = rig.watch(mountpoint, BOTH)
    await until(lambda: made.live and mountpoint.subscribers == 3)
    await rig.play(mountpoint, units[10:])
    for kind, usual_s in ((TrackKind.VIDEO, 0.04), (TrackKind.AUDIO, 0.02)):
        track = viewer.of(kind)
        steps = [(after.dts - unit.dts) / unit.format.clock_rate for unit, after in pairwise(track)]
        assert sum(step > 1.5 for step in steps) == 1
        assert sorted(steps)[-2] < usual_s * 2.2
    assert viewer.ended == []


@pytest.mark.parametrize("how", ["noise", "flipped bits", "cut short", "vast pictures"])
async def test_a_hostile_stream_harms_nobody_but_itself(rig: Rig, how: str) -> None:
    bad, one = rig.camera("gate-1", "one")
    good, other = rig.camera("gate-2")
    hostile = list(spoilt(marked_pictures(one, ramp(60), gop=12), how))
    pictures = list(marked_pictures(other, ramp(60)))
    bad.publish(hostile[0])
    good.publish(pictures[0])
    made, _ = rig.watch(bad, H264)
    neighbour, untouched = rig.watch(good, H264)
    await until(lambda: neighbour.live)
    for unit, fine in zip(hostile[1:], pictures[1:], strict=True):
        bad.publish(unit)
        good.publish(fine)
        await asyncio.sleep(0.001)
    await until(lambda: len(untouched.units) == 60)
    assert untouched.ended == []
    counts = rig.transcoder.counts["video"]
    await until(lambda: counts.damaged or counts.failed)
    bad.end_session("camera_lost")
    _, again = rig.camera("gate-1", "again")
    healed = list(marked_pictures(again, ramp(40), gop=10))
    await until(lambda: bad.subscribers == 2)  # a worker is there, the first or another
    await rig.play(bad, healed)
    assert made.live
    assert made.session is again


@pytest.mark.parametrize("source", [AAC, OPUS])
async def test_hostile_sound_is_passed_over(rig: Rig, source: AudioFormat) -> None:
    mountpoint, session = rig.camera("gate-1")
    noise = random.Random(3)
    target = TO_OPUS if source is AAC else TO_AAC
    sound = list(sound_units(session, source, tone(440, 3.0, 48_000)))
    for unit in sound[20:70]:
        unit.payload = noise.randbytes(noise.randrange(1, 300))
    mountpoint.publish(next(marked_pictures(session, [DARK] * 3)))
    mountpoint.publish(sound[0])
    _, viewer = rig.watch(mountpoint, target)
    await until(lambda: mountpoint.subscribers == 2)
    await rig.play(mountpoint, sound[1:])
    audio = viewer.of(TrackKind.AUDIO)
    assert rig.transcoder.counts["audio"].damaged
    assert rig.transcoder.counts["audio"].failed == 0
    assert frequency_of(audio[-40:]) == pytest.approx(440, abs=5)


def spoilt(units: Iterable[AccessUnit], how: str) -> Iterable[AccessUnit]:
    """The same access units with their inside made to hurt."""
    noise = random.Random(how)
    for number, unit in enumerate(units):
        payload = bytearray(unit.payload)
        if how == "noise":
            payload = bytearray(join_avcc([bytes((noise.choice((2, 38, 64, 66, 68)), 1)) + noise.randbytes(500)]))
        elif how == "flipped bits":
            for _ in range(40):
                payload[noise.randrange(4, len(payload))] ^= 1 << noise.randrange(8)
        elif how == "cut short":
            payload = payload[: noise.randrange(1, len(payload))]
        elif isinstance(unit.format, VideoFormat) and number % 12 == 0:
            sets = list(unit.format.parameter_sets)
            sets[1] = VAST_SPS
            unit.format = dataclasses.replace(unit.format, parameter_sets=tuple(sets))
            payload = bytearray(join_avcc([*sets, *list(iter_avcc(unit.payload))[-1:]]))
        unit.payload = bytes(payload)
        yield unit


async def test_memory_and_processes_are_as_before_after_many_starts() -> None:
    async with running(TranscodeSettings(nice=0, linger_s=0.0)) as rig:
        mountpoint, session = rig.camera("gate-1")
        for unit in marked_pictures(session, ramp(25), size=(640, 360)):
            mountpoint.publish(unit)

        async def once() -> None:
            made = rig.transcoder.mountpoint(mountpoint.ref, H264)
            subscription = made.subscribe(Viewer())
            await until(lambda: made.live)
            subscription.close()
            await until(lambda: not rig.transcoder._transcodes and not rig.transcoder.counts["video"].running)

        for _ in range(5):
            await once()
        before, files = resident_kb(), len(os.listdir("/proc/self/fd"))
        for _ in range(15):
            await once()
        assert resident_kb() - before < 2000
        assert len(os.listdir("/proc/self/fd")) == files
        assert mountpoint.subscribers == 0


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
