"""How live media reaches Chromium: over TCP where its network lets no UDP through, and on after an ICE restart."""

from __future__ import annotations

import re

from playwright.async_api import Page, Response, Route

from load_tests.stack import Stack
from tests.browser.screen import moves, open_camera, peer_stats

UDP_CANDIDATE = re.compile(r"a=candidate:\d+ 1 udp [^\r\n]*\r\n")


async def test_without_udp_chromium_plays_over_tcp(wall: Page, server: Stack) -> None:
    async def hide_udp(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.text()
        assert "tcptype passive" in body
        await route.fulfill(response=answer, body=UDP_CANDIDATE.sub("", body))

    await wall.route(lambda url: "/whep/" in url and "stream=auto" in url, hide_udp)
    camera_id = server.cameras[0]
    video = await open_camera(wall, camera_id)
    await moves(video)
    stats = await peer_stats(wall, f"{camera_id}/auto")
    assert await _protocol(wall, f"{camera_id}/auto") == "tcp"
    assert stats["video"]["packetsLost"] == 0


async def test_chromium_restarts_ice_and_plays_on(wall: Page, server: Stack) -> None:
    locations: list[str] = []

    async def remember(response: Response) -> None:
        if response.request.method == "POST" and "/whep/" in response.url and "stream=auto" in response.url:
            locations.append(await response.header_value("location") or "")

    wall.on("response", remember)
    camera_id = server.cameras[0]
    key = f"{camera_id}/auto"
    video = await open_camera(wall, camera_id)
    await moves(video)
    before = await _fragments(wall, key)
    assert await _restart_ice(wall, key, locations[0]) == 200
    await moves(video, pictures=75)
    after = await _fragments(wall, key)
    assert not set(before) & set(after)
    assert (await peer_stats(wall, key))["video"]["freezeCount"] == 0
    assert len(locations) == 1, "it is the same session"


async def _restart_ice(page: Page, key: str, location: str) -> int:
    """What a WHEP player does for an ICE restart (RFC 9725, 4.3.3); the status of its PATCH."""
    status: int = await page.evaluate(
        """async ([key, location]) => {
            const peer = window.mediasrvDebug.peers[key]
            peer.restartIce()
            await peer.setLocalDescription()
            const lines = peer.localDescription.sdp.split('\\r\\n')
            const wanted = /^(m=|a=mid:|a=ice-ufrag:|a=ice-pwd:)/
            const body = lines.filter(line => wanted.test(line)).join('\\r\\n') + '\\r\\n'
            const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }
            const answer = await fetch(new URL(location).pathname, { method: 'PATCH', headers, body })
            const fragment = await answer.text()
            const ours = name => fragment.match(new RegExp(`a=${name}:[^\\r\\n]*`))[0]
            const sdp = peer.remoteDescription.sdp
                .replace(/a=ice-ufrag:[^\\r\\n]*/g, ours('ice-ufrag'))
                .replace(/a=ice-pwd:[^\\r\\n]*/g, ours('ice-pwd'))
            await peer.setRemoteDescription({ type: 'answer', sdp })
            return answer.status
        }""",
        [key, location],
    )
    return status


async def _fragments(page: Page, key: str) -> list[str]:
    """The ICE user names of both sides."""
    found: list[str] = await page.evaluate(
        """key => {
            const peer = window.mediasrvDebug.peers[key]
            return [peer.localDescription, peer.remoteDescription].map(one => one.sdp.match(/a=ice-ufrag:(.*)/)[1])
        }""",
        key,
    )
    return found


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
