"""The one door of HTTP: who is asking, from where, and whether the route's permission is theirs at that place.

Closed by default: a route gets through only by what it declares. A camera that the principal may not
see answers like one that does not exist.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from mediasrv.catalogue.places import CameraPlace
from mediasrv.errors import NotAuthenticated, NotFound, NotPermitted
from mediasrv.security.access_log import Event
from mediasrv.security.places import ROOT_PATH
from mediasrv.security.policy import Permission
from mediasrv.security.sessions import Identity
from mediasrv.web.remote import Remotes
from mediasrv.web.routing import Access, Requirement, Route, Scope, is_preflight
from mediasrv.web.services import Services

COOKIE: Final = "mediasrv_session"
_SESSION_COOKIE: Final = re.compile(rf"(?:^|;)[ \t]*{COOKIE}=([A-Za-z0-9_-]+)(?=$|;|[ \t])", re.ASCII)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DENIED_WINDOW_S: Final = 300.0


class Guard:
    """Lets requests in, with what is known of who makes them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._remotes = Remotes(services.settings.server)
        self._own_origin = urlsplit(services.settings.server.public_url).netloc.lower()

    async def admit(self, request: web.Request, route: Route) -> Access:
        """Raises NotAuthenticated, NotPermitted, or NotFound for a camera that must stay unseen."""
        remote = self._remotes.address(request)
        if request.method not in _SAFE_METHODS and hdrs.AUTHORIZATION not in request.headers:
            self._check_origin(request)
        now_us = self._services.clock.wall_us()
        if route.permission is Requirement.PUBLIC or (route.loopback and self._remotes.is_local(request)):
            return Access(None, remote, now_us)
        if route.cross_origin and is_preflight(request):
            return Access(None, remote, now_us)
        if route.by_path:
            identity = await self._by_path(request)
        else:
            identity = await self._services.sessions.identify(read_token(request))
        if isinstance(route.permission, Requirement):
            return Access(identity, remote, now_us)
        return await self._authorise(request, route, route.permission, identity, remote, now_us)

    async def _authorise(
        self, request: web.Request, route: Route, permission: Permission, identity: Identity, remote: str, now_us: int
    ) -> Access:
        if route.scope is Scope.SOMEWHERE:
            if not identity.may_somewhere(permission, now_us):
                await self._denied(identity, remote, route.path)
            return Access(identity, remote, now_us)
        if route.scope is Scope.ROOT:
            if not identity.may(permission, ROOT_PATH, now_us):
                await self._denied(identity, remote, route.path)
            return Access(identity, remote, now_us, place_path=ROOT_PATH)
        camera_id = request.match_info["camera"]
        place = await self._place(camera_id, route.scope)
        if place is None or not identity.may(Permission.CAMERA_VIEW, place.path, now_us):
            raise NotFound("There is no such camera.", code="camera_not_found")
        if not identity.may(permission, place.path, now_us):
            await self._denied(identity, remote, camera_id)
        return Access(identity, remote, now_us, camera_id, place.path, route.by_path)

    async def _by_path(self, request: web.Request) -> Identity:
        """Who made the token in the path, at this moment. Cookies and headers that come along count for nothing."""
        match = request.match_info
        identity = await self._services.sessions.recall(self._services.path_tokens.use(match["token"], match["camera"]))
        if identity is None:
            raise NotAuthenticated("The session that this link came from has ended.")
        return identity

    async def _place(self, camera_id: str, scope: Scope) -> CameraPlace | None:
        place = await self._services.places.find(camera_id)
        gone = place is not None and place.removed_us is not None and scope is Scope.CAMERA
        return None if gone else place

    async def _denied(self, identity: Identity, remote: str, subject: str) -> None:
        event = Event("access.denied", subject, identity.principal_id, identity.username, remote)
        await self._services.access_log.once(event, _DENIED_WINDOW_S)
        raise NotPermitted("Your grants do not allow this.")

    def _check_origin(self, request: web.Request) -> None:
        """Refuses writes that another site makes a browser send (CSRF).

        Browsers say where a write comes from in Origin, the newer ones in Sec-Fetch-Site too; what
        sends neither is no browser, and SameSite=Strict keeps the cookie from crossing sites anyway.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            netloc = urlsplit(origin).netloc.lower() if origin != "null" else ""
            allowed = netloc != "" and netloc in (request.host.lower(), self._own_origin)
        else:
            allowed = request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
        if not allowed:
            raise NotPermitted("This request came from another site.", code="origin_refused")


def read_token(request: web.Request) -> str:
    """The Bearer token, else the session cookie. A token in the URL counts only to be exchanged for one."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise NotAuthenticated("Authorization must be a Bearer token.")
        return token.strip()
    cookie = read_session_cookie(request)
    if cookie is None:
        raise NotAuthenticated("Log in first, or send a Bearer token.")
    return cookie


def read_session_cookie(request: web.Request) -> str | None:
    # Not `request.cookies`: parsing all of them costs as much as the rest of the guard, on every HLS part.
    found = _SESSION_COOKIE.search(request.headers.get(hdrs.COOKIE, ""))
    return None if found is None else found[1]


def set_session_cookie(response: web.StreamResponse, token: str, max_age_s: int, *, secure: bool) -> None:
    """HttpOnly and SameSite=Strict: no script reads it and no other site makes a browser send it."""
    response.set_cookie(COOKIE, token, max_age=max_age_s, path="/", httponly=True, samesite="Strict", secure=secure)
