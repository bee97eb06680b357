"""/whep/{camera}: WebRTC playback by WHEP (draft-ietf-wish-whep, on the pattern of WHIP, RFC 9725)."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from mediasrv.errors import InvalidRequest, UnsupportedMediaType
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security.policy import Permission
from mediasrv.web.fields import query_stream
from mediasrv.web.ice_servers import IceServers
from mediasrv.web.remote import Remotes
from mediasrv.web.routing import Access, Handler, Route, Scope
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"


def routes(services: Services, viewers: Viewers) -> list[Route]:
    whep = _Handlers(services, viewers)
    endpoint, session = "/whep/{camera}", "/whep/{camera}/{viewer}"

    def route(method: str, path: str, handler: Handler) -> Route:
        return Route(method, path, Permission.LIVE_VIEW, handler, Scope.CAMERA, cross_origin=True)

    return [
        route("POST", endpoint, whep.join),
        route("GET", endpoint, whep.nothing),
        route("OPTIONS", endpoint, whep.describe_endpoint),
        route("PATCH", session, whep.trickle),
        route("DELETE", session, whep.leave),
        route("GET", session, whep.nothing_of_session),
        route("OPTIONS", session, whep.describe_session),
    ]


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers) -> None:
        self._services = services
        self._viewers = viewers
        self._remotes = Remotes(services.settings.server)
        self._ice_servers = IceServers(services.settings.webrtc, services.clock)

    async def join(self, request: web.Request, access: Access) -> web.StreamResponse:
        """201 with the answer. It leaves after the log entry is durable, and no media can leave before it."""
        live, (ref, main) = self._services.live_here(), self._wanted(request, access.camera_id)
        offer = await _read(request, SDP)
        joined = await live.join(ref, offer, access.principal.principal_id, auto=main)
        self._viewers.admitted(joined.viewer_id, access.principal, access.camera_id)
        try:
            await self._services.access_log.append(access.actor.event("live.started", str(ref), by="whep"))
        except BaseException:
            live.leave(joined.viewer_id)
            raise
        headers = {
            hdrs.LOCATION: self._location(request, access.camera_id, joined.viewer_id),
            hdrs.ETAG: joined.etag,
            "Accept-Patch": FRAGMENT,
        }
        response = web.Response(status=201, text=joined.answer_sdp, content_type=SDP, headers=headers)
        return self._with_ice_servers(response, access)

    async def describe_endpoint(self, request: web.Request, access: Access) -> web.StreamResponse:
        """STUN and TURN servers for who must know them before the offer; a preflight is not told."""
        response = web.Response(headers={"Accept-Post": SDP, hdrs.ALLOW: "GET, OPTIONS, POST"})
        return response if access.identity is None else self._with_ice_servers(response, access)

    async def describe_session(self, request: web.Request, access: Access) -> web.StreamResponse:
        return web.Response(headers={"Accept-Patch": FRAGMENT, hdrs.ALLOW: "DELETE, GET, OPTIONS, PATCH"})

    async def nothing(self, request: web.Request, access: Access) -> web.StreamResponse:
        """GET: there is no representation to give (RFC 9725, 4.1)."""
        return web.Response(status=204)

    async def nothing_of_session(self, request: web.Request, access: Access) -> web.StreamResponse:
        self._own_viewer(request, access)
        return web.Response(status=204)

    def _wanted(self, request: web.Request, camera_id: str) -> tuple[StreamRef, StreamRef | None]:
        """The stream to begin with and, where the viewer leaves the choice to the server, the main stream."""
        if request.query.get("stream") != "auto":
            return StreamRef(camera_id, query_stream(request)), None
        main = StreamRef(camera_id, StreamName.MAIN)
        if StreamName.SUB not in self._services.cameras.get(camera_id).streams:
            return main, None
        return StreamRef(camera_id, StreamName.SUB), main

    async def trickle(self, request: web.Request, access: Access) -> web.StreamResponse:
        """204 for candidates, 200 with our new side for an ICE restart."""
        viewer_id, fragment = self._own_viewer(request, access), await _read(request, FRAGMENT)
        restarted = self._services.live_here().trickle(viewer_id, fragment, request.headers.get(hdrs.IF_MATCH))
        if restarted is None:
            return web.Response(status=204)
        return web.Response(text=restarted.fragment_sdp, content_type=FRAGMENT, headers={hdrs.ETAG: restarted.etag})

    async def leave(self, request: web.Request, access: Access) -> web.StreamResponse:
        viewer_id = self._own_viewer(request, access)
        self._services.live_here().leave(viewer_id)
        self._viewers.left(viewer_id)
        return web.Response(status=204)

    def _own_viewer(self, request: web.Request, access: Access) -> str:
        viewer_id = request.match_info["viewer"]
        self._viewers.check_owner(viewer_id, access.principal.principal_id, access.camera_id)
        return viewer_id

    def _with_ice_servers(self, response: web.Response, access: Access) -> web.Response:
        for link in self._ice_servers.links(access.principal.principal_id):
            response.headers.add(hdrs.LINK, link)
        return response

    def _location(self, request: web.Request, camera_id: str, viewer_id: str) -> str:
        """Absolute, so that it holds when a camera's owner is another node than the one that was asked."""
        return f"{self._remotes.base_url(request)}/whep/{camera_id}/{viewer_id}"


async def _read(request: web.Request, content_type: str) -> str:
    if request.content_type != content_type:
        raise UnsupportedMediaType(f"The body must be {content_type}.")
    try:
        return await request.text()
    except (UnicodeDecodeError, LookupError) as error:
        raise InvalidRequest("The body is not text.") from error
