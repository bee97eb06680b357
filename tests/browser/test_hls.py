"""LL-HLS in Chromium by hls.js: how far behind live it plays, back into what was recorded, and over HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from load_tests.proxy import caddy
from load_tests.stack import Stack
from tests.browser.conftest import STEP_MS
from tests.browser.screen import log_in, moves, play_hls, until

MOST_BEHIND_S = 2.0
SAMPLES = 40
SETTLED_S = 6.0
BACK_S = 20.0


async def hls_fact(page: Page, camera_id: str, name: str) -> Any:
    return await page.evaluate("([id, name]) => window.mediasrvDebug.hls[id]?.[name]", [camera_id, name])


@pytest.mark.timeout(120)
async def test_it_plays_two_seconds_behind_live(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    await play_hls(wall, camera_id)
    await asyncio.sleep(SETTLED_S)  # hls.js catches up by playing a little faster
    behind = []
    for _ in range(SAMPLES):
        behind.append(float(await hls_fact(wall, camera_id, "latency")))
        await asyncio.sleep(0.25)  # the measured time
    print(f"behind live, s: p50 {median(behind):.2f}, most {max(behind):.2f}")
    assert median(behind) <= MOST_BEHIND_S, behind


@pytest.mark.timeout(120)
async def test_one_goes_back_from_live_into_what_was_recorded_and_returns(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    video = await play_hls(wall, camera_id)
    await wall.evaluate(
        "id => window.mediasrvDebug.hls[id].loadSource(`/hls/${id}/index.m3u8?dvr=600`)",
        camera_id,
    )

    async def reaches_back() -> bool:
        seekable = "video => video.seekable.length ? video.seekable.end(0) - video.seekable.start(0) : 0"
        return float(await video.evaluate(seekable)) > BACK_S + 4

    await until(reaches_back, 40)
    await moves(video)  # hls.js seeks to where live begins, and would undo an earlier seek
    live_ms = await playing_ms(wall, camera_id)
    await video.evaluate("(video, back) => { video.currentTime = video.currentTime - back }", BACK_S)

    async def went_back() -> bool:
        return BACK_S * 500 < live_ms - await playing_ms(wall, camera_id) < BACK_S * 1500

    await until(went_back, 30)
    await moves(video, timeout_s=30)
    await wall.evaluate(
        "id => { const hls = window.mediasrvDebug.hls[id]; hls.media.currentTime = hls.liveSyncPosition }", camera_id
    )

    async def returned() -> bool:
        return await playing_ms(wall, camera_id) > live_ms

    await until(returned, 30)
    await moves(video, timeout_s=30)


async def playing_ms(page: Page, camera_id: str) -> float:
    """Server wall time of the picture that is shown."""

    async def known() -> float:
        at = await page.evaluate("id => window.mediasrvDebug.hls[id]?.playingDate?.getTime() ?? 0", camera_id)
        return float(at)

    return await until(known)


@pytest_asyncio.fixture(loop_scope="session")
async def proxied(chromium: Browser, server: Stack, tmp_path: Path) -> AsyncIterator[Page]:
    """The page as the example proxy shows it."""
    with caddy(tmp_path / "caddy", server.url) as url:
        context = await chromium.new_context(base_url=url, ignore_https_errors=True)
        context.set_default_timeout(STEP_MS)
        page = await context.new_page()
        await page.goto("/")
        yield page
        await page.goto("about:blank")
        await context.close()


@pytest.mark.timeout(120)
async def test_it_plays_over_http_2_through_the_proxy(proxied: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    await log_in(proxied, server.username, server.password)
    await proxied.get_by_test_id("tile").first.wait_for()
    video = await play_hls(proxied, camera_id)
    await moves(video, pictures=50)
    protocols = await proxied.evaluate(
        "performance.getEntriesByType('resource').filter(one => one.name.includes('/hls/'))"
        ".map(one => one.nextHopProtocol)"
    )
    assert set(protocols) == {"h2"}
    assert len(protocols) > 5
