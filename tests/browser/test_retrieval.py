"""Looking things up in what was recorded: whatever it was recorded as, at any speed, picture by picture."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from load_tests.measure import percentile
from load_tests.stack import CameraFarm, running_farm
from mediasrv.media.access_unit import StreamName, StreamRef
from tests.browser.conftest import STEP_MS
from tests.browser.screen import camera_video, fingerprint, log_in, moves, picture_ms, until
from tests.integration.node import Node, running_node

USERNAME, PASSWORD = "kim", "looks up what happened"
HEVC, PLAIN, OTHER = "cam-1", "cam-2", "cam-3"
RATE = 15
RECORDED_S = 60.0
FIRST_PICTURE_MS = 500.0
_SOME = re.compile("[0-9]+")
SLACK = 3.0
"""This machine does other things beside; docs/figures.md has what a quiet one takes."""


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    shape = {"width": 640, "height": 360, "rate": RATE, "bitrate": 400, "gop": 2, "audio": "none"}
    sets = [f"{HEVC}:codec=h265,audio=pcma"]
    with running_farm(tmp_path_factory.mktemp("cameras") / "log", cameras=3, mode="load", set=sets, **shape) as farm:
        yield farm


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(cameras: CameraFarm, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """Records all of them, and has done so for a while."""
    async with running_node(tmp_path_factory.mktemp("node"), list(cameras.addresses())) as node:
        await node.base.accounts.create_user(USERNAME, PASSWORD)
        for role in ("viewer", "operator", "auditor"):
            await node.base.accounts.grant(USERNAME, role, purpose="test")
        began = time.monotonic()

        async def recorded() -> bool:
            return time.monotonic() - began > RECORDED_S and all(
                [await covered_ms(node, camera) for camera in (HEVC, PLAIN, OTHER)]
            )

        await until(recorded, RECORDED_S + 40)
        yield node


async def covered_ms(node: Node, camera_id: str) -> tuple[float, float] | None:
    """The newest span of footage, ms since 1970."""
    now_us = round(time.time() * 1_000_000)
    ref = StreamRef(camera_id, StreamName.MAIN)
    coverage = (await node.server.playback.timeline(ref, now_us - 3600 * 1_000_000, now_us)).coverage
    return (coverage[-1].start_us / 1000, coverage[-1].end_us / 1000) if coverage else None


@pytest_asyncio.fixture(loop_scope="session")
async def viewer(chromium: Browser, node: Node) -> AsyncIterator[Page]:
    context = await chromium.new_context(viewport={"width": 1440, "height": 900}, base_url=node.url)
    context.set_default_timeout(STEP_MS)
    page = await context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    await page.goto("/")
    await log_in(page, USERNAME, PASSWORD)
    await page.locator("header").wait_for()
    yield page
    await context.close()
    assert broken == []


def _iso(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def look(page: Page, node: Node, camera_id: str, after_s: float = 5.0) -> Locator:
    """The camera's page, playing footage that began so long after the oldest; the video, once it moves."""
    start_ms, _ = await covered_ms(node, camera_id) or (0.0, 0.0)
    await page.goto(f"/#/camera/{camera_id}?at={_iso(start_ms + 1000 * after_s)}")
    video = await camera_video(page)
    await moves(video, pictures=10)
    return video


SCREENS = os.environ.get("SCREENS")


async def screens(page: Page, name: str) -> None:
    if SCREENS:
        await page.screenshot(path=f"{SCREENS}/{name}.png")
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.screenshot(path=f"{SCREENS}/{name}-phone.png", full_page=True)
        await page.set_viewport_size({"width": 1440, "height": 900})


@pytest.mark.timeout(180)
async def test_recorded_h265_and_g711_are_seen_and_heard(viewer: Page, node: Node) -> None:
    video = await look(viewer, node, HEVC)
    playing = await viewer.evaluate(f"window.mediasrvDebug.hls['{HEVC}'].levels[0].videoCodec")
    assert playing.startswith("avc1")
    await expect(viewer.get_by_test_id("mute")).to_be_enabled()

    async def heard() -> bool:
        return bool(await video.evaluate("video => video.webkitAudioDecodedByteCount > 5000"))

    await until(heard)
    # Over several joins: nothing is rebuffered, and no hole is jumped over.
    at_s = await video.evaluate("video => video.currentTime")

    async def went_on() -> bool:
        return bool(await video.evaluate(f"video => video.currentTime > {at_s + 8}"))

    await until(went_on, 30)
    assert await video.evaluate("video => video.buffered.length") == 1


