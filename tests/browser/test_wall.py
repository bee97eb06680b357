"""The wall: every camera live, and a sentence where one is not."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from load_tests.stack import Stack
from tests.browser.screen import asked_alone, log_in, moves, peer_stats, tile_of, until


async def test_every_camera_plays_in_its_tile(wall: Page, server: Stack) -> None:
    await expect(wall.get_by_test_id("tile")).to_have_count(len(server.cameras))
    for camera_id in server.cameras:
        tile = tile_of(wall, camera_id)
        await moves(tile.locator("video"))
        await expect(tile.get_by_test_id("state")).to_have_attribute("data-state", "live")
        await expect(tile.get_by_test_id("recording")).to_have_attribute("data-state", "recording")


async def test_a_tile_takes_the_sub_stream_without_audio(wall: Page, server: Stack) -> None:
    key = f"{server.cameras[0]}/sub"

    async def playing() -> bool:
        return "video" in await peer_stats(wall, key)

    await until(playing)
    assert "audio" not in await peer_stats(wall, key)


async def test_a_tile_that_waits_for_its_stream_shows_a_still_picture_of_it(page: Page, server: Stack) -> None:
    async def hold(route: Route) -> None:
        await asyncio.sleep(3)  # longer than a tile waits before it asks
        await route.fallback()

    await page.route("**/whep/**", hold)
    async with page.expect_response("**/snapshot.jpg*") as answered:
        await log_in(page, server.username, server.password)
    answer = await answered.value
    assert answer.ok
    assert urlsplit(answer.url).query == "stream=sub&width=640"
    playing = page.locator("[data-testid=tile] video[data-player=playing]")
    await expect(playing).to_have_count(len(server.cameras), timeout=15_000)


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
    tile = tile_of(wall, camera_id)
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


async def test_a_tile_enlarges_in_place_and_is_never_black(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    tile = tile_of(wall, camera_id)
    small = tile.locator("video").first
    await moves(small)
    await wall.evaluate(WATCH_FOR_BLACK, camera_id)
    await tile.get_by_test_id("enlarge").click()
    await expect(tile.get_by_test_id("tile-main")).to_have_attribute("data-player", "playing")
    main = tile.locator("[data-testid=tile-main] video")
    await moves(main)
    assert "audio" not in await peer_stats(wall, f"{camera_id}/main"), "it is muted for good"
    assert await main.evaluate("video => video.videoWidth") > await small.evaluate("video => video.videoWidth")
    looks = await wall.evaluate("window.looks")
    assert len(looks) > 3
    assert all(looks), "for a moment neither stream had a picture"
    box = await tile.get_by_test_id("enlarged").bounding_box()
    assert box is not None
    assert box["width"] > 1200
    await expect(wall.locator("[data-testid=tile][inert]")).to_have_count(len(server.cameras) - 1)
    await wall.keyboard.press("Escape")
    await expect(wall.get_by_test_id("enlarged")).to_have_count(0)
    await expect(tile.locator("video")).to_have_count(1)

    async def main_is_left() -> bool:
        return int(server.client.cameras()[camera_id]["streams"]["main"]["viewers"]) == 0

    await until(main_is_left)


WATCH_FOR_BLACK = """camera => {
    window.looks = []
    const tile = document.querySelector(`[data-testid=tile][data-camera='${camera}']`)
    const look = () => {
        if (tile.querySelector('[data-testid=enlarged]')) {
            const shown = [...tile.querySelectorAll('video')].filter(video => video.videoWidth > 0)
            const top = tile.querySelector('[data-testid=tile-main] video')
            const isClear = !top || top.videoWidth > 0 || getComputedStyle(top).backgroundColor === 'rgba(0, 0, 0, 0)'
            window.looks.push(shown.length > 0 && isClear)
        }
        if (window.looks.length < 120) requestAnimationFrame(look)
    }
    look()
}"""
"""At each picture of the screen: somebody's picture is there, and nothing dark lies over it."""


