"""Recorded footage by the timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from load_tests.stack import Stack, wait_for
from tests.browser.screen import camera_video, click_timeline, moves, open_camera, picture_ms, until

LEAST_S = 30.0


@pytest.fixture(scope="module")
def covered(server: Stack) -> tuple[str, float, float]:
    """A camera and a span of at least LEAST_S of its footage without a gap, ms since 1970."""
    camera_id = server.cameras[0]

    def found() -> tuple[float, float] | None:
        now = datetime.now(UTC)
        path = f"/api/v1/cameras/{camera_id}/timeline?start={_iso(now - timedelta(hours=1))}&end={_iso(now)}"
        spans = [(_ms(span["start"]), _ms(span["end"])) for span in server.client.get(path)["coverage"]]
        return next((span for span in reversed(spans) if span[1] - span[0] >= LEAST_S * 1000), None)

    start_ms, end_ms = wait_for(found, 90, lambda: f"{LEAST_S} s of footage") or (0.0, 0.0)
    return camera_id, start_ms, end_ms


def _iso(at: datetime) -> str:
    return quote(at.isoformat())


def _ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


@pytest.mark.timeout(150)
async def test_a_click_on_the_timeline_plays_that_time(wall: Page, covered: tuple[str, float, float]) -> None:
    camera_id, start_ms, _ = covered
    wanted_ms = start_ms + 8000
    await open_camera(wall, camera_id)
    await _wait_for_timeline(wall)
    await click_timeline(wall, wanted_ms)
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    video = await camera_video(wall)
    await moves(video, pictures=10)
    pixel_ms = await _pixel_ms(wall)
    shown_ms = await picture_ms(wall)
    assert wanted_ms - pixel_ms <= shown_ms <= wanted_ms + pixel_ms + 10_000

    async def goes_on() -> bool:
        return await picture_ms(wall) > shown_ms + 2000

    await until(goes_on)
    playhead = await wall.get_by_test_id("timeline").get_attribute("data-playhead")
    assert abs(float(playhead or 0) - await picture_ms(wall)) < 1000


@pytest.mark.timeout(150)
async def test_playback_goes_back_ten_seconds_pauses_and_returns_to_live(
    wall: Page, covered: tuple[str, float, float]
) -> None:
    camera_id, start_ms, _ = covered
    await wall.goto(f"/#/camera/{camera_id}?at={_from_ms(start_ms + 15_000)}")
    video = await camera_video(wall)
    await moves(video, pictures=10)
    before_ms = await picture_ms(wall)
    await wall.get_by_test_id("back-10").click()

    async def went_back() -> bool:
        return 0 < await picture_ms(wall) < before_ms - 5000

    await until(went_back)
    await wall.get_by_test_id("pause").click()
    assert await video.evaluate("video => video.paused")
    await wall.get_by_test_id("to-live").click()
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "webrtc")
    await moves(await camera_video(wall))


@pytest.mark.timeout(150)
async def test_fast_playback_that_catches_up_with_now_goes_live(wall: Page, covered: tuple[str, float, float]) -> None:
    camera_id, _, _ = covered
    at_ms = datetime.now(UTC).timestamp() * 1000 - 20_000
    await wall.goto(f"/#/camera/{camera_id}?at={_from_ms(at_ms)}")
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    await wall.get_by_test_id("rate").select_option("4")
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "webrtc", timeout=60_000)


@pytest.mark.timeout(150)
async def test_playback_goes_on_past_the_end_of_what_was_loaded(wall: Page, covered: tuple[str, float, float]) -> None:
    camera_id, _, _ = covered
    opened_ms = datetime.now(UTC).timestamp() * 1000
    await wall.goto(f"/#/camera/{camera_id}?at={_from_ms(opened_ms - 12_000)}")

    async def past_it() -> bool:
        return await picture_ms(wall) > opened_ms + 3000

    await until(past_it, 60)
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "recorded")
    await moves(await camera_video(wall), pictures=10)


@pytest.mark.timeout(150)
async def test_a_gap_shows_its_cause_and_a_click_on_it_plays_what_follows(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[1]
    dropped = datetime.now(UTC)
    server.farm.fault(camera_id, "drop")

    def gap() -> dict[str, str] | None:
        now = datetime.now(UTC)
        path = f"/api/v1/cameras/{camera_id}/timeline?start={_iso(dropped - timedelta(seconds=5))}&end={_iso(now)}"
        timeline = server.client.get(path)
        lost = [one for one in timeline["gaps"] if one["cause"] == "camera_lost"]
        after = lost and any(_ms(span["end"]) > _ms(lost[0]["end"]) + 3000 for span in timeline["coverage"])
        return lost[0] if after else None

    lost = wait_for(gap, 60, lambda: "a gap of the cause camera_lost, and footage after it") or {}
    await wall.goto(f"/#/camera/{camera_id}")
    bar = wall.locator("[data-testid=gap][data-cause=camera_lost]").last
    await bar.wait_for(state="attached")
    await _zoom_to(wall, _ms(lost["start"]))
    await bar.hover(force=True)
    await expect(wall.get_by_test_id("timeline-tooltip")).to_contain_text("Mất kết nối với camera.")
    await expect(wall.get_by_test_id("timeline-tooltip")).to_contain_text("camera_lost")
    asked_ms = int((_ms(lost["start"]) + _ms(lost["end"])) / 2)
    await wall.goto(f"/#/camera/{camera_id}?at={_from_ms(asked_ms)}")
    await wall.reload()
    await moves(await camera_video(wall), pictures=5)

    async def answered() -> bool:
        # The page shows the time that was asked for until the player tells that of its first picture.
        return abs(await picture_ms(wall) - asked_ms) > 1

    await until(answered)
    assert await picture_ms(wall) >= _ms(lost["end"]) - 100


async def test_a_time_without_footage_after_it_says_so(wall: Page, server: Stack) -> None:
    ahead_ms = datetime.now(UTC).timestamp() * 1000 + 60_000
    await wall.goto(f"/#/camera/{server.cameras[0]}?at={_from_ms(ahead_ms)}")
    await expect(wall.get_by_test_id("no-footage")).to_be_visible()


def _from_ms(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _wait_for_timeline(page: Page) -> None:
    await expect(page.locator("svg .covered").first).to_be_attached()


async def _pixel_ms(page: Page) -> float:
    timeline = page.get_by_test_id("timeline")
    box = await timeline.bounding_box()
    assert box is not None
    start, end = [float(await timeline.get_attribute(name) or 0) for name in ("data-start", "data-end")]
    return (end - start) / box["width"]


async def _zoom_to(page: Page, at_ms: float) -> None:
    """Scrolls the wheel over `at_ms` until the view is a few minutes long."""
    timeline = page.get_by_test_id("timeline")
    await timeline.scroll_into_view_if_needed()
    while await _pixel_ms(page) > 200:
        box = await timeline.bounding_box()
        assert box is not None
        start = float(await timeline.get_attribute("data-start") or 0)
        await page.mouse.move(box["x"] + (at_ms - start) / await _pixel_ms(page), box["y"] + 45)
        before = await _pixel_ms(page)
        await page.mouse.wheel(0, -100)

        async def zoomed(before: float = before) -> bool:
            return await _pixel_ms(page) < before

        await until(zoomed)