@pytest.mark.timeout(180)
async def test_sixteen_times_as_fast_shows_keyframes_alone(viewer: Page, node: Node) -> None:
    asked: list[str] = []
    viewer.on("request", lambda request: asked.append(request.url))
    for camera_id, keys in ((PLAIN, "/keys/"), (HEVC, "/h264-keys/")):
        await look(viewer, node, camera_id)
        asked.clear()
        await viewer.get_by_test_id("rate").select_option("16")
        await until(_went(viewer, await picture_ms(viewer), 12_000), 20)
        segments = [url for url in asked if url.endswith(".m4s")]
        # Up to the switch what comes next is read ahead.
        first = next(number for number, url in enumerate(segments) if keys in url)
        assert all(keys in url for url in segments[first:])
        assert len(segments) - first > 5
        assert await viewer.get_by_test_id("camera-page").get_attribute("data-source") == "recorded"
        await viewer.get_by_test_id("rate").select_option("1")
        await until(_went(viewer, await picture_ms(viewer), 400))


def _went(page: Page, from_ms: float, by_ms: float):  # type: ignore[no-untyped-def]
    async def went() -> bool:
        return await picture_ms(page) > from_ms + by_ms

    return went


@pytest.mark.timeout(180)
async def test_pictures_are_stepped_through_one_by_one_there_and_back(viewer: Page, node: Node) -> None:
    video = await look(viewer, node, PLAIN)
    box = await viewer.get_by_test_id("timeline").bounding_box()
    assert box is not None
    edge = await viewer.locator("svg .covered").first.bounding_box()
    assert edge is not None
    await viewer.mouse.move(edge["x"] + edge["width"] / 2, box["y"] + 45)
    await expect(viewer.locator("[data-testid=thumbnail] img.loaded")).to_be_attached()
    shares = await viewer.get_by_test_id("month-day").evaluate_all("days => days.map(one => Number(one.dataset.share))")
    assert len(shares) == 31
    assert 0 < shares[-1] < 1
    await screens(viewer, "camera")
    await viewer.mouse.move(5, 5)
    await viewer.keyboard.press("k")
    await video.evaluate(
        """video => {
            window.shown = []
            const next = (_, picture) => {
                if (picture) window.shown.push(picture.mediaTime)
                video.requestVideoFrameCallback(next)
            }
            next()
        }"""
    )
    seen: list[float] = []
    for key in (".", ".", ".", ",", ","):
        before, shown = await fingerprint(video), await viewer.evaluate("window.shown.length")
        await viewer.keyboard.press(key)

        async def changed(before: str = before, shown: int = shown) -> bool:
            told = await viewer.evaluate("window.shown.length") > shown
            return told and await fingerprint(video) != before

        await until(changed)
        seen.append((await viewer.evaluate("window.shown"))[-1])
    steps = [round((after - one) * RATE, 2) for one, after in pairwise(seen)]
    assert steps == pytest.approx([1, 1, -1, -1], abs=0.05)
    assert await video.evaluate("video => video.paused")


@pytest.mark.timeout(240)
async def test_the_picture_that_was_asked_for_is_there_soon_and_is_that_one(viewer: Page, node: Node) -> None:
    start_ms, end_ms = await covered_ms(node, PLAIN) or (0.0, 0.0)
    taken: list[float] = []
    for number in range(20):
        await viewer.goto("/#/cameras")
        await expect(viewer.get_by_test_id("camera-page")).to_have_count(0)
        wanted_ms = start_ms + 2000 + (end_ms - start_ms - 12_000) * (number * 7 % 20) / 20
        await viewer.goto(f"/#/camera/{PLAIN}?at={_iso(wanted_ms)}")
        video = await camera_video(viewer)
        await expect(video).to_have_attribute("data-first-picture-ms", _SOME, timeout=STEP_MS)
        taken.append(float(await video.get_attribute("data-first-picture-ms") or 0))

        async def told(wanted_ms: float = wanted_ms) -> bool:
            return abs(await picture_ms(viewer) - wanted_ms) > 1

        await until(told)
        # Not the keyframe before it, which the player has first.
        assert -1000 / RATE <= await picture_ms(viewer) - wanted_ms < 2000
    print(f"first picture p50 {percentile(taken, 50):.0f} ms, p95 {percentile(taken, 95):.0f} ms")
    assert percentile(taken, 95) < FIRST_PICTURE_MS * SLACK


