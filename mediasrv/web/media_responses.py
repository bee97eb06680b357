"""Answers that carry playlists, segments and init segments."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from mediasrv.media.access_unit import TrackKind

PLAYLIST: Final = "application/vnd.apple.mpegurl"
TRACKS: Final = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO}
_MOST_DIGITS: Final = 12


def playlist(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=PLAYLIST, charset="utf-8")


def media(body: bytes, track: TrackKind) -> web.Response:
    """A segment, part or init segment of one track (ISO/IEC 14496-12)."""
    return web.Response(body=body, content_type="video/mp4" if track is TrackKind.VIDEO else "audio/mp4")


def numbers(pattern: re.Pattern[str], name: str) -> tuple[int, ...] | None:
    """The numbers in a file name, or None where it is not of that form; absurdly long ones are not."""
    match = pattern.fullmatch(name)
    if match is None or any(len(group) > _MOST_DIGITS for group in match.groups()):
        return None
    return tuple(int(group) for group in match.groups())
