"""Answers that carry playlists, segments and init segments, and what caches may do with them (docs/adr/014).

Who comes by cookie or Bearer token gets what nobody may keep: it would lie unsealed on a disk. What is under a path
token may be kept by a cache in front, for as long as HLS has use for it: those alone know its URL who may see it.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import hdrs, web

from mediasrv.errors import NotFound
from mediasrv.media.access_unit import TrackKind
from mediasrv.media.playlist import MadeText
from mediasrv.retrieval.playlists import Rendition
from mediasrv.web.ready import ReadyResponse, ready_head
from mediasrv.web.routing import is_unchanged
from mediasrv.web.services import PlaybackSource

INIT: Final = re.compile(r"init-(\d+)\.mp4", re.ASCII)
PLAYLIST: Final = "application/vnd.apple.mpegurl"
TRACKS: Final = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO}
MEDIA_S: Final = 3600
"""A segment's URL never changes its content, so this bounds only how long it outlives the right to it."""

BLOCKING_TARGETS: Final = 6
"""An answer to a blocking reload stays what it is; so many target durations later nobody asks for it any more."""

_RECORDED: Final = re.compile(r"(\d+)-(\d+)\.m4s", re.ASCII)
_MADE_INIT: Final = re.compile(r"init-(\d+)-(\d+)\.mp4", re.ASCII)
_PRIVATE: Final = (hdrs.CACHE_CONTROL, "private, no-store")
_CHECKED: Final = (hdrs.CACHE_CONTROL, "private, no-cache")
_MEDIA: Final = (hdrs.CACHE_CONTROL, f"public, max-age={MEDIA_S}, immutable")
_VARY: Final = (hdrs.VARY, "Accept-Encoding")
_PLAYLIST_TYPE: Final = (hdrs.CONTENT_TYPE, f"{PLAYLIST}; charset=utf-8")
_MEDIA_TYPES: Final = {
    TrackKind.VIDEO: (hdrs.CONTENT_TYPE, "video/mp4"),
    TrackKind.AUDIO: (hdrs.CONTENT_TYPE, "audio/mp4"),
}
_GZIP: Final = (hdrs.CONTENT_ENCODING, "gzip")
_MOST_DIGITS: Final = 12


def playlist(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=PLAYLIST, charset="utf-8")


def media(body: bytes, track: TrackKind) -> web.Response:
    """A segment, part or init segment of one track (ISO/IEC 14496-12)."""
    return web.Response(body=body, content_type="video/mp4" if track is TrackKind.VIDEO else "audio/mp4")


def master_playlist(request: web.Request, text: MadeText, *, shared: bool) -> ReadyResponse:
    """What it says depends on who asks, so a cache asks again each time."""
    return _text(request, text, _CHECKED if shared else _PRIVATE)


def live_playlist(request: web.Request, text: MadeText, *, shared: bool, blocking: bool) -> ReadyResponse:
    """`shared`: by path token. `blocking`: it was asked for by its media sequence number (RFC 8216bis, 6.2.5.2)."""
    if not shared:
        return _text(request, text, _PRIVATE)
    target_s = max(1, text.target_duration_s)
    most_s = BLOCKING_TARGETS * target_s if blocking else max(1, target_s // 2)
    return _text(request, text, (hdrs.CACHE_CONTROL, f"public, max-age={most_s}"))


def live_media(request: web.Request, body: bytes, track: TrackKind, *, shared: bool) -> ReadyResponse:
    """A part, segment or init segment. Where it is kept its name is its entity tag: it never means two things."""
    if not shared:
        return ReadyResponse(ready_head("200 OK", len(body), _MEDIA_TYPES[track], _PRIVATE), body)
    tag = (hdrs.ETAG, f'"{request.match_info["file"]}"')
    if is_unchanged(request, tag[1]):
        return _unchanged(tag, _MEDIA)
    return ReadyResponse(ready_head("200 OK", len(body), _MEDIA_TYPES[track], _MEDIA, tag), body)


async def read_recorded(
    playback: PlaybackSource, camera_id: str, object_id: str, rendition: Rendition, name: str
) -> bytes:
    """The segment or init segment that is called `name` among those of a recording object. Raises NotFound."""
    if found := numbers(_RECORDED, name):
        return await playback.segment(camera_id, object_id, rendition, found[0], found[1])
    if found := numbers(INIT, name):
        return await playback.init(camera_id, object_id, rendition, found[0])
    if found := numbers(_MADE_INIT, name):
        return await playback.init(camera_id, object_id, rendition, found[0], found[1])
    raise no_segment()


def no_segment() -> NotFound:
    return NotFound("There is no such segment.", code="segment_not_found")


def _text(request: web.Request, text: MadeText, caching: tuple[str, str]) -> ReadyResponse:
    packed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    tag = (hdrs.ETAG, f'"{text.etag}-gzip"' if packed else f'"{text.etag}"')
    if is_unchanged(request, tag[1]):
        return _unchanged(tag, caching, _VARY)
    body = text.gzipped if packed else text
    headers = (_PLAYLIST_TYPE, caching, _VARY, tag, *((_GZIP,) if packed else ()))
    return ReadyResponse(ready_head("200 OK", len(body), *headers), body)


def _unchanged(*headers: tuple[str, str]) -> ReadyResponse:
    return ReadyResponse(ready_head("304 Not Modified", 0, *headers), b"", 304)


def numbers(pattern: re.Pattern[str], name: str) -> tuple[int, ...] | None:
    """The numbers in a file name, or None where it is not of that form; absurdly long ones are not."""
    match = pattern.fullmatch(name)
    if match is None or any(len(group) > _MOST_DIGITS for group in match.groups()):
        return None
    return tuple(int(group) for group in match.groups())
