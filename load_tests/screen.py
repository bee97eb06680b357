"""What people wait for in front of a screen: Chromium, the page, the server and simulated cameras on one machine.

`python -m load_tests screen --json`. Clicks: from the click on a camera of the wall to the first picture of its page.
Latency: from the time that a simulated camera signed into an access unit (when it was due) to the time at which
Chromium expects that picture on the screen. The signature is read from the encoded picture in the browser
(RTCRtpScriptTransform) and found again by RTP time when the picture is presented (requestVideoFrameCallback): no clock
but the machine's own is trusted, and nothing is estimated. Wall: from loading the page to each tile's first picture.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright

from load_tests.camera_farm.counters import COUNTER_UUID
from load_tests.chromium import find_chromium
from load_tests.measure import machine, print_json
from load_tests.stack import Stack, running_stack

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
)
BIG: Final = {"cameras": 3, "mode": "load", "width": 1280, "height": 720, "rate": 25, "bitrate": 2000, "gop": 2}
SMALL: Final = {"mode": "load", "width": 960, "height": 540, "rate": 12, "bitrate": 300, "gop": 2}
LOOKED_S: Final = 1.5
LEFT_S: Final = 4.0
FILLED_S: Final = 30.0
SIGNATURES: Final = """
    const uuid = %s
    const code = `onrtctransform = ({ transformer }) => {
        const uuid = %s
        const read = bytes => {
            for (let at = 0; at + 80 < Math.min(bytes.length, 4096); at += 1) {
                if (!uuid.every((byte, index) => bytes[at + index] === byte)) continue
                const plain = []
                for (let i = at + 16; plain.length < 100 && i < bytes.length; i += 1) {
                    const [a, b] = plain.slice(-2)
                    if (bytes[i] === 3 && a === 0 && b === 0 && bytes[i - 1] === 0 && bytes[i - 2] === 0) continue
                    plain.push(bytes[i])
                }
                const tail = 3 + plain[2] + 8 + 8
                return plain.slice(tail, tail + 8).reduce((sum, byte) => sum * 256 + byte, 0) / 1000
            }
        }
        transformer.readable.pipeThrough(new TransformStream({
            transform(picture, controller) {
                postMessage([picture.getMetadata().rtpTimestamp, read(new Uint8Array(picture.data))])
                controller.enqueue(picture)
            },
        })).pipeTo(transformer.writable)
    }`
    window.signed = new Map()
    const add = RTCPeerConnection.prototype.addTransceiver
    RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
        const made = add.call(this, kind, init)
        if (kind !== 'video' || !window.readsSignatures) return made
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })))
        worker.onmessage = ({ data: [rtp, ms] }) => window.signed.set(rtp, ms)
        made.receiver.transform = new RTCRtpScriptTransform(worker, {})
        return made
    }
"""
LATENCIES: Final = """async ([selector, seconds]) => {
    const video = document.querySelector(selector)
    const origin = Date.now() - performance.now()
    const shown = []
    const received = []
    const until = performance.now() + seconds * 1000
    await new Promise(done => {
        const look = (now, { rtpTimestamp, expectedDisplayTime, receiveTime }) => {
            const signed = window.signed.get(rtpTimestamp)
            if (signed) shown.push(origin + expectedDisplayTime - signed)
            if (signed && receiveTime) received.push(origin + receiveTime - signed)
            if (now < until) video.requestVideoFrameCallback(look)
            else done()
        }
        video.requestVideoFrameCallback(look)
    })
    return { shown, received }
}"""
FIRST_PICTURES: Final = """() => performance.getEntriesByType('measure')
    .filter(one => one.name.startsWith('first picture'))
    .map(one => one.startTime + one.duration)"""


def main(argv: Sequence[str]) -> int:
    """0 when there was something to measure: what it should be at most stands in the issue and in docs/figures.md."""
    parser = argparse.ArgumentParser(prog="python -m load_tests screen", description=__doc__)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20, help="measure the latency for so long")
    parser.add_argument("--tiles", type=int, default=36)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    print_json(asyncio.run(_measure(options)))
    return 0


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    binary = find_chromium()
    result: dict[str, Any] = {"load_test": "screen", "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="mediasrv-screen-") as name:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=binary, args=list(ARGUMENTS))
            with running_stack(Path(name) / "big", BIG) as stack:
                await asyncio.to_thread(stack.wait_until_recording)
                result |= await measure_clicks(browser, stack, options.clicks)
                result |= await measure_latency(browser, stack, options.seconds)
            with running_stack(Path(name) / "small", {**SMALL, "cameras": options.tiles}) as stack:
                await asyncio.to_thread(stack.wait_until_recording)
                result |= await measure_wall(browser, stack, options.tiles)
            await browser.close()
    return result


async def measure_clicks(browser: Browser, stack: Stack, clicks: int) -> dict[str, Any]:
    """A tile that plays is clicked on again and again: how long until the picture of the camera's page."""
    page = await open_page(browser, stack)
    waits: dict[str, list[float]] = {"page": [], "enlarged": []}
    for number in range(clicks):
        camera_id = stack.cameras[number % len(stack.cameras)]
        tile = page.locator(f"[data-testid=tile][data-camera='{camera_id}']")
        for how, control, picture in (
            ("page", "tile-link", "[data-testid=camera-page] video"),
            ("enlarged", "enlarge", "[data-testid=tile-main] video"),
        ):
            await _wall_plays(page, len(stack.cameras))
            await asyncio.sleep(LOOKED_S)
            await tile.get_by_test_id(control).click()
            video = page.locator(f"{picture}[data-click-to-picture-ms]")
            await video.wait_for()
            waits[how].append(float(await video.get_attribute("data-click-to-picture-ms") or 0))
            await (page.keyboard.press("Escape") if how == "enlarged" else page.goto("/#/"))
    await page.context.close()
    return {
        "clicks": clicks,
        "first_picture_ms_p50": _share(waits["page"], 0.5),
        "first_picture_ms_p95": _share(waits["page"], 0.95),
        "enlarged_ms_p50": _share(waits["enlarged"], 0.5),
        "enlarged_ms_p95": _share(waits["enlarged"], 0.95),
    }


