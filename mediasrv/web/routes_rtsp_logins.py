"""/api/v1/rtsp-logins: what other systems read cameras with over RTSP. Everybody has those of their own account."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from aiohttp import web

from mediasrv.errors import NotFound
from mediasrv.security.policy import Permission
from mediasrv.security.rtsp_logins import RtspLogin
from mediasrv.settings import RtspServeSettings
from mediasrv.web.fields import format_time, read_fields
from mediasrv.web.routing import ANY_ACCOUNT, Access, Route
from mediasrv.web.services import Services

_LOGIN: Final = frozenset({"name", "camera", "expires_at"})


def routes(services: Services) -> list[Route]:
    handlers = _Handlers(services)
    return [
        Route("GET", "/api/v1/rtsp-logins", ANY_ACCOUNT, handlers.show),
        Route("POST", "/api/v1/rtsp-logins", ANY_ACCOUNT, handlers.create),
        Route("DELETE", "/api/v1/rtsp-logins/{id}", ANY_ACCOUNT, handlers.revoke),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        found = await self._services.rtsp_logins_here().valid(access.principal)
        door = _door_json(self._services.settings.rtsp_serve)
        return web.json_response({"rtsp_logins": [_login_json(login) for login in found], "rtsp": door})

    async def create(self, request: web.Request, access: Access) -> web.StreamResponse:
        """201 with the password, which is never shown again. One made with an API token ends with that token."""
        fields = await read_fields(request, _LOGIN)
        name = fields.required_text("name", 100)
        expires_us, ttl_s = fields.optional_expiry(access.now_us)
        who, camera_id = access.principal, fields.optional_text("camera", 64)
        if camera_id is not None:
            await self._check_camera(access, camera_id)
        username, password = await self._services.rtsp_logins_here().create(
            who.principal_id,
            who.username,
            name,
            ttl_s=ttl_s,
            camera_id=camera_id,
            issued_by=who.token_hash if who.kind == "token" else who.issued_by,
            remote=access.remote,
        )
        answer = {"username": username, "password": password, "name": name, "expires_at": format_time(expires_us)}
        return web.json_response(answer, status=201)

    async def _check_camera(self, access: Access, camera_id: str) -> None:
        """One that the caller may not see is as unknown as one that does not exist."""
        place = await self._services.places.find(camera_id)
        if place is None or not access.principal.may(Permission.CAMERA_VIEW, place.path, access.now_us):
            raise NotFound("There is no such camera.", code="camera_not_found")

    async def revoke(self, request: web.Request, access: Access) -> web.StreamResponse:
        await self._services.rtsp_logins_here().revoke(access.principal, request.match_info["id"], access.remote)
        return web.Response(status=204)


def _door_json(serve: RtspServeSettings) -> dict[str, Any]:
    """Where the logins are good for; a port of 0 is off."""
    return {"port": serve.port, "tls_port": serve.tls_port, "local_only": ip_address(serve.host).is_loopback}


def _login_json(login: RtspLogin) -> dict[str, Any]:
    return {
        "id": login.login_id,
        "username": login.username,
        "name": login.name,
        "camera": login.camera_id,
        "created_at": format_time(login.created_us),
        "expires_at": format_time(login.expires_us),
    }
