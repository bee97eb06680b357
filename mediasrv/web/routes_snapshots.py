"""/api/v1/cameras/{camera}/snapshot.jpg: a still picture of what the camera shows now."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from mediasrv.media.access_unit import StreamRef
from mediasrv.security.policy import Permission
from mediasrv.web.fields import query_int, query_stream
from mediasrv.web.routing import Access, Route, Scope, is_unchanged
from mediasrv.web.services import Services
from mediasrv.web.viewers import VIEWING_WINDOW_S

_LEAST_WIDTH: Final = 16
_MOST_WIDTH: Final = 3840


def routes(services: Services) -> list[Route]:
    snapshot = _Handler(services).snapshot
    path = "/api/v1/cameras/{camera}/snapshot.jpg"
    return [Route("GET", path, Permission.LIVE_VIEW, snapshot, Scope.CAMERA)]


class _Handler:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def snapshot(self, request: web.Request, access: Access) -> web.StreamResponse:
        ref = StreamRef(access.camera_id, query_stream(request))
        width = query_int(request, "width", 0, _LEAST_WIDTH, _MOST_WIDTH) or 0
        await self._services.access_log.once(access.actor.event("snapshot.viewed", str(ref)), VIEWING_WINDOW_S)
        taken = await self._services.snapshots_here().take(ref, width)
        # A browser may keep it, but asks each time: a right that was taken away ends that, too.
        headers = {hdrs.ETAG: taken.etag, hdrs.CACHE_CONTROL: "private, no-cache"}
        if is_unchanged(request, taken.etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=taken.jpeg, content_type="image/jpeg", headers=headers)
