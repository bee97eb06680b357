"""aiortc, a WebRTC stack we did not write, watches a stream by WHEP's offer and answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import av
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from load_tests.media import ALAW_FRAME_BYTES, alaw_frames, encoded_clip
from mediasrv.clock import SystemClock
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, StreamName, StreamRef
from mediasrv.media.nal import NAL_PPS, NAL_SPS, iter_avcc, nal_type, video_format
from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import Joined, WebRtcService

REF = StreamRef("gate-1", StreamName.MAIN)
RATE = 25
WIDTH, HEIGHT = 320, 180


@dataclass
class Camera:
    """Publishes a clip and a tone in real time, as an ingest would, one session after another."""

    mountpoint: Mountpoint

    async def run(self, session_id: str = "one") -> None:
        clip = encoded_clip(WIDTH, HEIGHT, RATE, 300, 1.0, 2.0)
        nals = {nal_type(nal): nal for nal in iter_avcc(clip[0])}
        video = video_format(nals[NAL_SPS], nals[NAL_PPS])
        audio = AudioFormat(Codec.PCMA, 8000, 1)
        tone = alaw_frames()
        started_s = time.monotonic()
        session = Session(session_id, REF, 1, time.time_ns() // 1000, started_s)
        self.mountpoint.start_session(session)
        heard = 0
        for index in range(1_000_000):
            due_s = index / RATE
            await asyncio.sleep(max(0.0, started_s + due_s - time.monotonic()))
            at_us = session.started_us + round(due_s * 1e6)
            ticks = round(due_s * 90_000)
            picture = clip[index % len(clip)]
            self.mountpoint.publish(AccessUnit(session, video, ticks, ticks, at_us, index % RATE == 0, picture))
            while heard * ALAW_FRAME_BYTES <= due_s * 8000:
                samples = heard * ALAW_FRAME_BYTES
                self.mountpoint.publish(
                    AccessUnit(session, audio, samples, samples, at_us, True, tone[heard % len(tone)])
                )
                heard += 1


@dataclass
class Rig:
    service: WebRtcService
    mountpoint: Mountpoint


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    hub = Hub()
    service = WebRtcService(hub, WebRtcSettings(port=0), SystemClock(), None)
    task = asyncio.create_task(service.run())
    await asyncio.wait_for(service.bound.wait(), 5)
    yield Rig(service, hub.mountpoint(REF))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def publishing(mountpoint: Mountpoint, session_id: str = "one") -> AsyncIterator[None]:
    task = asyncio.create_task(Camera(mountpoint).run(session_id))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def watching(service: WebRtcService) -> AsyncIterator[tuple[Joined, dict[str, MediaStreamTrack]]]:
    connection = RTCPeerConnection()
    tracks: dict[str, MediaStreamTrack] = {}
    connection.on("track", lambda track: tracks.setdefault(track.kind, track))
    connection.addTransceiver("video", direction="recvonly")
    connection.addTransceiver("audio", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    joined = await service.join(REF, connection.localDescription.sdp, "person-1")
    await connection.setRemoteDescription(RTCSessionDescription(joined.answer_sdp, "answer"))
    try:
        yield joined, tracks
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
