"""Live over TCP: what a browser falls back to where its network lets no UDP through."""

from __future__ import annotations

import re

from playwright.async_api import Page, Route

from load_tests.stack import Stack
from tests.browser.screen import moves, open_camera, peer_stats

UDP_CANDIDATE = re.compile(r"a=candidate:\d+ 1 udp [^\r\n]*\r\n")


async def test_without_udp_chromium_plays_over_tcp(wall: Page, server: Stack) -> None:
    async def hide_udp(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.text()
        assert "tcptype passive" in body
        await route.fulfill(response=answer, body=UDP_CANDIDATE.sub("", body))

    await wall.route(lambda url: "/whep/" in url and "stream=main" in url, hide_udp)
    camera_id = server.cameras[0]
    video = await open_camera(wall, camera_id)
    await moves(video)
    stats = await peer_stats(wall, f"{camera_id}/main")
    assert await _protocol(wall, f"{camera_id}/main") == "tcp"
    assert stats["video"]["packetsLost"] == 0


async def _protocol(page: Page, key: str) -> str:
    """By what the media of a WebRTC connection comes."""
    protocol: str = await page.evaluate(
        """async key => {
            const report = await window.mediasrvDebug.peers[key].getStats()
            const transport = [...report.values()].find(entry => entry.type === 'transport')
            return report.get(report.get(transport.selectedCandidatePairId).remoteCandidateId).protocol
        }""",
        key,
    )
    return protocol
