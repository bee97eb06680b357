"""`/watch/{camera}`: the player alone, by a link or in a frame, whatever the network and the browser let through."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Request, expect

from load_tests.stack import Stack
from tests.browser.screen import PLAYS_H265, log_in, moves, no_codec, until

UDP_BLOCKED = """
    const real = RTCPeerConnection.prototype.setRemoteDescription
    RTCPeerConnection.prototype.setRemoteDescription = function (answer) {
        const sdp = answer.sdp.replace(/^(a=candidate:.* )(\\d+)( typ host.*)$/gm, '$19$3')
        return real.call(this, { type: answer.type, sdp })
    }
"""
"""The server's candidates lead to the discard port, where nothing answers."""


async def test_it_plays_and_nothing_else_is_fetched_before_the_join(wall: Page, server: Stack) -> None:
    asked: list[str] = []
    wall.on("request", lambda request: asked.append(urlsplit(request.url).path))
    await wall.goto(f"/watch/{server.cameras[0]}?stream=sub")
    video = wall.locator("#video")
    await moves(video)
    assert await wall.locator("body > *").count() <= 3  # the video, its overlay, a noscript
    assert float(await video.get_attribute("data-first-picture-ms") or 0) > 0
    assert await video.evaluate("video => video.muted && !video.controls")
    assert not await wall.evaluate("document.documentElement.scrollHeight > innerHeight")
    join = asked.index(f"/whep/{server.cameras[0]}")
    before = [path for path in asked[:join] if path.endswith(".js")]
    assert not any("/main-" in path or "/hls" in path or "/i18n" in path for path in before)
    sizes = "names => names.map(name => performance.getEntriesByName(location.origin + name)[0].decodedBodySize)"
    assert sum(await wall.evaluate(sizes, before)) < 30_000


async def test_what_the_address_asks_for_is_done(wall: Page, server: Stack) -> None:
    joins: list[Request] = []
    await wall.goto("about:blank")  # the tiles' joins, which may still be to come, are none of it
    wall.on("request", lambda request: joins.append(request) if request.method == "POST" else None)
    await wall.goto(f"/watch/{server.cameras[0]}?stream=main&muted=0&controls=1")
    video = wall.locator("#video")
    await moves(video)
    assert await video.evaluate("video => !video.muted && video.controls")
    assert joins[0].url.endswith("?stream=main")
    assert "m=audio" in (joins[0].post_data or "")


async def test_who_is_not_logged_in_logs_in_and_comes_back(page: Page, server: Stack) -> None:
    await page.goto(f"/watch/{server.cameras[1]}?stream=sub&controls=1")
    await page.get_by_test_id("login").wait_for()
    await log_in(page, server.username, server.password)
    await moves(page.locator("#video"))
    assert page.url == f"{server.url}/watch/{server.cameras[1]}?stream=sub&controls=1"


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/watch/cam-1", "/watch/cam-1/../x"])
async def test_a_login_leads_nowhere_else(page: Page, server: Stack, elsewhere: str) -> None:
    await page.goto(f"/?next={elsewhere}")
    await log_in(page, server.username, server.password)
    await page.get_by_test_id("tile").first.wait_for()
    assert page.url.startswith(server.url)


@pytest.mark.timeout(90)
async def test_where_udp_is_blocked_it_falls_to_hls_by_itself(wall: Page, server: Stack) -> None:
    await wall.add_init_script(UDP_BLOCKED)
    await wall.goto(f"/watch/{server.cameras[0]}")
    await expect(wall.locator("body")).to_have_attribute("data-source", "hls", timeout=20_000)
    await moves(wall.locator("#video"), timeout_s=30)


async def test_a_codec_that_webrtc_does_not_carry_comes_by_hls_where_the_browser_plays_it(
    wall: Page, server: Stack
) -> None:
    await wall.add_init_script(PLAYS_H265)
    await wall.route("**/whep/**", no_codec)
    await wall.goto(f"/watch/{server.cameras[0]}")
    await expect(wall.locator("body")).to_have_attribute("data-source", "hls")
    await moves(wall.locator("#video"), timeout_s=30)


@pytest.mark.parametrize(("language", "words"), [("vi", "Luồng này là H.265"), ("en", "This stream is H.265")])
async def test_a_codec_that_comes_in_no_way_is_said_in_words(
    wall: Page, server: Stack, language: str, words: str
) -> None:
    await wall.add_init_script("MediaSource.isTypeSupported = type => !type.includes('hvc1')")
    await wall.route("**/whep/**", no_codec)
    await wall.goto(f"/watch/{server.cameras[0]}?lang={language}")
    await expect(wall.locator("#overlay")).to_contain_text(words)
    await expect(wall.locator("#overlay")).to_be_visible()


async def test_a_camera_that_one_may_not_see_is_said_not_to_be_there(wall: Page) -> None:
    await wall.goto("/watch/nowhere?lang=en")
    await expect(wall.locator("#overlay")).to_contain_text("There is no such camera")
    await wall.goto("/watch/NOT-AN-ID")
    await expect(wall.locator("#overlay")).to_contain_text("không nêu camera nào")


async def test_no_page_may_frame_it_unless_the_settings_say_so(wall: Page, server: Stack) -> None:
    refused: list[Request] = []
    page = await wall.context.new_page()  # the fixture's own must be refused nothing
    page.on("requestfailed", lambda request: refused.append(request))
    await page.route("**/embedding", lambda route: route.fulfill(content_type="text/html", body=framing(server)))
    await page.goto("/embedding")

    async def is_refused() -> bool:
        return any("/watch/" in request.url and "BLOCKED_BY_RESPONSE" in (request.failure or "") for request in refused)

    await until(is_refused)
    await page.close()


def framing(server: Stack) -> str:
    return f"<!doctype html><iframe src='/watch/{server.cameras[0]}' width=640 height=360></iframe>"
