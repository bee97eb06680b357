"""How a request says whose it is: cookies, other sites, bearer tokens, tokens in URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediasrv.settings import ServerSettings
from tests.integration.web.site import Site, make_site
from tests.unit.web.fakes import NORTH, PASSWORD


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
        answers.append(await site.problem("POST", "/api/v1/session", None, json=body))
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
            answer = await site.problem(method, path, None, headers=cookie | headers)
            assert answer == (403, "origin_refused"), (headers, path)
        login = {"username": "lan", "password": PASSWORD}
        answer = await site.problem("POST", "/api/v1/session", None, json=login, headers=headers)
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
