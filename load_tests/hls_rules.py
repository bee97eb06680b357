"""A reader of live HLS playlists that believes nothing: it knows the rules of RFC 8216bis, not our writer.

`parse` reads a text, `check` proves what must hold in one playlist, `check_next` what must hold between a playlist
and a later one of the same track, `merge` does what a player does with a delta update. A broken rule is an
AssertionError. Tests use it on playlists as they are made, `hls_check` on those of a server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass
class PartLine:
    uri: str
    duration_s: float
    independent: bool


@dataclass
class SegmentLine:
    uri: str | None = None
    """None while it is not complete."""
    duration_s: float = 0.0
    started_at: datetime | None = None
    map_uri: str | None = None
    discontinuity: bool = False
    gap: bool = False
    parts: list[PartLine] = field(default_factory=list)


@dataclass
class MediaPlaylist:
    version: int = 1
    target_s: int = 0
    part_target_s: float = 0.0
    first_msn: int = 0
    discontinuity_sequence: int = 0
    control: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    segments: list[SegmentLine] = field(default_factory=list)
    hint: str = ""
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    ranges: list[dict[str, str]] = field(default_factory=list)

    @property
    def low_latency(self) -> bool:
        return bool(self.control or self.part_target_s or self.hint)

    @property
    def complete(self) -> list[SegmentLine]:
        return [segment for segment in self.segments if segment.uri]


def attributes(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in ATTRIBUTE.findall(text)}


def parse(data: bytes) -> MediaPlaylist:
    lines = data.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert "" not in lines
    assert data.endswith(b"\n")
    playlist, segment, map_uri = MediaPlaylist(), SegmentLine(), None
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MAP":
            map_uri = attributes(value)["URI"]
        elif not line.startswith("#"):
            assert not playlist.hint, "a segment follows the preload hint"
            playlist.segments.append(replace(segment, uri=line, map_uri=map_uri))
            segment = SegmentLine()
        elif not read_segment_tag(segment, tag, value):
            read_playlist_tag(playlist, tag, value)
        if segment.parts:
            segment.map_uri = map_uri
    if segment.parts:
        playlist.segments.append(segment)
    return playlist


def read_segment_tag(segment: SegmentLine, tag: str, value: str) -> bool:
    """Whether it is a tag of the segment that follows."""
    match tag:
        case "#EXT-X-DISCONTINUITY":
            segment.discontinuity = True
        case "#EXT-X-PROGRAM-DATE-TIME":
            segment.started_at = datetime.fromisoformat(value)
        case "#EXT-X-GAP":
            segment.gap = True
        case "#EXTINF":
            segment.duration_s = float(value.rstrip(","))
        case "#EXT-X-PART":
            found = attributes(value)
            independent = found.get("INDEPENDENT") == "YES"
            segment.parts.append(PartLine(found["URI"], float(found["DURATION"]), independent))
        case _:
            return False
    return True


def read_playlist_tag(playlist: MediaPlaylist, tag: str, value: str) -> None:
    match tag:
        case "#EXT-X-VERSION":
            playlist.version = int(value)
        case "#EXT-X-TARGETDURATION":
            playlist.target_s = int(value)
        case "#EXT-X-SERVER-CONTROL":
            playlist.control = attributes(value)
        case "#EXT-X-PART-INF":
            playlist.part_target_s = float(attributes(value)["PART-TARGET"])
        case "#EXT-X-MEDIA-SEQUENCE":
            playlist.first_msn = int(value)
        case "#EXT-X-DISCONTINUITY-SEQUENCE":
            playlist.discontinuity_sequence = int(value)
        case "#EXT-X-SKIP":
            assert not playlist.segments
            playlist.skipped = int(attributes(value)["SKIPPED-SEGMENTS"])
        case "#EXT-X-PRELOAD-HINT":
            assert attributes(value)["TYPE"] == "PART"
            playlist.hint = attributes(value)["URI"]
        case "#EXT-X-RENDITION-REPORT":
            playlist.reports[attributes(value)["URI"]] = attributes(value)
        case "#EXT-X-DATERANGE":
            playlist.ranges.append(attributes(value))
        case _:
            raise AssertionError(f"unknown tag {tag}")


def check(playlist: MediaPlaylist) -> None:
    """What must hold in a full playlist or delta update on its own."""
    assert playlist.target_s >= 1
    for segment in playlist.segments:
        check_segment(playlist, segment)
    check_ranges(playlist)
    if playlist.low_latency:
        check_low_latency(playlist)
    else:
        assert not playlist.skipped
        assert not any(segment.parts for segment in playlist.segments)
        assert not playlist.reports


def check_ranges(playlist: MediaPlaylist) -> None:
    """EXT-X-DATERANGE (4.4.5.1): an id each, a start, and an end that is not before it."""
    assert len({one["ID"] for one in playlist.ranges}) == len(playlist.ranges)
    for one in playlist.ranges:
        assert datetime.fromisoformat(one["START-DATE"]) <= datetime.fromisoformat(one["END-DATE"])


def check_low_latency(playlist: MediaPlaylist) -> None:
    """What must hold where there are parts."""
    assert playlist.version >= 9
    assert playlist.control["CAN-BLOCK-RELOAD"] == "YES"
    assert float(playlist.control["PART-HOLD-BACK"]) >= 3 * playlist.part_target_s - 0.002
    if "CAN-SKIP-UNTIL" in playlist.control:
        assert float(playlist.control["CAN-SKIP-UNTIL"]) >= 6 * playlist.target_s
    uris = [segment.uri for segment in playlist.complete if not segment.gap] + [
        part.uri for segment in playlist.segments for part in segment.parts
    ]
    assert len(set(uris)) == len(uris)
    assert playlist.hint not in uris
    if playlist.skipped:
        assert "CAN-SKIP-UNTIL" in playlist.control
        listed_s = sum(segment_duration_s(segment) for segment in playlist.segments)
        assert listed_s >= float(playlist.control["CAN-SKIP-UNTIL"]) - 0.01, "skipped beyond the skip boundary"


def segment_duration_s(segment: SegmentLine) -> float:
    return segment.duration_s if segment.uri else sum(part.duration_s for part in segment.parts)


def check_segment(playlist: MediaPlaylist, segment: SegmentLine) -> None:
    assert segment.started_at is not None
    assert segment.started_at.tzinfo is not None
    assert segment.gap or segment.map_uri, "no EXT-X-MAP applies to it"
    assert int(segment.duration_s + 0.5) <= playlist.target_s
    for index, part in enumerate(segment.parts):
        assert part.duration_s <= playlist.part_target_s + 1e-5
        may_be_short = part.independent or (segment.uri and index == len(segment.parts) - 1)
        if not may_be_short and index < len(segment.parts) - 1:
            assert part.duration_s >= 0.85 * playlist.part_target_s - 1e-5, "a part is too short"
    if segment.parts and segment.uri:
        assert abs(sum(part.duration_s for part in segment.parts) - segment.duration_s) < 1e-3


def check_next(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """What must hold between a full playlist and a later full one of the same track (6.2.1, 6.2.2)."""
    assert after.target_s == before.target_s
    assert after.part_target_s == before.part_target_s
    removed = after.first_msn - before.first_msn
    assert 0 <= removed <= len(before.complete)
    gone = before.segments[:removed]
    assert after.discontinuity_sequence - before.discontinuity_sequence == sum(one.discontinuity for one in gone)
    if removed:
        assert sum(one.duration_s for one in after.complete) >= 3 * after.target_s - 0.01
    kept = before.segments[removed:]
    assert len(after.segments) >= len(kept)
    for old, new in zip(kept, after.segments, strict=False):
        check_same(old, new)
    if before.hint and before.hint in (one.uri for segment in after.segments for one in segment.parts):
        place = next(segment for segment in after.segments if before.hint in (part.uri for part in segment.parts))
        earlier = [part.uri for segment in before.segments for part in segment.parts]
        uris = [part.uri for part in place.parts]
        assert all(uri in earlier for uri in uris[: uris.index(before.hint)]), "the hint was not the next part"


def check_hint_came(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """Where pictures go on, the next part is the one that was hinted at: whoever asked for it is not left without."""
    known = {part.uri for segment in before.segments for part in segment.parts}
    for segment in after.segments:
        for part in segment.parts:
            if part.uri not in known and part.uri.startswith("video/"):
                assert part.uri == before.hint or segment.discontinuity, "the hint never came"
                return


def check_same(old: SegmentLine, new: SegmentLine) -> None:
    """A segment that both playlists list: nothing that was said of it is taken back."""
    assert (new.started_at, new.map_uri, new.discontinuity) == (old.started_at, old.map_uri, old.discontinuity)
    if old.uri:
        assert (new.uri, new.duration_s, new.gap) == (old.uri, old.duration_s, old.gap)
        assert new.parts in (old.parts, [])
    else:
        assert new.parts[: len(old.parts)] == old.parts or not new.parts


def check_renditions(one: MediaPlaylist, other: MediaPlaylist) -> None:
    """Renditions made at the same moment number segments and discontinuities alike."""
    assert (one.first_msn, one.discontinuity_sequence) == (other.first_msn, other.discontinuity_sequence)
    pairs = zip(one.segments, other.segments, strict=False)
    assert all(mine.discontinuity == theirs.discontinuity for mine, theirs in pairs)


def check_report(report: dict[str, str], of: MediaPlaylist) -> None:
    """A rendition report is true of the other rendition's playlist (4.4.5.4)."""
    newest = of.segments[-1]
    assert int(report["LAST-MSN"]) == of.first_msn + len(of.segments) - 1
    if newest.parts:
        assert int(report["LAST-PART"]) == len(newest.parts) - 1


def merge(before: MediaPlaylist, delta: MediaPlaylist) -> MediaPlaylist:
    """The full playlist that a player makes of an earlier one and a delta update (6.3.7)."""
    first = delta.first_msn - before.first_msn
    skipped = before.segments[first : first + delta.skipped]
    assert len(skipped) == delta.skipped
    assert all(segment.uri for segment in skipped)
    segments = [replace(segment, parts=[]) for segment in skipped] + delta.segments
    return replace(delta, skipped=0, segments=segments)
