"""A viewer in Chromium that has nothing of mediasrv's page: WHEP by fetch, one <video>, and what getStats tells."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

from load_tests.stack import Stack

_JOIN = """async ({url, token, replace}) => {
    const peer = new RTCPeerConnection()
    const video = document.createElement('video')
    window.lab = {peer, video}
    video.muted = video.autoplay = true
    document.documentElement.append(video)
    peer.ontrack = event => { video.srcObject = event.streams[0] ?? new MediaStream([event.track]) }
    // Chromium tells when a picture was taken only where there is sound to keep in step with.
    for (const kind of ['video', 'audio']) peer.addTransceiver(kind, {direction: 'recvonly'})
    await peer.setLocalDescription(await peer.createOffer())
    const headers = {'Content-Type': 'application/sdp', Authorization: `Bearer ${token}`}
    const answer = await fetch(url, {method: 'POST', headers, body: peer.localDescription.sdp})
    const sdp = await answer.text()
    if (answer.status !== 201) throw new Error(`${answer.status} ${sdp}`)
    await peer.setRemoteDescription({type: 'answer', sdp: replace ? sdp.replaceAll(...replace) : sdp})
}"""
_STATS = """async () => {
    const found = {}
    for (const entry of (await window.lab.peer.getStats()).values()) {
        if (entry.type === 'inbound-rtp') found[entry.kind] = entry
        if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') found.pair = entry
        if (entry.type === 'local-candidate' || entry.type === 'remote-candidate') found[entry.id] = entry
    }
    const played = found.video?.estimatedPlayoutTimestamp
    return {
        video: found.video ?? {}, audio: found.audio ?? {},
        protocol: found[found.pair?.localCandidateId]?.protocol ?? '',
        remote: found[found.pair?.remoteCandidateId]?.address ?? '',
        // Of the clock of sender reports: ms since 1900 (RFC 3550, 4).
        behind_ms: played ? Date.now() - (played - 2208988800000) : null,
        height: window.lab.video.videoHeight,
    }
}"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a viewer saw between two moments. `behind_ms` are samples of the delay of the picture that is shown."""

    seconds: float
    decoded: int
    dropped: int
    freezes: int
    frozen_s: float
    asked_again: int
    behind_ms: list[float]
    heights: set[int]

    @property
    def rate(self) -> float:
        """Pictures decoded a second."""
        return self.decoded / self.seconds


async def join(page: Page, stack: Stack, query: str = "stream=main", **more: Any) -> None:
    """Joins the camera's stream and waits for its first 25 pictures. `replace` (old, new) goes over the answer."""
    url = f"/whep/{stack.cameras[0]}?{query}"
    await page.evaluate(_JOIN, {"url": url, "token": stack.client.token, **more})
    await plays(page, 25)


async def stats(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(_STATS)
    return found


async def plays(page: Page, pictures: int, timeout_s: float = 15.0) -> None:
    """Waits until so many more are decoded."""
    before = await _decoded(page)
    deadline = time.monotonic() + timeout_s
    while await _decoded(page) < before + pictures:
        assert time.monotonic() < deadline, f"no {pictures} pictures in {timeout_s:.0f} s: {await stats(page)}"
        await asyncio.sleep(0.1)


async def _decoded(page: Page) -> int:
    return int((await stats(page))["video"].get("framesDecoded", 0))


async def watch(page: Page, seconds: float) -> Seen:
    """Watches for so long, looking twice a second."""
    first, started_s = await stats(page), time.monotonic()
    behind, heights, last = [], set(), first
    while time.monotonic() - started_s < seconds:
        await asyncio.sleep(0.5)
        last = await stats(page)
        heights.add(last["height"])
        if last["behind_ms"] is not None:
            behind.append(last["behind_ms"])
    seconds = time.monotonic() - started_s

    def grown(name: str) -> float:
        return float(last["video"].get(name, 0) - first["video"].get(name, 0))

    return Seen(
        seconds,
        int(grown("framesDecoded")),
        int(grown("framesDropped")),
        int(grown("freezeCount")),
        grown("totalFreezesDuration"),
        int(grown("nackCount")),
        behind,
        heights,
    )
