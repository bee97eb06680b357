"""Live viewers over HTTP: whose they are, how many, and their end when the right to watch ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security.accounts import COMMAND_LINE
from mediasrv.security.sessions import token_id
from mediasrv.web.application import VIEWERS
from tests.integration.web.site import Site
from tests.unit.web.fakes import NORTH, SOUTH


async def test_a_revoked_grant_ends_live_hls_at_the_next_request(site: Site) -> None:
    token = await site.world.account("lan")
    grant_id = await site.world.services.accounts.grant("lan", "viewer", purpose="test")
    path = f"/hls/{NORTH}/main/video.m3u8"
    assert (await site.call("GET", path, token))[0] == 200
    await site.world.services.accounts.revoke_grant(grant_id)
    assert await site.problem("GET", path, token) == (404, "camera_not_found")


@pytest.mark.parametrize("file", ["video.m3u8?_HLS_msn=1", "video/1.0.m4s"])
@pytest.mark.parametrize(("waits_s", "status"), [(0.1, 200), (3.0, 401)])
async def test_a_blocking_request_that_outlives_its_right_gets_no_media(
    site: Site, file: str, waits_s: float, status: int
) -> None:
    token = await site.world.account("lan", "viewer")
    site.world.hls.waits_s = waits_s
    site.world.hls.during = lambda: site.world.services.accounts.disable_user("lan")
    assert (await site.call("GET", f"/hls/{NORTH}/main/{file}", token))[0] == status


@pytest.mark.parametrize("how", ["grant", "token", "account", "expiry", "camera"])
async def test_whatever_is_revoked_ends_a_webrtc_viewer_within_five_seconds(site: Site, how: str) -> None:
    world, accounts = site.world, site.world.services.accounts
    await world.account("lan")
    grant_id = await accounts.grant("lan", "viewer", purpose="test")
    token = await accounts.create_token("lan", "short", 60)
    other = await world.account("minh", "viewer")
    await site.join(token)
    await site.join(other, SOUTH)
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
        await world.cameras.remove(NORTH, COMMAND_LINE)
    world.clock.advance(4)
    await site.app[VIEWERS].end_revoked()
    assert [viewer.ref.camera_id for viewer in world.live.present.values()] == [SOUTH]
    assert (await world.log())[-1].action == "live.ended"


async def test_the_watch_over_viewers_runs_by_itself_and_survives_a_failing_catalogue(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mediasrv.web.viewers.CHECK_S", 0.01)
    token = await site.world.account("lan", "viewer")
    await site.join(token)
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
    viewer = await site.join(mine)
    fragment = {"Content-Type": "application/trickle-ice-sdpfrag"}
    path = f"/whep/{viewer}"
    answer = await site.problem("PATCH", path, others, data="a=x", headers=fragment)
    assert answer == (404, "viewer_not_found")
    assert await site.problem("DELETE", path, others) == (404, "viewer_not_found")
    elsewhere = path.replace(NORTH, SOUTH)
    assert await site.problem("DELETE", elsewhere, mine) == (404, "viewer_not_found")
    assert (await site.call("PATCH", path, mine, data="a=x", headers=fragment))[0] == 204
    assert site.world.live.fragments == [("a=x", None)]
    assert (await site.call("DELETE", path, mine))[0] == 204
    assert not site.world.live.present


async def test_live_viewers_are_counted_by_either_way(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    await site.join(token)
    for _ in range(3):
        await site.call("GET", f"/hls/{NORTH}/main/video.m3u8", token)
    viewers = site.app[VIEWERS]
    ref = StreamRef(NORTH, StreamName.MAIN)
    assert viewers.counts() == {ref: 2}
    site.world.clock.advance(11)
    assert viewers.counts() == {ref: 1}
