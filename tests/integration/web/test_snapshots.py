"""Still pictures over HTTP: who gets them, how they may be kept, and what the log says."""

from __future__ import annotations

from typing import Any

import pytest

from mediasrv.errors import TooManyRequests, Unavailable
from mediasrv.reasons import reason
from mediasrv.web.viewers import VIEWING_WINDOW_S
from tests.integration.web.site import Site
from tests.unit.web.fakes import NORTH, SOUTH

PATH = f"/api/v1/cameras/{NORTH}/snapshot.jpg"


async def test_a_viewer_gets_the_picture_that_was_asked_for(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    for query, picture in [("", "main 0"), ("?stream=sub", "sub 0"), ("?width=320&stream=sub", "sub 320")]:
        headers = {"Authorization": f"Bearer {token}"}
        async with site.client.get(PATH + query, headers=headers) as response:
            assert response.status == 200
            assert await response.read() == f"{NORTH}/{picture}".encode()
            assert response.content_type == "image/jpeg"
            assert response.headers["Cache-Control"] == "private, no-cache"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_picture_that_is_known_is_not_sent_again(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    headers = {"Authorization": f"Bearer {token}", "If-None-Match": f'"other", "{NORTH}/main-0"'}
    async with site.client.get(PATH, headers=headers) as response:
        assert response.status == 304
        assert response.headers["ETag"] == f'"{NORTH}/main-0"'
        assert await response.read() == b""
    async with site.client.get(f"{PATH}?width=20", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("query", ["width=15", "width=3841", "width=-1", "width=1e3", "width=", "stream=third"])
async def test_what_cannot_be_asked_for(site: Site, query: str) -> None:
    token = await site.world.account("lan", "viewer")
    assert (await site.call("GET", f"{PATH}?{query}", token))[0] == 400


async def test_who_may_not_watch_gets_nothing(site: Site) -> None:
    auditor = await site.world.account("minh", "auditor")
    elsewhere = await site.world.account("lan", "viewer", place="south")
    assert await site.problem("GET", PATH, auditor) == (403, "not_permitted")
    assert await site.problem("GET", PATH, elsewhere) == (404, "camera_not_found")
    assert (await site.call("GET", PATH.replace(NORTH, SOUTH), elsewhere))[0] == 200
    assert await site.problem("GET", PATH, None) == (401, "not_authenticated")


async def test_a_viewing_is_in_the_log_once_a_window(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    for _ in range(3):
        await site.call("GET", PATH, token)
        site.world.clock.advance(VIEWING_WINDOW_S - 5)
    site.world.clock.advance(10)
    await site.call("GET", PATH, token)
    await site.call("GET", f"{PATH}?stream=sub", token)
    entries = [(entry.action, entry.subject) for entry in await site.world.log() if entry.action == "snapshot.viewed"]
    assert entries == [("snapshot.viewed", f"{NORTH}/main")] * 2 + [("snapshot.viewed", f"{NORTH}/sub")]


async def test_no_picture_leaves_when_its_entry_cannot_be_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await site.world.account("lan", "viewer")

    async def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(site.world.services.catalogue, "write", fail)
    assert (await site.call("GET", PATH, token))[0] == 500


async def test_where_there_is_no_picture_the_camera_s_reason_is_told_in_both_languages(site: Site) -> None:
    token = await site.world.account("lan", "viewer")
    site.world.snapshots.error = Unavailable("The camera does not answer.", code="host_unreachable")
    status, body = await site.call("GET", PATH, token)
    assert (status, body["code"]) == (503, "host_unreachable")
    assert body["detail_vi"] == reason("host_unreachable").sentence_vi


@pytest.mark.parametrize("code", ["snapshots_full", "transcoders_full"])
async def test_a_bound_that_is_reached_is_told_in_both_languages(site: Site, code: str) -> None:
    token = await site.world.account("lan", "viewer")
    site.world.snapshots.error = TooManyRequests(reason(code).sentence, code=code, retry_after_s=2)
    status, body = await site.call("GET", PATH, token)
    assert (status, body["detail"], body["detail_vi"]) == (429, reason(code).sentence, reason(code).sentence_vi)
    assert body["detail_vi"] != code
