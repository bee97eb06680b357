"""What is in the access log before anything leaves, and what is in no log at all."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.integration.web.site import SDP, SPAN, Site
from tests.unit.web.fakes import NORTH, OBJECT_ID


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
    await site.join(token)
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


async def test_who_looks_along_the_timeline_is_one_entry_for_each_hour_of_it(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    for minute in (0, 7, 30, 59, 61, 62):
        at = f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"
        await site.call("GET", f"/playback/{NORTH}/thumbnails?at={at}&width=320", token)
    shown = [one.subject for one in await site.world.log() if one.action == "playback.thumbnails"]
    assert shown == [
        f"{NORTH}/main 2026-01-01T00:00:00.000Z 2026-01-01T01:00:00.000Z",
        f"{NORTH}/main 2026-01-01T01:00:00.000Z 2026-01-01T02:00:00.000Z",
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/hls/{NORTH}/index.m3u8"),
        ("GET", f"/hls/{NORTH}/main/video/5.2.m4s"),
        ("GET", f"/hls/{NORTH}/main/video/init-0.mp4"),
        ("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/0-3.m4s"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/init-0.mp4"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/h264/init-0-3.mp4"),
        ("GET", f"/playback/{NORTH}/thumbnails?at=2026-01-01T00:00:00Z"),
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


async def test_changes_are_in_the_log_with_who_made_them(site: Site) -> None:
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
