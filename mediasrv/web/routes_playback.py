"""/playback/{camera}/…: recorded footage as HLS VOD.

One viewing is one entry in the access log, with its span. A segment is given only to somebody who was
given the playlist that names its object, or after an entry of its own: what was watched can be told.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from aiohttp import web

from mediasrv.clock import SECOND_US
from mediasrv.errors import InvalidRequest
from mediasrv.media.access_unit import StreamRef
from mediasrv.retrieval.playlists import Choice, Rendition
from mediasrv.security.policy import Permission
from mediasrv.web.fields import format_time, parse_time, query_int, query_span, query_stream
from mediasrv.web.media_responses import media, playlist, read_recorded
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

PLAYBACK_WINDOW_S: Final = 300.0
"""The same span asked for by the same person within so long is one entry in the access log."""
MOST_REMEMBERED: Final = 200_000
_HOUR_US: Final = 3600 * SECOND_US
_LEAST_WIDTH, _THUMBNAIL_WIDTH, _MOST_WIDTH = 16, 160, 640
_OBJECT_IDS: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def routes(services: Services) -> list[Route]:
    playback = _Handlers(services)
    footage, rendition = Permission.FOOTAGE_VIEW, f"{{rendition:{'|'.join(Rendition)}}}"
    return [
        Route("GET", "/playback/{camera}/index.m3u8", footage, playback.master, Scope.FOOTAGE),
        Route("GET", "/playback/{camera}/thumbnails", footage, playback.thumbnail, Scope.FOOTAGE),
        Route("GET", f"/playback/{{camera}}/{rendition}.m3u8", footage, playback.media_playlist, Scope.FOOTAGE),
        Route(
            "GET",
            f"/playback/{{camera}}/{{object:[0-9a-f]{{64}}}}/{rendition}/{{file}}",
            footage,
            playback.media,
            Scope.FOOTAGE,
        ),
    ]


class Opened:
    """Which objects whose playlists were given to which principal. Bounded: what is forgotten is logged anew."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._opened: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, principal_id: str, object_id: str) -> None:
        self._opened[(principal_id, object_id)] = None
        self._opened.move_to_end((principal_id, object_id))
        while len(self._opened) > self._most:
            self._opened.popitem(last=False)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._opened


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._opened = Opened()

    async def master(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref, span = StreamRef(access.camera_id, query_stream(request)), query_span(request)
        choice, keys_only = _query_choice(request), request.query.get("pictures") == "keys"
        body = await self._services.playback_here().master(ref, *span, choice, keys_only=keys_only)
        await self._viewing(access, ref, span)
        return playlist(body)

    async def media_playlist(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref, span = StreamRef(access.camera_id, query_stream(request)), query_span(request)
        rendition = Rendition(request.match_info["rendition"])
        body = await self._services.playback_here().media_playlist(ref, rendition, *span)
        await self._viewing(access, ref, span)
        for object_id in set(_OBJECT_IDS.findall(body)):
            self._opened.add(access.principal.principal_id, object_id.decode())
        return playlist(body)

    async def thumbnail(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Who looks along the timeline sees many: an entry for each hour that was looked into."""
        ref, at_us = StreamRef(access.camera_id, query_stream(request)), parse_time(request.query.get("at", ""), "at")
        width = query_int(request, "width", _THUMBNAIL_WIDTH, _LEAST_WIDTH, _MOST_WIDTH) or _THUMBNAIL_WIDTH
        if at_us < 0:
            raise InvalidRequest("at must not lie before 1970.", code="time_invalid")
        jpeg = await self._services.playback_here().thumbnail(ref, at_us, width)
        hour_us = at_us - at_us % _HOUR_US
        start, end = format_time(hour_us), format_time(hour_us + _HOUR_US)
        event = access.actor.event("playback.thumbnails", f"{ref} {start} {end}")
        await self._services.access_log.once(event, PLAYBACK_WINDOW_S)
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def media(self, request: web.Request, access: Access) -> web.StreamResponse:
        object_id, name = request.match_info["object"], request.match_info["file"]
        rendition = Rendition(request.match_info["rendition"])
        body = await read_recorded(self._services.playback_here(), access.camera_id, object_id, rendition, name)
        await self._object_viewed(access, object_id)
        return media(body, rendition.track)

    async def _viewing(self, access: Access, ref: StreamRef, span: tuple[int, int]) -> None:
        start, end = (format_time(one) for one in span)
        event = access.actor.event("playback.started", f"{ref} {start} {end}")
        await self._services.access_log.once(event, PLAYBACK_WINDOW_S)

    async def _object_viewed(self, access: Access, object_id: str) -> None:
        """Segments asked for without their playlist: rare, and each object is an entry."""
        if (access.principal.principal_id, object_id) in self._opened:
            return
        event = access.actor.event("playback.object", f"{access.camera_id} {object_id}")
        await self._services.access_log.once(event, PLAYBACK_WINDOW_S)


def _query_choice(request: web.Request) -> Choice:
    """`codec` of the query. Raises InvalidRequest."""
    try:
        return Choice(request.query.get("codec", Choice.ANY))
    except ValueError as error:
        raise InvalidRequest(f"codec must be one of {', '.join(Choice)}.", code="codec_unknown") from error
