"""How a recording object is cut into what a playlist lists: pure, from its part index alone.

A cut is a run of parts of one track. Video is cut before keyframes, audio where the video is cut, so that both
playlists have the same entries and the same discontinuities (RFC 8216, 6.2.4). The cuts of an object never
depend on what was asked for, so that a segment has one URL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import TrackKind
from mediasrv.storage.sealing import Descriptor

LEAST_S: Final = 1.8
"""A cut lasts at least so long where keyframes allow: a bit under the 2 s that most cameras' GOPs last."""

SEAM_S: Final = 0.1
"""Decode times of neighbours may differ by this and still follow one another."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Parts `first` to `last` (indices in the object, both included) that are of `track`.

    `init` is the index of the init part they need; `decode_time` and `duration` count `clock_rate`.
    """

    track: TrackKind
    first: int
    last: int
    init: int
    started_us: int
    decode_time: int
    duration: int
    clock_rate: int
    size_bytes: int

    @property
    def duration_s(self) -> float:
        return self.duration / self.clock_rate

    @property
    def ended_us(self) -> int:
        return self.started_us + self.duration * SECOND_US // self.clock_rate

    @property
    def start_s(self) -> float:
        """On the time line of its session, which all tracks share."""
        return self.decode_time / self.clock_rate

    @property
    def end_s(self) -> float:
        return (self.decode_time + self.duration) / self.clock_rate

    def continues(self, before: Cut) -> bool:
        """Whether it follows `before` of the same session and track without a hole."""
        return abs(self.start_s - before.end_s) <= SEAM_S


class CutPair(NamedTuple):
    """One entry of both playlists. `audio` is what was recorded beside the video, None where nothing was."""

    video: Cut
    audio: Cut | None


class _Part(NamedTuple):
    number: int
    init: int
    size_bytes: int
    descriptor: Descriptor


def cut_object(parts: Iterable[tuple[int, Descriptor]]) -> list[CutPair]:
    """Cuts an object by its parts' (length, descriptor), in order. Audio without any video gives nothing, metadata
    never does.
    """
    tracks: dict[int, list[_Part]] = {TrackKind.VIDEO: [], TrackKind.AUDIO: []}
    inits: dict[int, int] = {}
    for index, (length, descriptor) in enumerate(parts):
        if descriptor.is_init:
            inits[descriptor.track] = index
        elif descriptor.track in inits and descriptor.track in tracks and descriptor.duration:
            tracks[descriptor.track].append(_Part(index, inits[descriptor.track], length, descriptor))
    video = [_cut(run) for run in _video_runs(tracks[TrackKind.VIDEO])]
    return list(_with_audio(video, tracks[TrackKind.AUDIO]))


def audio_cut(parts: Iterable[tuple[int, Descriptor]], first: int) -> Cut | None:
    """The sound among an object's parts from part `first` on, as far as it is of one format; None where is none."""
    init: int | None = None
    found: list[_Part] = []
    for index, (length, descriptor) in enumerate(parts):
        if descriptor.track != TrackKind.AUDIO:
            continue
        if descriptor.is_init:
            init = index
        elif index >= first and init is not None and descriptor.duration:
            found.append(_Part(index, init, length, descriptor))
    return _cut(found[: _count_of_one_format(found)]) if found else None


def _video_runs(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    run: list[_Part] = []
    duration_s = 0.0
    for part in parts:
        if run and (_breaks(run[-1], part) or (part.descriptor.independent and duration_s >= LEAST_S)):
            yield run
            run, duration_s = [], 0.0
        run.append(part)
        duration_s += part.descriptor.duration_s
    if run:
        yield run


def _breaks(before: _Part, part: _Part) -> bool:
    """Another format, or a hole: no segment may hold both."""
    hole = part.descriptor.decode_time - before.descriptor.decode_time - before.descriptor.duration
    return before.init != part.init or abs(hole) > SEAM_S * part.descriptor.clock_rate


def _with_audio(video: Sequence[Cut], parts: Sequence[_Part]) -> Iterator[CutPair]:
    """Gives each audio part to the cut in which its middle lies; to the last where it begins later still."""
    waiting = list(parts)
    for number, cut in enumerate(video):
        is_last = number == len(video) - 1
        count = len(waiting) if is_last else _count_until(waiting, cut.end_s)
        count = _count_of_one_format(waiting[:count])
        yield CutPair(cut, _cut(waiting[:count]) if count else None)
        del waiting[:count]


def _count_until(parts: Sequence[_Part], end_s: float) -> int:
    for count, part in enumerate(parts):
        middle_s = (part.descriptor.decode_time + part.descriptor.duration / 2) / part.descriptor.clock_rate
        if middle_s >= end_s:
            return count
    return len(parts)


def _count_of_one_format(parts: Sequence[_Part]) -> int:
    """A new format waits for the next cut: a segment has one init segment."""
    return next((count for count, part in enumerate(parts) if part.init != parts[0].init), len(parts))


def _cut(parts: Sequence[_Part]) -> Cut:
    first, last = parts[0], parts[-1]
    return Cut(
        first.descriptor.kind,
        first.number,
        last.number,
        first.init,
        first.descriptor.started_us,
        first.descriptor.decode_time,
        last.descriptor.decode_time + last.descriptor.duration - first.descriptor.decode_time,
        first.descriptor.clock_rate,
        sum(part.size_bytes for part in parts),
    )
