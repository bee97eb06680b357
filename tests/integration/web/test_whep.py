"""WHEP's HTTP side: ETags and ICE restarts, CORS, STUN and TURN servers (RFC 9725, Fetch standard)."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mediasrv.errors import SettingsError
from mediasrv.settings import ServerSettings, WebRtcSettings
from tests.integration.web.site import SDP, Site, make_site
from tests.unit.web.fakes import NORTH, SOUTH

WALL = "https://wall.example.org"
STRANGER = "https://evil.example"
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
PREFLIGHT = {"Origin": WALL, "Access-Control-Request-Method": "POST"}


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("TURN_SECRET", "north")
    webrtc = WebRtcSettings(
        stun=("stun:stun.example.org:3478",),
        turn=("turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:5349?transport=tcp"),
        turn_secret="env:TURN_SECRET",
        turn_ttl_s=600,
    )
    async with make_site(tmp_path, server=ServerSettings(allowed_origins=(WALL,)), webrtc=webrtc) as made:
        yield made


async def ask(
    site: Site, method: str, path: str, token: str | None = None, **options: Any
) -> tuple[int, "aiohttp.typedefs.CIMultiDictProxy[str]"]:  # noqa: UP037
    headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    async with site.client.request(method, path, headers=headers, **options) as response:
        await response.read()
        return response.status, response.headers


async def test_a_restart_answers_with_our_side_and_a_new_etag(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    viewer = f"/whep/{await site.join(token)}"
    status, headers = await ask(site, "PATCH", viewer, token, data="restart", headers=FRAGMENT | {"If-Match": "*"})
    assert (status, headers["ETag"], headers["Content-Type"]) == (
        200,
        '"2"',
        "application/trickle-ice-sdpfrag; charset=utf-8",
    )
    status, headers = await ask(site, "PATCH", viewer, token, data="a=x", headers=FRAGMENT | {"If-Match": '"1"'})
    assert (status, "ETag" in headers) == (204, False)
    assert site.world.live.fragments == [("restart", "*"), ("a=x", '"1"')]
    status, _ = await ask(site, "PATCH", viewer, token, data="a=x", headers=SDP)
    assert status == 415


async def test_what_a_resource_does_not_do_is_405_with_what_it_does(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    viewer = f"/whep/{await site.join(token)}"
    for path, allowed in ((f"/whep/{NORTH}", "GET,OPTIONS,POST"), (viewer, "DELETE,GET,OPTIONS,PATCH")):
        status, headers = await ask(site, "PUT", path, token)
        assert (status, headers["Allow"]) == (405, allowed)
        status, headers = await ask(site, "GET", path, token)
        assert status == 204
        status, headers = await ask(site, "OPTIONS", path, token)
        assert (status, headers["Allow"].replace(" ", "")) == (200, allowed)
    assert (await ask(site, "OPTIONS", f"/whep/{NORTH}", token))[1]["Accept-Post"] == "application/sdp"
    assert (await ask(site, "OPTIONS", viewer, token))[1]["Accept-Patch"] == "application/trickle-ice-sdpfrag"


async def test_only_a_preflight_needs_no_account(site: Site) -> None:
    for path in (f"/whep/{NORTH}", f"/whep/{NORTH}/viewer-0", "/whep/no-such-camera"):
        assert (await ask(site, "OPTIONS", path, headers=PREFLIGHT))[0] == 200
    for headers in ({}, {"Origin": WALL}, {"Access-Control-Request-Method": "POST"}):
        assert (await ask(site, "OPTIONS", f"/whep/{NORTH}", headers=headers))[0] == 401
    assert (await ask(site, "POST", f"/whep/{NORTH}", headers=PREFLIGHT | SDP, data="v=0"))[0] in (401, 403)
    assert (await ask(site, "OPTIONS", "/api/v1/cameras", headers=PREFLIGHT))[0] == 405
    south = await site.world.account("lan", "viewer", place="south")
    assert (await ask(site, "OPTIONS", f"/whep/{NORTH}", south))[0] == 404


async def test_a_preflight_of_an_allowed_origin_says_what_may_be_sent(site: Site) -> None:
    _, headers = await ask(site, "OPTIONS", f"/whep/{NORTH}", headers=PREFLIGHT)
    assert headers["Access-Control-Allow-Origin"] == WALL
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "Content-Type", "If-Match"} <= set(headers["Access-Control-Allow-Headers"].split(", "))
    assert headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Link" not in headers
    _, headers = await ask(site, "OPTIONS", f"/whep/{NORTH}", headers=PREFLIGHT | {"Origin": STRANGER})
    assert not [name for name in headers if name.startswith("Access-Control")]


async def test_a_page_of_an_allowed_origin_joins_by_token(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    origin = {"Origin": WALL, "Sec-Fetch-Site": "cross-site"}
    status, headers = await ask(site, "POST", f"/whep/{NORTH}", token, data="v=0\r\n", headers=SDP | origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (201, WALL)
    exposed = set(headers["Access-Control-Expose-Headers"].split(", "))
    assert {"Location", "ETag", "Link", "Accept-Patch"} <= exposed
    # Errors too, or the page could not read why.
    status, headers = await ask(site, "POST", "/whep/nowhere", token, data="v=0\r\n", headers=SDP | origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (404, WALL)
    _, headers = await ask(site, "POST", f"/whep/{NORTH}", token, data="v=0\r\n", headers=SDP | {"Origin": STRANGER})
    assert not [name for name in headers if name.startswith("Access-Control")]
    _, headers = await ask(site, "GET", "/api/v1/cameras", token, headers=origin)
    assert not [name for name in headers if name.startswith("Access-Control")]


async def test_a_cookie_is_worth_nothing_to_another_site_even_an_allowed_one(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    assert (await ask(site, "GET", f"/api/v1/session?token={token}", allow_redirects=False))[0] == 303
    for origin in (WALL, STRANGER):
        status, _ = await ask(site, "POST", f"/whep/{NORTH}", data="v=0\r\n", headers=SDP | {"Origin": origin})
        assert status == 403
    assert (await ask(site, "POST", f"/whep/{NORTH}", data="v=0\r\n", headers=SDP))[0] == 201


async def test_viewers_are_told_of_stun_and_of_turn_with_a_login_of_their_own(site: Site) -> None:
    logins = []
    for name in ("lan", "minh"):
        token = await site.world.account(name, "viewer")
        _, headers = await ask(site, "POST", f"/whep/{NORTH}", token, data="v=0\r\n", headers=SDP)
        links = headers.getall("Link")
        assert links[0] == '<stun:stun.example.org:3478>; rel="ice-server"'
        assert [link.partition(";")[0] for link in links[1:]] == [
            "<turn:turn.example.org:3478?transport=udp>",
            "<turns:turn.example.org:5349?transport=tcp>",
        ]
        assert (await ask(site, "OPTIONS", f"/whep/{NORTH}", token))[1].getall("Link") == links
        login = dict(re.findall(r'(\w[\w-]*)="([^"]*)"', links[1]))
        assert login["credential-type"] == "password"
        # As coturn reckons it.
        expected = hmac.digest(b"north", login["username"].encode(), "sha1")
        assert base64.b64decode(login["credential"]) == expected
        expires, _, pseudonym = login["username"].partition(":")
        assert int(expires) == site.world.clock.wall_us() // 1_000_000 + 600
        assert re.fullmatch(r"[0-9a-f]{16}", pseudonym)
        logins.append(pseudonym)
    assert logins[0] != logins[1]


async def test_without_origins_and_servers_nothing_is_said(tmp_path: Path) -> None:
    async with make_site(tmp_path) as site:
        token = await site.world.account("lan", "viewer")
        _, headers = await ask(site, "POST", f"/whep/{SOUTH}", token, data="v=0\r\n", headers=SDP | {"Origin": WALL})
        assert "Link" not in headers
        assert not [name for name in headers if name.startswith("Access-Control")]


async def test_any_origin_is_any_page_that_holds_a_token(tmp_path: Path) -> None:
    async with make_site(tmp_path, server=ServerSettings(allowed_origins=("*",))) as site:
        token = await site.world.account("lan", "viewer")
        _, headers = await ask(
            site, "POST", f"/whep/{NORTH}", token, data="v=0\r\n", headers=SDP | {"Origin": STRANGER}
        )
        assert headers["Access-Control-Allow-Origin"] == STRANGER
        assert "Access-Control-Allow-Credentials" not in headers


async def test_a_turn_secret_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    webrtc = WebRtcSettings(turn=("turn:t.example.org",), turn_secret="env:NO_SUCH_SECRET")
    with pytest.raises(SettingsError):
        async with make_site(tmp_path, webrtc=webrtc):
            pass
