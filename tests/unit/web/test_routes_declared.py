"""Closed by default: every route in the router declares who may use it, and the public ones are these."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from mediasrv.errors import NotPermitted
from mediasrv.security.policy import ROLES, Permission
from mediasrv.web.application import ROUTES, build_app
from mediasrv.web.routing import PUBLIC, Access, Requirement, Route, Scope
from tests.unit.web.fakes import World, make_world

PUBLIC_ROUTES = {
    ("GET", "/healthz"),
    ("POST", "/api/v1/session"),
    ("POST", "/api/v1/invite"),
    ("GET", "/"),
    ("GET", "/index.html"),
    ("GET", "/invite/{token}"),
    ("GET", "/watch/{watched}"),
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as made:
        yield made


def undeclared(app: web.Application) -> list[str]:
    """Routes in the router that came there without declaring a permission."""
    return [str(route) for route in app.router.routes() if route.handler not in app[ROUTES]]


async def test_every_route_declares_a_permission(world: World) -> None:
    app = build_app(world.services)
    assert undeclared(app) == []
    assert len(app[ROUTES]) == len(app.router.routes()) > 30
    for route in app[ROUTES].values():
        assert isinstance(route.permission, Permission | Requirement)


async def test_a_route_added_past_the_guard_is_found(world: World) -> None:
    app = build_app(world.services)

    async def back_door(request: web.Request) -> web.StreamResponse:
        raise AssertionError(request)

    app.router.add_get("/back-door", back_door)
    assert len(undeclared(app)) == 2  # GET and HEAD


async def test_public_routes_are_these_and_no_others(world: World) -> None:
    declared = build_app(world.services)[ROUTES].values()
    public = {(route.method, route.path) for route in declared if route.permission is PUBLIC}
    assert public == PUBLIC_ROUTES


async def test_media_of_a_camera_asks_for_a_permission_at_its_place(world: World) -> None:
    for route in build_app(world.services)[ROUTES].values():
        if route.path.startswith(("/hls/", "/whep/", "/playback/", "/api/v1/cameras/{camera}")):
            assert route.scope in (Scope.CAMERA, Scope.FOOTAGE), route.path
            assert isinstance(route.permission, Permission), route.path
        if route.path.startswith("/playback/"):
            assert route.permission is Permission.FOOTAGE_VIEW, route.path


async def test_every_permission_is_asked_for_and_given(world: World) -> None:
    asked = {route.permission for route in build_app(world.services)[ROUTES].values()}
    given = frozenset().union(*ROLES.values())
    assert set(Permission) <= asked
    assert set(Permission) == given


async def nothing(request: web.Request, access: Access) -> web.StreamResponse:
    raise AssertionError


@pytest.mark.parametrize(("path", "scope"), [("/x/{camera}", Scope.ROOT), ("/x", Scope.CAMERA), ("/x", Scope.FOOTAGE)])
def test_a_route_whose_scope_and_path_disagree_is_refused(path: str, scope: Scope) -> None:
    with pytest.raises(ValueError, match="disagree"):
        Route("GET", path, Permission.LIVE_VIEW, nothing, scope)


def test_a_public_access_has_no_principal() -> None:
    with pytest.raises(NotPermitted):
        _ = Access(None, "192.0.2.1", 0).principal
