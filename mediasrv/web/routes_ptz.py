"""/api/v1/cameras/{camera}/ptz: moving a camera, one person at a time."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.errors import InvalidRequest
from mediasrv.onvif import Holder, Move, Vector
from mediasrv.security.policy import Permission
from mediasrv.web.fields import Fields, format_time, read_fields
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

MOVING_WINDOW_S: Final = 60.0
"""Commands closer together than this are one entry in the access log: a handle that is held sends several a second."""
_COMMAND: Final = frozenset({"move", "pan", "tilt", "zoom", "preset"})
_PRESET: Final = frozenset({"name", "preset"})
_MOVES: Final = (*Move, "preset", "stop")


def routes(services: Services) -> list[Route]:
    ptz = _Handlers(services)
    one, control = "/api/v1/cameras/{camera}/ptz", Permission.PTZ_CONTROL
    return [
        Route("GET", one, control, ptz.show, Scope.CAMERA),
        Route("POST", one, control, ptz.command, Scope.CAMERA),
        Route("DELETE", f"{one}/lock", control, ptz.release, Scope.CAMERA),
        Route("GET", f"{one}/presets", control, ptz.presets, Scope.CAMERA),
        Route("POST", f"{one}/presets", control, ptz.set_preset, Scope.CAMERA),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._hold_s = services.settings.onvif.ptz_hold_s

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        desk = self._services.ptz_here()
        ability = await desk.ability(access.camera_id)
        moves = {move: {"pan_tilt": axes.pan_tilt, "zoom": axes.zoom} for move, axes in ability.moves.items()}
        return web.json_response(
            {"moves": moves, "hold_s": self._hold_s, "lock": _lock_json(desk.holder(access.camera_id))}
        )

    async def command(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _COMMAND)
        desk, who, camera_id = self._services.ptz_here(), access.principal, access.camera_id
        name = fields.required_text("move", most=20)
        vector, preset = _vector(fields, name), fields.text("preset", most=100)
        holder = desk.take(camera_id, who.principal_id, who.username)
        await self._log(access, name, preset)
        if name == "stop":
            await desk.stop(camera_id, who.principal_id, who.username)
        elif name == "preset":
            await desk.go_to(camera_id, who.principal_id, who.username, preset)
        else:
            await desk.move(camera_id, who.principal_id, who.username, Move(name), vector)
        return web.json_response({"lock": _lock_json(desk.holder(camera_id) or holder)})

    async def release(self, request: web.Request, access: Access) -> web.StreamResponse:
        self._services.ptz_here().release(access.camera_id, access.principal.principal_id)
        return web.Response(status=204)

    async def presets(self, request: web.Request, access: Access) -> web.StreamResponse:
        found = await self._services.ptz_here().presets(access.camera_id)
        return web.json_response({"presets": [{"preset": one.token, "name": one.name} for one in found]})

    async def set_preset(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Keeps where the camera looks now: a new preset, or an old one anew."""
        fields = await read_fields(request, _PRESET)
        desk, who, camera_id = self._services.ptz_here(), access.principal, access.camera_id
        name, preset = fields.required_text("name", most=64), fields.text("preset", most=100)
        desk.take(camera_id, who.principal_id, who.username)
        event = access.actor.event("ptz.preset_set", camera_id, name=name, preset=preset)
        await self._services.access_log.append(event)
        token = await desk.set_preset(camera_id, who.principal_id, who.username, name, preset)
        return web.json_response({"preset": token, "name": name}, status=201)

    async def _log(self, access: Access, name: str, preset: str) -> None:
        """Before the camera moves."""
        if name == "preset":
            await self._services.access_log.append(access.actor.event("ptz.preset", access.camera_id, preset=preset))
        elif name != "stop":
            event = access.actor.event("ptz.moved", access.camera_id)
            await self._services.access_log.once(event, MOVING_WINDOW_S)


def _vector(fields: Fields, name: str) -> Vector:
    """What a move needs, and nothing else."""
    pan, tilt, zoom = (fields.optional_number(axis, -1.0, 1.0) for axis in ("pan", "tilt", "zoom"))
    if name not in _MOVES:
        raise InvalidRequest(f"move must be one of {', '.join(_MOVES)}.", code="ptz_move_unknown")
    if ("preset" in fields) != (name == "preset"):
        raise InvalidRequest("A preset belongs to the move preset, and that needs one.")
    is_vector = name in list(Move)
    if is_vector != (pan is not None or tilt is not None or zoom is not None):
        raise InvalidRequest("pan, tilt and zoom belong to continuous, relative and absolute moves: one at least.")
    return Vector(None if pan is None and tilt is None else (pan or 0.0, tilt or 0.0), zoom)


def _lock_json(holder: Holder | None) -> dict[str, Any] | None:
    return None if holder is None else {"username": holder.username, "until": format_time(holder.until_us)}
