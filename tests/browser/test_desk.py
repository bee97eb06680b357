"""Moving a camera and seeing what it tells, against a camera with PTZ and events (`cam-1` of the farm)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from load_tests.stack import Stack, wait_for
from tests.browser.screen import asked_alone, log_in, until

CAMERA = "cam-1"
OTHER = "cam-2"
HOLD_S = 2.0
"""`onvif.ptz_hold_s` of the server: it stops a camera after so long without a command."""
PASSWORD = "a password of the tests 7"


@pytest.fixture(scope="module")
def people(server: Stack) -> dict[str, str]:
    """Accounts by what they may do."""
    roles = {"lan": ["operator"], "minh": ["operator"], "vien": ["viewer"], "hoa": ["auditor"]}
    for username, given in roles.items():
        server.client.call("POST", "/api/v1/users", {"username": username, "password": PASSWORD})
        for role in given:
            server.client.call("POST", "/api/v1/grants", {"username": username, "role": role, "purpose": "test"})
    return dict.fromkeys(roles, PASSWORD)


@pytest.fixture(autouse=True)
def still(server: Stack) -> Iterator[None]:
    """The camera stands, and nobody holds it, before each test; what happens before it is over after each."""
    server.client.call("DELETE", f"/api/v1/cameras/{CAMERA}/ptz/lock")
    wait_for(lambda: server.client.get(f"/api/v1/cameras/{CAMERA}/ptz")["lock"] is None, 30)
    yield
    for topic, state in server.farm.camera(CAMERA)["events"]["states"].items():
        if state:
            server.farm.event(CAMERA, topic, False)


def position(server: Stack) -> dict[str, float]:
    where: dict[str, float] = server.farm.camera(CAMERA)["ptz"]["position"]
    return where


def is_moving(server: Stack) -> bool:
    return bool(server.farm.camera(CAMERA)["ptz"]["moving"])


async def moves(server: Stack) -> None:
    async def moving() -> bool:
        return is_moving(server)

    await until(moving)


async def stands_within(server: Stack, timeout_s: float) -> None:
    async def stands() -> bool:
        return not is_moving(server)

    await until(stands, timeout_s)


async def open_desk(page: Page, camera_id: str = CAMERA) -> None:
    await page.goto(f"/#/camera/{camera_id}")
    await page.get_by_test_id("ptz-pad").wait_for()


async def press(page: Page, test_id: str) -> None:
    """Puts the pointer down on a handle, and leaves it there."""
    await page.get_by_test_id(test_id).hover()
    await page.mouse.down()


async def centre(page: Page, server: Stack) -> None:
    """From the middle there is way to all sides."""
    server.client.call("POST", f"/api/v1/cameras/{CAMERA}/ptz", {"move": "absolute", "pan": 0, "tilt": 0, "zoom": 0.5})
    await stands_within(server, 5)


@asynccontextmanager
async def somebody(
    chromium: Browser, server: Stack, username: str, password: str, **context: object
) -> AsyncIterator[Page]:
    """A browser of their own."""
    options = {"viewport": {"width": 1280, "height": 800}, "base_url": server.url} | context
    opened = await chromium.new_context(**options)  # type: ignore[arg-type]
    page = await opened.new_page()
    await page.goto("/")
    await log_in(page, username, password)
    await page.get_by_test_id("tile").first.wait_for()
    yield page
    await page.goto("about:blank")
    await opened.close()


# --- moving ------------------------------------------------------------------------------------------


async def test_press_and_hold_moves_the_camera_and_letting_go_stops_it(wall: Page, server: Stack) -> None:
    await centre(wall, server)
    await open_desk(wall)
    await wall.get_by_test_id("ptz-slow").click()
    await press(wall, "ptz-right")
    await moves(server)
    await asyncio.sleep(HOLD_S + 0.5)  # longer than one command lasts: it is repeated
    assert is_moving(server)
    await wall.mouse.up()
    await stands_within(server, 1.0)
    where = position(server)
    assert where["pan"] > 0.3
    assert (where["tilt"], where["zoom"]) == (0.0, 0.5)
    await expect(wall.get_by_test_id("ptz-holder")).to_contain_text("Bạn giữ quyền xoay đến")
    await wall.get_by_test_id("ptz-release").click()
    await expect(wall.get_by_test_id("ptz-holder")).to_have_count(0)
    assert server.client.get(f"/api/v1/cameras/{CAMERA}/ptz")["lock"] is None


@pytest.mark.parametrize("how", ["leaves", "hidden", "blur", "another page", "closed"])
async def test_the_camera_stops_when_the_hand_or_the_page_goes_away(wall: Page, server: Stack, how: str) -> None:
    """Well before the server would stop it by itself."""
    await centre(wall, server)
    await open_desk(wall)
    await wall.get_by_test_id("ptz-slow").click()
    await press(wall, "ptz-left")
    await moves(server)
    if how == "leaves":
        await wall.mouse.move(5, 5)
    elif how == "hidden":
        await wall.evaluate(
            """() => {
                Object.defineProperty(document, 'hidden', { value: true, configurable: true })
                document.dispatchEvent(new Event('visibilitychange'))
            }"""
        )
    elif how == "blur":
        await wall.evaluate("dispatchEvent(new Event('blur'))")
    elif how == "another page":
        await wall.evaluate("location.hash = '#/'")
    else:
        await wall.goto("about:blank")
    await stands_within(server, HOLD_S * 0.6)
    await wall.mouse.up()


async def test_the_camera_stops_when_the_connection_breaks(wall: Page, server: Stack) -> None:
    """Then nothing that the page says arrives any more: the server's own time runs out."""
    await centre(wall, server)
    await open_desk(wall)
    await wall.get_by_test_id("ptz-slow").click()
    await press(wall, "ptz-left")
    await moves(server)
    await wall.route("**/ptz", lambda route: route.abort())
    await stands_within(server, HOLD_S + 1.5)
    await expect(wall.get_by_test_id("ptz-error")).to_contain_text("Không kết nối được với máy chủ. Camera tự dừng")
    await wall.unroute("**/ptz")
    await asyncio.sleep(1.0)  # the pointer is still down: nothing moves by itself when the connection is back
    assert not is_moving(server)
    await wall.mouse.up()


