"""Cuts of recorded footage in codecs that every browser knows: made on demand, kept in memory for a while, bounded.

A cut is made by itself, in a worker process, and has the boundaries of what it was made of: pictures begin with a
keyframe and end where the next cut begins, sound lies on one grid of frames (`sound_cut`). All that is made of one
format by one setting has the same parameter sets, so that the init segment of any of it fits all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar

from mediasrv.errors import MediasrvError, TooManyRequests, Unavailable
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AudioFormat, Codec, Format, VideoFormat
from mediasrv.media.fmp4 import ReadSample, Samples, fragment_pieces
from mediasrv.reasons import reason
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.framing import Unit
from mediasrv.transcoding.process import StartWorker, WorkerCounts, start_worker
from mediasrv.transcoding.stills import StillWorker
from mediasrv.transcoding.task import TaskWorker
from mediasrv.transcoding.track import h264_format
from mediasrv.transcoding.wishes import audio_made, build_wish, level_of, sound_cut_wish, video_wish

log = logging.getLogger(__name__)

W = TypeVar("W")
Read = Callable[[], Awaitable[Sequence[ReadSample]]]

IDLE_S: Final = 30.0
_SOUND_FRAME: Final = 1024
_RETRY_AFTER_S: Final = 2
_MOST_RATE: Final = 120.0


@dataclass(frozen=True, slots=True)
class MadeCut:
    """`fragment` is moof+mdat, or a picture as JPEG, which has no format."""

    format: Format | None
    fragment: bytes


class RecordedTranscoder:
    """The door. `run` owns the workers; without it nothing is made."""

    def __init__(self, settings: TranscodeSettings, start: StartWorker = start_worker) -> None:
        self.counts = WorkerCounts()
        """Of all its workers."""
        self.refused = 0
        self._settings = settings
        videos = [TaskWorker("video", settings, self.counts, start) for _ in range(settings.most_playback)]
        sounds = [TaskWorker("sound-cut", settings, self.counts, start)]
        still = StillWorker(settings, self.counts, start)
        self._workers: tuple[TaskWorker | StillWorker, ...] = (*videos, *sounds, still)
        self._videos, self._sounds, self._stills = _Turns(videos), _Turns(sounds), _Turns([still])
        self._made: OrderedDict[Hashable, MadeCut] = OrderedDict()
        self._made_bytes = 0
        self._making: dict[Hashable, asyncio.Future[MadeCut]] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def h264_codecs(self) -> str:
        """CODECS of the pictures that are made."""
        return f"avc1.42C0{level_of(self._settings.video_height):02X}"

    @property
    def height(self) -> int:
        return self._settings.video_height

    @property
    def kbps(self) -> int:
        """Of pictures and sound together, at most."""
        return self._settings.video_kbps + 2 * self._settings.aac_kbps

    async def run(self) -> None:
        """Runs until cancelled; then no worker is left. Ends workers while nobody asks."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    await asyncio.sleep(IDLE_S / 2)
                    for worker in self._workers:
                        await worker.end_if_idle()
        finally:
            self._group = None
            for worker in self._workers:
                await worker.end()

    async def video(self, key: Hashable, source: VideoFormat, read: Read, duration: int = 0) -> MadeCut:
        """A cut of pictures as H.264; `read` gives those that it is made of, in order of decoding.

        `duration` is that of the whole where it is longer than theirs. What is known by `key` is not made again.
        Raises what `read` raises, TooManyRequests `transcoders_full`, Unavailable `transcoder_failed`.
        """

        async def make() -> MadeCut:
            async with self._videos.turn() as worker:
                samples = await read()
                whole = max(duration, sum(one.duration for one in samples))
                wish = video_wish(source, _rate(samples), self._settings.video_height, self._settings.video_kbps)
                made = await worker.run(build_wish(wish), [_unit(one) for one in samples])
                return await asyncio.to_thread(_pack_video, samples[0], whole, made or [])

        return await self._once(key, self._videos, make)

    async def sound(
        self,
        key: Hashable,
        source: AudioFormat,
        read: Read,
        span: tuple[int, int],
    ) -> MadeCut:
        """A cut of sound as AAC: what lies in `span` (clock rate units of the session). `read` gives that with what
        lies around it. Raises as `video` does.
        """

        async def make() -> MadeCut:
            async with self._sounds.turn() as worker:
                wish = sound_cut_wish(source, self._settings.aac_kbps, *span)
                made = await worker.run(build_wish(wish), [_unit(one) for one in await read()])
                return _pack_sound(audio_made(source, Codec.AAC), made or [])

        return await self._once(key, self._sounds, make)

    async def still(self, key: Hashable, source: VideoFormat, read: Read, width: int) -> bytes:
        """The last picture of some as JPEG of at most that width. Raises as `video` does."""

        async def make() -> MadeCut:
            async with self._stills.turn() as worker:
                jpeg = await worker.make(source, [_unit(one) for one in await read()], width)
                if not jpeg:
                    raise _failed()
                return MadeCut(None, jpeg)

        return (await self._once(key, self._stills, make)).fragment

    async def _once(self, key: Hashable, turns: _Turns[Any], make: Callable[[], Awaitable[MadeCut]]) -> MadeCut:
        """What is kept by this key; else made, once for all who ask meanwhile."""
        found = self._made.get(key)
        if found is not None:
            self._made.move_to_end(key)
            return found
        making = self._making.get(key)
        if making is None:
            if self._group is None:
                raise Unavailable("Nothing is transcoded at the moment.", code="transcoder_down")
            if turns.waiting >= self._settings.playback_waiting:
                self.refused += 1
                code = "transcoders_full"
                raise TooManyRequests(reason(code).sentence, code=code, retry_after_s=_RETRY_AFTER_S)
            turns.waiting += 1
            making = self._making[key] = asyncio.get_running_loop().create_future()
            making.add_done_callback(_retrieved)
            self._group.create_task(self._make(key, making, make), name=f"transcode {key}")
        return await asyncio.shield(making)

    async def _make(
        self, key: Hashable, making: asyncio.Future[MadeCut], make: Callable[[], Awaitable[MadeCut]]
    ) -> None:
        """Raises nothing: who asked is told."""
        try:
            made = await make()
        except MediasrvError as error:
            making.set_exception(error)
        except Exception:
            log.exception("%s: could not be transcoded", key)
            making.set_exception(_failed())
        else:
            making.set_result(made)
            self._keep(key, made)
        finally:
            del self._making[key]
            making.cancel()  # where this was

    def _keep(self, key: Hashable, made: MadeCut) -> None:
        """The oldest make room."""
        self._made[key] = made
        self._made_bytes += len(made.fragment)
        while self._made_bytes > self._settings.playback_cache_bytes and len(self._made) > 1:
            self._made_bytes -= len(self._made.popitem(last=False)[1].fragment)


