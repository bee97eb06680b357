"""Puts routes, guard and middleware together. A route comes into being here only, behind the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from mediasrv.web import (
    routes_admin,
    routes_cameras,
    routes_events,
    routes_hls,
    routes_playback,
    routes_ptz,
    routes_rtsp_logins,
    routes_session,
    routes_surveys,
    routes_system,
    routes_ui,
    routes_whep,
)
from mediasrv.web.camera_places import CameraPlaces
from mediasrv.web.guard import Guard
from mediasrv.web.middleware import RequestCounts, outermost
from mediasrv.web.routing import Route
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

BODY_BYTES: Final = 256 * 1024
"""The table of a survey of 1024 cameras, and far more than any other body; media never comes in over HTTP."""

ROUTES: Final = web.AppKey("routes", dict[object, Route])
"""What each handler in the router declares; the tests walk it."""

VIEWERS: Final = web.AppKey("viewers", Viewers)
"""Its `run` belongs into the server's task group: it ends what was revoked."""


def build_app(services: Services) -> web.Application:
    """The whole HTTP side. Serve it with `serve`, and run `app[VIEWERS].run()` beside it."""
    counts, places = RequestCounts(), CameraPlaces(services.catalogue, services.clock)
    viewers = Viewers(services, places)
    app = web.Application(middlewares=[outermost(counts, services)], client_max_size=BODY_BYTES)
    declared: dict[object, Route] = {}
    guard = Guard(services, places)
    for route in _routes(services, places, viewers, counts):
        handler = _guarded(guard, route)
        declared[handler] = route
        app.router.add_route(route.method, route.path, handler)
    app[ROUTES], app[VIEWERS] = declared, viewers
    return app


async def serve(app: web.Application, host: str, port: int, shutdown_s: float) -> web.AppRunner:
    """Listens until the runner's `cleanup`. aiohttp's own access log stays off: it would write URLs with tokens."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_s, keepalive_timeout=75.0)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True).start()
    return runner


def _routes(services: Services, places: CameraPlaces, viewers: Viewers, counts: RequestCounts) -> list[Route]:
    return [
        *routes_session.routes(services),
        *routes_cameras.routes(services, places, viewers),
        *routes_whep.routes(services, viewers),
        *routes_hls.routes(services, viewers),
        *routes_playback.routes(services),
        *routes_events.routes(services),
        *routes_ptz.routes(services),
        *routes_surveys.routes(services),
        *routes_admin.routes(services),
        *routes_rtsp_logins.routes(services, places),
        *routes_system.routes(services, viewers, counts),
        *routes_ui.routes(services.ui_dir),
    ]


def _guarded(guard: Guard, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def guarded(request: web.Request) -> web.StreamResponse:
        return await route.handler(request, await guard.admit(request, route))

    return guarded