async def test_arrow_keys_and_plus_and_minus_move_while_they_are_held(wall: Page, server: Stack) -> None:
    await centre(wall, server)
    await open_desk(wall)
    await wall.keyboard.down("ArrowUp")
    await asyncio.sleep(0.5)
    await wall.keyboard.up("ArrowUp")
    assert position(server)["tilt"] == 0.0, "keys are the pad's only while it has the focus"
    await wall.get_by_test_id("ptz-pad").focus()
    await wall.keyboard.down("ArrowUp")
    await wall.keyboard.down("ArrowLeft")

    async def diagonal() -> bool:
        where = position(server)
        return where["pan"] < -0.05 and where["tilt"] > 0.05

    await until(diagonal)
    await wall.keyboard.up("ArrowLeft")
    await wall.keyboard.up("ArrowUp")
    await stands_within(server, 1.0)
    await wall.keyboard.down("-")

    async def farther() -> bool:
        return position(server)["zoom"] < 0.4

    await until(farther)
    await wall.keyboard.up("-")
    await stands_within(server, 1.0)


async def test_a_finger_moves_the_camera_and_scrolls_nothing(chromium: Browser, server: Stack) -> None:
    touch = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    async with somebody(chromium, server, server.username, server.password, **touch) as page:
        await centre(page, server)
        await open_desk(page)
        await page.get_by_test_id("ptz-slow").click()
        handle = page.get_by_test_id("ptz-up")
        await handle.scroll_into_view_if_needed()
        scrolled = await page.evaluate("scrollY")
        box = await handle.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        finger = await page.context.new_cdp_session(page)
        await finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        await moves(server)
        for step in range(1, 9):
            slid = [{"x": x, "y": y + step * 25}]
            await finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": slid})
        await stands_within(server, 1.0)
        await finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert position(server)["tilt"] > 0
        assert await page.evaluate("scrollY") == scrolled


