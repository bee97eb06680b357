"""One camera live, by WebRTC and by LL-HLS."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Response, Route, expect

from load_tests.stack import Stack
from tests.browser.screen import (
    PLAYS_H265,
    camera_video,
    moves,
    no_codec,
    open_camera,
    peer_stats,
    picture_ms,
    play_hls,
    until,
)

JOINS = 7
WATCHED_S = 10.0
LOOKED_S = 2.0


async def test_webrtc_plays_without_loss_or_freeze_under_aes_gcm(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]
    video = await open_camera(wall, camera_id)
    await moves(video)
    await asyncio.sleep(WATCHED_S)  # the figures are of a while of watching, not of a moment
    stats = await peer_stats(wall, f"{camera_id}/auto")
    assert stats["video"]["packetsLost"] == 0
    assert stats["video"]["freezeCount"] == 0
    assert stats["video"]["framesDecoded"] >= 25 * WATCHED_S * 0.95
    assert stats["transport"]["srtpCipher"] == "SRTP_AEAD_AES_128_GCM"
    await expect(wall.get_by_test_id("packets-lost")).to_have_text("0")


async def test_the_first_picture_comes_within_300_ms_of_the_click(wall: Page, server: Stack) -> None:
    waits = []
    for join in range(JOINS):
        await _wall_plays(wall, server)
        video = await open_camera(wall, server.cameras[join % len(server.cameras)])
        waits.append(await _click_to_picture_ms(video))
        await wall.get_by_role("navigation").get_by_role("link").first.click()
    print(f"click to first picture, ms: {waits}")
    assert median(waits) < 300, waits


async def _wall_plays(wall: Page, server: Stack) -> None:
    """What a person clicks on is a tile that plays, after a look at it."""
    await expect(wall.locator("[data-testid=tile] video[data-player=playing]")).to_have_count(len(server.cameras))
    await asyncio.sleep(LOOKED_S)


async def _click_to_picture_ms(video: Locator) -> float:
    async def shown() -> float:
        return float(await video.get_attribute("data-click-to-picture-ms") or 0)

    return await until(shown)


async def test_audio_is_heard_only_when_asked_for(wall: Page, server: Stack) -> None:
    camera_id = _camera_with_g711(server)
    video = await open_camera(wall, camera_id)
    await moves(video)
    assert await video.evaluate("video => video.muted")
    await wall.get_by_test_id("mute").click()
    assert not await video.evaluate("video => video.muted")

    async def samples() -> bool:
        stats = await peer_stats(wall, f"{camera_id}/auto")
        return float(stats.get("audio", {}).get("totalAudioEnergy", 0)) > 0

    await until(samples)


@pytest.mark.timeout(120)
async def test_a_session_that_the_server_lost_is_joined_again(wall: Page, server: Stack) -> None:
    locations: list[str] = []

    async def remember(response: Response) -> None:
        if response.request.method == "POST" and f"/whep/{server.cameras[0]}?stream=auto" in response.url:
            locations.append(await response.header_value("location") or "")

    wall.on("response", remember)
    video = await open_camera(wall, server.cameras[0])
    await moves(video)
    ended = await wall.request.delete(locations[0])
    assert ended.ok

    async def joined_again() -> bool:
        return len(locations) > 1

    await until(joined_again, 30)
    await moves(video, timeout_s=30)


async def test_low_latency_hls_plays_close_to_live(wall: Page, server: Stack) -> None:
    await play_hls(wall, server.cameras[0])

    async def close() -> bool:
        return await _hls_latency_s(wall, server.cameras[0]) < 4

    await until(close, 30)

    async def clock_is_right() -> bool:
        behind_ms = await wall.evaluate("Date.now()") - await picture_ms(wall)
        return bool(0 < behind_ms < 6000)

    await until(clock_is_right, 30)


async def _hls_latency_s(page: Page, camera_id: str) -> float:
    latency: Any = await page.evaluate("id => window.mediasrvDebug.hls[id]?.latency", camera_id)
    return float(latency) if latency else float("inf")


def _camera_with_g711(server: Stack) -> str:
    for camera_id, camera in server.client.cameras().items():
        audio = camera["streams"]["main"]["audio"]
        if audio and audio["codec"].upper() in {"PCMA", "PCMU"}:
            return camera_id
    raise AssertionError("no camera of the farm has G.711 audio")


async def test_the_stream_to_watch_is_chosen_and_the_one_that_runs_is_shown(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]
    video = await open_camera(wall, camera_id)
    await moves(video)
    quality = wall.get_by_test_id("quality")
    await expect(wall.get_by_test_id("quality-auto")).to_have_attribute("aria-pressed", "true")
    # A trial of the line, then the main stream's next keyframe.
    await expect(quality).to_have_attribute("data-running", "main", timeout=10_000)
    await wall.get_by_test_id("quality-sub").click()
    await moves(await camera_video(wall))
    await expect(quality).to_have_attribute("data-running", "sub")
    assert "video" in await peer_stats(wall, f"{camera_id}/sub")


@pytest.mark.parametrize("restarts", [True, False])
async def test_a_change_of_network_is_survived(wall: Page, server: Stack, restarts: bool) -> None:
    """ICE is restarted where the server does that; where it does not, what still works goes on."""
    camera_id = server.cameras[0]
    patches: list[tuple[str | None, str | None, str]] = []

    async def answer(route: Route) -> None:
        request = route.request
        if request.method != "PATCH":
            return await route.fallback()
        headers = await request.all_headers()
        patches.append((headers.get("if-match"), headers.get("content-type"), request.post_data or ""))
        return await (route.fallback() if restarts else route.fulfill(status=422, json={"code": "x", "detail": "No."}))

    await wall.route("**/whep/**", answer)
    video = await open_camera(wall, camera_id)
    await moves(video)
    await wall.evaluate("window.dispatchEvent(new Event('online'))")

    async def asked() -> bool:
        return bool(patches)

    await until(asked)
    assert patches[0][:2] == ("*", "application/trickle-ice-sdpfrag")
    assert patches[0][2].startswith("a=ice-ufrag:")
    assert "a=ice-pwd:" in patches[0][2]
    await moves(video, pictures=100)


async def test_the_page_itself_falls_to_hls_and_says_why(wall: Page, server: Stack) -> None:
    await wall.add_init_script(PLAYS_H265)
    await wall.route("**/whep/*?stream=auto", no_codec)
    await wall.goto(f"/#/camera/{server.cameras[0]}")
    await wall.reload()
    await expect(wall.get_by_test_id("camera-page")).to_have_attribute("data-source", "hls")
    await expect(wall.get_by_test_id("fallback-note")).to_contain_text("H.265")
    await moves(await camera_video(wall), timeout_s=30)


async def test_another_stream_than_the_one_that_came_by_hls_comes_by_webrtc_again(wall: Page, server: Stack) -> None:
    camera_id = server.cameras[0]
    await wall.add_init_script(PLAYS_H265)
    await wall.route("**/whep/*?stream=auto", no_codec)
    await wall.goto(f"/#/camera/{camera_id}")
    await wall.reload()
    page = wall.get_by_test_id("camera-page")
    await expect(page).to_have_attribute("data-source", "hls")
    await wall.get_by_test_id("quality-sub").click()
    await expect(page).to_have_attribute("data-source", "webrtc")
    await expect(wall.get_by_test_id("fallback-note")).to_have_count(0)
    await moves(await camera_video(wall))
    assert "video" in await peer_stats(wall, f"{camera_id}/sub")
