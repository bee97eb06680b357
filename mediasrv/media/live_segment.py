"""A segment of a live window: what it holds of each track, and the lines that playlists have of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mediasrv.media.access_unit import Part, TrackKind
from mediasrv.media.dvr import Entries, PastSegment, Stretch
from mediasrv.media.playlist import LivePart, LiveSegment
from mediasrv.media.segmenter import SHORTEST_SEGMENT_S

TRACK_NAMES: Final = {TrackKind.VIDEO: "video", TrackKind.AUDIO: "audio"}


@dataclass(slots=True)
class Run:
    """One track's share of a segment."""

    parts: list[Part] = field(default_factory=list)
    duration_s: float = 0.0
    version: int | None = None


@dataclass(slots=True)
class Segment:
    """`complete` where nothing is added any more."""

    msn: int
    discontinuity: bool
    complete: bool = False
    runs: dict[TrackKind, Run] = field(default_factory=lambda: {kind: Run() for kind in TrackKind})
    kept_entries: Entries | None = None
    """Its lines in playlists, once they do not change any more."""

    @property
    def started(self) -> bool:
        return any(run.parts for run in self.runs.values())

    @property
    def duration_s(self) -> float:
        """Of the video; of the audio where there is no video."""
        return self.runs[TrackKind.VIDEO].duration_s or self.runs[TrackKind.AUDIO].duration_s

    @property
    def started_us(self) -> int:
        return min(run.parts[0].started_us for run in self.runs.values() if run.parts)


def entries_of(segment: Segment) -> Entries:
    if not segment.complete:
        return {kind: _make_entry(segment, kind) for kind in TRACK_NAMES}
    if segment.kept_entries is None:
        segment.kept_entries = {kind: _make_entry(segment, kind) for kind in TRACK_NAMES}
    return segment.kept_entries


def _make_entry(segment: Segment, kind: TrackKind) -> LiveSegment:
    """As playlists see it. What a track has nothing of lasts as long as the other track's share."""
    run, name = segment.runs[kind], TRACK_NAMES[kind]
    parts = [
        LivePart(f"{name}/{segment.msn}.{index}.m4s", part.duration_s, part.independent)
        for index, part in enumerate(run.parts)
    ]
    return LiveSegment(
        uri=f"{name}/{segment.msn}.m4s",
        init_uri=None if run.version is None else f"{name}/init-{run.version}.mp4",
        started_us=run.parts[0].started_us if run.parts else segment.started_us if segment.started else 0,
        duration_s=run.duration_s or (segment.duration_s if segment.complete else 0.0),
        discontinuity=segment.discontinuity,
        complete=segment.complete,
        parts=parts,
        gap=segment.complete and not parts,
    )


def past_of(segment: Segment) -> PastSegment:
    """What is kept of it when its media is let go."""
    entries = {kind: replace(entry, parts=()) for kind, entry in entries_of(segment).items()}
    return PastSegment(
        segment.msn, entries, {kind: _stretch(run.parts) for kind, run in segment.runs.items() if run.parts}
    )


def _stretch(parts: Sequence[Part]) -> Stretch:
    first, last = parts[0], parts[-1]
    return Stretch(
        first.session.session_id,
        first.decode_time,
        last.decode_time + last.duration - first.decode_time,
        first.started_us,
        last.started_us + round(last.duration_s * 1e6),
    )


def bits_per_second(segments: Iterable[Segment]) -> tuple[int, int]:
    """(peak, average) bit rate, all tracks together (4.4.6.2)."""
    rates = [(_bits(segment), segment.duration_s) for segment in segments if segment.started]
    bits, seconds = sum(rate[0] for rate in rates), sum(rate[1] for rate in rates)
    peak = max((size / duration_s for size, duration_s in rates if duration_s >= SHORTEST_SEGMENT_S), default=0.0)
    average = bits / seconds if seconds else 0.0
    return max(1, round(max(peak, average))), max(1, round(average))


def pictures_per_second(segments: Iterable[Segment]) -> float:
    """0 where there is no picture."""
    parts = [part for segment in segments for part in segment.runs[TrackKind.VIDEO].parts]
    seconds = sum(part.duration_s for part in parts)
    return sum(part.access_units for part in parts) / seconds if seconds else 0.0


def _bits(segment: Segment) -> int:
    return 8 * sum(part.size_bytes for run in segment.runs.values() for part in run.parts)
