"""RTSP logins over the API: shown once, listed without their secret, revoked by their owner alone."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.web.application import VIEWERS, build_app, serve
from tests.integration.web.site import Site, make_site
from tests.unit.web.fakes import NORTH, SOUTH, World


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with make_site(tmp_path) as made:
        yield made


def logins_of(world: World) -> RtspLogins:
    found = world.services.rtsp_logins
    assert found is not None
    return found


async def test_made_listed_and_revoked(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    status, made = await site.call("POST", "/api/v1/rtsp-logins", token, json={"name": "VMS", "camera": NORTH})
    assert status == 201
    assert set(made) == {"username", "password", "name", "expires_at"}
    status, listed = await site.call("GET", "/api/v1/rtsp-logins", token)
    (one,) = listed["rtsp_logins"]
    assert (one["username"], one["name"], one["camera"]) == (made["username"], "VMS", NORTH)
    assert made["password"] not in str(listed)
    other = await site.world.account("minh", "viewer")
    path = f"/api/v1/rtsp-logins/{one['id']}"
    assert await site.problem("DELETE", path, other) == (404, "rtsp_login_not_found")
    assert (await site.call("DELETE", path, token))[0] == 204
    assert await logins_of(site.world).find(made["username"]) is None
    assert await site.world.actions("rtsp_login") == ["rtsp_login.created", "rtsp_login.revoked"]


@pytest.mark.parametrize(
    ("host", "local_only"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("::", False)]
)
async def test_the_list_says_where_the_logins_are_good_for(site: Site, host: str, local_only: bool) -> None:
    services = site.world.services
    serve_rtsp = dataclasses.replace(services.settings.rtsp_serve, host=host, port=5544, tls_port=0)
    settings = dataclasses.replace(services.settings, rtsp_serve=serve_rtsp)
    token = await site.world.account("lan", "viewer")
    runner = await serve(build_app(dataclasses.replace(services, settings=settings)), "127.0.0.1", 0, 1.0)
    try:
        there = dataclasses.replace(site, port=runner.addresses[0][1])
        _, listed = await there.call("GET", "/api/v1/rtsp-logins", token)
    finally:
        await runner.cleanup()
    assert listed["rtsp"] == {"port": 5544, "tls_port": 0, "local_only": local_only}


async def test_one_made_with_a_token_ends_with_it(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    _, made = await site.call("POST", "/api/v1/rtsp-logins", token, json={"name": "VMS"})
    sessions = site.world.services.sessions
    secret = await logins_of(site.world).find(made["username"])
    assert secret is not None
    assert await sessions.recall(secret.key) is not None
    (listed,) = await sessions.tokens(await sessions.identify(token))
    assert listed.token_hash == (await sessions.identify(token)).token_hash
    status, _ = await site.call("DELETE", f"/api/v1/tokens/{listed.token_hash.hex()[:16]}", token)
    assert status == 204
    site.world.clock.advance(3)
    assert await sessions.recall(secret.key) is None


async def test_a_camera_that_may_not_be_seen_is_as_unknown_as_one_that_is_not_there(site: Site) -> None:
    await site.world.account("lan")
    await site.world.services.accounts.grant("lan", "viewer", "north", purpose="test")
    token = await site.world.services.accounts.create_token("lan", "test")
    for camera in (SOUTH, "no-such"):
        wish = {"name": "VMS", "camera": camera}
        assert await site.problem("POST", "/api/v1/rtsp-logins", token, json=wish) == (404, "camera_not_found")


async def test_what_is_wrong_is_refused(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    past = {"name": "VMS", "expires_at": "2020-01-01T00:00:00Z"}
    assert await site.problem("POST", "/api/v1/rtsp-logins", token, json=past) == (400, "time_invalid")
    assert (await site.problem("POST", "/api/v1/rtsp-logins", token, json={}))[0] == 400
    assert (await site.problem("POST", "/api/v1/rtsp-logins", None, json={"name": "x"}))[0] == 401


async def test_readers_count_as_viewers(site: Site) -> None:
    @dataclasses.dataclass
    class Reader:
        ref: StreamRef

    class Rtsp:
        def readers(self) -> list[Reader]:
            return [Reader(StreamRef(NORTH, StreamName.SUB))] * 2

    services = dataclasses.replace(site.world.services, rtsp=Rtsp())
    app = build_app(services)
    assert app[VIEWERS].counts() == {StreamRef(NORTH, StreamName.SUB): 2}
