"""The shape of answers: problems, headers, the page, readiness, absolute URLs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mediasrv.reasons import reason
from mediasrv.settings import ServerSettings
from tests.integration.web.site import SDP, SPAN, Site, make_site
from tests.unit.web.fakes import NORTH, OBJECT_ID, PASSWORD


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
        ("POST", "/api/v1/cameras", {"json": {"address": "x" * 300_000}}, 413, "request_too_large"),
        ("POST", f"/whep/{NORTH}", {"data": "v=0"}, 415, "media_type_unsupported"),
        ("POST", f"/whep/{NORTH}?stream=third", {"data": "v=0", "headers": SDP}, 400, "stream_unknown"),
        ("GET", f"/hls/{NORTH}/main/video.m3u8?_HLS_part=1", {}, 400, "hls_directive_invalid"),
        ("GET", f"/hls/{NORTH}/main/video.m3u8?_HLS_msn=x", {}, 400, "request_invalid"),
        ("GET", f"/hls/{NORTH}/main/video/..%2f..%2fetc", {}, 404, "segment_not_found"),
        ("GET", f"/hls/{NORTH}/third/video.m3u8", {}, 404, "not_found"),
        ("GET", f"/hls/{NORTH}/main/video/{'9' * 400}.m4s", {}, 404, "segment_not_found"),
        ("GET", f"/playback/{NORTH}/index.m3u8", {}, 400, "time_invalid"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/video/x.m4s", {}, 404, "segment_not_found"),
        ("GET", f"/playback/{NORTH}/index.m3u8?{SPAN}&codec=vp9", {}, 400, "codec_unknown"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/vp9/0-3.m4s", {}, 404, "not_found"),
        ("GET", f"/playback/{NORTH}/{OBJECT_ID}/h264/init-0-3-4.mp4", {}, 404, "segment_not_found"),
        ("GET", f"/playback/{NORTH}/thumbnails", {}, 400, "time_invalid"),
        ("GET", f"/playback/{NORTH}/thumbnails?at=2026-01-01T00:00:00Z&width=9999", {}, 400, "request_invalid"),
        ("GET", f"/api/v1/cameras/{NORTH}/timeline?start=now&end=then", {}, 400, "time_invalid"),
        ("GET", f"/api/v1/cameras/{NORTH}/timeline?{SPAN}&resolution=0", {}, 400, "request_invalid"),
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
            assert "connect-src 'self'" in response.headers["Content-Security-Policy"]  # it may be a worker's
            assert await response.text() == "x" * 5000
            etag = response.headers["ETag"]
        async with site.client.get("/assets/app-1234.js", headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        for path in ("/assets/../secret", "/assets/%2e%2e/secret", "/secret", "/assets/app-1234.js.map", "/assets/"):
            assert (await site.call("GET", path))[0] == 404, path


@pytest.mark.parametrize("origins", [(), ("https://vms.example.org", "'self'")])
async def test_only_the_player_may_be_framed_and_only_by_whom_the_settings_name(
    tmp_path: Path, origins: tuple[str, ...]
) -> None:
    build_page(tmp_path / "dist")
    server = ServerSettings(frame_ancestors=origins)
    async with make_site(tmp_path, ui_dir=tmp_path / "dist", server=server) as site:
        for path in ("/", "/watch/gate-north"):
            framed = path.startswith("/watch") and bool(origins)
            async with site.client.get(path) as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                assert policy.endswith("frame-ancestors " + (" ".join(origins) if framed else "'none'"))
                assert ("X-Frame-Options" in response.headers) is not framed
                assert "unsafe" not in policy


def build_page(dist: Path) -> None:
    (dist / "assets").mkdir(parents=True)
    (dist / "watch.html").write_text("<!doctype html><title>mediasrv</title>")
    (dist / "index.html").write_text("<!doctype html><title>mediasrv</title>")
    (dist / "assets" / "app-1234.js").write_text("x" * 5000)
    (dist / "assets" / "app-1234.js.map").write_text("{}")
    (dist.parent / "secret").write_text("secret")


async def test_readiness_tells_why_not(site: Site) -> None:
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


async def test_behind_a_proxy_that_speaks_tls_what_is_told_is_https(tmp_path: Path) -> None:
    """A page that came by https may not ask for http: its viewer could neither trickle nor leave."""
    async with make_site(tmp_path, server=ServerSettings(trusted_proxies=("127.0.0.0/8",))) as site:
        token = await site.world.account("lan", "viewer")
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-Proto": "https", "Host": "cams.example"}
        async with site.client.post(f"/whep/{NORTH}", data="v=0\r\n", headers=headers | SDP) as response:
            assert response.headers["Location"] == f"https://cams.example/whep/{NORTH}/viewer-0"
        async with site.client.post(f"/api/v1/cameras/{NORTH}/hls-token", headers=headers) as response:
            assert (await response.json())["url"].startswith("https://cams.example/hls/t/")