async def test_a_view_is_kept_as_a_preset_and_gone_back_to(wall: Page, server: Stack) -> None:
    server.client.call("POST", f"/api/v1/cameras/{CAMERA}/ptz", {"move": "absolute", "pan": 0.5, "tilt": -0.25})
    await stands_within(server, 5)
    await open_desk(wall)
    await wall.get_by_test_id("ptz-keep").click()
    await wall.locator("input[name=preset_name]").fill("Cổng sau")
    await wall.get_by_test_id("ptz-keep-confirm").click()
    await expect(wall.get_by_test_id("ptz-keep-dialog")).to_have_count(0)
    await expect(wall.get_by_test_id("ptz-preset").locator("option:checked")).to_have_text("Cổng sau")
    await centre(wall, server)
    await wall.get_by_test_id("ptz-go").click()

    async def back() -> bool:
        where = position(server)
        return (where["pan"], where["tilt"]) == (0.5, -0.25)

    await until(back)


async def test_a_second_person_is_told_who_holds_the_camera(
    wall: Page, chromium: Browser, server: Stack, people: dict[str, str]
) -> None:
    await centre(wall, server)
    async with somebody(chromium, server, "lan", people["lan"]) as lan:
        await open_desk(lan)
        await expect(lan.get_by_test_id("ptz-left")).to_be_disabled()
        await expect(lan.get_by_test_id("ptz-holder")).to_contain_text(f"{server.username} đang xoay camera này")
        await expect(lan.get_by_test_id("ptz-release")).to_have_count(0)
        await lan.get_by_test_id("language").click()
        await expect(lan.get_by_test_id("ptz-holder")).to_contain_text(
            f"{server.username} is moving this camera and holds it until"
        )
        server.client.call("DELETE", f"/api/v1/cameras/{CAMERA}/ptz/lock")
        await expect(lan.get_by_test_id("ptz-left")).to_be_enabled()
        before = position(server)["pan"]
        await press(lan, "ptz-left")
        await moves(server)
        await lan.mouse.up()
        await stands_within(server, 1.0)
        assert position(server)["pan"] < before
        await lan.get_by_test_id("ptz-release").click()
        await expect(lan.get_by_test_id("ptz-holder")).to_have_count(0)


async def test_recorded_footage_is_no_picture_to_move_a_camera_by(wall: Page) -> None:
    await open_desk(wall)
    await expect(wall.get_by_test_id("ptz-left")).to_be_enabled()
    await wall.get_by_test_id("back-10").click()
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    await expect(wall.get_by_test_id("ptz-left")).to_be_disabled()
    await expect(wall.get_by_test_id("ptz")).to_contain_text("hãy về trực tiếp để xoay camera")


async def test_nobody_without_the_right_and_no_fixed_camera_has_a_pad(
    wall: Page, chromium: Browser, server: Stack, people: dict[str, str]
) -> None:
    await wall.goto(f"/#/camera/{OTHER}")
    await wall.get_by_test_id("services").wait_for()
    await expect(wall.get_by_test_id("ptz")).to_have_count(0)
    for username in ("vien", "hoa"):
        async with somebody(chromium, server, username, people[username]) as page:
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))  # type: ignore[misc]
            await page.goto(f"/#/camera/{CAMERA}")
            await page.get_by_test_id("services").wait_for()
            await expect(page.get_by_test_id("facts")).to_be_visible()
            await expect(page.get_by_test_id("ptz")).to_have_count(0)
            assert not [url for url in asked if "/ptz" in url]


# --- events ------------------------------------------------------------------------------------------


async def test_an_ordered_motion_appears_in_list_and_timeline_and_a_click_plays_it(wall: Page, server: Stack) -> None:
    await wall.goto(f"/#/camera/{CAMERA}")
    events = wall.get_by_test_id("events")
    await events.wait_for()
    rows = events.locator("[data-testid=event][data-kind=motion]")
    before = await rows.count()
    ordered = time.monotonic()
    server.farm.event(CAMERA, "motion", True)
    await expect(rows).to_have_count(before + 1, timeout=6000)
    await expect(wall.locator("[data-testid=event-going][data-kind=motion]")).to_have_count(1)
    print(f"seen {time.monotonic() - ordered:.1f} s after it began")
    newest = rows.first
    await expect(newest).to_contain_text("đang diễn ra")
    await expect(newest).to_contain_text("MyMotionDetectorRule")
    await asyncio.sleep(3)  # so long that it is wider than its least mark, and recorded for certain
    server.farm.event(CAMERA, "motion", False)
    await expect(newest).to_have_attribute("data-going", "false", timeout=6000)
    mark = wall.locator("[data-testid=event-mark][data-kind=motion]").last
    began_ms = int(await mark.get_attribute("data-start") or 0)
    box = await mark.bounding_box()
    assert box is not None
    await wall.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await expect(wall.get_by_test_id("timeline-tooltip")).to_contain_text("Chuyển động")
    await wall.mouse.down()
    await wall.mouse.up()
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    assert await wall.evaluate("Date.parse(decodeURIComponent(location.hash.split('at=')[1]))") == began_ms
    await wall.get_by_test_id("to-live").click()
    await newest.get_by_test_id("event-play").click()
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")


