"""Reads a media playlist back (RFC 8216), strictly, and fetches what it lists."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mediasrv.media.fmp4 import ReadSample, read_samples


@dataclass(frozen=True)
class Listed:
    """A segment as a player sees it."""

    uri: str
    init_uri: str | None
    duration_s: float
    date: str | None
    discontinuity: bool
    gap: bool


@dataclass(frozen=True)
class MediaPlaylist:
    target_s: int
    start_s: float
    segments: list[Listed]


def read_playlist(text: str) -> MediaPlaylist:
    """Raises AssertionError for what a strict player would not take."""
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert "#EXT-X-PLAYLIST-TYPE:VOD" in lines
    (target,) = re.findall(r"^#EXT-X-TARGETDURATION:(\d+)$", text, re.MULTILINE)
    start = re.search(r"^#EXT-X-START:TIME-OFFSET=([\d.]+),PRECISE=YES$", text, re.MULTILINE)
    segments: list[Listed] = []
    init_uri = date = None
    discontinuity = gap = False
    duration_s = None
    for line in lines:
        if found := re.fullmatch(r'#EXT-X-MAP:URI="([^"]+)"', line):
            init_uri = found[1]
        elif line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
            date = line.partition(":")[2]
        elif line == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif line == "#EXT-X-GAP":
            gap = True
        elif found := re.fullmatch(r"#EXTINF:([\d.]+),", line):
            duration_s = float(found[1])
        elif line and not line.startswith("#"):
            assert duration_s is not None
            assert round(duration_s) <= int(target)
            segments.append(Listed(line, init_uri, duration_s, date, discontinuity, gap))
            date, discontinuity, gap, duration_s = None, False, False, None
    return MediaPlaylist(int(target), float(start[1]) if start else 0.0, segments)


async def read_all(playlist: MediaPlaylist, fetch: Callable[[str], Awaitable[bytes]]) -> list[ReadSample]:
    """Every access unit that the playlist lists, in order."""
    samples: list[ReadSample] = []
    for one in playlist.segments:
        if not one.gap:
            assert one.init_uri is not None
            samples += read_samples(await fetch(one.uri))
    return samples
