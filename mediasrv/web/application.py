"""Puts routes, guard and middleware together. A route comes into being here only, behind the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from mediasrv.web import (
    routes_admin,
    routes_cameras,
    routes_events,
    routes_exports,
    routes_hls,
    routes_holds,
    routes_playback,
    routes_ptz,
    routes_receipts,
    routes_retention,
    routes_rtsp_logins,
    routes_session,
    routes_snapshots,
    routes_states,
    routes_surveys,
    routes_system,
    routes_ui,
    routes_whep,
)
from mediasrv.web.camera_states import CameraStates
from mediasrv.web.cors import cross_origin
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

STATES: Final = web.AppKey("states", CameraStates)
"""Its `run` belongs there too: it reads what cameras look like for those who follow it."""


def build_app(services: Services) -> web.Application:
    """The whole HTTP side. Serve it with `serve`, and run `app[VIEWERS].run()` and `app[STATES].run()` beside it."""
    counts, viewers = RequestCounts(), Viewers(services)
    states = CameraStates(services, viewers)
    declared: dict[object, Route] = {}
    middlewares, origins = [outermost(counts, services)], services.settings.server.allowed_origins
    if origins:
        middlewares.insert(0, cross_origin(origins, declared))
    app = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES)
    guard = Guard(services)
    for route in _routes(services, viewers, states, counts):
        handler = _guarded(guard, route)
        declared[handler] = route
        app.router.add_route(route.method, route.path, handler)
    app[ROUTES], app[VIEWERS], app[STATES] = declared, viewers, states
    app.on_shutdown.append(_end_streams)
    return app


async def serve(app: web.Application, host: str, port: int, shutdown_s: float) -> web.AppRunner:
    """Listens until the runner's `cleanup`. aiohttp's own access log stays off: it would write URLs with tokens."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_s, keepalive_timeout=75.0)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True).start()
    return runner


async def _end_streams(app: web.Application) -> None:
    app[STATES].end()


def _routes(services: Services, viewers: Viewers, states: CameraStates, counts: RequestCounts) -> list[Route]:
    system = routes_system.routes(services, viewers, counts)
    if "web" not in services.settings.server.roles:
        return system  # what watches the server, and nothing of the footage
    return [
        *routes_session.routes(services),
        *routes_cameras.routes(services, viewers),
        *routes_states.routes(services, states),
        *routes_whep.routes(services, viewers),
        *routes_hls.routes(services, viewers),
        *routes_playback.routes(services),
        *routes_exports.routes(services),
        *routes_snapshots.routes(services),
        *routes_events.routes(services),
        *routes_retention.routes(services),
        *routes_holds.routes(services),
        *routes_receipts.routes(services),
        *routes_ptz.routes(services),
        *routes_surveys.routes(services),
        *routes_admin.routes(services),
        *routes_rtsp_logins.routes(services),
        *system,
        *routes_ui.routes(services.ui_dir, services.settings.server.frame_ancestors),
    ]


def _guarded(guard: Guard, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def guarded(request: web.Request) -> web.StreamResponse:
        return await route.handler(request, await guard.admit(request, route))

    return guarded
