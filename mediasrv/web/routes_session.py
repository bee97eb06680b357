"""/api/v1/session and /api/v1/invite: logging in and out, and what the one who is in may do."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.security.policy import permissions_anywhere
from mediasrv.security.sessions import Identity
from mediasrv.web.fields import format_time, read_fields
from mediasrv.web.guard import COOKIE, set_session_cookie
from mediasrv.web.routing import ANY_ACCOUNT, PUBLIC, Access, Route
from mediasrv.web.services import Services

_LOGIN: Final = frozenset({"username", "password"})
_INVITE: Final = frozenset({"token", "username", "password"})


def routes(services: Services) -> list[Route]:
    handlers = _Handlers(services)
    return [
        Route("POST", "/api/v1/session", PUBLIC, handlers.login),
        Route("GET", "/api/v1/session", ANY_ACCOUNT, handlers.show),
        Route("DELETE", "/api/v1/session", ANY_ACCOUNT, handlers.logout),
        Route("POST", "/api/v1/invite", PUBLIC, handlers.accept_invite),
    ]


def session_json(identity: Identity, now_us: int) -> dict[str, Any]:
    """What the page needs to know about who is in: permissions held anywhere, and the grants in force."""
    return {
        "principal": {"id": identity.principal_id, "username": identity.username},
        "permissions": sorted(permissions_anywhere(identity.grants, now_us)),
        "grants": [
            {
                "role": grant.role,
                "place": grant.place_id,
                "purpose": grant.purpose,
                "ends_at": format_time(grant.ends_us),
            }
            for grant in identity.grants
            if grant.in_force(now_us)
        ],
    }


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def login(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _LOGIN)
        username, password = fields.required_text("username"), fields.required_text("password")
        token = await self._services.sessions.login(username, password, access.remote)
        return await self._logged_in(token, access)

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        return web.json_response(session_json(access.principal, access.now_us))

    async def logout(self, request: web.Request, access: Access) -> web.StreamResponse:
        await self._services.sessions.logout(access.principal, access.remote)
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    async def accept_invite(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _INVITE)
        token = await self._services.accounts.accept_invite(
            fields.required_text("token"),
            fields.required_text("username"),
            fields.required_text("password"),
            access.remote,
        )
        return await self._logged_in(token, access)

    async def _logged_in(self, token: str, access: Access) -> web.Response:
        identity = await self._services.sessions.identify(token)
        response = web.json_response(session_json(identity, access.now_us))
        settings = self._services.settings.security
        set_session_cookie(response, token, settings.session_s, secure=settings.cookie_secure)
        return response
