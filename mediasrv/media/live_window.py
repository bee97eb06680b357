"""The last seconds of a stream as LL-HLS segments: which parts make which segment, and what is still kept.

Video and audio share the sequence of segments: number, discontinuity and cut are the same in both playlists.
A segment begins at a video keyframe; only a GOP that is longer than the target duration is cut inside, and
the first GOP, for the first viewer's sake.
Pure: parts go in, playlists and media come out; `hls.py` adds waiting and demand.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.media.access_unit import HLS_AUDIO, Format, Part, Session, TrackKind, VideoFormat
from mediasrv.media.dvr import History, Recorded, Stretch
from mediasrv.media.fmp4 import init_segment
from mediasrv.media.live_segment import TRACK_NAMES, Run, Segment, entries_of, past_of
from mediasrv.media.playlist import SKIP_TARGETS, LivePlaylist, MadeText, Manner, RenditionReport, live_playlist
from mediasrv.media.segmenter import SHORTEST_SEGMENT_S

UNKNOWN_GOP_TARGET_S: Final = 4
MOST_TARGET_S: Final = 10
FIRST_SEGMENT_S: Final = 0.9
"""What the first segment of a window must have, to be complete before its GOP is."""

_SHORTEST_PART: Final = 0.85
_PART_ROOM: Final = 1.08
"""What a part target has above the parts it is made for: pictures do not come evenly, and parts may be neither longer
than it nor shorter than `_SHORTEST_PART` of it (4.4.4.9)."""

_ONE_MORE_FITS: Final = 1.015
"""Where one more picture would make a part longer than a part may be by less than this, it sometimes fits."""

_ROUNDING_S: Final = 0.5
"""A segment's duration, rounded, must not exceed the target duration (RFC 8216bis, 4.4.3.1)."""

_DELTA_TARGETS: Final = SKIP_TARGETS + 2
_DELTA_MOST_S: Final = 24.0
"""The window grows up to here if that gives delta updates something to leave out."""

_FEWEST_TARGETS: Final = 4
_MOST_VERSIONS: Final = 32
_MOST_HELD: Final = 4
_MOST_TEXTS: Final = 32
LIVE: Final = Manner()

Beginning = tuple[Session, float, int]
"""Session, time in it (s) and wall time (us) of the first picture of a window."""


def target_duration_s(gop_s: float | None) -> int:
    """The target duration for a stream whose GOPs last so long; it must not change later."""
    if gop_s is None:
        return UNKNOWN_GOP_TARGET_S
    segment_s = gop_s * max(1, math.ceil(SHORTEST_SEGMENT_S / max(gop_s, 0.04)))
    return min(MOST_TARGET_S, max(1, math.ceil(segment_s - 0.05)))


