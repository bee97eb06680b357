"""Live HLS media playlists: text from values, nothing else (RFC 8216bis; section numbers are its own).

Recorded footage has `vod.py`; both share the multivariant playlist.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from mediasrv.clock import from_us
from mediasrv.media.vod import format_time

VERSION: Final = 9
"""EXT-X-SKIP needs it (8)."""

PLAIN_VERSION: Final = 8
"""EXT-X-GAP needs it (8)."""

PARTS_LISTED_TARGETS: Final = 3
"""Parts are listed up to so many target durations from the end (6.2.2)."""

SKIP_TARGETS: Final = 6
"""CAN-SKIP-UNTIL must be at least so many target durations (4.4.3.8)."""

HOLD_BACK_PARTS: Final = 3
"""PART-HOLD-BACK should be at least so many part targets (4.4.3.8)."""

_GZIP: Final = 31
"""What zlib calls gzip's format with the largest window."""


class MadeText(bytes):
    """A playlist's text, and what else is made of it once for all who get it."""

    target_duration_s: int = 0
    """Of a media playlist; 0 of a multivariant one."""

    @cached_property
    def gzipped(self) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        return packer.compress(self) + packer.flush()

    @cached_property
    def etag(self) -> str:
        """What a strong entity tag is made of: other bytes have another (RFC 9110, 8.8.3)."""
        return hashlib.blake2b(self, digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Manner:
    """How a playlist is shown. `dvr_s`: so much of what was recorded stands before what is live."""

    skip: bool = False
    low_latency: bool = True
    dvr_s: int = 0

    @property
    def query(self) -> str:
        """What the URL of every media playlist of this manner has behind its path."""
        words = [f"dvr={self.dvr_s}"] if self.dvr_s else []
        words += [] if self.low_latency else ["ll=0"]
        return "?" + "&".join(words) if words else ""


@dataclass(frozen=True, slots=True)
class LivePart:
    """EXT-X-PART (4.4.4.9)."""

    uri: str
    duration_s: float
    independent: bool


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment of one track. The one that is still growing is not `complete`; only the last may be so.

    `gap`: one in which this track has nothing, an EXT-X-GAP of `duration_s`.
    """

    uri: str
    init_uri: str | None
    started_us: int
    duration_s: float
    discontinuity: bool
    complete: bool
    parts: Sequence[LivePart]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class RenditionReport:
    """How far another rendition has come (4.4.5.4); `last_part` is None where its last segment has none."""

    uri: str
    last_msn: int
    last_part: int | None


@dataclass(frozen=True, slots=True)
class DateRange:
    """A span of which something is known (EXT-X-DATERANGE, 4.4.5.1): a gap, and its cause."""

    started_us: int
    ended_us: int
    cause: str


@dataclass(frozen=True, slots=True)
class LivePlaylist:
    """One track's playlist at one moment. `hint_uri` is the part that comes next (EXT-X-PRELOAD-HINT, 4.4.5.3)."""

    first_msn: int
    discontinuity_sequence: int
    target_duration_s: int
    part_target_s: float
    segments: Sequence[LiveSegment]
    hint_uri: str
    reports: Sequence[RenditionReport] = ()
    can_skip: bool = False
    ranges: Sequence[DateRange] = ()


def live_playlist(playlist: LivePlaylist, *, skip: bool = False, low_latency: bool = True) -> bytes:
    """The playlist's text; with `skip` a delta update (6.2.5.1) where it would leave out anything.

    Without `low_latency` ordinary HLS: complete segments, and no word of parts.
    """
    skipped = _skippable(playlist) if low_latency and skip and playlist.can_skip else 0
    lines = _low_latency_header(playlist) if low_latency else _plain_header(playlist)
    lines += [f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"] if skipped else []
    lines += map(_range_line, playlist.ranges)  # also in delta updates: nothing says that they may be left out
    lines += _listed_lines(playlist, skipped, low_latency)
    if low_latency:
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{playlist.hint_uri}"')
        lines += map(_report_line, playlist.reports)
    lines.append("")
    return "\n".join(lines).encode()


def _listed_lines(playlist: LivePlaylist, skipped: int, low_latency: bool) -> Iterator[str]:
    first_with_parts = _first_with_parts(playlist) if low_latency else len(playlist.segments)
    init_uri: str | None = None
    for index, segment in enumerate(playlist.segments[skipped:], skipped):
        if not segment.complete and (not segment.parts or not low_latency):
            continue
        if segment.discontinuity:
            yield "#EXT-X-DISCONTINUITY"
            init_uri = None
        if segment.init_uri is not None and segment.init_uri != init_uri:
            init_uri = segment.init_uri
            yield f'#EXT-X-MAP:URI="{init_uri}"'
        yield from _segment_lines(segment, with_parts=index >= first_with_parts)


def _plain_header(playlist: LivePlaylist) -> list[str]:
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{PLAIN_VERSION}",
        f"#EXT-X-TARGETDURATION:{playlist.target_duration_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{playlist.first_msn}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}",
    ]


def _low_latency_header(playlist: LivePlaylist) -> list[str]:
    control = f"CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={HOLD_BACK_PARTS * playlist.part_target_s:.3f}"
    if playlist.can_skip:
        control += f",CAN-SKIP-UNTIL={SKIP_TARGETS * playlist.target_duration_s:.1f}"
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{playlist.target_duration_s}",
        f"#EXT-X-SERVER-CONTROL:{control}",
        f"#EXT-X-PART-INF:PART-TARGET={playlist.part_target_s:.3f}",
        f"#EXT-X-MEDIA-SEQUENCE:{playlist.first_msn}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}",
    ]