async def test_tiles_are_enlarged_changed_and_left_by_keyboard(wall: Page, server: Stack) -> None:
    first, second = server.cameras[:2]
    await moves(tile_of(wall, first).locator("video"))
    control = tile_of(wall, first).get_by_test_id("enlarge")
    await control.focus()
    await wall.keyboard.press("Enter")
    await expect(tile_of(wall, first).get_by_test_id("enlarged")).to_be_visible()
    await expect(control).to_have_attribute("aria-expanded", "true")
    await wall.keyboard.press("ArrowRight")
    await expect(tile_of(wall, second).get_by_test_id("enlarged")).to_be_visible()
    await expect(tile_of(wall, first).get_by_test_id("enlarged")).to_have_count(0)
    await wall.keyboard.press("Escape")
    await expect(wall.get_by_test_id("enlarged")).to_have_count(0)


async def test_the_main_stream_that_does_not_come_is_said_over_the_small_one(wall: Page, server: Stack) -> None:
    tile = tile_of(wall, server.cameras[1])
    await moves(tile.locator("video"))

    async def refuse(route: Route) -> None:
        await route.fulfill(status=429, json={"code": "transcoders_full", "detail": "Enough."})

    await wall.route("**/whep/*?stream=main", refuse)
    await tile.get_by_test_id("enlarge").click()
    await expect(tile.get_by_test_id("tile-main")).to_contain_text("đang xem luồng phụ")
    await moves(tile.locator("video").first)


async def test_the_chosen_layout_is_remembered(wall: Page) -> None:
    await wall.get_by_test_id("layout").select_option("9")
    columns = "document.querySelector('.grid').style.getPropertyValue('--columns')"
    assert await wall.evaluate(columns) == "3"
    await wall.reload()
    await wall.get_by_test_id("tile").first.wait_for()
    assert await wall.get_by_test_id("layout").input_value() == "9"
    assert await wall.evaluate(columns) == "3"


async def test_a_wall_that_is_hidden_lets_its_streams_go_and_takes_them_again(wall: Page, server: Stack) -> None:
    await expect(wall.locator("[data-testid=tile] video[data-player=playing]")).to_have_count(len(server.cameras))
    hide = """state => {
        Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
    }"""
    await wall.evaluate(hide, "hidden")
    await expect(wall.locator("[data-testid=tile] video")).to_have_count(0, timeout=30_000)
    await wall.evaluate(hide, "visible")
    await expect(wall.locator("[data-testid=tile] video[data-player=playing]")).to_have_count(len(server.cameras))


async def test_a_wall_of_more_than_a_page_is_paged_and_never_stands_behind_its_last_page(
    wall: Page, server: Stack
) -> None:
    more = [f"more-{number}" for number in range(7 - len(server.cameras))]

    async def seven(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.json()
        body["cameras"] += [body["cameras"][0] | {"id": name, "name": name, "enabled": False} for name in more]
        await route.fulfill(response=answer, json=body)

    await asked_alone(wall)
    await wall.route("**/api/v1/cameras", seven)
    await wall.reload()
    tiles, page = wall.get_by_test_id("tile"), wall.get_by_test_id("page")
    before, after = wall.get_by_test_id("page-before"), wall.get_by_test_id("page-next")
    await expect(tiles).to_have_count(7)
    await expect(page).to_have_count(0)
    await wall.get_by_test_id("layout").select_option("4")
    await expect(tiles).to_have_count(4)
    await expect(page).to_have_text("1 / 2")
    await expect(before).to_be_disabled()
    await after.click()
    await expect(page).to_have_text("2 / 2")
    await expect(after).to_be_disabled()
    assert await tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.camera)") == more[-3:]
    await before.click()
    await expect(tiles).to_have_count(4)
    await after.click()
    await wall.locator("input[type=search]").fill("more-")  # four of them: one page
    await expect(tiles).to_have_count(4)
    await expect(page).to_have_count(0)