async def measure_latency(browser: Browser, stack: Stack, seconds: float) -> dict[str, Any]:
    """Of one camera's main stream, watched by itself, some seconds after the join."""
    uuid = str(list(COUNTER_UUID))
    script = f"window.readsSignatures = true\n{SIGNATURES % (uuid, uuid)}"
    page = await open_page(browser, stack, script)
    await page.goto(f"/watch/{stack.cameras[0]}?stream=main")
    await page.locator("#video[data-first-picture-ms]").wait_for()
    await asyncio.sleep(5.0)  # what was sent at once at the join has been played by then
    found = await page.evaluate(LATENCIES, ["#video", seconds])
    await page.context.close()
    return {
        "pictures_measured": len(found["shown"]),
        "latency_ms_p50": _share(found["shown"], 0.5),
        "latency_ms_p95": _share(found["shown"], 0.95),
        "camera_to_browser_ms_p50": _share(found["received"], 0.5),
        "camera_to_browser_ms_p95": _share(found["received"], 0.95),
    }


async def measure_wall(browser: Browser, stack: Stack, tiles: int) -> dict[str, Any]:
    """The wall opened: when the first picture of each tile is there, and how late the server's loop was."""
    page = await open_page(browser, stack, f"localStorage.setItem('mediasrv.wall.layout', '{tiles}')")
    await _wall_plays(page, tiles)
    await page.goto("about:blank")
    await asyncio.sleep(LEFT_S)  # the viewers of before have said goodbye
    await page.goto("/")
    await _wall_plays(page, tiles)
    first: list[float] = await page.evaluate(FIRST_PICTURES)
    late = stack.client.get("/api/v1/status")["node"]["loop_late_ms_p99"]
    await page.goto("about:blank")
    await page.context.close()
    return {
        "tiles": len(first),
        "tile_first_picture_ms_p50": _share(first, 0.5),
        "tile_first_picture_ms_p95": _share(first, 0.95),
        "wall_filled_ms": round(max(first), 1),
        "loop_late_ms_p99": late,
    }


async def open_page(browser: Browser, stack: Stack, script: str = "") -> Page:
    """The wall, logged in. `script` runs before each page."""
    viewport = {"width": 1600, "height": 900}
    context = await browser.new_context(viewport=viewport, base_url=stack.url)  # type: ignore[arg-type]
    context.set_default_timeout(FILLED_S * 1000)
    if script:
        await context.add_init_script(script)
    page = await context.new_page()
    await page.goto("/")
    await page.locator("input[name=username]").fill(stack.username)
    await page.locator("input[name=password]").fill(stack.password)
    await page.locator("button[type=submit]").click()
    await page.get_by_test_id("tile").first.wait_for()
    return page


async def _wall_plays(page: Page, tiles: int) -> None:
    await page.locator("[data-testid=tile] video[data-player=playing]").nth(tiles - 1).wait_for()


def _share(values: Sequence[float], share: float) -> float:
    if not values:
        raise SystemExit("nothing was measured")
    if len(values) == 1:
        return round(values[0], 1)
    return round(statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1], 1)
