"""The WebRTC service over real sockets on loopback, a camera for it, and viewers that check every packet."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from load_tests.webrtc_client import WebRtcClient
from mediasrv.clock import SystemClock
from mediasrv.hub import Hub, Mountpoint, Renditions
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Session, StreamName, StreamRef
from mediasrv.media.nal import join_avcc
from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import Joined, WebRtcService
from tests.unit.media.streams import VIDEO

REF = StreamRef("gate-1", StreamName.MAIN)
SETTINGS = WebRtcSettings(port=0)
Ensure = Callable[[StreamRef], Awaitable[None]]


class Camera:
    """Publishes synthetic pictures whenever it is told to."""

    def __init__(self, mountpoint: Mountpoint) -> None:
        self.mountpoint = mountpoint
        self.pictures = 0
        self.connect()

    def connect(self) -> None:
        self.session = Session("one", self.mountpoint.ref, 1, time.time_ns() // 1000, time.monotonic())
        self.mountpoint.start_session(self.session)
        self.pictures = 0

    def picture(self, size: int = 5000, *, keyframe: bool | None = None, parameter_sets: bool = True) -> None:
        key = self.pictures % 25 == 0 if keyframe is None else keyframe
        nals = [*VIDEO.parameter_sets] if key and parameter_sets else []
        nals.append(bytes([0x65 if key else 0x41]) + random.randbytes(size))
        self.publish(VIDEO, self.pictures * 3600, key, join_avcc(nals))
        self.pictures += 1

    def sound(self, audio: AudioFormat, payload: bytes) -> None:
        self.publish(audio, self.pictures * 320, True, payload)

    def publish(self, form: Any, dts: int, key: bool, payload: bytes) -> None:
        at_us = self.session.started_us + self.pictures * 40_000
        self.mountpoint.publish(AccessUnit(self.session, form, dts, dts, at_us, key, payload))


class Viewer:
    """A WebRtcClient driven by the test's loop."""

    def __init__(self, service: WebRtcService, family: int = socket.AF_INET) -> None:
        self.client = WebRtcClient(sample=1, family=family)
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.joined: Joined | None = None

    async def join(self, *, audio: bool = False, principal: str = "person-1") -> Joined:
        self.joined = await self._service.join(REF, self.client.offer(audio=audio), principal)
        self.client.accept(self.joined.answer_sdp)
        self.read()
        return self.joined

    def read(self) -> None:
        """From now on what comes is read, and checks and reports are sent."""
        self._loop.add_reader(self.client.sock, self._read)
        self._tick()

    def move(self) -> None:
        """Comes from another port, as behind a router that forgot."""
        self._loop.remove_reader(self.client.sock)
        remote = self.client.sock.getpeername()
        self.client.sock.close()
        self.client.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.sock.setblocking(False)
        self.client.sock.connect(remote)
        self._loop.add_reader(self.client.sock, self._read)
        self.client.check()

    def vanish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.client.sock._closed:  # type: ignore[attr-defined]
            self._loop.remove_reader(self.client.sock)
            self.client.close()

    def _read(self) -> None:
        self.client.on_readable(time.monotonic())

    def _tick(self) -> None:
        self.client.on_time(time.monotonic())
        self._timer = self._loop.call_later(0.02, self._tick)


@dataclass
class Rig:
    hub: Hub
    service: WebRtcService
    camera: Camera
    viewers: list[Viewer]

    def viewer(self) -> Viewer:
        self.viewers.append(Viewer(self.service))
        return self.viewers[-1]


@contextlib.asynccontextmanager
async def running(
    settings: WebRtcSettings = SETTINGS, ensure: Ensure | None = None, renditions: Renditions | None = None
) -> AsyncIterator[Rig]:
    """A service at work. What reaches the loop's exception handler fails the test."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    hub = Hub()
    service = WebRtcService(hub, settings, SystemClock(), ensure, renditions)
    task = asyncio.create_task(service.run())
    await asyncio.wait_for(service.bound.wait(), 5)
    rig = Rig(hub, service, Camera(hub.mountpoint(REF)), [])
    try:
        yield rig
    finally:
        for viewer in rig.viewers:
            viewer.vanish()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert failures == []


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def watched(rig: Rig, count: int = 1, **options: Any) -> list[Viewer]:
    """Viewers that have a picture."""
    rig.camera.picture()
    viewers = [rig.viewer() for _ in range(count)]
    for viewer in viewers:
        await viewer.join(**options)
    await until(lambda: all(viewer.client.first_picture_s is not None for viewer in viewers))
    return viewers


async def goes_on(rig: Rig, viewer: Viewer) -> None:
    """Pictures reach the viewer from now on, too."""
    before = viewer.client.received.pictures

    def arrives() -> bool:
        rig.camera.picture()
        return viewer.client.received.pictures > before

    await until(arrives)


async def is_heard(rig: Rig, viewer: Viewer) -> None:
    """What the viewer asks for reaches the service from now on, too."""
    before = rig.service.counters.keyframe_requests

    def heard() -> bool:
        viewer.client.request_keyframe()
        return rig.service.counters.keyframe_requests > before

    await until(heard)


def an_offer() -> str:
    client = WebRtcClient()
    try:
        return client.offer()
    finally:
        client.close()