class _Turns(Generic[W]):
    """Workers, and who waits for one; `waiting` is raised by who will come for a turn."""

    def __init__(self, workers: Sequence[W]) -> None:
        self.waiting = 0
        self._free: asyncio.LifoQueue[W] = asyncio.LifoQueue()  # so that no more are started than are needed
        for worker in workers:
            self._free.put_nowait(worker)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[W]:
        try:
            worker = await self._free.get()
        finally:
            self.waiting -= 1
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)


def _retrieved(making: asyncio.Future[MadeCut]) -> None:
    """An error is not said to be lost where whoever asked has gone."""
    if not making.cancelled():
        making.exception()


def _unit(sample: ReadSample) -> Unit:
    pts = sample.decode_time + sample.composition_offset
    return Unit(0, sample.decode_time, pts, sample.keyframe, sample.payload)


def _rate(samples: Sequence[ReadSample]) -> float:
    """Pictures a second."""
    duration = sum(one.duration for one in samples)
    return min(_MOST_RATE, max(1.0, len(samples) * VIDEO_CLOCK_RATE / max(1, duration)))


def _pack_video(first: ReadSample, whole: int, made: Sequence[Unit]) -> MadeCut:
    """Pictures in the order in which they are shown, the last as long as the cut lasts. Raises Unavailable."""
    media = h264_format(made[0], None) if made else None
    if media is None:
        raise _failed()
    start = first.decode_time + first.composition_offset
    times = [min(start, made[0].pts), *(one.pts for one in made[1:])]
    durations = [max(1, after - at) for at, after in pairwise([*times, start + whole])]
    keyframes, payloads = [one.keyframe for one in made], [one.payload for one in made]
    samples = Samples(payloads, durations, keyframes, [0] * len(made))
    return MadeCut(media, b"".join(fragment_pieces(0, media, times[0], samples)))


def _pack_sound(media: AudioFormat, made: Sequence[Unit]) -> MadeCut:
    if not made:
        raise _failed()
    count = len(made)
    samples = Samples([one.payload for one in made], [_SOUND_FRAME] * count, [True] * count, [0] * count)
    return MadeCut(media, b"".join(fragment_pieces(0, media, made[0].pts, samples)))


def _failed() -> Unavailable:
    return Unavailable(reason("transcoder_failed").sentence, code="transcoder_failed")
