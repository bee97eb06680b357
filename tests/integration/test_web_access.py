"""Who gets what over HTTP: every role on every route, cookies, CSRF, URL tokens, revocation."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security.policy import ROLES, Permission
from mediasrv.security.sessions import token_id
from mediasrv.settings import ServerSettings
from mediasrv.web.application import ROUTES, VIEWERS
from mediasrv.web.routing import ANY_ACCOUNT, PUBLIC, Route, Scope
from tests.integration.web_client import Site, make_site
from tests.unit.web.fakes import NORTH, OBJECT_ID, PASSWORD, SOUTH

SPAN: Final = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:10:00Z"
SDP: Final = {"Content-Type": "application/sdp"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with make_site(tmp_path) as made:
        yield made


def concrete(route: Route) -> str:
    """A path that the route answers, about the camera in the north."""
    names = {"camera": NORTH, "object:[0-9a-f]{64}": OBJECT_ID, "track:video|audio": "video", "stream:main|sub": "main"}
    path = route.path
    for name, value in (names | {"token": "t", "id": "9999", "viewer": "v"}).items():
        path = path.replace("{" + name + "}", value)
    file = "0-1.m4s" if path.startswith("/playback") else "1.m4s"
    return path.replace("{file}", file)


# --- roles and routes ----------------------------------------------------------------------------


async def test_without_an_account_only_public_routes_answer(site: Site) -> None:
    """From elsewhere, too: the forwarded address takes the loopback exception away."""
    for route in site.app[ROUTES].values():
        for token in (None, "msrv_" + "A" * 43):
            headers = {"X-Forwarded-For": "192.0.2.1"}
            status, body = await site.call(route.method, concrete(route), token, headers=headers)
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
        status, body = await site.call(route.method, concrete(route), token, headers=headers)
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
            assert await problem_code(site, route.method, concrete(route), token) == (404, "camera_not_found"), route
        elif route.scope is Scope.ROOT and isinstance(route.permission, Permission):
            headers = {"X-Forwarded-For": "192.0.2.1"}
            status, body = await site.call(route.method, concrete(route), token, headers=headers)
            assert (status, body["code"]) == (403, "not_permitted"), route


async def problem_code(site: Site, method: str, path: str, token: str | None, **options: Any) -> tuple[int, str]:
    status, body = await site.call(method, path, token, **options)
    return status, body["code"]


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
    await site.world.cameras.remove(NORTH)
    site.world.clock.advance(5)
    assert await problem_code(site, "GET", f"/hls/{NORTH}/index.m3u8", token) == (404, "camera_not_found")
    assert (await site.call("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}", token))[0] == 200
    assert (await site.call("GET", f"/api/v1/cameras/{NORTH}/timeline?{SPAN}", token))[0] == 200


# --- cookies, CSRF, tokens in URLs ---------------------------------------------------------------


async def log_in(site: Site) -> str:
    """A session cookie's value."""
    await site.world.services.accounts.create_user("lan", PASSWORD)
    await site.world.services.accounts.grant("lan", "operator", purpose="test")
    async with site.client.post("/api/v1/session", json={"username": "lan", "password": PASSWORD}) as response:
        assert response.status == 200
        cookie = response.cookies["mediasrv_session"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        body = await response.json()
    assert body["principal"]["username"] == "lan"
    assert body["permissions"] == ["camera.manage", "camera.view", "live.view"]
    assert body["grants"] == [{"role": "operator", "place": "root", "purpose": "test", "ends_at": None}]
    site.client.cookie_jar.clear()
    return cookie.value


async def test_login_and_logout_by_cookie(site: Site) -> None:
    cookie = await log_in(site)
    headers = {"Cookie": f"mediasrv_session={cookie}"}
    assert (await site.call("GET", "/api/v1/session", headers=headers))[0] == 200
    assert (await site.call("DELETE", "/api/v1/session", headers=headers))[0] == 204
    assert (await site.call("GET", "/api/v1/session", headers=headers))[0] == 401
    assert await site.world.actions("log") == ["login", "logout"]


async def test_wrong_passwords_are_refused_alike_and_limited(site: Site) -> None:
    await site.world.services.accounts.create_user("lan", PASSWORD)
    answers = []
    for _ in range(4):
        body = {"username": "lan", "password": "wrong password 1"}
        answers.append(await problem_code(site, "POST", "/api/v1/session", None, json=body))
    assert answers == [(401, "login_failed")] * 3 + [(429, "too_many_requests")]


def writes_of_other_sites(host: str) -> list[dict[str, str]]:
    return [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{host}.evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]


async def test_writes_that_another_site_sends_are_refused(site: Site) -> None:
    cookie = {"Cookie": f"mediasrv_session={await log_in(site)}"}
    host = f"127.0.0.1:{site.port}"
    for headers in writes_of_other_sites(host):
        for method, path in (
            ("PATCH", f"/api/v1/cameras/{NORTH}"),
            ("DELETE", "/api/v1/session"),
            ("POST", f"/whep/{NORTH}"),
        ):
            answer = await problem_code(site, method, path, None, headers=cookie | headers)
            assert answer == (403, "origin_refused"), (headers, path)
        login = {"username": "lan", "password": PASSWORD}
        answer = await problem_code(site, "POST", "/api/v1/session", None, json=login, headers=headers)
        assert answer == (403, "origin_refused")
    for headers in ({"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}, {}):
        status, _ = await site.call(
            "PATCH", f"/api/v1/cameras/{NORTH}", headers=cookie | headers, json={"name": "Cổng"}
        )
        assert status == 200, headers


async def test_the_public_url_is_an_own_origin_behind_a_proxy(tmp_path: Path) -> None:
    async with make_site(tmp_path, server=ServerSettings(public_url="https://cams.example")) as site:
        cookie = {"Cookie": f"mediasrv_session={await log_in(site)}"}
        headers = cookie | {"Origin": "https://cams.example"}
        status, _ = await site.call("PATCH", f"/api/v1/cameras/{NORTH}", headers=headers, json={"name": "x"})
        assert status == 200


async def test_a_bearer_token_needs_no_origin(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    headers = {"Origin": "https://elsewhere.example"}
    status, _ = await site.call("PATCH", f"/api/v1/cameras/{NORTH}", token, headers=headers, json={"name": "x"})
    assert status == 200


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Digest x", "token"])
async def test_other_authorizations_are_refused_even_beside_a_good_cookie(site: Site, header: str) -> None:
    cookie = await log_in(site)
    headers = {"Cookie": f"mediasrv_session={cookie}", "Authorization": header}
    assert (await site.call("GET", "/api/v1/session", headers=headers))[0] == 401


async def test_a_token_in_the_url_moves_into_the_cookie(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    path = f"/hls/{NORTH}/index.m3u8?stream=main&token={token}&x=1"
    async with site.client.get(path, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == f"/hls/{NORTH}/index.m3u8?stream=main&x=1"
        assert response.cookies["mediasrv_session"].value == token
        assert await response.read() == b""
    async with site.client.get(path) as followed:  # with the cookie jar, as a player does
        assert followed.status == 200
        assert "token" not in str(followed.url)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hls/gate-north/index.m3u8?token=nonsense", 401),
        ("POST", "/whep/gate-north?token={token}", 401),
        ("GET", "//evil.example/?token={token}", 404),
        ("GET", "/nowhere?token={token}", 404),
    ],
)
async def test_a_token_in_the_url_is_good_for_nothing_else(site: Site, method: str, path: str, status: int) -> None:
    token = await site.world.account("lan", "viewer")
    answer, _ = await site.call(method, path.format(token=token))
    assert answer == status
    assert not site.world.live.present


# --- revocation ----------------------------------------------------------------------------------


async def test_a_revoked_grant_ends_live_hls_at_the_next_request(site: Site) -> None:
    token = await site.world.account("lan")
    grant_id = await site.world.services.accounts.grant("lan", "viewer", purpose="test")
    path = f"/hls/{NORTH}/main/video.m3u8"
    assert (await site.call("GET", path, token))[0] == 200
    await site.world.services.accounts.revoke_grant(grant_id)
    assert await problem_code(site, "GET", path, token) == (404, "camera_not_found")


@pytest.mark.parametrize("file", ["video.m3u8?_HLS_msn=1", "video/1.0.m4s"])
@pytest.mark.parametrize(("waits_s", "status"), [(0.1, 200), (3.0, 401)])
async def test_a_blocking_request_that_outlives_its_right_gets_no_media(
    site: Site, file: str, waits_s: float, status: int
) -> None:
    token = await site.world.account("lan", "viewer")
    site.world.hls.waits_s = waits_s
    site.world.hls.during = lambda: site.world.services.accounts.disable_user("lan")
    assert (await site.call("GET", f"/hls/{NORTH}/main/{file}", token))[0] == status


async def join(site: Site, token: str, camera: str = NORTH) -> str:
    """The path of a new viewer."""
    headers = {"Authorization": f"Bearer {token}"} | SDP
    async with site.client.post(f"/whep/{camera}", data="v=0\r\n", headers=headers) as response:
        assert response.status == 201, await response.text()
        return response.headers["Location"].partition("/whep/")[2]


@pytest.mark.parametrize("how", ["grant", "token", "account", "expiry", "camera"])
async def test_whatever_is_revoked_ends_a_webrtc_viewer_within_five_seconds(site: Site, how: str) -> None:
    world, accounts = site.world, site.world.services.accounts
    await world.account("lan")
    grant_id = await accounts.grant("lan", "viewer", purpose="test")
    token = await accounts.create_token("lan", "short", 60)
    other = await world.account("minh", "viewer")
    await join(site, token)
    await join(site, other, SOUTH)
    identity = await world.services.sessions.identify(token)
    await site.app[VIEWERS].end_revoked()
    assert len(world.live.present) == 2
    if how == "grant":
        await accounts.revoke_grant(grant_id)
    elif how == "token":
        await world.services.sessions.revoke_token(identity, token_id(identity.token_hash), "")
    elif how == "account":
        await accounts.disable_user("lan")
    elif how == "expiry":
        world.clock.advance(60)
    else:
        await world.cameras.remove(NORTH)
    world.clock.advance(4)
    await site.app[VIEWERS].end_revoked()
    assert [viewer.ref.camera_id for viewer in world.live.present.values()] == [SOUTH]
    assert (await world.log())[-1].action == "live.ended"


async def test_the_watch_over_viewers_runs_by_itself_and_survives_a_failing_catalogue(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mediasrv.web.viewers.CHECK_S", 0.01)
    token = await site.world.account("lan", "viewer")
    await join(site, token)
    real, failures = site.world.services.sessions.recall, [OSError("disk"), OSError("disk")]

    async def recall(token_hash: bytes) -> Any:
        if failures:
            raise failures.pop()
        return await real(token_hash)

    monkeypatch.setattr(site.world.services.sessions, "recall", recall)
    watch = asyncio.create_task(site.app[VIEWERS].run())
    await site.world.services.accounts.disable_user("lan")
    async with asyncio.timeout(10):
        while site.world.live.present:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.01)
    watch.cancel()
    assert not failures
    assert "rights of live viewers could not be checked" in caplog.text


async def test_only_its_owner_may_change_or_end_a_viewer(site: Site) -> None:
    mine, others = await site.world.account("lan", "viewer"), await site.world.account("minh", "viewer")
    viewer = await join(site, mine)
    fragment = {"Content-Type": "application/trickle-ice-sdpfrag"}
    path = f"/whep/{viewer}"
    answer = await problem_code(site, "PATCH", path, others, data="a=x", headers=fragment)
    assert answer == (404, "viewer_not_found")
    assert await problem_code(site, "DELETE", path, others) == (404, "viewer_not_found")
    elsewhere = path.replace(NORTH, SOUTH)
    assert await problem_code(site, "DELETE", elsewhere, mine) == (404, "viewer_not_found")
    assert (await site.call("PATCH", path, mine, data="a=x", headers=fragment))[0] == 204
    assert site.world.live.fragments == ["a=x"]
    assert (await site.call("DELETE", path, mine))[0] == 204
    assert not site.world.live.present


# --- the access log and what leaves --------------------------------------------------------------


async def test_every_viewing_is_in_the_log_once(site: Site) -> None:
    token = await site.world.account("lan", "viewer", "auditor")
    for _ in range(3):
        await site.call("GET", f"/hls/{NORTH}/index.m3u8", token)
        await site.call("GET", f"/hls/{NORTH}/main/video.m3u8", token)
        await site.call("GET", f"/hls/{NORTH}/main/video/5.2.m4s", token)
        await site.call("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}", token)
        await site.call("GET", f"/playback/{NORTH}/video.m3u8?{SPAN}", token)
        await site.call("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s", token)
        site.world.clock.advance(30)
    await join(site, token)
    shown = [(entry.action, entry.subject, entry.remote) for entry in await site.world.log()]
    assert [one for one in shown if one[0].startswith(("live", "playback"))] == [
        ("live.started", f"{NORTH}/main", "127.0.0.1"),
        ("playback.started", f"{NORTH}/main 2026-01-01T00:00:00.000Z 2026-01-01T00:10:00.000Z", "127.0.0.1"),
        ("live.started", f"{NORTH}/main", "127.0.0.1"),
    ]


async def test_a_segment_asked_for_without_its_playlist_is_an_entry_of_its_own(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    await site.call("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s", token)
    assert (await site.world.log())[-1].subject == f"{NORTH} {OBJECT_ID}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/hls/{NORTH}/index.m3u8"),
        ("GET", f"/hls/{NORTH}/main/video/5.2.m4s"),
        ("GET", f"/hls/{NORTH}/main/video/init-0.mp4"),
        ("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/init-0.mp4"),
        ("POST", f"/whep/{NORTH}"),
    ],
)
async def test_no_media_leaves_when_its_entry_cannot_be_written(
    site: Site, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    token = await site.world.account("lan", "viewer", "auditor")

    async def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(site.world.services.catalogue, "write", fail)
    headers = SDP if method == "POST" else {}
    status, body = await site.call(method, path, token, headers=headers)
    assert (status, body["code"]) == (500, "internal_error")
    assert "disk full" not in json.dumps(body)
    assert not site.world.live.present


async def test_changes_are_in_the_log_with_who_and_what(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    site.world.cameras.views.clear()
    created = {"id": "gate-9", "address": "rtsp://admin:s3cret@192.0.2.9/a", "place": "north"}
    status, body = await site.call("POST", "/api/v1/cameras", token, json=created)
    assert (status, body["id"]) == (201, "gate-9")
    await site.call("PATCH", "/api/v1/cameras/gate-9", token, json={"name": "Cổng", "password": "n3wsecret"})
    policy = {"max_age_days": 7, "max_size_bytes": None}
    await site.call("PUT", "/api/v1/cameras/gate-9/retention", token, json=policy)
    await site.call("DELETE", "/api/v1/cameras/gate-9", token)
    _, made = await site.call("POST", "/api/v1/tokens", token, json={"name": "script"})
    entries = [entry for entry in await site.world.log() if entry.username == "lan"][-5:]
    assert [entry.action for entry in entries] == [
        *("camera.added", "camera.changed", "retention.changed", "camera.removed", "token.created"),
    ]
    assert entries[1].detail == {"changed": ["name", "password"]}
    assert entries[2].detail["after"]["max_age_days"] == 7
    everything = repr(await site.world.log())
    for secret in ("s3cret", "n3wsecret", made["token"]):
        assert secret not in everything
    wish = site.world.cameras.wishes[0]
    assert (wish.address, wish.username, wish.password) == ("rtsp://192.0.2.9/a", "admin", "s3cret")


async def test_no_secret_reaches_the_server_s_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = await site.world.account("lan", "operator", "viewer")
    await site.call("GET", f"/hls/{NORTH}/index.m3u8?token={token}")
    await site.call("GET", f"/hls/{NORTH}/index.m3u8?token={token}", token)
    await site.call("GET", f"/invite/{token}")
    await site.call("GET", f"/nowhere/{token}", token)
    await site.call("POST", "/api/v1/session", json={"username": "lan", "password": "p4ssw0rd p4ssw0rd"})
    site.world.cameras.list = None  # type: ignore[method-assign, assignment]
    assert (await site.call("GET", f"/api/v1/cameras?access={token}", token))[0] == 500
    assert "failed" in caplog.text
    assert token not in caplog.text
    assert "p4ssw0rd" not in caplog.text
    _, metrics = await site.call("GET", "/metrics")
    assert token.encode() not in metrics


async def test_live_viewers_are_counted_by_either_way(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    await join(site, token)
    for _ in range(3):
        await site.call("GET", f"/hls/{NORTH}/main/video.m3u8", token)
    viewers = site.app[VIEWERS]
    ref = StreamRef(NORTH, StreamName.MAIN)
    assert viewers.counts() == {ref: 2}
    site.world.clock.advance(11)
    assert viewers.counts() == {ref: 1}


# --- the shape of answers ------------------------------------------------------------------------


async def test_every_error_is_a_problem_with_a_code(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await site.world.account("lan", "operator", "auditor", "administrator")
    cases: list[tuple[str, str, dict[str, Any], int, str]] = [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("PUT", "/api/v1/cameras", {}, 405, "method_not_allowed"),
        ("POST", "/api/v1/cameras", {"data": "{"}, 415, "media_type_unsupported"),
        ("POST", "/api/v1/cameras", {"json": []}, 400, "json_invalid"),
        ("POST", "/api/v1/cameras", {"data": b"{", "headers": json_type()}, 400, "json_invalid"),
        ("POST", "/api/v1/cameras", {"data": b'"\xff"', "headers": json_type()}, 400, "json_invalid"),
        ("POST", "/api/v1/cameras", {"data": b"[" * 60_000, "headers": json_type()}, 400, "json_invalid"),
        ("POST", "/api/v1/cameras", {"json": {"adress": "x"}}, 400, "request_invalid"),
        ("POST", "/api/v1/cameras", {"json": {"address": ""}}, 400, "request_invalid"),
        ("POST", "/api/v1/cameras", {"json": {"address": "x", "transport": "sctp"}}, 400, "request_invalid"),
        ("PATCH", f"/api/v1/cameras/{NORTH}", {"json": {"tls_fingerprint": "12:34"}}, 400, "request_invalid"),
        ("POST", "/api/v1/cameras", {"json": {"address": "x", "id": "A B"}}, 400, "camera_id_invalid"),
        ("POST", "/api/v1/cameras", {"json": {"address": "x", "place": "nowhere"}}, 404, "place_not_found"),
        ("POST", "/api/v1/cameras", {"json": {"address": "x" * 100_000}}, 413, "request_too_large"),
        ("POST", f"/whep/{NORTH}", {"data": "v=0"}, 415, "media_type_unsupported"),
        ("POST", f"/whep/{NORTH}?stream=third", {"data": "v=0", "headers": SDP}, 400, "stream_unknown"),
        ("GET", f"/hls/{NORTH}/main/video.m3u8?_HLS_part=1", {}, 400, "hls_directive_invalid"),
        ("GET", f"/hls/{NORTH}/main/video.m3u8?_HLS_msn=x", {}, 400, "request_invalid"),
        ("GET", f"/hls/{NORTH}/main/video/..%2f..%2fetc", {}, 404, "segment_not_found"),
        ("GET", f"/hls/{NORTH}/third/video.m3u8", {}, 404, "not_found"),
        ("GET", f"/hls/{NORTH}/main/video/{'9' * 400}.m4s", {}, 404, "segment_not_found"),
        ("GET", f"/playback/{NORTH}/index.m3u8", {}, 400, "time_invalid"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/x.m4s", {}, 404, "segment_not_found"),
        ("GET", f"/api/v1/cameras/{NORTH}/timeline?start=now&end=then", {}, 400, "time_invalid"),
        ("PUT", f"/api/v1/cameras/{NORTH}/retention", {"json": {"max_age_days": 0}}, 400, "request_invalid"),
        ("GET", "/api/v1/access-log?limit=0", {}, 400, "request_invalid"),
        ("DELETE", "/api/v1/tokens/nothing", {}, 404, "token_not_found"),
        ("DELETE", "/api/v1/grants/x", {}, 404, "grant_not_found"),
        ("POST", "/api/v1/invite", {"json": invite()}, 401, "invite_invalid"),
        ("GET", "/", {}, 503, "page_missing"),
    ]
    for method, path, options, status, code in cases:
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        async with site.client.request(method, path, headers=headers, **options) as response:
            body = await response.json(content_type="application/problem+json")
        assert (response.status, body["code"]) == (status, code), (method, path[:80])
        assert body["type"] == f"urn:mediasrv:error:{code}"
        assert body["status"] == status
        assert body["detail"].endswith((".", "him"))
        assert "max-age" not in response.headers["Cache-Control"]


def json_type() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def invite() -> dict[str, str]:
    return {"token": "nonsense", "username": "lan", "password": PASSWORD}


async def test_the_unforeseen_is_logged_and_says_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    token = await site.world.account("lan", "viewer")

    async def broken(*_: Any) -> bytes:
        raise RuntimeError("the secret inside")

    site.world.hls.master = broken  # type: ignore[method-assign]
    status, body = await site.call("GET", f"/hls/{NORTH}/index.m3u8", token)
    assert (status, body["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert "the secret inside" in caplog.text


async def test_answers_are_not_cached_framed_or_sniffed(site: Site) -> None:
    token = await site.world.account("lan", "viewer", "auditor")
    for path in ("/healthz", "/nowhere", "/api/v1/cameras", f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s"):
        async with site.client.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_page_is_served_from_the_build(tmp_path: Path) -> None:
    build_page(tmp_path / "dist")
    async with make_site(tmp_path, ui_dir=tmp_path / "dist") as site:
        for path in ("/", "/invite/TOKEN", "/index.html"):
            async with site.client.get(path) as response:
                assert (response.status, response.content_type) == (200, "text/html")
                policy = response.headers["Content-Security-Policy"]
                assert "script-src 'self';" in policy
                assert "media-src 'self' blob:" in policy
                assert "unsafe" not in policy
                assert response.headers["Cache-Control"] == "no-cache"
        async with site.client.get("/assets/app-1234.js") as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            assert "immutable" in response.headers["Cache-Control"]
            assert await response.text() == "x" * 5000
            etag = response.headers["ETag"]
        async with site.client.get("/assets/app-1234.js", headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        for path in ("/assets/../secret", "/assets/%2e%2e/secret", "/secret", "/assets/app-1234.js.map", "/assets/"):
            assert (await site.call("GET", path))[0] == 404, path


def build_page(dist: Path) -> None:
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>mediasrv</title>")
    (dist / "assets" / "app-1234.js").write_text("x" * 5000)
    (dist / "assets" / "app-1234.js.map").write_text("{}")
    (dist.parent / "secret").write_text("secret")


# --- administration ------------------------------------------------------------------------------


async def test_the_first_administrator_comes_in_by_the_link(site: Site) -> None:
    token = await site.world.services.accounts.first_invite()
    body = {"token": token, "username": "lan", "password": PASSWORD}
    async with site.client.post("/api/v1/invite", json=body) as response:
        assert response.status == 200
        assert (await response.json())["permissions"][0] == "access_log.read"
    async with site.client.get("/api/v1/session") as response:  # the cookie of the answer
        assert (await response.json())["principal"]["username"] == "lan"
    assert await problem_code(site, "POST", "/api/v1/invite", None, json=body) == (401, "invite_invalid")


async def test_rights_are_delegated_down_the_tree_and_not_beside_it(site: Site) -> None:
    token = await site.world.account("lan", "administrator", place="north")
    await site.world.account("minh")
    grant = {"username": "minh", "role": "viewer", "purpose": "shift"}
    for place, expected in (("north", 201), ("south", 403), ("root", 403)):
        assert (await site.call("POST", "/api/v1/grants", token, json=grant | {"place": place}))[0] == expected
    assert (await site.call("POST", "/api/v1/grants", token, json=grant))[0] == 403
    _, listed = await site.call("GET", "/api/v1/grants", token)
    assert {(row["username"], row["place"]) for row in listed["grants"]} == {("lan", "north"), ("minh", "north")}
    south = await site.world.services.accounts.grant("minh", "viewer", "south", purpose="x")
    assert (await site.call("DELETE", f"/api/v1/grants/{south}", token))[0] == 404
    own = next(row["id"] for row in listed["grants"] if row["username"] == "minh")
    assert (await site.call("DELETE", f"/api/v1/grants/{own}", token))[0] == 204


async def test_places_show_the_own_branch_only(site: Site) -> None:
    token = await site.world.account("lan", "administrator", place="north")
    new = {"id": "site-7", "parent": "north", "level": "site", "name": "Trạm 7"}
    assert (await site.call("POST", "/api/v1/places", token, json=new))[0] == 201
    assert (await site.call("POST", "/api/v1/places", token, json=new | {"id": "x", "parent": "south"}))[0] == 403
    _, body = await site.call("GET", "/api/v1/places", token)
    assert [place["id"] for place in body["places"]] == ["root", "north", "site-7"]


async def test_the_access_log_is_read_in_pages_and_reading_is_logged(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    _, body = await site.call("GET", "/api/v1/access-log?limit=2", token)
    assert set(body["entries"][0]) == {"entry", "at", "username", "remote", "action", "subject", "detail"}
    assert body["entries"][0]["action"] == "access_log.read"
    assert body["head"]["entry"] == body["entries"][0]["entry"]
    assert len(body["head"]["hash"]) == 64
    _, older = await site.call("GET", f"/api/v1/access-log?limit=2&before={body['entries'][1]['entry']}", token)
    assert older["entries"][0]["entry"] == body["entries"][1]["entry"] - 1


async def test_tokens_over_http(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    status, made = await site.call("POST", "/api/v1/tokens", token, json={"name": "script"})
    assert status == 201
    _, listed = await site.call("GET", "/api/v1/tokens", made["token"])
    assert [one["name"] for one in listed["tokens"]] == ["script", "test"] or len(listed["tokens"]) == 2
    assert made["token"] not in json.dumps(listed)
    wanted = next(one["id"] for one in listed["tokens"] if one["name"] == "script")
    assert (await site.call("DELETE", f"/api/v1/tokens/{wanted}", token))[0] == 204
    assert (await site.call("GET", "/api/v1/session", made["token"]))[0] == 401


async def test_cameras_of_the_file_are_changed_there(site: Site) -> None:
    await site.world.cameras.put("filed", "north", "file")
    token = await site.world.account("lan", "operator")
    for method in ("PATCH", "DELETE"):
        options = {"json": {"name": "x"}} if method == "PATCH" else {}
        answer = await problem_code(site, method, "/api/v1/cameras/filed", token, **options)
        assert answer == (409, "camera_from_file")


async def test_an_operator_of_a_site_adds_cameras_there_only(site: Site) -> None:
    token = await site.world.account("lan", "operator", place="north")
    for place, expected in (("north", 200), ("south", 403), ("root", 403), ("", 403)):
        body = {"address": "192.0.2.1", "place": place}
        assert (await site.call("POST", "/api/v1/cameras/probe", token, json=body))[0] == expected, place
    assert (await site.call("GET", "/api/v1/discover", token))[1]["devices"][0]["address"] == "192.0.2.9"


async def test_readiness_tells_why_not(site: Site) -> None:
    from mediasrv.reasons import reason

    site.world.system.reasons = [reason("storage_unreachable")]
    status, body = await site.call("GET", "/readyz")
    assert (status, body["ready"], body["reasons"][0]["code"]) == (503, False, "storage_unreachable")


async def test_where_a_viewer_lives_is_an_absolute_url(tmp_path: Path) -> None:
    async with make_site(tmp_path, server=ServerSettings(public_url="https://cams.example/")) as site:
        token = await site.world.account("lan", "viewer")
        headers = {"Authorization": f"Bearer {token}"} | SDP
        async with site.client.post(f"/whep/{NORTH}", data="v=0\r\n", headers=headers) as response:
            assert response.headers["Location"] == f"https://cams.example/whep/{NORTH}/viewer-0"
            assert response.headers["ETag"] == '"1"'
            assert response.content_type == "application/sdp"
        assert isinstance(site.app, web.Application)
