"""The wall: every camera live, and a sentence where one is not."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from load_tests.stack import Stack
from tests.browser.screen import log_in, moves, peer_stats, tile_of, until


async def test_every_camera_plays_in_its_tile(wall: Page, server: Stack) -> None:
    await expect(wall.get_by_test_id("tile")).to_have_count(len(server.cameras))
    for camera_id in server.cameras:
        tile = wall.locator(f"[data-testid=tile][data-camera='{camera_id}']")
        await moves(tile.locator("video"))
        await expect(tile.get_by_test_id("state")).to_have_attribute("data-state", "live")
        await expect(tile.get_by_test_id("recording")).to_have_attribute("data-state", "recording")


async def test_a_tile_takes_the_sub_stream_without_audio(wall: Page, server: Stack) -> None:
    key = f"{server.cameras[0]}/sub"

    async def playing() -> bool:
        return "video" in await peer_stats(wall, key)

    await until(playing)
    assert "audio" not in await peer_stats(wall, key)


async def test_a_tile_opens_its_camera_by_keyboard(wall: Page, server: Stack) -> None:
    link = tile_of(wall, server.cameras[1]).get_by_test_id("tile-link")
    await link.focus()
    await wall.keyboard.press("Enter")
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-camera", server.cameras[1])


async def test_leaving_the_wall_ends_its_sessions_on_the_server(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]

    async def viewers() -> int:
        return int(server.client.cameras()[camera_id]["streams"]["sub"]["viewers"])

    await until(viewers)
    await wall.goto("/#/status")

    async def none_left() -> bool:
        return await viewers() == 0

    await until(none_left)


async def test_a_server_that_refuses_is_not_stormed(page: Page, server: Stack) -> None:
    asked: list[str] = []

    async def refuse(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=503, json={"code": "unavailable", "detail": "Not now."})

    await page.route("**/whep/**", refuse)
    await log_in(page, server.username, server.password)
    await page.get_by_test_id("tile").first.wait_for()
    await asyncio.sleep(4)  # long enough that a storm would show
    assert len(server.cameras) <= len(asked) <= 6 * len(server.cameras)
    await expect(page.get_by_test_id("tile").first).to_contain_text("Mất kết nối, đang nối lại…")


@pytest.mark.timeout(120)
async def test_a_lost_camera_shows_why_and_comes_back_by_itself(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[2]
    tile = wall.locator(f"[data-testid=tile][data-camera='{camera_id}']")
    await moves(tile.locator("video"))
    server.farm.fault(camera_id, "offline")
    try:
        reason = tile.get_by_test_id("reason")
        await expect(reason).to_be_visible(timeout=30_000)
        assert await reason.get_attribute("data-code") in {"camera_lost", "port_closed", "host_unreachable"}
        await expect(tile.get_by_test_id("state")).to_have_attribute("data-state", "retrying")
    finally:
        server.farm.fault(camera_id, "online")
    await expect(tile.get_by_test_id("state")).to_have_attribute("data-state", "live", timeout=60_000)
    await moves(tile.locator("video"), timeout_s=30)