WALLS = """() => Object.fromEntries(Object.entries(window.mediasrvDebug.hls)
    .map(([camera, hls]) => [camera, hls.playingDate?.getTime() ?? null]))"""
"""What each video shows by its playlist, as hls.js reckons it; all at one moment."""

IN_STEP_MS = 100.0


async def together(page: Page, start_ms: float, *cameras: str) -> None:
    """Goes to the footage of several cameras; returns once all play."""
    await page.goto(f"/#/footage?cameras={','.join(cameras)}&at={_iso(start_ms)}")
    for camera in cameras:
        tile = page.locator(f"[data-testid=footage-tile][data-camera='{camera}']")
        await expect(tile).to_have_attribute("data-state", "playing", timeout=20_000)


async def apart_ms(page: Page, seconds: float) -> list[float]:
    """How far the pictures of all cameras were apart, again and again for so long."""
    found = []
    until_at = time.monotonic() + seconds
    while time.monotonic() < until_at:
        walls = [one for one in (await page.evaluate(WALLS)).values() if one is not None]
        found.append(max(walls) - min(walls))
        await asyncio.sleep(0.2)
    return found


@pytest.mark.timeout(240)
async def test_several_cameras_play_in_step(viewer: Page, node: Node) -> None:
    starts = [(await covered_ms(node, camera) or (0.0, 0.0))[0] for camera in (HEVC, PLAIN, OTHER)]
    await together(viewer, max(starts) + 4000, HEVC, PLAIN, OTHER)

    async def settled() -> bool:
        return max(await apart_ms(viewer, 0.7)) < IN_STEP_MS

    await until(settled, 20)
    await screens(viewer, "footage")
    await until(settled, 20)
    before_ms = await picture_ms(viewer)
    found = await apart_ms(viewer, 8)
    print(f"apart p50 {percentile(found, 50):.0f} ms, most {max(found):.0f} ms")
    assert percentile(found, 95) < IN_STEP_MS
    assert await picture_ms(viewer) - before_ms > 6000
    walls, clock_ms = (await viewer.evaluate(WALLS)).values(), await picture_ms(viewer)
    assert all(abs(one - clock_ms) < 5 * IN_STEP_MS for one in walls)


@pytest.mark.timeout(240)
async def test_a_camera_in_its_gap_waits_while_the_others_go_on(viewer: Page, node: Node, cameras: CameraFarm) -> None:
    cameras.fault(OTHER, "drop")
    ref = StreamRef(OTHER, StreamName.MAIN)

    async def gap() -> tuple[float, float] | None:
        now_us = round(time.time() * 1_000_000)
        timeline = await node.server.playback.timeline(ref, now_us - 120_000_000, now_us)
        if len(timeline.coverage) < 2 or timeline.coverage[-1].end_us - timeline.coverage[-1].start_us < 6_000_000:
            return None
        return timeline.coverage[-2].end_us / 1000, timeline.coverage[-1].start_us / 1000

    start_ms, end_ms = await until(gap, 60)
    await together(viewer, start_ms - 4000, PLAIN, OTHER)
    tile = viewer.locator(f"[data-testid=footage-tile][data-camera='{OTHER}']")
    await expect(tile).to_have_attribute("data-state", "gap", timeout=20_000)
    await expect(tile.get_by_test_id("footage-gap")).not_to_be_empty()
    await screens(viewer, "gap")
    assert start_ms - 300 <= await picture_ms(viewer) <= end_ms
    other = viewer.locator(f"[data-testid=footage-tile][data-camera='{PLAIN}']")
    assert await other.get_attribute("data-state") == "playing"
    await expect(tile).to_have_attribute("data-state", "playing", timeout=30_000)

    async def again() -> bool:
        return await picture_ms(viewer) > end_ms + 1000 and max(await apart_ms(viewer, 0.5)) < IN_STEP_MS

    await until(again, 20)
