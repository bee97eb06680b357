"""What the tests of the page do and ask again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from playwright.async_api import Locator, Page, Route, expect

T = TypeVar("T")
PLAYS_H265 = """
    const real = MediaSource.isTypeSupported
    MediaSource.isTypeSupported = type => type.includes('hvc1') || real.call(MediaSource, type)
"""


async def log_in(page: Page, username: str, password: str) -> None:
    await page.locator("input[name=username]").fill(username)
    await page.locator("input[name=password]").fill(password)
    await page.locator("button[type=submit]").click()


async def asked_alone(page: Page) -> None:
    """From its next load on the page hears of no states: it asks for the list of cameras, which a test may answer."""
    await page.add_init_script("delete window.SharedWorker")
    await page.route("**/api/v1/camera-states", lambda route: route.abort())


async def open_camera(page: Page, camera_id: str) -> Locator:
    """Clicks the camera's name on the wall; the video of its page."""
    await tile_of(page, camera_id).get_by_test_id("tile-link").click()
    return await camera_video(page)


async def play_hls(page: Page, camera_id: str) -> Locator:
    """Goes from the wall to the camera's page, and there to LL-HLS; its video, once it moves."""
    await open_camera(page, camera_id)
    await page.get_by_test_id("transport-hls").click()
    await expect(page.get_by_test_id("camera-page")).to_have_attribute("data-source", "hls")
    video = await camera_video(page)
    await moves(video, timeout_s=30)
    return video


async def no_codec(route: Route) -> None:
    """The server's answer to a join that wants H.265 and does not offer it."""
    detail = "WebRTC carries H.264 here, and this stream is H.265."
    await route.fulfill(status=406, json={"code": "webrtc_codec_unsupported", "detail": detail})


def tile_of(page: Page, camera_id: str) -> Locator:
    return page.locator(f"[data-testid=tile][data-camera='{camera_id}']")


async def camera_video(page: Page) -> Locator:
    video = page.locator("[data-testid=camera-page] video")
    await video.wait_for()
    return video


async def until(condition: Callable[[], Awaitable[T]], timeout_s: float = 15.0) -> T:
    """The first true value of `condition`; AssertionError with the last one after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s, at last {value!r}"
        await asyncio.sleep(0.1)


async def presented(video: Locator) -> int:
    """Pictures that the video has presented so far."""
    count: int = await video.evaluate("video => video.getVideoPlaybackQuality().totalVideoFrames")
    return count


async def moves(video: Locator, pictures: int = 25, timeout_s: float = 15.0) -> None:
    """Waits until `pictures` more were decoded and the picture itself has changed."""
    before = await presented(video)
    look = await fingerprint(video)

    async def more() -> bool:
        return await presented(video) >= before + pictures

    await until(more, timeout_s)

    async def changed() -> bool:
        return await fingerprint(video) != look

    await until(changed, timeout_s)


async def fingerprint(video: Locator) -> str:
    """The picture that is shown, small and grey."""
    shown: str = await video.evaluate(
        """video => {
            const canvas = document.createElement('canvas')
            canvas.width = 64
            canvas.height = 36
            const context = canvas.getContext('2d')
            context.drawImage(video, 0, 0, 64, 36)
            return Array.from(context.getImageData(0, 0, 64, 36).data).join(' ')
        }"""
    )
    return shown


async def peer_stats(page: Page, key: str) -> dict[str, Any]:
    """`inbound-rtp` of the video and `transport` of the WebRTC connection `camera/stream`."""
    stats: dict[str, Any] = await page.evaluate(
        """async key => {
            const found = {}
            const peer = window.mediasrvDebug.peers[key]
            if (!peer) return found
            for (const entry of (await peer.getStats()).values()) {
                if (entry.type === 'inbound-rtp' && entry.kind === 'video') found.video = entry
                if (entry.type === 'inbound-rtp' && entry.kind === 'audio') found.audio = entry
                if (entry.type === 'transport') found.transport = entry
            }
            return found
        }""",
        key,
    )
    return stats


async def picture_ms(page: Page) -> int:
    """The wall time that the page shows for the picture, ms since 1970; 0 while it shows none."""
    shown = await page.get_by_test_id("picture-time").get_attribute("data-ms")
    return int(shown) if shown else 0


async def click_timeline(page: Page, at_ms: float) -> None:
    """Clicks the timeline where `at_ms` lies."""
    timeline = page.get_by_test_id("timeline")
    box = await timeline.bounding_box()
    assert box is not None
    start, end = [float(await timeline.get_attribute(name) or 0) for name in ("data-start", "data-end")]
    assert start < at_ms < end, "the time lies outside the timeline's view"
    await timeline.click(position={"x": (at_ms - start) / (end - start) * box["width"], "y": 45})
