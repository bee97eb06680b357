"""A viewer in Chromium that has nothing of mediasrv's page: WHEP by fetch, one <video>, and what getStats tells."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

from load_tests.stack import Stack

_JOIN = r"""async ({url, token, audio, only, replace}) => {
    const peer = new RTCPeerConnection()
    const video = document.createElement('video')
    window.lab = {peer, video}
    video.muted = video.autoplay = true
    document.documentElement.append(video)
    peer.ontrack = event => { video.srcObject = event.streams[0] ?? new MediaStream([event.track]) }
    // Chromium tells when a picture was taken only where there is sound to keep in step with.
    for (const kind of audio ? ['video', 'audio'] : ['video']) peer.addTransceiver(kind, {direction: 'recvonly'})
    await peer.setLocalDescription(await peer.createOffer())
    const headers = {'Content-Type': 'application/sdp', Authorization: `Bearer ${token}`}
    const answer = await fetch(url, {method: 'POST', headers, body: peer.localDescription.sdp})
    let sdp = await answer.text()
    if (answer.status !== 201) throw new Error(`${answer.status} ${sdp}`)
    const taken = line => !only || !line.startsWith('a=candidate') || line.includes(only)
    sdp = sdp.split('\r\n').filter(taken).join('\r\n')
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
    """What a viewer saw between two moments.

    `behind_ms` are samples of the delay of the picture that is shown (none where there is no sound), `buffered_ms` is
    how long a picture waited in the browser on the mean, `still_s` the longest time without a new picture (to a quarter
    of a second).
    """

    seconds: float
    decoded: int
    dropped: int
    freezes: int
    frozen_s: float
    asked_again: int
    buffered_ms: float
    still_s: float
    behind_ms: list[float]
    heights: set[int]

    @property
    def rate(self) -> float:
        """Pictures decoded a second."""
        return self.decoded / self.seconds

    @property
    def shown_rate(self) -> float:
        """Without those that the browser was too late to show, which is its own affair (and the machine's)."""
        return (self.decoded - self.dropped) / self.seconds


async def join(page: Page, stack: Stack, query: str = "stream=main", *, audio: bool = True, **more: Any) -> None:
    """Joins the camera's stream and waits for its first 25 pictures.

    Of the answer's candidates those with `only` in them are taken; then `replace` (old, new) goes over it.
    """
    url = f"/whep/{stack.cameras[0]}?{query}"
    await page.evaluate(_JOIN, {"url": url, "token": stack.client.token, "audio": audio, **more})
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


async def shows(page: Page, height: int, timeout_s: float = 40.0) -> None:
    """Waits for a picture of this height."""
    deadline = time.monotonic() + timeout_s
    while (shown := (await stats(page))["height"]) != height:
        assert time.monotonic() < deadline, f"it shows {shown} lines, not {height}"
        await asyncio.sleep(0.2)


async def holds_back(page: Page, least_ms: float, timeout_s: float = 60.0) -> None:
    """Waits until pictures wait so long in the browser."""
    deadline = time.monotonic() + timeout_s
    while (held_ms := (await watch(page, 1.0)).buffered_ms) < least_ms:
        assert time.monotonic() < deadline, f"it holds pictures back by {held_ms:.0f} ms"


async def watch(page: Page, seconds: float) -> Seen:
    """Watches for so long, looking four times a second."""
    first, started_s = await stats(page), time.monotonic()
    behind, heights, last = [], set(), first
    moved_s, still_s = started_s, 0.0
    while time.monotonic() - started_s < seconds:
        await asyncio.sleep(0.25)
        previous, last = last, await stats(page)
        if last["video"]["framesDecoded"] > previous["video"]["framesDecoded"]:
            moved_s = time.monotonic()
        still_s = max(still_s, time.monotonic() - moved_s)
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
        grown("jitterBufferDelay") * 1000 / max(1, grown("jitterBufferEmittedCount")),
        still_s,
        behind,
        heights,
    )
