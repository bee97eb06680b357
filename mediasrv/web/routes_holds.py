"""/api/v1/holds: evidence locks on spans of footage."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.catalogue.holds import (
    Hold,
    NewHold,
    Touched,
    get_hold,
    list_holds,
    place_hold,
    release_hold,
    touched_by,
)
from mediasrv.catalogue.places import paths_of_cameras
from mediasrv.catalogue.spans import Span
from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.security.policy import Permission
from mediasrv.web.fields import Fields, format_time, query_int, read_fields
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

_HOLD: Final = frozenset({"start", "end", "reason", "case_number", "until"})
_RELEASE: Final = frozenset({"reason"})
_MOST_HOLDS: Final = 1000


def routes(services: Services) -> list[Route]:
    holds, permission = _Handlers(services), Permission.HOLD_MANAGE
    return [
        Route("GET", "/api/v1/holds", permission, holds.list, Scope.SOMEWHERE),
        Route("GET", "/api/v1/holds/{id}", permission, holds.show, Scope.SOMEWHERE),
        Route("POST", "/api/v1/holds/{id}/release", permission, holds.release, Scope.SOMEWHERE),
        Route("POST", "/api/v1/cameras/{camera}/holds", permission, holds.place, Scope.FOOTAGE),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._catalogue = services.catalogue

    async def list(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Newest first; released and expired ones too, unless `active=1`."""
        limit = query_int(request, "limit", 100, 1, _MOST_HOLDS) or 100
        before = query_int(request, "before", None, 1, 10**18)
        active = query_int(request, "active", 0, 0, 1) == 1
        cameras = await self._cameras(access)
        if "camera" in request.query:
            cameras &= {request.query["camera"]}
        found = await self._catalogue.read(list_holds, access.now_us, limit, before, active=active, cameras=cameras)
        return web.json_response({"holds": [_hold_json(one, access.now_us) for one in found]})

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        """With what it protects now."""
        return await self._answer(await self._hold(request, access), access)

    async def place(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Holds may overlap: each protects by itself."""
        new = _read_hold(await read_fields(request, _HOLD), access)
        event = access.actor.event(
            "hold.placed",
            new.camera_id,
            start=format_time(new.span.start_us),
            end=format_time(new.span.end_us),
            reason=new.reason,
            case_number=new.case_number,
            until=format_time(new.until_us),
        )
        username = access.principal.username[:64]
        placed = await self._services.access_log.write(event, place_hold, new, username, access.now_us)
        return await self._answer(placed, access, 201)

    async def release(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The row stays, with who released it and why."""
        reason = (await read_fields(request, _RELEASE)).required_text("reason")
        one = await self._hold(request, access)
        event = access.actor.event("hold.released", one.camera_id, hold=one.hold_id, reason=reason)
        released = await self._services.access_log.write(
            event, release_hold, one.hold_id, access.principal.username, reason, access.now_us
        )
        return await self._answer(released, access)

    async def _answer(self, one: Hold, access: Access, status: int = 200) -> web.Response:
        touched = await self._catalogue.read(touched_by, one.camera_id, one.span)
        return web.json_response(_hold_json(one, access.now_us, touched), status=status)

    async def _hold(self, request: web.Request, access: Access) -> Hold:
        """One at a place where the caller may not manage holds is none."""
        text = request.match_info["id"]
        hold_id = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
        one = await self._catalogue.read(get_hold, hold_id)
        if one.camera_id not in await self._cameras(access, one.camera_id):
            raise NotFound("There is no such hold.", code="hold_not_found")
        return one

    async def _cameras(self, access: Access, camera_id: str | None = None) -> set[str]:
        paths = await self._catalogue.read(paths_of_cameras, camera_id)
        may = access.principal.may
        return {one for one, path in paths.items() if may(Permission.HOLD_MANAGE, path, access.now_us)}


def _read_hold(fields: Fields, access: Access) -> NewHold:
    start_us, end_us = fields.optional_time("start"), fields.optional_time("end")
    if start_us is None or end_us is None or not 0 <= start_us < end_us:
        raise InvalidRequest("start and end are needed, and end must be later than start.", code="time_invalid")
    until_us = fields.optional_time("until")
    if until_us is not None and until_us <= access.now_us:
        raise InvalidRequest("until has passed.", code="time_invalid")
    case_number = fields.optional_text("case_number", 100)
    reason = fields.required_text("reason").strip()
    if not reason:
        raise InvalidRequest("reason is missing.")
    return NewHold(access.camera_id, Span(start_us, end_us), reason, case_number or None, until_us)


def _hold_json(one: Hold, now_us: int, touched: Touched | None = None) -> dict[str, Any]:
    shown = {
        "id": one.hold_id,
        "camera": one.camera_id,
        "start": format_time(one.span.start_us),
        "end": format_time(one.span.end_us),
        "reason": one.reason,
        "case_number": one.case_number,
        "placed_by": one.placed_by,
        "placed_at": format_time(one.placed_us),
        "until": format_time(one.until_us),
        "active": one.is_active(now_us),
        "released_at": format_time(one.released_us),
        "released_by": one.released_by,
        "release_reason": one.release_reason,
    }
    if touched is not None:
        shown["protects"] = {"objects": touched.objects, "size_bytes": touched.size_bytes}
    return shown