class LiveWindow:
    """Not thread-safe. `first_number` begins media sequence numbers and init versions: let it be larger than any
    number of an earlier window of the same stream, so that no URL ever means two things. Of what left the window
    `dvr_s` can still be listed.
    """

    def __init__(
        self, window_s: float, target_s: int, part_s: float, first_number: int = 0, dvr_s: float = 0.0
    ) -> None:
        self.revision = 0
        """Rises whenever a playlist changes."""
        self.listed: deque[Segment] = deque([Segment(first_number, discontinuity=False)])
        """What playlists show, for others to read; the last one is still open."""
        self.began_with: Beginning | None = None
        """None before there is a picture."""
        self._target_s = target_s
        self._part_s = part_s
        wanted_s = _DELTA_TARGETS * target_s
        self._window_s = max(window_s, wanted_s if wanted_s <= _DELTA_MOST_S else _FEWEST_TARGETS * target_s)
        self._retired: deque[Segment] = deque()
        self._discontinuity_sequence = 0
        self._formats: dict[TrackKind, Format] = {}
        self._versions: dict[int, tuple[TrackKind, Format]] = {}
        self._current_versions: dict[TrackKind, int] = {}
        self._next_version = first_number
        self._part_targets_s = dict.fromkeys(TrackKind, 0.0)
        self._held: list[Part] = []
        self._dvr_s = dvr_s
        self._history = History(dvr_s, first_number)
        self._texts: dict[tuple[TrackKind, Manner], tuple[int, MadeText]] = {}

    # --- what comes in ---------------------------------------------------------------------------

    def add(self, part: Part, *, followed_by: Format | None = None) -> None:
        """Takes the next part of its track. `followed_by` is the format of the keyframe right behind a video part,
        None where no keyframe follows. G.711 and metadata have no place in HLS.
        """
        kind = part.format.kind
        if not self._wants(part):
            return
        if self._must_wait(part):
            self._held.append(part)
            self.revision += 1
            return
        if self._must_cut_before(part):
            self._cut()
        if self._formats.get(kind) != part.format:
            self._change_format(part.format)
        if self.began_with is None and kind is TrackKind.VIDEO:
            self.began_with = (part.session, part.decode_time / part.format.clock_rate, part.started_us)
        run = self._open.runs[kind]
        run.version = self._current_versions[kind]
        run.parts.append(part)
        run.duration_s += part.duration_s
        # Players give up where either changes (6.2.1). Both are right from the start unless the camera changes its
        # ways: a picture that lasts for seconds.
        self._target_s = max(self._target_s, round(run.duration_s))
        usual_s = self._part_targets_s[kind] or _up_to_ms(_part_target_s(part, self._part_s))
        self._part_targets_s[kind] = max(usual_s, _up_to_ms(part.duration_s))
        changes = followed_by is not None and followed_by != part.format
        if changes or (followed_by is not None and run.duration_s >= SHORTEST_SEGMENT_S):
            self._cut()
            self._open.discontinuity = changes
        elif kind is TrackKind.VIDEO and self._is_full(run):
            self._cut()  # now, and not when the next part comes: playlists name that part already (hint)
        self.revision += 1

    def complete_first(self, tracks: Iterable[TrackKind]) -> bool:
        """Whether there is a complete segment: players take no playlist without one.

        So that nobody need wait for the end of a GOP, the first segment ends as soon as each of `tracks` has enough.
        """
        if len(self.listed) == 1:
            if any(self._open.runs[kind].duration_s < FIRST_SEGMENT_S for kind in tracks):
                return False
            self._cut()
            self.revision += 1
        return True

    def end_session(self) -> None:
        """What comes next is not continuous with what came before.

        What is too short to have been shown is forgotten: it may be one picture, whose duration is a guess
        (segmenter), and the part target that follows from that would have to change when there are more.
        """
        if len(self.listed) == 1 and self._open.duration_s < FIRST_SEGMENT_S:
            self._forget()
        else:
            self._held.clear()
            if self._open.started:
                self._cut()
            self._open.discontinuity = True
        self.revision += 1

    # --- what is there ---------------------------------------------------------------------------

    def has(self, kind: TrackKind) -> bool:
        """Whether there is a part of this track, so that its playlist can be shown."""
        return kind in self._formats

    def format(self, kind: TrackKind) -> Format | None:
        return self._formats.get(kind)

    @property
    def is_shown(self) -> bool:
        """Whether there is a complete segment."""
        return len(self.listed) > 1

    def reached(self, kind: TrackKind, msn: int, part: int | None) -> bool:
        """Whether a blocking reload for this segment or part can be answered (6.2.5.2).

        Raises InvalidRequest for what lies further ahead than a player may ask.
        """
        now = self._open.msn
        if msn < now and part is not None and part >= self._parts_in(kind, msn):
            msn, part = msn + 1, 0
        if msn < now:
            return True
        count = len(self._open.runs[kind].parts)
        target_s = self._part_targets_s[kind]
        furthest = 3 / target_s if 0 < target_s < 1 else 3
        already = count if msn == now else 0
        if msn > now + 1 or (part is not None and part >= already + furthest):
            raise InvalidRequest("The playlist was asked for too far ahead.", code="hls_too_far_ahead")
        return msn == now and part is not None and part < count

    def playlist(self, kind: TrackKind, manner: Manner = LIVE) -> MadeText:
        """The media playlist of a track, made once for each revision."""
        known = self._texts.get((kind, manner))
        if known is not None and known[0] == self.revision:
            return known[1]
        made = live_playlist(self._playlist(kind, manner), skip=manner.skip, low_latency=manner.low_latency)
        text = MadeText(made)
        text.target_duration_s = self._target_s
        if len(self._texts) >= _MOST_TEXTS:
            self._texts.clear()
        self._texts[kind, manner] = (self.revision, text)
        return text

    def part(self, kind: TrackKind, msn: int, index: int) -> bytes | None:
        """A part; None where it is still to come. Raises NotFound for one that is gone or will not come."""
        segment = self._find(msn)
        if segment is not None:
            parts = segment.runs[kind].parts
            if index < len(parts):
                return parts[index].fragment
            if not segment.complete and index == len(parts):
                return None
        elif msn == self._open.msn + 1 and index == 0:
            return None
        raise _not_found()

    def segment(self, kind: TrackKind, msn: int) -> bytes:
        """A complete segment: its fragments in order. Raises NotFound."""
        segment = self._find(msn)
        if segment is None or not segment.complete or not segment.runs[kind].parts:
            raise _not_found()
        return b"".join([part.fragment for part in segment.runs[kind].parts])

    def begin_with(self, recorded: Recorded) -> None:
        """What was recorded before the first picture, for playlists that show it (`Manner.dvr_s`). Once for each
        `began_with`."""
        assert self.began_with is not None  # noqa: S101 - what was recorded before it cannot be known sooner
        session, from_s, _ = self.began_with
        self._history.begin_with(recorded, seamless=recorded.joins(session, from_s))
        self.revision += 1

    def past(self, kind: TrackKind, msn: int) -> Stretch | None:
        """Where the media of a segment lies that left the window; None for one that is not known."""
        found = self._history.find(msn)
        return None if found is None else found.stretches.get(kind)

    def init(self, kind: TrackKind, version: int) -> bytes:
        """The init segment that playlists call `init-{version}.mp4`. Raises NotFound."""
        found = self._versions.get(version)
        if found is None or found[0] is not kind:
            raise _not_found()
        return init_segment(found[1])

    # --- segments --------------------------------------------------------------------------------

    @property
    def _open(self) -> Segment:
        return self.listed[-1]

    def _wants(self, part: Part) -> bool:
        """HLS carries pictures and some sound, and starts with a picture that can be shown."""
        started = TrackKind.VIDEO in self._formats
        if isinstance(part.format, VideoFormat):
            return started or part.independent
        if not started and part.format.kind is TrackKind.AUDIO:
            self._open.runs[TrackKind.AUDIO] = Run()  # of the sound before it, the newest part is enough
        return part.format.codec in HLS_AUDIO

    def _is_full(self, run: Run) -> bool:
        """Whether no picture can follow: behind a short part, or where another part like the last has no room."""
        last = run.parts[-1]
        has_room = run.duration_s + last.duration_s * _PART_ROOM < self._target_s + _ROUNDING_S
        return _is_short(last, self._part_targets_s[TrackKind.VIDEO]) or not has_room

    def _must_wait(self, part: Part) -> bool:
        """Whether this sound goes into the next segment, which begins when the pictures say so.

        It comes sooner than they do, and where it ended a segment the part would never come that they are hinted by.
        """
        run = self._open.runs[TrackKind.AUDIO]
        if part.format.kind is not TrackKind.AUDIO:
            return False
        is_over = run.duration_s + part.duration_s >= self._target_s + _ROUNDING_S
        return (is_over or bool(self._held)) and len(self._held) < _MOST_HELD

    def _must_cut_before(self, part: Part) -> bool:
        run = self._open.runs[part.format.kind]
        if not run.parts:
            return False
        begins_gop = _begins_gop(part) and run.duration_s >= SHORTEST_SEGMENT_S
        return begins_gop or run.duration_s + part.duration_s >= self._target_s + _ROUNDING_S

    def _change_format(self, format: Format) -> None:
        """A new init version; unless it is the first, it begins a discontinuity, in a segment that nobody knows yet."""
        kind = format.kind
        if kind in self._formats:
            if self._open.runs[kind].parts or (self._open.started and not self._open.discontinuity):
                self._cut()
            self._open.discontinuity = True
        self._formats[kind] = format
        self._versions[self._next_version] = (kind, format)
        self._current_versions[kind] = self._next_version
        self._next_version += 1
        while len(self._versions) > _MOST_VERSIONS:
            del self._versions[min(self._versions)]

    def _cut(self) -> None:
        """Completes the open segment, begins the next and lets go of the oldest."""
        self._open.complete = True
        for kind, run in self._open.runs.items():
            if not run.parts:  # a gap names an init segment too: what holds for it must not depend on what is listed
                run.version = self._current_versions.get(kind)
        self.listed.append(Segment(self._open.msn + 1, discontinuity=False))
        listed_s = sum(segment.duration_s for segment in self.listed)
        while listed_s - self.listed[0].duration_s >= self._window_s:
            gone = self.listed.popleft()
            listed_s -= gone.duration_s
            self._discontinuity_sequence += gone.discontinuity
            self._retired.append(gone)
            self._history.add(past_of(gone))
        # What left the playlist stays for as long as a playlist that lists it may be in use (6.2.2).
        retired_s = sum(segment.duration_s for segment in self._retired)
        while self._retired and retired_s - self._retired[0].duration_s >= self._window_s + self._target_s:
            retired_s -= self._retired.popleft().duration_s
        held, self._held = self._held, []
        for part in held:
            self.add(part)

    def _forget(self) -> None:
        """As if nothing had come yet; only the numbers go on."""
        self.listed[0] = Segment(self._open.msn, discontinuity=False)
        self._held.clear()
        self.began_with = None
        self._history = History(self._dvr_s, self._open.msn)  # what came before that beginning need not lie before this
        self._formats.clear()
        self._current_versions.clear()
        self._part_targets_s = dict.fromkeys(TrackKind, 0.0)

    def _find(self, msn: int) -> Segment | None:
        for segments in (self.listed, self._retired):
            if segments and segments[0].msn <= msn <= segments[-1].msn:
                return segments[msn - segments[0].msn]
        return None

    def _parts_in(self, kind: TrackKind, msn: int) -> int:
        segment = self._find(msn)
        return 0 if segment is None else len(segment.runs[kind].parts)

    # --- playlists -------------------------------------------------------------------------------

    def _playlist(self, kind: TrackKind, manner: Manner) -> LivePlaylist:
        made = LivePlaylist(
            first_msn=self.listed[0].msn,
            discontinuity_sequence=self._discontinuity_sequence,
            target_duration_s=self._target_s,
            part_target_s=self._part_targets_s[kind],
            segments=[entries_of(one)[kind] for one in self.listed],
            hint_uri=self._hint(kind),
            reports=[self._report(other, manner) for other in TrackKind if other is not kind and self.has(other)],
            can_skip=self._window_s >= (SKIP_TARGETS + 1) * self._target_s,
        )
        if not manner.dvr_s:
            return made
        return self._history.put_before(made, [(one.msn, entries_of(one)) for one in self.listed], kind, manner.dvr_s)

    def _hint(self, kind: TrackKind) -> str:
        """The part that comes next."""
        msn, part = self._open.msn, len(self._open.runs[kind].parts)
        if kind is TrackKind.AUDIO and self._held:
            msn, part = msn + 1, 0
        return f"{TRACK_NAMES[kind]}/{msn}.{part}.m4s"

    def _report(self, kind: TrackKind, manner: Manner) -> RenditionReport:
        count, msn = len(self._open.runs[kind].parts), self._open.msn
        if not count:
            msn -= 1
            count = self._parts_in(kind, msn)
        return RenditionReport(f"{TRACK_NAMES[kind]}.m3u8{manner.query}", msn, count - 1 if count else None)


def _part_target_s(part: Part, part_s: float) -> float:
    """The part target for parts like this one, even if this one is not full."""
    interval_s = part.duration_s / part.access_units
    count = int(part_s * _ONE_MORE_FITS / interval_s)
    target_s = max(part.duration_s, count * interval_s) * _PART_ROOM
    return min(target_s, part_s) if count > 1 else target_s  # one slow picture may last longer than `part_s`


def _is_short(part: Part, target_s: float) -> bool:
    """Whether only a segment's last part may be so short (4.4.4.9)."""
    return not part.independent and part.duration_s < _SHORTEST_PART * target_s


def _begins_gop(part: Part) -> bool:
    return part.independent and part.format.kind is TrackKind.VIDEO


def _up_to_ms(seconds: float) -> float:
    return math.ceil(seconds * 1000 - 1e-6) / 1000


def _not_found() -> NotFound:
    return NotFound("There is no such segment, or there is none any more.", code="segment_not_found")
