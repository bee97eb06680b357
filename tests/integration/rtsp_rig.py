"""An RTSP door over a hub of its own: a clip is published in real time, and whoever has the password may read it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from load_tests.media import encoded_clip
from load_tests.ports import free_ports
from mediasrv.clock import SystemClock
from mediasrv.errors import NotAuthenticated, NotFound
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, StreamName, StreamRef
from mediasrv.media.nal import iter_avcc, parameter_sets, video_format
from mediasrv.rtsp_serve import RtspServe
from mediasrv.security.rtsp_access import Visitor
from mediasrv.settings import RtspServeSettings
from tests.integration.pull_rig import until

REF: Final = StreamRef("gate-1", StreamName.MAIN)
LOGIN: Final = "rtsp-reader"
PASSWORD: Final = "a password of many letters"


@dataclass
class SimpleAccess:
    """One login, the cameras that it may see, and what was written down of it."""

    cameras: set[str] = field(default_factory=lambda: {REF.camera_id})
    log: list[tuple[str, str]] = field(default_factory=list)
    before_start: Callable[[], None] | None = None

    async def authenticate(self, username: str, remote: str, proves: Callable[[str], bool]) -> Visitor:
        if not proves(PASSWORD) or username != LOGIN:
            raise NotAuthenticated("no", code="login_failed")
        return Visitor("p1", "lan", username, b"k", None, remote)

    async def admit(self, visitor: Visitor, camera_id: str) -> None:
        if camera_id not in self.cameras:
            raise NotFound("no", code="camera_not_found")

    async def started(self, visitor: Visitor, ref: StreamRef, by: str) -> None:
        if self.before_start is not None:
            self.before_start()
        self.log.append((by, str(ref)))

    async def ended(self, visitor: Visitor, ref: StreamRef) -> None:
        self.log.append(("ended", str(ref)))

    async def may_watch(self, visitor: Visitor, camera_id: str) -> bool:
        return camera_id in self.cameras


@dataclass
class Door:
    """The door, and where it listens."""

    serve: RtspServe
    hub: Hub
    access: SimpleAccess
    port: int
    tls_port: int

    @property
    def mountpoint(self) -> Mountpoint:
        return self.hub.mountpoint(REF)

    def url(self, way: str = "tcp", stream: str = "main", login: bool = True) -> str:
        scheme, port = ("rtsps", self.tls_port) if way == "tls" else ("rtsp", self.port)
        who = f"{LOGIN}:{PASSWORD.replace(' ', '%20')}@" if login else ""
        return f"{scheme}://{who}127.0.0.1:{port}/{REF.camera_id}/{stream}"


@contextlib.asynccontextmanager
async def serving(directory: Path, **settings: object) -> AsyncIterator[Door]:
    """The door runs while the block does; its end is awaited."""
    port, tls_port = free_ports(2)
    chosen = RtspServeSettings(port=port, tls_port=tls_port, **settings)  # type: ignore[arg-type]
    hub, access = Hub(), SimpleAccess()

    async def ensure(ref: StreamRef) -> None:
        async with asyncio.timeout(10):
            while not hub.mountpoint(ref).live:  # noqa: ASYNC110 - as the supervisor of cameras waits
                await asyncio.sleep(0.01)

    serve = RtspServe(hub, chosen, SystemClock(), access, ensure, directory)
    task = asyncio.create_task(serve.run())
    try:
        await until(lambda: serve.bound.is_set() or task.done())
        yield Door(serve, hub, access, port, tls_port)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True)
class Clip:
    """Pictures as a camera sends them, and G.711 beside."""

    pictures: list[bytes]
    rate: int
    gop: int

    @classmethod
    def small(cls) -> Clip:
        return cls(encoded_clip(320, 240, 25, 200, 1.0, 2.0), 25, 25)

    @classmethod
    def big(cls) -> Clip:
        """4 Mbit/s: a reader that stops is behind soon."""
        return cls(encoded_clip(1280, 720, 25, 4000, 1.0, 4.0), 25, 25)


@contextlib.asynccontextmanager
async def publishing(mountpoint: Mountpoint, clip: Clip | None = None) -> AsyncIterator[Session]:
    """A clip with sound in real time, in a loop, while the block runs."""
    chosen = clip or Clip.small()
    session = Session("s1", mountpoint.ref, 1, time.time_ns() // 1000, time.monotonic())
    mountpoint.start_session(session)
    task = asyncio.create_task(_publish(mountpoint, session, chosen))
    try:
        await until(lambda: mountpoint.live and mountpoint.audio_format is not None)
        yield session
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        mountpoint.end_session("camera_lost")


async def _publish(mountpoint: Mountpoint, session: Session, clip: Clip) -> None:
    video = video_format(*parameter_sets(iter_avcc(clip.pictures[0])))
    audio = AudioFormat(Codec.PCMA, 8000, 1)
    number = 0
    while True:
        due_s = number / clip.rate
        await asyncio.sleep(max(0.0, session.started_monotonic + due_s - time.monotonic()))
        at_us, ticks = session.started_us + round(due_s * 1e6), round(due_s * 90_000)
        payload = clip.pictures[number % len(clip.pictures)]
        mountpoint.publish(AccessUnit(session, video, ticks, ticks, at_us, number % clip.gop == 0, payload))
        samples = round(due_s * 8000)
        mountpoint.publish(AccessUnit(session, audio, samples, samples, at_us, True, bytes(8000 // clip.rate)))
        number += 1
