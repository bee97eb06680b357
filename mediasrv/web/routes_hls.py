"""/hls/{camera}/…: live LL-HLS. Hot: each viewer asks several times a second, so nothing here asks a database
unless a cache of two seconds has run out.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from mediasrv.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind
from mediasrv.security.access_log import Event
from mediasrv.security.policy import Permission
from mediasrv.web.fields import query_int, query_stream
from mediasrv.web.media_responses import TRACKS, media, numbers, playlist
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

VIEWING_WINDOW_S: Final = 60.0
"""Requests closer together than this are one viewing, and one entry in the access log."""
RECHECK_S: Final = 1.0
"""A request that waited longer for media is asked for its right once more before it gets it."""

_INIT: Final = re.compile(r"init-(\d+)\.mp4", re.ASCII)
_SEGMENT: Final = re.compile(r"(\d+)\.m4s", re.ASCII)
_PART: Final = re.compile(r"(\d+)\.(\d+)\.m4s", re.ASCII)
_MOST: Final = 10**12


def routes(services: Services, viewers: Viewers) -> list[Route]:
    hls = _Handlers(services, viewers)
    live, stream, track = Permission.LIVE_VIEW, "{stream:main|sub}", "{track:video|audio}"
    return [
        Route("GET", "/hls/{camera}/index.m3u8", live, hls.master, Scope.CAMERA),
        Route("GET", f"/hls/{{camera}}/{stream}/{track}.m3u8", live, hls.media_playlist, Scope.CAMERA),
        Route("GET", f"/hls/{{camera}}/{stream}/{track}/{{file}}", live, hls.media, Scope.CAMERA),
    ]


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers) -> None:
        self._services = services
        self._viewers = viewers

    async def master(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref = StreamRef(access.camera_id, query_stream(request))
        await self._viewing(access, ref)
        return playlist(await self._services.hls_here().master(ref))

    async def media_playlist(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref, track = _stream_and_track(request, access)
        await self._viewing(access, ref)
        msn = query_int(request, "_HLS_msn", None, 0, _MOST)
        part = query_int(request, "_HLS_part", None, 0, _MOST)
        if part is not None and msn is None:
            raise InvalidRequest("_HLS_part needs _HLS_msn (RFC 8216bis, 6.2.5.2).", code="hls_directive_invalid")
        skip = request.query.get("_HLS_skip") in ("YES", "v2")
        body = await self._services.hls_here().media_playlist(ref, track, msn, part, skip)
        await self._recheck(access)
        return playlist(body)

    async def media(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref, track = _stream_and_track(request, access)
        await self._viewing(access, ref)
        body = await self._body(ref, track, request.match_info["file"])
        await self._recheck(access)
        return media(body, track)

    async def _body(self, ref: StreamRef, track: TrackKind, name: str) -> bytes:
        hls = self._services.hls_here()
        if found := numbers(_PART, name):
            return await hls.part(ref, track, found[0], found[1])
        if found := numbers(_SEGMENT, name):
            return await hls.segment(ref, track, found[0])
        if found := numbers(_INIT, name):
            return hls.init(ref, track, found[0])
        raise NotFound("There is no such segment.", code="segment_not_found")

    async def _viewing(self, access: Access, ref: StreamRef) -> None:
        """The viewing is in the log, durably, before anything of it leaves."""
        who = access.principal
        event = Event("live.started", str(ref), who.principal_id, who.username, access.remote, {"by": "hls"})
        await self._services.access_log.once(event, VIEWING_WINDOW_S)
        self._viewers.seen_by_hls(ref, who.token_hash)

    async def _recheck(self, access: Access) -> None:
        """Rights may have ended while a blocking request waited."""
        now_us = self._services.clock.wall_us()
        if now_us - access.now_us < RECHECK_S * 1e6:
            return
        identity = await self._services.sessions.recall(access.principal.token_hash)
        if identity is None:
            raise NotAuthenticated("The session has ended.")
        if not identity.may(Permission.LIVE_VIEW, access.place_path, now_us):
            raise NotPermitted("Your grants do not allow this any more.")


def _stream_and_track(request: web.Request, access: Access) -> tuple[StreamRef, TrackKind]:
    stream = StreamName(request.match_info["stream"])
    return StreamRef(access.camera_id, stream), TRACKS[request.match_info["track"]]
