"""A WebRTC service at work and a camera that publishes in real time, for viewers that others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from load_tests.media import ALAW_FRAME_BYTES, alaw_frames, encoded_clip
from mediasrv.clock import SystemClock
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, StreamName, StreamRef
from mediasrv.media.nal import iter_avcc, parameter_sets, video_format
from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import WebRtcService

REF = StreamRef("gate-1", StreamName.MAIN)
RATE = 25
WIDTH, HEIGHT = 320, 180


@dataclass
class Camera:
    """Publishes a clip and a tone in real time, as an ingest would, one session after another."""

    mountpoint: Mountpoint

    async def run(self, session_id: str = "one") -> None:
        clip = encoded_clip(WIDTH, HEIGHT, RATE, 300, 1.0, 2.0)
        video = video_format(*parameter_sets(iter_avcc(clip[0])))
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


@contextlib.asynccontextmanager
async def running(host: str = "127.0.0.1") -> AsyncIterator[Rig]:
    hub = Hub()
    service = WebRtcService(hub, WebRtcSettings(host=host, port=0), SystemClock(), None)
    task = asyncio.create_task(service.run())
    await asyncio.wait_for(service.bound.wait(), 5)
    try:
        yield Rig(service, hub.mountpoint(REF))
    finally:
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
