"""/hls/{camera}/…: live HLS; the same below /hls/t/{token}/ for players that send no cookie with each request.

Hot: each viewer asks several times a second, and many ask the same, so nothing here asks a database unless a cache of
two seconds has run out, and what a URL means is read once for all who ask for it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from mediasrv.clock import SECOND_US
from mediasrv.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind
from mediasrv.media.playlist import Manner
from mediasrv.retrieval.playlists import Rendition
from mediasrv.security.path_tokens import PATTERN
from mediasrv.security.policy import Permission
from mediasrv.web.fields import format_time, query_stream, whole_number
from mediasrv.web.media_responses import (
    INIT,
    TRACKS,
    live_media,
    live_playlist,
    master_playlist,
    no_segment,
    numbers,
    read_recorded,
)
from mediasrv.web.remote import Remotes
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services
from mediasrv.web.viewers import VIEWING_WINDOW_S, Viewers

RECHECK_S: Final = 1.0
"""A request that waited longer for media is asked for its right once more before it gets it."""
DVR_STEP_S: Final = 60
"""DVR windows are whole minutes, so that viewers who ask for nearly the same share one playlist."""
DVR_LOGGED_US: Final = 300 * SECOND_US
"""The access log says of each five minutes of recorded footage that a live playlist gave access to them."""

_SEGMENT: Final = re.compile(r"(\d+)\.m4s", re.ASCII)
_PART: Final = re.compile(r"(\d+)\.(\d+)\.m4s", re.ASCII)
_MOST: Final = 10**12
_APPLE: Final = re.compile(r"AppleCoreMedia|^(?!.*(?:Chrom|CriOS|FxiOS|EdgiOS|Android)).*Version/[\d.]+.* Safari/")


def routes(services: Services, viewers: Viewers) -> list[Route]:
    hls = _Handlers(services, viewers)
    tokens = Route("POST", "/api/v1/cameras/{camera}/hls-token", Permission.LIVE_VIEW, hls.make_token, Scope.CAMERA)
    return [tokens, *_below("/hls/{camera}", hls), *_below(f"/hls/t/{{token:{PATTERN}}}/{{camera}}", hls, by_path=True)]


def _below(prefix: str, hls: _Handlers, *, by_path: bool = False) -> list[Route]:
    stream, track = "{stream:main|sub}", "{track:video|audio}"
    recorded = f"{prefix}/{stream}/recorded/{{object:[0-9a-f]{{64}}}}/{track}/{{file}}"
    live, footage = Permission.LIVE_VIEW, Permission.FOOTAGE_VIEW
    return [
        Route("GET", f"{prefix}/{stream}/{track}/{{file}}", live, hls.media, Scope.CAMERA, by_path=by_path),
        Route("GET", f"{prefix}/{stream}/{track}.m3u8", live, hls.media_playlist, Scope.CAMERA, by_path=by_path),
        Route("GET", f"{prefix}/index.m3u8", live, hls.master, Scope.CAMERA, by_path=by_path),
        Route("GET", recorded, footage, hls.recorded, Scope.CAMERA, by_path=by_path),
    ]


class Reload(NamedTuple):
    """What the query of a media playlist asks for."""

    msn: int | None
    part: int | None
    manner: Manner


class Wanted(NamedTuple):
    """What a path asks for: a part where there are two numbers, else a segment, or an init segment."""

    ref: StreamRef
    track: TrackKind
    numbers: tuple[int, ...]
    is_init: bool


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers) -> None:
        self._services = services
        self._viewers = viewers
        self._remotes = Remotes(services.settings.server)
        self._most_dvr_s = round(services.settings.hls.dvr_most_s)

    async def make_token(self, request: web.Request, access: Access) -> web.StreamResponse:
        """A URL that needs nothing but itself, for as long as it is used and the caller's session lasts."""
        token = self._services.path_tokens.issue(access.principal.token_hash, access.camera_id)
        settings = self._services.settings.hls
        document = {
            "url": f"{self._remotes.base_url(request)}/hls/t/{token}/{access.camera_id}/index.m3u8",
            "idle_s": settings.token_s,
            "most_s": settings.token_most_s,
        }
        return web.json_response(document, status=201)

    async def master(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref = StreamRef(access.camera_id, query_stream(request))
        manner = _read_query(request.rel_url.raw_query_string, self._most_dvr_s).manner
        if "ll" not in request.query and self._wants_plain(request):
            manner = Manner(low_latency=False, dvr_s=manner.dvr_s)
        await self._viewing(access, ref)
        await self._going_back(access, ref, manner.dvr_s)
        text = await self._services.hls_here().master(ref, manner)
        return master_playlist(request, text, shared=access.by_path)

    async def media_playlist(self, request: web.Request, access: Access) -> web.StreamResponse:
        match = request.match_info
        wanted = _read_path(access.camera_id, match["stream"], match["track"], "")
        reload = _read_query(request.rel_url.raw_query_string, self._most_dvr_s)
        await self._viewing(access, wanted.ref)
        if reload.manner.dvr_s:
            await self._going_back(access, wanted.ref, reload.manner.dvr_s)
        hls = self._services.hls_here()
        text = await hls.media_playlist(wanted.ref, wanted.track, reload.msn, reload.part, reload.manner)
        await self._recheck(access)
        return live_playlist(request, text, shared=access.by_path, blocking=reload.msn is not None)

    async def media(self, request: web.Request, access: Access) -> web.StreamResponse:
        match = request.match_info
        wanted = _read_path(access.camera_id, match["stream"], match["track"], match["file"])
        await self._viewing(access, wanted.ref)
        body = await self._body(wanted, access)
        await self._recheck(access)
        return live_media(request, body, wanted.track, shared=access.by_path)

    async def recorded(self, request: web.Request, access: Access) -> web.StreamResponse:
        """A segment of a recording object, which a DVR playlist named."""
        match, playback = request.match_info, self._services.playback_here()
        track, object_id = TRACKS[match["track"]], match["object"]
        event = access.actor.event("playback.object", f"{access.camera_id} {object_id}", by="dvr")
        await self._services.access_log.once(event, DVR_LOGGED_US / SECOND_US)
        body = await read_recorded(playback, access.camera_id, object_id, Rendition(match["track"]), match["file"])
        return live_media(request, body, track, shared=access.by_path)

    async def _body(self, wanted: Wanted, access: Access) -> bytes:
        hls = self._services.hls_here()
        ref, track, found, is_init = wanted
        if len(found) == 2:
            return await hls.part(ref, track, found[0], found[1])
        if is_init:
            return hls.init(ref, track, found[0])
        try:
            return await hls.segment(ref, track, found[0])
        except NotFound:
            if not access.principal.may(Permission.FOOTAGE_VIEW, access.place_path, access.now_us):
                raise
        # What memory holds no more is footage: another right, and an entry of its own.
        await self._going_back(access, ref, self._most_dvr_s)
        return await hls.past_segment(ref, track, found[0])

    async def _viewing(self, access: Access, ref: StreamRef) -> None:
        """The viewing is in the log, durably, before anything of it leaves."""
        who = access.principal
        if not self._services.access_log.renew(who.principal_id, _VIEWED, str(ref), VIEWING_WINDOW_S):
            await self._services.access_log.once(access.actor.event(_VIEWED, str(ref), by="hls"), VIEWING_WINDOW_S)
        self._viewers.seen_by_hls(ref, who.token_hash)

    async def _going_back(self, access: Access, ref: StreamRef, dvr_s: int) -> None:
        """Footage behind what is live needs the right to footage, and is in the log with the span that is in reach."""
        if not dvr_s:
            return
        access.require(Permission.FOOTAGE_VIEW, access.place_path)
        step = DVR_LOGGED_US
        start_us = (access.now_us - dvr_s * SECOND_US) // step * step
        end_us = -(-access.now_us // step) * step
        subject = f"{ref} {format_time(start_us)} {format_time(end_us)}"
        event = access.actor.event("playback.started", subject, by="dvr")
        await self._services.access_log.once(event, 2 * step / SECOND_US)

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

    def _wants_plain(self, request: web.Request) -> bool:
        """Apple's players do low latency over HTTP/2 only; over HTTP/1.1 they are better off without."""
        agent = request.headers.get(hdrs.USER_AGENT, "")
        return _APPLE.search(agent) is not None and not self._remotes.is_multiplexed(request)


_VIEWED: Final = "live.started"


@lru_cache(maxsize=1024)
def _read_query(query: str, most_dvr_s: int) -> Reload:
    """Raises InvalidRequest. The same few questions come from all viewers of a stream."""
    asked = dict(parse_qsl(query, keep_blank_values=True))
    msn, part = (whole_number(asked, name, 0, _MOST) for name in ("_HLS_msn", "_HLS_part"))
    if part is not None and msn is None:
        raise InvalidRequest("_HLS_part needs _HLS_msn (RFC 8216bis, 6.2.5.2).", code="hls_directive_invalid")
    dvr_s = whole_number(asked, "dvr", 0, 10**6) or 0
    dvr_s = min(-(-dvr_s // DVR_STEP_S) * DVR_STEP_S, most_dvr_s)
    skip = asked.get("_HLS_skip") in ("YES", "v2")
    return Reload(msn, part, Manner(skip, asked.get("ll") != "0", dvr_s))


@lru_cache(maxsize=4096)
def _read_path(camera_id: str, stream: str, track: str, name: str) -> Wanted:
    """Raises NotFound for a name that no media has; an empty one stands for the playlist."""
    ref, kind = StreamRef(camera_id, StreamName(stream)), TRACKS[track]
    for pattern in (_PART, _SEGMENT, INIT):
        if found := numbers(pattern, name):
            return Wanted(ref, kind, found, pattern is INIT)
    if name:
        raise no_segment()
    return Wanted(ref, kind, (), False)
