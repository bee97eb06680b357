"""How people and pages stay logged in: cookies, requests that another site sends, tokens in URLs."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from mediasrv.catalogue import accounts
from mediasrv.security import sessions
from mediasrv.security.sessions import hash_token, token_id
from mediasrv.settings import ServerSettings
from tests.integration.web.site import Site, make_site
from tests.unit.web.fakes import CHEAP, NORTH, PASSWORD

# --- cookies -------------------------------------------------------------------------------------


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
    assert body["permissions"] == ["camera.manage", "camera.view", "event.view", "live.view", "ptz.control"]
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


# --- tokens in URLs ------------------------------------------------------------------------------


async def exchange(site: Site, token: str, cookie: str | None = None) -> SimpleCookie:
    """What a browser without a session (or with this one) is given for a `?token=`."""
    site.client.cookie_jar.clear()
    headers = {} if cookie is None else {"Cookie": f"mediasrv_session={cookie}"}
    path = f"/hls/{NORTH}/index.m3u8?stream=main&token={token}&x=1"
    async with site.client.get(path, allow_redirects=False, headers=headers) as response:
        assert response.status == 303
        assert response.headers["Location"] == f"/hls/{NORTH}/index.m3u8?stream=main&x=1"
        assert await response.read() == b""
    return response.cookies


async def answer(site: Site, cookie: str, method: str = "GET") -> int:
    site.client.cookie_jar.clear()
    status, _ = await site.call(method, "/api/v1/session", headers={"Cookie": f"mediasrv_session={cookie}"})
    return status


async def test_a_token_in_the_url_is_exchanged_for_a_session_of_its_own(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    cookie = (await exchange(site, token))["mediasrv_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Strict", str(CHEAP.session_s))
    assert cookie.value.startswith("msrv_")
    assert token not in (cookie.value, cookie.OutputString())
    assert await answer(site, cookie.value) == 200
    entry = (await site.world.log())[-1]
    assert (entry.action, entry.username, entry.detail) == ("login", "lan", {"token": token_id(hash_token(token))})


async def test_a_player_with_a_cookie_jar_follows(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    async with site.client.get(f"/hls/{NORTH}/index.m3u8?token={token}") as followed:
        assert followed.status == 200
        assert "token" not in str(followed.url)


async def test_whoever_has_the_session_already_gets_no_other(site: Site) -> None:
    """A page that is opened by the same link again and again: one session, one entry in the log."""
    token, other = await site.world.account("lan", "viewer"), await site.world.account("minh", "viewer")
    cookie = (await exchange(site, token))["mediasrv_session"].value
    for _ in range(3):
        assert not await exchange(site, token, cookie)
    assert await site.world.actions("login") == ["login"]
    assert (await exchange(site, other, cookie))["mediasrv_session"].value not in (cookie, other)


async def test_the_session_ends_with_its_token_and_the_token_not_with_the_session(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    first, second = [(await exchange(site, token))["mediasrv_session"].value for _ in range(2)]
    _, body = await site.call("GET", "/api/v1/tokens", token)
    assert await answer(site, first, "DELETE") == 204
    assert (await answer(site, first), await answer(site, second)) == (401, 200)
    assert (await site.call("GET", "/api/v1/session", token))[0] == 200
    assert (await site.call("DELETE", f"/api/v1/tokens/{body['tokens'][0]['id']}", token))[0] == 204
    assert await answer(site, second) == 401


async def test_a_revocation_by_another_process_ends_it_within_seconds(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    cookie = (await exchange(site, token))["mediasrv_session"].value
    assert await answer(site, cookie) == 200
    now_us = site.world.clock.wall_us()
    await site.world.services.catalogue.write(accounts.revoke_credential, hash_token(token), now_us)
    site.world.clock.advance(4)
    assert await answer(site, cookie) == 401


async def test_the_session_lasts_no_longer_than_its_token(site: Site) -> None:
    await site.world.account("lan", "viewer")
    token = await site.world.services.accounts.create_token("lan", "short", 600)
    site.world.clock.advance(60)
    cookie = (await exchange(site, token))["mediasrv_session"]
    assert cookie["max-age"] == "540"
    site.world.clock.advance(539)
    assert await answer(site, cookie.value) == 200
    site.world.clock.advance(2)
    assert await answer(site, cookie.value) == 401


async def test_a_token_has_a_bounded_number_of_sessions(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_ISSUED", 3)
    token, other = await site.world.account("lan", "viewer"), await site.world.account("minh", "viewer")
    cookies = []
    for shown in (other, token, token, token, token):
        cookies.append((await exchange(site, shown))["mediasrv_session"].value)
        site.world.clock.advance(4)
    assert [await answer(site, cookie) for cookie in cookies] == [200, 401, 200, 200, 200]


async def test_a_session_is_not_exchanged(site: Site) -> None:
    cookie = await log_in(site)
    assert await site.problem("GET", f"/?token={cookie}", None) == (401, "token_in_url")


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
