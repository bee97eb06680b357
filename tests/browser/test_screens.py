"""Every screen, in both languages, on a desk and on a phone: it fits, it is translated, it answers the keyboard."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from load_tests.stack import Stack
from tests.browser.screen import asked_alone, moves, open_camera, until

PHONE = {"width": 390, "height": 844}
SCREENS = (
    "#/",
    "#/camera/{camera}",
    "#/cameras",
    "#/survey",
    "#/exports",
    "#/access-log",
    "#/status",
    "#/retention",
    "#/other-systems",
    "#/nowhere",
)
READY = "[data-testid=tile], [data-testid=timeline], table, [data-testid=status], [data-testid=empty], form"
BEYOND_THE_EDGE = """() => {
    const width = document.documentElement.clientWidth
    const found = [...document.querySelectorAll('main *, header *')].filter((element) => {
        const box = element.getBoundingClientRect()
        const hidden = box.width < 2 || element.closest('svg, .tile-head, .tooltip')
        return !hidden && (box.right > width + 1 || box.left < -1)
    })
    return found.map((element) => `${element.tagName}.${element.className}`).slice(0, 5)
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def desk(wall: Page, server: Stack) -> Page:
    """The wall once all its tiles play: a page that is closed in the middle of a join leaves a viewer on the server."""
    await expect(wall.locator("[data-testid=tile] video[data-player=playing]")).to_have_count(len(server.cameras))
    return wall


@pytest.mark.parametrize("language", ["vi", "en"])
async def test_every_screen_fits_a_phone(desk: Page, server: Stack, language: str) -> None:
    await desk.set_viewport_size(PHONE)
    if language == "en":
        await desk.get_by_test_id("language").click()
    for screen in SCREENS:
        await desk.goto("/" + screen.format(camera=server.cameras[0]))
        await desk.locator(READY).first.wait_for()
        assert await desk.evaluate(BEYOND_THE_EDGE) == [], screen
        assert await desk.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], screen


async def test_the_dialogs_fit_a_phone_and_keep_their_buttons_in_sight(desk: Page, server: Stack) -> None:
    await desk.set_viewport_size({"width": 390, "height": 560})
    await desk.goto("/#/cameras")
    await desk.get_by_test_id("add-camera").click()
    await expect(desk.get_by_test_id("add")).to_be_in_viewport(ratio=1)
    await desk.keyboard.press("Escape")
    await expect(desk.get_by_test_id("add-dialog")).to_have_count(0)
    await desk.get_by_test_id("edit").first.click()
    await expect(desk.get_by_test_id("save")).to_be_in_viewport(ratio=1)


async def test_the_status_page_has_words_for_all_that_the_server_tells(desk: Page, server: Stack) -> None:
    """What it has none for is shown under the server's own name, in English."""
    await desk.goto("/#/status")
    await desk.get_by_test_id("status").wait_for()
    shown = await desk.locator("[data-testid=status] h2, [data-testid=status] dt").all_inner_texts()
    told: dict[str, dict[str, object]] = server.client.get("/api/v1/status")
    names = {*told, *(name for section in told.values() for name in section)}
    untranslated = {name.replace("_", " ").capitalize() for name in names} - {"Reason"}
    assert len(shown) > len(told)
    assert not untranslated & set(shown)


async def test_the_account_s_menu_closes_by_escape_and_by_a_click_elsewhere(desk: Page) -> None:
    menu = desk.get_by_test_id("logout")
    for close in (lambda: desk.keyboard.press("Escape"), lambda: desk.mouse.click(5, 400)):
        await desk.get_by_test_id("account").click()
        await expect(menu).to_be_visible()
        await close()
        await expect(menu).to_be_hidden()


async def test_the_keys_of_the_player(desk: Page, server: Stack) -> None:
    video = await open_camera(desk, server.cameras[0])
    await moves(video)
    page = desk.get_by_test_id("camera-page")
    await desk.get_by_test_id("timeline").focus()
    await desk.keyboard.press("ArrowLeft")
    await expect(page).to_have_attribute("data-source", "recorded")
    recorded = desk.locator("[data-testid=camera-page] video")
    await moves(recorded)
    for paused in (True, False):
        await desk.keyboard.press("Space")

        async def as_wished(wished: bool = paused) -> bool:
            return bool(await recorded.evaluate("video => video.paused")) is wished

        await until(as_wished)
    await desk.keyboard.press("End")
    await expect(page).to_have_attribute("data-source", "webrtc")


async def test_nothing_is_called_live_that_is_not(desk: Page, server: Stack) -> None:
    async def lost(route: Route) -> None:
        answer = await route.fetch()
        body = json.loads(await answer.text())
        for camera in body["cameras"]:
            reason = {"code": "camera_lost", "sentence": "Lost.", "sentence_vi": "Mất kết nối với camera."}
            camera["streams"]["main"] |= {"state": "retrying", "reason": reason}
        await route.fulfill(response=answer, json=body)

    await asked_alone(desk)
    await desk.route("**/api/v1/cameras", lost)
    await desk.goto(f"/#/camera/{server.cameras[0]}")
    await desk.reload()
    bar = desk.locator(".player-bar")
    await expect(bar).to_contain_text("Mất hình")
    await expect(bar).not_to_contain_text("Trực tiếp")


async def test_adding_a_camera_says_what_is_missing(desk: Page) -> None:
    await desk.goto("/#/cameras")
    await desk.get_by_test_id("add-camera").click()
    dialog = desk.get_by_test_id("add-dialog")
    await dialog.get_by_test_id("add").click()
    await expect(dialog).to_contain_text("Hãy nhập địa chỉ của camera.")
    await expect(dialog).to_contain_text("Hãy đặt tên cho camera.")
