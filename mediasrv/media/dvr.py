"""What a live playlist shows of the time before its window: pure, like the window (`live_window`).

Segments that leave the window keep number and URL: their media is found again among what was recorded, by session and
decode time, for a recorder keeps the very parts that viewers get. Before the first of them stands what was recorded
before anybody watched, numbered backwards from there, once and for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mediasrv.media.access_unit import Session, TrackKind
from mediasrv.media.playlist import SKIP_TARGETS, DateRange, LivePlaylist, LiveSegment

Entries = Mapping[TrackKind, LiveSegment]
"""A segment's line in the playlist of each track."""

SEAM_S: Final = 0.005
"""Footage that ends within this of where the window begins, on the time line of the same session, joins without a seam:
nothing lies between, and nothing is there twice."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where the media of one track's share of a segment is found again; times count the clock rate of its format."""

    session_id: str
    decode_time: int
    duration: int
    started_us: int
    ended_us: int


@dataclass(frozen=True, slots=True)
class PastSegment:
    """A segment that left the window. `stretches` has the tracks that it has anything of."""

    msn: int
    entries: Entries
    stretches: Mapping[TrackKind, Stretch]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded before a moment of a session, oldest first: entries of both tracks, and gaps with causes.

    `ends_with` is the session of the last one and where that ends, in seconds from the session's start;
    `session_from_s` is where the recording of the session that was asked for begins, None where it is not recorded.
    """

    entries: Sequence[Entries]
    gaps: Sequence[DateRange]
    ends_with: tuple[str, float] | None
    session_from_s: float | None

    def joins(self, session: Session, from_s: float) -> bool:
        """Whether what begins then continues it without a seam."""
        if self.ends_with is None:
            return False
        session_id, ended_s = self.ends_with
        return session_id == session.session_id and abs(ended_s - from_s) <= SEAM_S

    def begins_with(self, from_s: float) -> bool:
        """Whether nothing was recorded of the session before that."""
        return self.session_from_s is not None and self.session_from_s >= from_s - SEAM_S


@dataclass(frozen=True, slots=True)
class Shown:
    """Part of a history: the entries of one track, and how many discontinuities lie before them."""

    entries: list[LiveSegment]
    discontinuities: int


class History:
    """At most `most_s` of what lies before the window. `first_msn` is the number that the window begins with."""

    def __init__(self, most_s: float, first_msn: int) -> None:
        self._most_s = most_s
        self._first_msn = first_msn
        self._recorded: deque[Entries] = deque()
        self._past: deque[PastSegment] = deque()
        self._held_s = 0.0
        self._gone_discontinuities = 0
        self._has_seam = False
        self.gaps: Sequence[DateRange] = ()
        self.longest_s = 0
        """Of what was recorded, as target durations are counted: its segments are cut by other rules."""

    @property
    def reaches_back(self) -> bool:
        """Whether it still holds all that left the window, so that what was recorded before can stand before that."""
        return not self._past or self._past[0].msn == self._first_msn

    def begin_with(self, recorded: Recorded, *, seamless: bool) -> None:
        """What was recorded before the window began. Once, and before anything of this history is shown."""
        self.gaps = recorded.gaps
        if self.reaches_back:
            self._recorded = deque(recorded.entries)
            self._held_s += sum(map(_duration_s, recorded.entries))
            self._has_seam = bool(recorded.entries) and not seamless
            longest_s = max((one.duration_s for entries in recorded.entries for one in entries.values()), default=0.0)
            self.longest_s = int(longest_s + 0.5)
            self._trim()

    def add(self, segment: PastSegment) -> None:
        """The next one that left the window."""
        self._past.append(segment)
        self._held_s += _duration_s(segment.entries)
        self._trim()

    def find(self, msn: int) -> PastSegment | None:
        index = msn - self._past[0].msn if self._past else -1
        return self._past[index] if 0 <= index < len(self._past) else None

    def shown(self, kind: TrackKind, dvr_s: float) -> Shown:
        """The newest entries, of `dvr_s` at most."""
        everything = [*self._recorded, *(self.at_seam(one.msn, one.entries) for one in self._past)]
        first, shown_s = len(everything), 0.0
        while first and shown_s + _duration_s(everything[first - 1]) <= dvr_s:
            first -= 1
            shown_s += _duration_s(everything[first])
        before = sum(map(_is_discontinuity, everything[:first]))
        return Shown([one[kind] for one in everything[first:]], self._gone_discontinuities + before)

    def put_before(
        self, made: LivePlaylist, window: Sequence[tuple[int, Entries]], kind: TrackKind, dvr_s: int
    ) -> LivePlaylist:
        """The window's playlist with up to `dvr_s` of this before it; `window` has its segments by their numbers."""
        shown = self.shown(kind, dvr_s)
        segments = shown.entries + [self.at_seam(msn, entries)[kind] for msn, entries in window]
        return replace(
            made,
            first_msn=made.first_msn - len(shown.entries),
            discontinuity_sequence=shown.discontinuities,
            target_duration_s=max(made.target_duration_s, self.longest_s),
            segments=segments,
            can_skip=dvr_s >= (SKIP_TARGETS + 1) * made.target_duration_s,
            ranges=[one for one in self.gaps if one.ended_us > segments[0].started_us],
        )

    def at_seam(self, msn: int, entries: Entries) -> Entries:
        """The entries of a segment of the window, as they stand behind what was recorded."""
        if not self._has_seam or msn != self._first_msn:
            return entries
        return {kind: replace(one, discontinuity=True) for kind, one in entries.items()}

    def _trim(self) -> None:
        while self._recorded and self._held_s - _duration_s(self._recorded[0]) >= self._most_s:
            self._let_go(self._recorded.popleft())
        while self._past and self._held_s - _duration_s(self._past[0].entries) >= self._most_s:
            gone = self._past.popleft()
            self._let_go(self.at_seam(gone.msn, gone.entries))

    def _let_go(self, entries: Entries) -> None:
        self._held_s -= _duration_s(entries)
        self._gone_discontinuities += _is_discontinuity(entries)


def _duration_s(entries: Entries) -> float:
    return entries[TrackKind.VIDEO].duration_s


def _is_discontinuity(entries: Entries) -> bool:
    return entries[TrackKind.VIDEO].discontinuity