async def test_a_kind_that_is_filtered_out_goes_from_list_and_timeline(wall: Page, server: Stack) -> None:
    await wall.goto(f"/#/camera/{CAMERA}")
    server.farm.event(CAMERA, "tamper", True)
    server.farm.event(CAMERA, "storage", True)
    events = wall.get_by_test_id("events")
    tampered = events.locator("[data-testid=event][data-kind=tamper]")
    stored = events.locator("[data-testid=event][data-kind=storage]")
    await expect(tampered.first).to_be_visible()
    await expect(stored.first).to_be_visible()
    await events.locator("[data-testid=event-kind][data-kind=tamper]").click()
    await expect(tampered).to_have_count(0)
    await expect(wall.locator("[data-testid=event-mark][data-kind=tamper]")).to_have_count(0)
    await expect(stored.first).to_be_visible()
    await expect(wall.locator("[data-testid=event-mark][data-kind=storage]").first).to_be_attached()


async def test_following_a_day_is_one_entry_in_the_access_log(wall: Page, server: Stack) -> None:
    asked: list[str] = []
    wall.on("request", lambda request: asked.append(request.url) if "/events?" in request.url else None)
    await asked_alone(wall)
    await wall.goto(f"/#/camera/{OTHER}")
    await wall.reload()

    async def polled() -> bool:
        return len(asked) >= 3

    await until(polled)
    entries = server.client.get("/api/v1/access-log?limit=200")["entries"]
    mine = [one for one in entries if one["action"] == "events.read" and one["subject"].startswith(f"{OTHER} ")]
    assert len({one["subject"] for one in mine}) == len(mine) == 1


async def test_nobody_without_the_right_sees_or_asks_for_events(
    chromium: Browser, server: Stack, people: dict[str, str]
) -> None:
    async with somebody(chromium, server, "vien", people["vien"]) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"/#/camera/{CAMERA}")
        await page.get_by_test_id("services").wait_for()
        await expect(page.get_by_test_id("events")).to_have_count(0)
        await expect(page.locator("[data-testid=event-mark]")).to_have_count(0)
        assert not [url for url in asked if "/events?" in url]


async def test_an_operator_sees_events_without_a_word_on_footage(
    chromium: Browser, server: Stack, people: dict[str, str]
) -> None:
    async with somebody(chromium, server, "minh", people["minh"]) as page:
        await page.goto(f"/#/camera/{CAMERA}")
        server.farm.event(CAMERA, "digital_input", True)
        row = page.locator("[data-testid=event][data-kind=digital_input]").first
        await expect(row).to_contain_text("input-1")
        await expect(page.locator("[data-testid=event-mark][data-kind=digital_input]").first).to_be_attached()
        await expect(page.get_by_test_id("event-play")).to_have_count(0)
        await expect(page.locator(".timeline-panel")).to_contain_text("Bạn không có quyền xem lại hình ghi")
        await page.get_by_test_id("timeline").hover()
        await expect(page.get_by_test_id("timeline-tooltip")).not_to_contain_text("hình ghi")


# --- services ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "works", "missing"), [("vi", "Tốt", "Không hỗ trợ"), ("en", "Works", "Not offered")]
)
async def test_the_page_tells_how_each_service_of_a_camera_does(
    wall: Page, language: str, works: str, missing: str
) -> None:
    if language == "en":
        await wall.get_by_test_id("language").click()
    await wall.goto(f"/#/camera/{CAMERA}")
    services = wall.get_by_test_id("services")
    await expect(services.locator("[data-service=ptz]")).to_contain_text(works)
    await expect(services.locator("[data-service=events]")).to_contain_text(works)
    await expect(services.locator("[data-service=media2]")).to_contain_text(missing)
    await expect(wall.get_by_test_id("clock-offset")).to_contain_text("s")
