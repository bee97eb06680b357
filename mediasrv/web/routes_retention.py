"""/api/v1/cameras/{camera}/retention and /api/v1/places/{place}/retention: policies, and what a change would delete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from mediasrv.catalogue.places import Place, get_place
from mediasrv.catalogue.policies import (
    Bounds,
    Subject,
    clear_policy,
    read_policies,
    set_policy,
    subjects,
    subjects_of_cameras,
)
from mediasrv.clock import SECOND_US
from mediasrv.errors import InvalidRequest
from mediasrv.media.camera_event import EventKind
from mediasrv.retention.due import Preview, preview
from mediasrv.retention.policies import DAY_S, Defaults, Effective, effective
from mediasrv.security.policy import Permission
from mediasrv.web.fields import Fields, format_time, read_fields
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

_BOUNDS: Final = frozenset({"max_age_days", "max_size_bytes", "keep_events", "event_before_s", "event_after_s"})
_KINDS: Final = tuple(str(kind) for kind in EventKind)
_MOST_DAYS: Final = 36_500
_MOST_BYTES: Final = 10**18
_MOST_AROUND_S: Final = 3600


def routes(services: Services) -> list[Route]:
    retention = _Handlers(services)
    view, manage, somewhere = Permission.CAMERA_VIEW, Permission.CAMERA_MANAGE, Scope.SOMEWHERE
    camera, place = "/api/v1/cameras/{camera}/retention", "/api/v1/places/{place}/retention"
    return [
        Route("GET", camera, view, retention.show_camera, Scope.CAMERA),
        Route("PUT", camera, manage, retention.set_camera, Scope.CAMERA),
        Route("DELETE", camera, manage, retention.clear_camera, Scope.CAMERA),
        Route("POST", f"{camera}/preview", manage, retention.preview_camera, Scope.CAMERA),
        Route("GET", place, view, retention.show_place, somewhere),
        Route("PUT", place, manage, retention.set_place, somewhere),
        Route("DELETE", place, manage, retention.clear_place, somewhere),
        Route("POST", f"{place}/preview", manage, retention.preview_place, somewhere),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._catalogue = services.catalogue
        self._defaults = Defaults.of(services.settings.retention, services.settings.storage)
        self._previewing = asyncio.Lock()

    # --- cameras ---------------------------------------------------------------------------------

    async def show_camera(self, request: web.Request, access: Access) -> web.StreamResponse:
        return await self._shown(subjects(access.camera_id, access.place_path))

    async def set_camera(self, request: web.Request, access: Access) -> web.StreamResponse:
        return await self._set(subjects(access.camera_id, access.place_path), await self._read(request), access)

    async def clear_camera(self, request: web.Request, access: Access) -> web.StreamResponse:
        return await self._set(subjects(access.camera_id, access.place_path), None, access)

    async def preview_camera(self, request: web.Request, access: Access) -> web.StreamResponse:
        return await self._preview(Subject("camera", access.camera_id), await self._read(request), access)

    # --- places ----------------------------------------------------------------------------------

    async def show_place(self, request: web.Request, access: Access) -> web.StreamResponse:
        place = await self._place(request, access, Permission.CAMERA_VIEW)
        return await self._shown(subjects(None, place.path))

    async def set_place(self, request: web.Request, access: Access) -> web.StreamResponse:
        place = await self._place(request, access, Permission.CAMERA_MANAGE)
        return await self._set(subjects(None, place.path), await self._read(request), access)

    async def clear_place(self, request: web.Request, access: Access) -> web.StreamResponse:
        place = await self._place(request, access, Permission.CAMERA_MANAGE)
        return await self._set(subjects(None, place.path), None, access)

    async def preview_place(self, request: web.Request, access: Access) -> web.StreamResponse:
        place = await self._place(request, access, Permission.CAMERA_MANAGE)
        return await self._preview(Subject("place", place.place_id), await self._read(request), access)

    # --- inside ----------------------------------------------------------------------------------

    async def _place(self, request: web.Request, access: Access, permission: Permission) -> Place:
        place = await self._catalogue.read(get_place, request.match_info["place"])
        access.require(permission, place.path)
        return place

    async def _read(self, request: web.Request) -> Bounds:
        fields = await read_fields(request, _BOUNDS)
        size_bytes = fields.optional_int("max_size_bytes", 0, _MOST_BYTES)
        if size_bytes and self._defaults.age_only:
            raise InvalidRequest(
                "Storage locks footage in compliance mode: it goes by age alone, and can have no bound by size.",
                code="size_policy_locked",
            )
        return Bounds(
            fields.optional_int("max_age_days", 1, _MOST_DAYS),
            size_bytes,
            _read_events(fields),
            fields.optional_int("event_before_s", 0, _MOST_AROUND_S),
            fields.optional_int("event_after_s", 0, _MOST_AROUND_S),
        )

    async def _shown(self, chain: Sequence[Subject]) -> web.Response:
        policies = await self._catalogue.read(read_policies)
        applied = effective(chain, policies, self._defaults)
        return web.json_response(_policy_json(policies.get(chain[0]), applied))

    async def _set(self, chain: Sequence[Subject], bounds: Bounds | None, access: Access) -> web.Response:
        subject, by, now_us = chain[0], access.actor, access.now_us
        before = (await self._catalogue.read(read_policies)).get(subject)
        event = by.event(
            "retention.changed",
            subject.subject_id,
            of=subject.kind,
            before=_bounds_json(before),
            after=_bounds_json(bounds),
        )
        if bounds is None or bounds == Bounds():
            await self._services.access_log.write(event, clear_policy, subject)
        else:
            await self._services.access_log.write(event, set_policy, subject, bounds, by.username, now_us)
        return await self._shown(chain)

    async def _preview(self, subject: Subject, bounds: Bounds, access: Access) -> web.Response:
        """What retention would delete at once. One at a time: it may walk much of the catalogue."""
        policies = dict(await self._catalogue.read(read_policies)) | {subject: bounds}
        chains = await self._catalogue.read(subjects_of_cameras)
        most = self._services.settings.retention.preview_objects
        found: dict[str, Preview] = {}
        async with self._previewing:
            for camera_id, chain in chains.items():
                if subject in chain:
                    policy = effective(chain, policies, self._defaults).policy
                    found[camera_id] = await self._catalogue.read(preview, camera_id, policy, access.now_us, most)
        return web.json_response(_preview_json(found))


def _read_events(fields: Fields) -> dict[str, int]:
    given = fields.optional_object("keep_events", frozenset(_KINDS))
    days = {kind: given.optional_int(kind, 1, _MOST_DAYS) for kind in _KINDS}
    return {kind: number for kind, number in days.items() if number is not None}


def _bounds_json(bounds: Bounds | None) -> dict[str, Any]:
    said = bounds or Bounds()
    return {
        "max_age_days": said.max_age_days,
        "max_size_bytes": said.max_size_bytes,
        "keep_events": dict(said.keep_events),
        "event_before_s": said.event_before_s,
        "event_after_s": said.event_after_s,
    }


def _policy_json(own: Bounds | None, applied: Effective) -> dict[str, Any]:
    """The own policy, what applies, and whose policy each bound comes from."""
    policy = applied.policy
    return _bounds_json(own) | {
        "effective": {
            "max_age_days": policy.max_age_s / DAY_S,
            "max_size_bytes": policy.max_size_bytes,
            "keep_events": {kind: round(seconds / DAY_S) for kind, seconds in policy.keep_events},
            "event_before_s": policy.before_s,
            "event_after_s": policy.after_s,
            "locked_days": round(policy.locked_s / DAY_S),
        },
        "sources": dict(applied.sources),
    }


def _preview_json(found: Mapping[str, Preview]) -> dict[str, Any]:
    """The sum, and a line for each camera of which anything would go, or is held."""
    total = Preview()
    lines = []
    for camera_id, one in found.items():
        total.join(one)
        if one.objects or one.held_objects:
            lines.append({"camera": camera_id} | _counts_json(one))
    return _counts_json(total) | {"cameras": lines}


def _counts_json(one: Preview) -> dict[str, Any]:
    return {
        "objects": one.objects,
        "size_bytes": one.size_bytes,
        "hours": round(one.footage_us / SECOND_US / 3600, 2),
        "oldest": format_time(one.oldest_us),
        "newest": format_time(one.newest_us),
        "held": {"objects": one.held_objects, "size_bytes": one.held_bytes},
        "complete": one.complete,
    }