def _segment_lines(segment: LiveSegment, *, with_parts: bool) -> Iterator[str]:
    yield f"#EXT-X-PROGRAM-DATE-TIME:{format_time(from_us(segment.started_us))}"
    if with_parts:
        for part in segment.parts:
            independent = ",INDEPENDENT=YES" if part.independent else ""
            yield f'#EXT-X-PART:DURATION={part.duration_s:.5f},URI="{part.uri}"{independent}'
    if segment.complete:
        if segment.gap:
            yield "#EXT-X-GAP"
        yield f"#EXTINF:{segment.duration_s:.5f},"
        yield segment.uri


def _range_line(one: DateRange) -> str:
    """X-CAUSE is a reason code (docs/reasons.md)."""
    start, end = (format_time(from_us(at_us)) for at_us in (one.started_us, one.ended_us))
    return (
        f'#EXT-X-DATERANGE:ID="gap-{one.started_us}",CLASS="org.mediasrv.gap",START-DATE="{start}",END-DATE="{end}",'
        f'X-CAUSE="{one.cause}"'
    )


def _report_line(report: RenditionReport) -> str:
    part = "" if report.last_part is None else f",LAST-PART={report.last_part}"
    return f'#EXT-X-RENDITION-REPORT:URI="{report.uri}",LAST-MSN={report.last_msn}{part}'


def _first_with_parts(playlist: LivePlaylist) -> int:
    """The first segment whose parts are listed: counted from the end, within three target durations."""
    return _count_before(playlist.segments, PARTS_LISTED_TARGETS * playlist.target_duration_s)


def _skippable(playlist: LivePlaylist) -> int:
    """How many segments lie wholly before the skip boundary."""
    return _count_before(playlist.segments, SKIP_TARGETS * playlist.target_duration_s)


def _count_before(segments: Sequence[LiveSegment], distance_s: float) -> int:
    """How many segments end at least `distance_s` before the end of the playlist."""
    after_s = 0.0
    for index in range(len(segments) - 1, -1, -1):
        if after_s >= distance_s:
            return index + 1
        after_s += segments[index].duration_s
    return 0
