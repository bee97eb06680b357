"""Who gets what: every role on every route, and cameras that somebody may not see."""

from __future__ import annotations

import pytest

from mediasrv.retrieval.playlists import Rendition
from mediasrv.security.accounts import COMMAND_LINE
from mediasrv.security.path_tokens import PATTERN
from mediasrv.security.policy import ROLES, Permission
from mediasrv.security.sessions import hash_token
from mediasrv.web.application import ROUTES
from mediasrv.web.routing import ANY_ACCOUNT, PUBLIC, Route, Scope
from tests.integration.web.site import SPAN, Site
from tests.unit.web.fakes import NORTH, OBJECT_ID, SOUTH


def concrete(route: Route, site: Site, token: str | None) -> str:
    """A path that the route answers, about the camera in the north; with a path token that this token made."""
    by_path = "A" * 160 if token is None else site.world.services.path_tokens.issue(hash_token(token), NORTH)
    names = {"camera": NORTH, "object:[0-9a-f]{64}": OBJECT_ID, "track:video|audio": "video", "stream:main|sub": "main"}
    names |= {f"rendition:{'|'.join(Rendition)}": "video"}
    path = route.path
    names |= {f"token:{PATTERN}": by_path}
    plain = {"token": "t", "id": "9999", "viewer": "v", "survey": "s", "place": "north", "export": "e"}
    for name, value in (names | plain).items():
        path = path.replace("{" + name + "}", value)
    file = "0-1.m4s" if OBJECT_ID in path else "1.m4s"
    return path.replace("{file}", file)


async def test_without_an_account_only_public_routes_answer(site: Site) -> None:
    """From elsewhere, too: the forwarded address takes the loopback exception away."""
    for route in site.app[ROUTES].values():
        for token in (None, "msrv_" + "A" * 43):
            headers = {"X-Forwarded-For": "192.0.2.1"}
            status, body = await site.call(route.method, concrete(route, site, token), token, headers=headers)
            if route.permission is PUBLIC:
                assert status != 401 or body["code"] == "invite_invalid", route.path
            else:
                assert (status, body["code"]) == (401, "not_authenticated"), route.path


@pytest.mark.parametrize("role", [*ROLES, "none"])
async def test_every_role_reaches_exactly_its_routes(site: Site, role: str) -> None:
    """What the matrix of docs/api.md gives, at the place it is given for, and nothing else."""
    token = await site.world.account("lan", *([role] if role != "none" else []))
    held: frozenset[Permission] = ROLES.get(role, frozenset())
    for route in site.app[ROUTES].values():
        if route.permission is PUBLIC or route.path == "/api/v1/session" or route.path.startswith("/api/v1/tokens"):
            continue
        headers = {"X-Forwarded-For": "192.0.2.1"}
        status, body = await site.call(route.method, concrete(route, site, token), token, headers=headers)
        code = body.get("code") if isinstance(body, dict) else None
        if route.permission is ANY_ACCOUNT or route.permission in held:
            assert code not in ("not_permitted", "camera_not_found", "not_authenticated"), (route, status, body)
            if route.method == "DELETE" and route.path == "/api/v1/cameras/{camera}":
                await site.world.cameras.put(NORTH, "north")
        elif route.scope in (Scope.CAMERA, Scope.FOOTAGE) and Permission.CAMERA_VIEW not in held:
            assert (status, code) == (404, "camera_not_found"), route.path
        else:
            assert (status, code) == (403, "not_permitted"), route.path


@pytest.mark.parametrize("role", ROLES)
async def test_a_grant_elsewhere_makes_the_camera_not_exist(site: Site, role: str) -> None:
    token = await site.world.account("lan", role, place="south")
    for route in site.app[ROUTES].values():
        if route.scope in (Scope.CAMERA, Scope.FOOTAGE):
            assert await site.problem(route.method, concrete(route, site, token), token) == (404, "camera_not_found"), (
                route
            )
        elif route.scope is Scope.ROOT and isinstance(route.permission, Permission):
            headers = {"X-Forwarded-For": "192.0.2.1"}
            status, body = await site.call(route.method, concrete(route, site, token), token, headers=headers)
            assert (status, body["code"]) == (403, "not_permitted"), route


async def test_an_unseen_camera_and_none_answer_alike(site: Site) -> None:
    token = await site.world.account("lan", "viewer", "auditor", place="south")
    for path in ("/api/v1/cameras/{}", "/hls/{}/index.m3u8", f"/playback/{{}}/index.m3u8?{SPAN}"):
        answers = [await site.call("GET", path.format(camera), token) for camera in (NORTH, "nowhere", "..", "A" * 99)]
        assert answers.count(answers[0]) == len(answers)
        assert answers[0][0] == 404


async def test_the_list_holds_only_cameras_that_may_be_seen(site: Site) -> None:
    token = await site.world.account("lan", "viewer", place="south")
    status, body = await site.call("GET", "/api/v1/cameras", token)
    assert (status, [(camera["id"], camera["permissions"]) for camera in body["cameras"]]) == (
        200,
        [(SOUTH, ["live.view"])],
    )
    nobody = await site.world.account("minh")
    assert (await site.call("GET", "/api/v1/cameras", nobody))[1] == {"cameras": []}


async def test_denials_are_logged_once_in_a_while(site: Site) -> None:
    token = await site.world.account("lan", "viewer", place="north")
    for _ in range(5):
        await site.call("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}", token)
    denied = [entry for entry in await site.world.log() if entry.action == "access.denied"]
    assert [(entry.username, entry.subject) for entry in denied] == [("lan", NORTH)]


async def test_health_is_public_and_metrics_are_for_loopback_or_a_permission(site: Site) -> None:
    assert await site.call("GET", "/healthz") == (200, b"ok")
    assert (await site.call("GET", "/metrics"))[0] == 200
    assert (await site.call("GET", "/readyz"))[1] == {"ready": True, "reasons": []}
    elsewhere = {"X-Forwarded-For": "192.0.2.1"}
    assert (await site.call("GET", "/metrics", headers=elsewhere))[0] == 401
    token = await site.world.account("lan", "administrator")
    assert (await site.call("GET", "/metrics", token, headers=elsewhere))[0] == 200


async def test_a_camera_out_of_service_is_gone_but_its_footage_is_not(site: Site) -> None:
    token = await site.world.account("lan", "viewer", "auditor")
    await site.world.cameras.remove(NORTH, COMMAND_LINE)
    site.world.clock.advance(5)
    assert await site.problem("GET", f"/hls/{NORTH}/index.m3u8", token) == (404, "camera_not_found")
    assert (await site.call("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}", token))[0] == 200
    assert (await site.call("GET", f"/api/v1/cameras/{NORTH}/timeline?{SPAN}", token))[0] == 200
