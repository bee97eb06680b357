"""What caches are told of live HLS, by cookie and by path token, and what is sent to whom."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mediasrv.media.playlist import Manner
from mediasrv.security.sessions import token_id
from mediasrv.settings import ServerSettings
from tests.integration.web.site import Site, make_site
from tests.unit.web.fakes import NORTH, OBJECT_ID, SOUTH

PLAYLIST, PART = "main/video.m3u8", "main/video/1.0.m4s"


async def path_of(site: Site, token: str, camera: str = NORTH) -> str:
    """Where the camera's HLS lies for somebody who brings nothing but the URL."""
    status, made = await site.call("POST", f"/api/v1/cameras/{camera}/hls-token", token)
    assert status == 201
    assert made["url"].endswith(f"/{camera}/index.m3u8")
    return str(made["url"].partition(f":{site.port}")[2].removesuffix("index.m3u8"))


async def head_of(site: Site, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any, bytes]:
    """Status, headers and the bytes as they came."""
    async with site.client.get(path, headers=headers, auto_decompress=False) as response:
        return response.status, response.headers, await response.read()


@pytest.fixture
async def token(site: Site) -> str:
    return await site.world.account("lan", "viewer")


@pytest.mark.parametrize("file", ["index.m3u8", PLAYLIST, f"{PLAYLIST}?_HLS_msn=3", PART, "main/video/init-0.mp4"])
async def test_nobody_keeps_what_a_cookie_opens(site: Site, token: str, file: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    status, found, _ = await head_of(site, f"/hls/{NORTH}/{file}", headers)
    assert (status, found["Cache-Control"]) == (200, "private, no-store")
    assert found["X-Content-Type-Options"] == "nosniff"
    assert found["Referrer-Policy"] == "no-referrer"
    assert "Date" in found


@pytest.mark.parametrize(
    ("file", "caching"),
    [
        ("index.m3u8", "private, no-cache"),
        (PLAYLIST, "public, max-age=1"),
        (f"{PLAYLIST}?_HLS_msn=3&_HLS_part=1", "public, max-age=12"),
        (PART, "public, max-age=3600, immutable"),
        ("main/video/1.m4s", "public, max-age=3600, immutable"),
        ("main/audio/init-0.mp4", "public, max-age=3600, immutable"),
        ("main/video/nothing.m4s", "no-store"),
    ],
)
async def test_a_cache_keeps_what_a_path_token_opens_as_long_as_it_is_of_use(
    site: Site, token: str, file: str, caching: str
) -> None:
    _, found, _ = await head_of(site, await path_of(site, token) + file)
    assert found["Cache-Control"] == caching


async def test_a_playlist_is_packed_once_and_each_form_has_its_own_tag(site: Site, token: str) -> None:
    path = await path_of(site, token) + PLAYLIST
    _, plain, text = await head_of(site, path, {"Accept-Encoding": "identity"})
    _, packed, squeezed = await head_of(site, path, {"Accept-Encoding": "gzip, br"})
    assert gzip.decompress(squeezed) == text
    assert (plain["Vary"], packed["Vary"]) == ("Accept-Encoding", "Accept-Encoding")
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert plain["ETag"] != packed["ETag"]
    status, again, body = await head_of(site, path, {"Accept-Encoding": "gzip", "If-None-Match": packed["ETag"]})
    assert (status, body, again["ETag"]) == (304, b"", packed["ETag"])
    status, _, body = await head_of(site, path, {"Accept-Encoding": "identity", "If-None-Match": packed["ETag"]})
    assert (status, body) == (200, text)


async def test_a_part_that_did_not_change_is_not_sent_again(site: Site, token: str) -> None:
    path = await path_of(site, token) + PART
    _, found, _ = await head_of(site, path)
    status, again, body = await head_of(site, path, {"If-None-Match": found["ETag"]})
    assert (status, body) == (304, b"")
    assert "Content-Length" not in again
    status, _, _ = await head_of(site, path)
    assert status == 200, "the connection is in order behind an answer without a body"


async def test_a_connection_that_is_to_end_is_ended(site: Site, token: str) -> None:
    _, found, body = await head_of(site, await path_of(site, token) + PART, {"Connection": "close"})
    assert found["Connection"] == "close"
    assert len(body) == int(found["Content-Length"])


@pytest.mark.parametrize("how", ["logout", "token", "grant", "account", "unused", "age", "camera"])
async def test_a_path_token_ends_with_what_it_came_from(site: Site, how: str) -> None:
    world, services = site.world, site.world.services
    await world.account("lan")
    grant_id = await services.accounts.grant("lan", "viewer", purpose="test")
    credential = await services.accounts.create_token("lan", "short", None)
    path = await path_of(site, credential) + PART
    identity = await services.sessions.identify(credential)
    assert (await head_of(site, path))[0] == 200
    if how == "logout":
        await services.sessions.logout(identity, "")
    elif how == "token":
        await services.sessions.revoke_token(identity, token_id(identity.token_hash), "")
    elif how == "grant":
        await services.accounts.revoke_grant(grant_id)
    elif how == "account":
        await services.accounts.disable_user("lan")
    elif how == "unused":
        world.clock.advance(services.settings.hls.token_s + 1)
    elif how == "age":
        for _ in range(int(services.settings.hls.token_most_s / 200)):
            world.clock.advance(200)
            assert (await head_of(site, path))[0] == 200, "each use renews it"
        world.clock.advance(200)
    else:
        path = path.replace(NORTH, SOUTH)
    assert (await head_of(site, path))[0] in (401, 404)


async def test_a_path_token_opens_nothing_but_its_cameras_hls(site: Site, token: str) -> None:
    path = await path_of(site, token)
    inside = path.split("/")[3]
    for other in (f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s", "/api/v1/session", "/api/v1/cameras"):
        assert (await site.call("GET", other, inside))[0] == 401
    for wrong in (inside[:-2] + "AA", inside[::-1], "A" * 160):
        assert await site.problem("GET", f"/hls/t/{wrong}/{NORTH}/{PART}", None) == (401, "not_authenticated")
        assert await site.problem("GET", f"/hls/t/{wrong}/{NORTH}/{PART}", token) == (401, "not_authenticated")


async def test_only_who_may_watch_live_gets_a_path_token(site: Site) -> None:
    auditor = await site.world.account("minh", "auditor")
    assert await site.problem("POST", f"/api/v1/cameras/{NORTH}/hls-token", auditor) == (403, "not_permitted")


async def test_a_viewing_by_path_token_is_in_the_access_log(site: Site, token: str) -> None:
    await head_of(site, await path_of(site, token) + PLAYLIST)
    entry = (await site.world.log())[-1]
    assert (entry.action, entry.username, entry.subject) == ("live.started", "lan", f"{NORTH}/main")


WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
SAFARI = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/18.1 Safari/605.1.15"
PLAYER = "AppleCoreMedia/1.0.0.21F79 (iPhone; U; CPU OS 17_5_1 like Mac OS X; en_us)"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
CHROME_IOS = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT} CriOS/126.0 Mobile/15E148 Safari/604.1"
HTTP2 = {"X-Forwarded-Http-Version": "HTTP/2.0"}


@pytest.mark.parametrize(
    ("agent", "more", "query", "low_latency"),
    [
        (SAFARI, {}, "", False),
        (PLAYER, {}, "", False),
        (SAFARI, {"X-Forwarded-Http-Version": "HTTP/1.1"}, "", False),
        (SAFARI, HTTP2, "", True),
        (SAFARI, {}, "?ll=1", True),
        (CHROME, {}, "", True),
        (CHROME_IOS, {}, "", True),
        (CHROME, {}, "?ll=0", False),
    ],
)
async def test_apples_players_get_ordinary_hls_over_http_1(
    tmp_path: Path, agent: str, more: dict[str, str], query: str, low_latency: bool
) -> None:
    async with make_site(tmp_path, server=ServerSettings(trusted_proxies=("127.0.0.0/8",))) as site:
        token = await site.world.account("lan", "viewer")
        headers = {"Authorization": f"Bearer {token}", "User-Agent": agent, **more}
        await head_of(site, f"/hls/{NORTH}/index.m3u8{query}", headers)
        assert site.world.hls.asked[-1][-1] == Manner(low_latency=low_latency)


async def test_a_client_that_calls_itself_a_proxy_is_not_believed(site: Site, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "User-Agent": SAFARI, **HTTP2}
    await head_of(site, f"/hls/{NORTH}/index.m3u8", headers)
    assert site.world.hls.asked[-1][-1] == Manner(low_latency=False)


@pytest.mark.parametrize(("roles", "status"), [(("viewer",), 403), (("viewer", "auditor"), 200)])
async def test_going_back_needs_the_right_to_footage_and_is_logged(
    site: Site, roles: tuple[str, ...], status: int
) -> None:
    token = await site.world.account("minh", *roles)
    site.world.hls.gone = {1}
    for file in ("index.m3u8?dvr=600", f"{PLAYLIST}?dvr=600", f"main/recorded/{OBJECT_ID}/video/0-3.m4s"):
        assert (await site.call("GET", f"/hls/{NORTH}/{file}", token))[0] == status
    past, _ = await site.call("GET", f"/hls/{NORTH}/main/video/1.m4s", token)
    assert past == (200 if status == 200 else 404)
    entries = [one for one in await site.world.log() if one.action == "playback.started"]
    spans = {one.subject for one in entries}
    if status == 200:
        assert site.world.hls.asked[-1][0] == "past"
        assert f"{NORTH}/main 2025-12-31T23:50:00.000Z 2026-01-01T00:00:00.000Z" in spans
        assert all(one.detail == {"by": "dvr"} for one in entries)
        objects = [one.subject for one in await site.world.log() if one.action == "playback.object"]
        assert objects == [f"{NORTH} {OBJECT_ID}"]
    else:
        assert not spans


@pytest.mark.parametrize("query", ["_HLS_part=1", "_HLS_msn=x", "_HLS_msn=-1", "dvr=x", "_HLS_msn=1&_HLS_part="])
async def test_a_question_that_makes_no_sense_is_refused(site: Site, token: str, query: str) -> None:
    assert (await site.call("GET", f"/hls/{NORTH}/{PLAYLIST}?{query}", token))[0] == 400


async def test_a_client_that_never_reads_is_not_served_ahead(site: Site, token: str) -> None:
    """What it asks for in one breath is not all made and kept for it."""

    async def big(*asked: Any) -> bytes:
        site.world.hls.asked.append(asked)
        return bytes(4_000_000)

    site.world.hls.part = big  # type: ignore[method-assign]
    request = f"GET /hls/{NORTH}/{PART} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
    writer.write(request * 60)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    for _ in range(50):
        await asyncio.sleep(0)
        assert (await site.call("GET", "/healthz"))[0] == 200, "nobody else is held up"
    assert len(site.world.hls.asked) <= 4
    writer.transport.abort()
