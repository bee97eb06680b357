"""Pages hear of cameras instead of asking: by one connection for all of them. Without it, they ask."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from load_tests.stack import Stack
from tests.browser.screen import asked_alone, moves, open_camera, tile_of, until

LIST = "/api/v1/cameras"
STATES = "/api/v1/camera-states"
WATCHED_S = 8.0
"""Long enough for two questions, were there any."""


def questions(page: Page) -> list[str]:
    """Paths that the page itself asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    return asked


async def test_while_states_are_told_nobody_asks_and_pages_share_a_connection(wall: Page, server: Stack) -> None:
    second = await wall.context.new_page()
    await second.goto("/")
    await second.get_by_test_id("tile").first.wait_for()
    await asyncio.sleep(4)  # what was begun before the states came may ask once more
    asked = [questions(page) for page in (wall, second)]
    await asyncio.sleep(WATCHED_S)
    assert [path for one in asked for path in one if path in (LIST, STATES)] == []
    server.farm.fault(server.cameras[2], "offline")
    try:
        for page in (wall, second):
            state = tile_of(page, server.cameras[2]).get_by_test_id("state")
            await expect(state).to_have_attribute("data-state", "retrying", timeout=30_000)
    finally:
        server.farm.fault(server.cameras[2], "online")
    for page in (wall, second):
        state = tile_of(page, server.cameras[2]).get_by_test_id("state")
        await expect(state).to_have_attribute("data-state", "live", timeout=60_000)
    assert [path for one in asked for path in one if path == LIST] == []
    await second.close()


async def test_a_page_learns_of_the_logout_on_another(wall: Page) -> None:
    """It shows no picture: nothing but the states, or asking again, can tell it."""
    second = await wall.context.new_page()
    await second.goto("/#/cameras")
    await second.get_by_test_id("cameras").wait_for()
    await asyncio.sleep(4)  # until it is told, and asks no more
    asked = questions(second)
    await asyncio.sleep(4)
    assert LIST not in asked
    await wall.get_by_test_id("account").click()
    await wall.get_by_test_id("logout").click()
    for page in (wall, second):
        await page.locator("input[name=password]").wait_for()
    await second.close()


@pytest.mark.parametrize("without", ["worker", "events"])
async def test_without_a_shared_worker_it_hears_by_itself_and_without_events_it_asks(wall: Page, without: str) -> None:
    if without == "worker":
        await wall.add_init_script("delete window.SharedWorker")
    else:
        await asked_alone(wall)
    asked = questions(wall)
    await wall.reload()
    await wall.get_by_test_id("tile").first.wait_for()
    await asyncio.sleep(WATCHED_S)
    if without == "worker":
        assert asked.count(STATES) == 1
        assert asked.count(LIST) <= 2
    else:
        assert asked.count(LIST) >= 3


async def test_one_connection_lasts_over_changes_of_page(wall: Page, server: Stack) -> None:
    await wall.add_init_script("delete window.SharedWorker")  # whose requests a test does not see
    asked = questions(wall)
    await wall.reload()
    await wall.get_by_test_id("tile").first.wait_for()
    for hash_, shown in ((f"#/camera/{server.cameras[0]}", "camera-page"), ("#/cameras", "cameras"), ("#/", "tile")):
        await wall.goto(f"/{hash_}")
        await wall.get_by_test_id(shown).first.wait_for()
    assert asked.count(STATES) == 1


async def test_what_a_camera_tells_is_read_when_it_tells_it(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]
    await moves(await open_camera(wall, camera_id))
    rows = wall.get_by_test_id("event")
    await wall.get_by_test_id("events").wait_for()
    await asyncio.sleep(4)
    asked, before = questions(wall), await rows.count()
    await asyncio.sleep(WATCHED_S)
    assert asked.count(f"{LIST}/{camera_id}/events") == 0
    server.farm.event(camera_id, "motion", True)
    try:

        async def shown() -> bool:
            return await rows.count() > before

        await until(shown, 5)
    finally:
        server.farm.event(camera_id, "motion", False)
