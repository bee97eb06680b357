"""aiortc, a WebRTC stack we did not write, watches a stream by WHEP's offer and answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import av
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from mediasrv.webrtc import Joined, WebRtcService
from tests.peers.webrtc_rig import HEIGHT, RATE, REF, WIDTH, Rig, publishing, running

MANY = 8


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as rig:
        yield rig


@contextlib.asynccontextmanager
async def watching(service: WebRtcService) -> AsyncIterator[tuple[Joined, dict[str, MediaStreamTrack]]]:
    async with connected(service) as (joined, tracks, _):
        yield joined, tracks


@contextlib.asynccontextmanager
async def connected(
    service: WebRtcService,
) -> AsyncIterator[tuple[Joined, dict[str, MediaStreamTrack], RTCPeerConnection]]:
    connection = RTCPeerConnection()
    tracks: dict[str, MediaStreamTrack] = {}
    connection.on("track", lambda track: tracks.setdefault(track.kind, track))
    connection.addTransceiver("video", direction="recvonly")
    connection.addTransceiver("audio", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    joined = await service.join(REF, connection.localDescription.sdp, "person-1")
    await connection.setRemoteDescription(RTCSessionDescription(joined.answer_sdp, "answer"))
    try:
        yield joined, tracks, connection
    finally:
        await connection.close()


async def pictures(track: MediaStreamTrack, count: int) -> list[av.VideoFrame]:
    received = []
    async with asyncio.timeout(20):
        while len(received) < count:
            received.append(await track.recv())
    return received


async def test_a_viewer_decodes_pictures_and_hears_the_tone(rig: Rig) -> None:
    async with publishing(rig.mountpoint), watching(rig.service) as (_, tracks):
        seen = await pictures(tracks["video"], 40)
        async with asyncio.timeout(10):
            heard = [await tracks["audio"].recv() for _ in range(20)]
        [info] = rig.service.viewers()
    assert {(picture.width, picture.height) for picture in seen} == {(WIDTH, HEIGHT)}
    times = [picture.pts for picture in seen]
    assert times == sorted(set(times))
    assert max(abs(int(frame.to_ndarray().max())) for frame in heard) > 500
    assert info.state == "live"
    assert info.lost_fraction == 0


async def test_a_viewer_joins_at_once_from_the_cached_gop(rig: Rig) -> None:
    async with publishing(rig.mountpoint):
        async with asyncio.timeout(5):  # the middle of a GOP: the next keyframe is half a second away
            while len(rig.mountpoint.gop) < RATE // 2:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        async with watching(rig.service) as (_, tracks):
            await pictures(tracks["video"], 5)
            [info] = rig.service.viewers()
    assert info.packets_sent >= 5


async def test_a_viewer_stays_through_a_reconnect_of_the_camera(rig: Rig) -> None:
    async with watching(rig.service) as (joined, tracks):
        async with publishing(rig.mountpoint):
            before = await pictures(tracks["video"], 10)
        rig.mountpoint.end_session("camera_lost")
        async with publishing(rig.mountpoint, "two"):
            after = await pictures(tracks["video"], 40)
        assert [info.viewer_id for info in rig.service.viewers()] == [joined.viewer_id]
    times = [picture.pts for picture in before + after]
    assert times == sorted(set(times))


async def test_a_viewer_that_is_told_to_leave_ends(rig: Rig) -> None:
    async with publishing(rig.mountpoint), watching(rig.service) as (joined, tracks):
        await pictures(tracks["video"], 5)
        rig.service.leave(joined.viewer_id)
        assert rig.service.viewers() == []
        with pytest.raises(MediaStreamError):
            await pictures(tracks["video"], 1000)
    assert rig.mountpoint.subscribers == 0


@contextlib.contextmanager
def losing(service: WebRtcService, share: float) -> Iterator[list[int]]:
    """Packets of media that the service sends are lost with this probability (seeded); their sizes. Reports are not."""
    transport, chance, lost = service._transport, random.Random(1), []
    assert transport is not None
    send = transport.send

    def send_each(joined: bytes, size: int, path: Any) -> None:
        for start in range(0, len(joined), size):
            if chance.random() < share:
                lost.append(size)
            else:
                send(joined[start : start + size], path)

    transport.send_run = send_each  # type: ignore[method-assign]
    try:
        yield lost
    finally:
        del transport.send_run  # the class's own again


async def test_what_was_lost_is_asked_for_and_comes_again(rig: Rig) -> None:
    async with publishing(rig.mountpoint), connected(rig.service) as (_, tracks, connection):
        await pictures(tracks["video"], 10)
        with losing(rig.service, 0.05) as lost:
            seen = await pictures(tracks["video"], 4 * RATE)
        [receiver] = [one.receiver for one in connection.getTransceivers() if one.kind == "video"]
        [stats] = [one for one in (await receiver.getStats()).values() if one.type == "inbound-rtp"]
        [info] = rig.service.viewers()
    assert len(lost) > 5
    assert info.packets_resent >= len(lost) - 1
    # Each picture came: they are one interval apart.
    steps = {round((second.pts - first.pts) * second.time_base * RATE) for first, second in pairwise(seen)}
    assert steps == {1}
    assert stats.packetsReceived > 0


async def test_a_viewer_that_asks_gets_a_keyframe(rig: Rig) -> None:
    async with publishing(rig.mountpoint), connected(rig.service) as (_, tracks, connection):
        await pictures(tracks["video"], 10)
        [receiver] = [one.receiver for one in connection.getTransceivers() if one.kind == "video"]
        [source] = receiver.getSynchronizationSources()
        before = rig.service.counters.keyframe_requests
        await receiver._send_rtcp_pli(source.source)
        after = await pictures(tracks["video"], RATE)
    assert rig.service.counters.keyframe_requests == before + 1
    assert rig.service.counters.replays == 1
    assert [picture.pts for picture in after] == sorted({picture.pts for picture in after})


async def test_many_viewers_see_and_hear_the_same(rig: Rig) -> None:
    async with publishing(rig.mountpoint), contextlib.AsyncExitStack() as stack:
        joined = [await stack.enter_async_context(watching(rig.service)) for _ in range(MANY)]
        seen = await asyncio.gather(*(pictures(tracks["video"], RATE) for _, tracks in joined))
        async with asyncio.timeout(10):
            heard = await asyncio.gather(*(tracks["audio"].recv() for _, tracks in joined))
        assert rig.mountpoint.subscribers == 1
        assert all(info.state == "live" for info in rig.service.viewers())
    assert [len(each) for each in seen] == [RATE] * MANY
    assert {frame.sample_rate for frame in heard} == {8000}
