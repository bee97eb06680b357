"""Access units into parts: the one place where a stream is cut, for HLS and the recorder alike.

A part is of one track. A video part ends before a keyframe, and any part ends where one more access
unit would make it longer than `part_s`. Where a keyframe may begin a segment the audio part before it ends too,
and is handed out before the video part, so that whoever cuts segments there can cut both tracks in one place.
Only GOPs shorter than half a part share one. Metadata goes into a part whenever another part is complete.

The duration of an access unit is the distance to the next one (docs/time.md, 4); the newest one
therefore waits for its successor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import sub
from typing import Final

from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Part, Session, TrackKind
from mediasrv.media.fmp4 import Samples, fragment_pieces

_STALL_US: Final = 100_000
"""How much older than `part_s` a part grows before the other track, which goes on, has it closed."""

SHORTEST_SEGMENT_S: Final = 0.95
"""Keyframes that follow each other faster than this do not each begin a segment."""

_AUDIO_ONLY_AFTER_US: Final = 3_000_000
"""Audio that comes for so long without a video keyframe is taken for a session without video."""

_LONE_VIDEO_DURATION: Final = 3600
_LONE_AUDIO_DURATIONS: Final = {Codec.AAC: 1024, Codec.OPUS: 960}

_MOST_DOCUMENTS: Final = 64
_MOST_DOCUMENTS_BYTES: Final = 1 << 20


class Segmenter:
    """Cuts one stream. Not for several sessions at once: `finish` one, then push the next."""

    def __init__(self, part_s: float) -> None:
        self._video = _OpenPart(part_s)
        self._audio = _OpenPart(part_s)
        self._documents = _OpenDocuments(part_s)
        self._stale_us = round(part_s * 1e6) + _STALL_US
        self._first_audio_us: int | None = None
        self._session: Session | None = None
        self._next_segment_dts = 0

    def open_from(self, kind: TrackKind) -> int | None:
        """`dts` of the first access unit of a track that is in no part yet; None before there is any."""
        return (self._video if kind is TrackKind.VIDEO else self._audio).open_from

    def push(self, unit: AccessUnit) -> list[Part]:
        """Takes the next access unit of its track; returns the parts that it completes, mostly none."""
        parts: list[Part] = []
        if unit.session is not self._session:
            parts = self.finish()
            self._session = unit.session
        kind = unit.format.kind
        if kind is TrackKind.VIDEO:
            self._push_video(unit, parts)
        elif kind is TrackKind.METADATA:
            self._documents.push(unit, bool(self._video.units), parts)
        elif self._video.units or self._is_audio_only(unit):
            self._audio.push(unit, False, parts)
            self._video.close_if_stale(unit.arrived_us - self._stale_us, parts)
        if parts and self._documents.units:
            self._documents.close(parts)
        return parts

    def finish(self) -> list[Part]:
        """The end of the session: what is open, with the last durations taken from the ones before."""
        parts: list[Part] = []
        for track in (self._audio, self._video):
            track.finish(parts)
        if parts:
            self._documents.close(parts)
        self._documents.units = []
        self._first_audio_us = None
        self._next_segment_dts = 0
        return parts

    def _push_video(self, unit: AccessUnit, parts: list[Part]) -> None:
        if not self._video.units and not unit.keyframe:
            return
        cut = unit.keyframe and not self._video.is_short_gop(unit)
        if cut and unit.dts >= self._next_segment_dts:
            self._next_segment_dts = unit.dts + round(SHORTEST_SEGMENT_S * unit.format.clock_rate)
            self._audio.close(parts)
        else:
            self._audio.close_if_stale(unit.arrived_us - self._stale_us, parts)
        self._video.push(unit, cut, parts)

    def _is_audio_only(self, unit: AccessUnit) -> bool:
        if self._first_audio_us is None:
            self._first_audio_us = unit.arrived_us
        return unit.arrived_us - self._first_audio_us >= _AUDIO_ONLY_AFTER_US


def parts_before(units: Iterable[AccessUnit], dts: int, part_s: float) -> list[Part]:
    """The parts of one track's access units since a keyframe, up to `dts`: what somebody who joins in the middle
    of a GOP has missed of it.
    """
    track, parts = _OpenPart(part_s), list[Part]()
    for unit in units:
        track.push(unit, False, parts)
        if unit.dts >= dts:
            break
    track.close(parts)
    return parts


class _OpenPart:
    """The part of one track that is being filled: its access units, the newest of which still has no duration."""

    __slots__ = ("_last_duration", "_limit", "_part_s", "units")

    def __init__(self, part_s: float) -> None:
        self._part_s = part_s
        self._limit = 0.0
        self.units: list[AccessUnit] = []
        self._last_duration = 0

    @property
    def open_from(self) -> int | None:
        return self.units[0].dts if self.units else None

    def is_short_gop(self, keyframe: AccessUnit) -> bool:
        """Whether what is open holds nothing but GOPs, so short that it need not end before this keyframe."""
        if not self.units or not self.units[0].keyframe:
            return False
        return keyframe.dts - self.units[0].dts < self._part_s * keyframe.format.clock_rate / 2

    def push(self, unit: AccessUnit, cut: bool, parts: list[Part]) -> None:
        """`unit` gives the pending one its duration; `cut` says that a new part has to begin with it. Hot."""
        if self.units:
            pending, dts = self.units[-1], unit.dts
            duration = dts - pending.dts
            if dts - self.units[0].dts > self._limit:
                self.close(parts)
            # The next access unit will most likely last as long as this one: a part that has no room for it is
            # complete now, one access unit sooner than certainty would have it.
            if cut or dts - self.units[0].dts + duration > self._limit or unit.format is not pending.format:
                self._close(self.units, dts, parts)
                self.units = []
            self._last_duration = duration
        if not self.units:
            self._limit = self._part_s * unit.format.clock_rate
        self.units.append(unit)

    def close(self, parts: list[Part]) -> None:
        """Ends the part, if anything is in it; the pending access unit begins the next one."""
        if len(self.units) > 1:
            pending = self.units.pop()
            self._close(self.units, pending.dts, parts)
            self.units = [pending]

    def close_if_stale(self, before_us: int, parts: list[Part]) -> None:
        if len(self.units) > 1 and self.units[0].arrived_us < before_us:
            self.close(parts)

    def finish(self, parts: list[Part]) -> None:
        """The end of the session: the newest access unit lasts as long as the one before."""
        if self.units:
            last = self.units[-1]
            end = last.dts + (self._last_duration or _lone_duration(last))
            if end - self.units[0].dts > self._limit:
                self.close(parts)
            self._close(self.units, end, parts)
            self.units = []
        self._last_duration = 0

    def _close(self, units: Sequence[AccessUnit], end_dts: int, parts: list[Part]) -> None:
        parts.append(_make_part(units, end_dts))


class _OpenDocuments:
    """Metadata since the last part: it has no durations to wait for, and no part before the first picture's.

    Bounded: what a camera sends before its first picture is kept as far as there is room.
    """

    def __init__(self, part_s: float) -> None:
        self._part_us = round(part_s * 1e6)
        self.units: list[AccessUnit] = []

    def push(self, unit: AccessUnit, pictures: bool, parts: list[Part]) -> None:
        """`pictures`: there are some before this document."""
        if self.units and (self._is_full or unit.arrived_us - self.units[0].arrived_us > self._part_us):
            if pictures:
                self.close(parts)
            elif self._is_full:
                return
        self.units.append(unit)

    @property
    def _is_full(self) -> bool:
        units = self.units
        return len(units) >= _MOST_DOCUMENTS or sum(len(unit.payload) for unit in units) >= _MOST_DOCUMENTS_BYTES

    def close(self, parts: list[Part]) -> None:
        """A document is of a moment, so the part lasts from the first to the last."""
        if self.units:
            parts.append(_make_part(self.units, self.units[-1].dts))
            self.units = []


def _make_part(units: Sequence[AccessUnit], end_dts: int) -> Part:
    """The same bytes for the same access units, whoever is the part made for: so its sequence number is its time."""
    first, media = units[0], units[0].format
    sequence = 1 + first.dts * 1000 // media.clock_rate
    times = [unit.dts for unit in units]
    samples = Samples(
        payloads=[unit.payload for unit in units],
        durations=list(map(sub, (*times[1:], end_dts), times)),
        keyframes=[unit.keyframe for unit in units],
        offsets=[unit.pts - unit.dts for unit in units],
    )
    return Part(
        session=first.session,
        format=media,
        decode_time=first.dts,
        duration=end_dts - first.dts,
        started_us=first.arrived_us,
        received_us=units[-1].arrived_us,
        independent=first.keyframe or media.kind is not TrackKind.VIDEO,
        access_units=len(units),
        pieces=fragment_pieces(sequence, media, first.dts, samples),
    )


def _lone_duration(unit: AccessUnit) -> int:
    """The duration of an access unit that was the only one of its session."""
    if not isinstance(unit.format, AudioFormat):
        return _LONE_VIDEO_DURATION
    return _LONE_AUDIO_DURATIONS.get(unit.format.codec) or max(1, len(unit.payload) // unit.format.channels)
