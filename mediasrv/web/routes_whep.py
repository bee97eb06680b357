"""/whep/{camera}: WebRTC playback by WHEP (draft-ietf-wish-whep, on the pattern of WHIP, RFC 9725)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from mediasrv.errors import InvalidRequest, UnsupportedMediaType
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security.access_log import Event
from mediasrv.security.policy import Permission
from mediasrv.web.fields import query_stream
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"


def routes(services: Services, viewers: Viewers) -> list[Route]:
    whep = _Handlers(services, viewers)
    live = Permission.LIVE_VIEW
    return [
        Route("POST", "/whep/{camera}", live, whep.join, Scope.CAMERA),
        Route("PATCH", "/whep/{camera}/{viewer}", live, whep.trickle, Scope.CAMERA),
        Route("DELETE", "/whep/{camera}/{viewer}", live, whep.leave, Scope.CAMERA),
    ]


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers) -> None:
        self._services = services
        self._viewers = viewers

    async def join(self, request: web.Request, access: Access) -> web.StreamResponse:
        """201 with the answer. It leaves after the log entry is durable, and no media can leave before it."""
        stream = StreamName.MAIN if request.query.get("stream") == "auto" else query_stream(request)
        live, ref = self._services.live_here(), StreamRef(access.camera_id, stream)
        offer = await _read(request, SDP)
        joined = await live.join(ref, offer, access.principal.principal_id)
        self._viewers.admitted(joined.viewer_id, access.principal, access.camera_id)
        try:
            await self._log(access, "live.started", ref)
        except BaseException:
            live.leave(joined.viewer_id)
            raise
        headers = {
            "Location": self._location(request, access.camera_id, joined.viewer_id),
            "ETag": joined.etag,
            "Accept-Patch": FRAGMENT,
        }
        return web.Response(status=201, text=joined.answer_sdp, content_type=SDP, headers=headers)

    async def trickle(self, request: web.Request, access: Access) -> web.StreamResponse:
        viewer_id = self._own_viewer(request, access)
        self._services.live_here().trickle(viewer_id, await _read(request, FRAGMENT))
        return web.Response(status=204)

    async def leave(self, request: web.Request, access: Access) -> web.StreamResponse:
        viewer_id = self._own_viewer(request, access)
        self._services.live_here().leave(viewer_id)
        self._viewers.left(viewer_id)
        return web.Response(status=204)

    def _own_viewer(self, request: web.Request, access: Access) -> str:
        viewer_id = request.match_info["viewer"]
        self._viewers.check_owner(viewer_id, access.principal.principal_id, access.camera_id)
        return viewer_id

    def _location(self, request: web.Request, camera_id: str, viewer_id: str) -> str:
        """Absolute, so that it holds when a camera's owner is another node than the one that was asked."""
        base = self._services.settings.server.public_url.rstrip("/") or f"{request.scheme}://{request.host}"
        return f"{base}/whep/{camera_id}/{viewer_id}"

    async def _log(self, access: Access, action: str, ref: StreamRef) -> None:
        who = access.principal
        event = Event(action, str(ref), who.principal_id, who.username, access.remote, {"by": "whep"})
        await self._services.access_log.append(event)


async def _read(request: web.Request, content_type: str) -> str:
    if request.content_type != content_type:
        raise UnsupportedMediaType(f"The body must be {content_type}.")
    try:
        return await request.text()
    except (UnicodeDecodeError, LookupError) as error:
        raise InvalidRequest("The body is not text.") from error
