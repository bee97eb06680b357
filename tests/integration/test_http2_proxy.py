"""HTTP/2 by the example proxy: nothing that live viewing needs is lost on the way through it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from load_tests.hls_check import check_server
from load_tests.hls_rules import parse
from load_tests.proxy import caddy
from load_tests.seaweed import SeaweedServer
from load_tests.stack import Stack, running_stack
from load_tests.webrtc_client import WebRtcClient

FARM = {"cameras": 1, "mode": "load", "audio": "aac", "width": 640, "height": 360, "rate": 25, "bitrate": 500, "gop": 1}
SAFARI = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer) -> Iterator[tuple[Stack, str]]:
    """A server that trusts the proxy before it, and the proxy's URL."""
    directory = tmp_path_factory.mktemp("proxied")
    overrides = {"server": {"trusted_proxies": ["127.0.0.1/32", "::1/128"]}}
    with running_stack(directory, FARM, overrides, s3) as stack, caddy(directory / "caddy", stack.url) as url:
        stack.wait_until_recording()
        yield stack, url


@pytest.fixture
async def client(behind: tuple[Stack, str]) -> AsyncIterator[httpx.AsyncClient]:
    stack, url = behind
    headers = {"Authorization": f"Bearer {stack.client.token}"}
    async with httpx.AsyncClient(base_url=url, http2=True, verify=False, headers=headers, timeout=15) as http:  # noqa: S501
        yield http


async def test_the_rules_are_kept_behind_the_proxy(behind: tuple[Stack, str]) -> None:
    stack, url = behind
    path = stack.client.call("POST", f"/api/v1/cameras/{stack.cameras[0]}/hls-token")["url"].partition("/hls/")[2]
    found = await check_server(f"{url}/hls/{path}", 6.0, insecure=True)
    assert found.broken == []
    assert found.parts > 10


async def test_blocking_reloads_and_parts_share_one_connection(
    behind: tuple[Stack, str], client: httpx.AsyncClient
) -> None:
    base = f"/hls/{behind[0].cameras[0]}/main"
    await client.get(f"/hls/{behind[0].cameras[0]}/index.m3u8")
    for _ in range(3):
        first = await client.get(f"{base}/video.m3u8")
        assert first.http_version == "HTTP/2"
        playlist = parse(first.content)
        msn, part, _ = playlist.hint.removeprefix("video/").split(".")
        reload, hinted = await asyncio.gather(
            client.get(f"{base}/video.m3u8?_HLS_msn={msn}&_HLS_part={part}"), client.get(f"{base}/{playlist.hint}")
        )
        assert (reload.status_code, hinted.status_code) == (200, 200)
        assert playlist.hint.encode() in reload.content


async def test_a_playlist_comes_packed_as_the_server_packed_it(
    behind: tuple[Stack, str], client: httpx.AsyncClient
) -> None:
    path = f"/hls/{behind[0].cameras[0]}/main/video.m3u8"
    async with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer.headers["Cache-Control"] == "private, no-store"
    parse(gzip.decompress(packed))


async def test_safari_gets_low_latency_over_http_2_alone(behind: tuple[Stack, str], client: httpx.AsyncClient) -> None:
    stack, url = behind
    path, headers = f"/hls/{stack.cameras[0]}/index.m3u8", {"User-Agent": SAFARI}
    assert "ll=0" not in (await client.get(path, headers=headers)).text
    forged = {**headers, "X-Forwarded-Http-Version": "HTTP/2.0"}
    async with httpx.AsyncClient(base_url=url, http2=False, verify=False, headers=client.headers) as old:  # noqa: S501
        answer = await old.get(path, headers=forged)
    assert answer.http_version == "HTTP/1.1"
    assert "main/video.m3u8?ll=0" in answer.text


async def test_a_link_for_players_has_the_proxys_name(behind: tuple[Stack, str], client: httpx.AsyncClient) -> None:
    made = (await client.post(f"/api/v1/cameras/{behind[0].cameras[0]}/hls-token")).json()
    assert made["url"].startswith(f"{behind[1]}/hls/t/")
    async with httpx.AsyncClient(http2=True, verify=False, timeout=15) as nobody:  # noqa: S501
        assert (await nobody.get(made["url"])).status_code == 200


async def test_a_whep_viewer_joins_and_leaves_through_the_proxy(
    behind: tuple[Stack, str], client: httpx.AsyncClient
) -> None:
    """The pictures themselves do not pass it."""
    viewer = WebRtcClient()
    try:
        joined = await client.post(
            f"/whep/{behind[0].cameras[0]}", content=viewer.offer(), headers={"Content-Type": "application/sdp"}
        )
        assert (joined.status_code, joined.http_version) == (201, "HTTP/2")
        assert "a=candidate" in joined.text
        left = await client.delete(httpx.URL(joined.headers["Location"]).path)
        assert left.status_code == 204
    finally:
        viewer.close()


async def test_the_address_in_the_access_log_is_the_clients(
    behind: tuple[Stack, str], client: httpx.AsyncClient
) -> None:
    (stack, url), stream = behind, f"{behind[0].cameras[0]}/sub"
    forged = {**client.headers, "X-Forwarded-For": "203.0.113.9"}
    elsewhere = httpx.AsyncHTTPTransport(http2=True, verify=False, local_address="127.0.0.9")
    async with httpx.AsyncClient(base_url=url, transport=elsewhere, headers=forged, timeout=15) as forger:
        # There is no such stream, and that it was asked for is in the log before that is known.
        await forger.get(f"/hls/{stack.cameras[0]}/index.m3u8?stream=sub")
    entries = (await client.get("/api/v1/access-log")).json()["entries"]
    assert [entry["remote"] for entry in entries if entry["subject"] == stream] == ["127.0.0.9"]
