"""Pulls a stream into a mountpoint of its own and writes down what comes out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint, Subscription
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef, TrackKind
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.settings import PullSettings

REF = StreamRef("gate-1", StreamName.MAIN)
SETTINGS = PullSettings(
    allowed_networks=("127.0.0.0/8",), connect_timeout_s=2.0, response_timeout_s=0.5, stall_timeout_s=1.5
)


@dataclass
class Pulled:
    """A subscriber of the mountpoint, and the pull that feeds it."""

    pull: RtspPull
    mountpoint: Mountpoint
    sessions: list[Session]
    units: list[AccessUnit] = field(default_factory=list)
    ends: list[tuple[Session, str]] = field(default_factory=list)
    subscription: Subscription = field(init=False)

    def on_access_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.ends.append((session, reason))

    @property
    def video(self) -> list[AccessUnit]:
        return [unit for unit in self.units if unit.format.kind is TrackKind.VIDEO]

    @property
    def audio(self) -> list[AccessUnit]:
        return [unit for unit in self.units if unit.format.kind is TrackKind.AUDIO]


def prepare(
    source: RtspSource,
    settings: PullSettings = SETTINGS,
    clock: SystemClock | None = None,
    mountpoint: Mountpoint | None = None,
) -> Pulled:
    """A pull that has not begun, and its subscriber."""
    used = clock or SystemClock()
    mountpoint = mountpoint or Mountpoint(REF, 0.48)
    sessions: list[Session] = []

    def new_session() -> Session:
        sessions.append(Session(str(len(sessions)), mountpoint.ref, 1, used.wall_us(), used.monotonic()))
        return sessions[-1]

    pulled = Pulled(
        RtspPull(source, mountpoint, new_session, used, settings, Gatherer(settings.gather_s)), mountpoint, sessions
    )
    pulled.subscription = mountpoint.subscribe(pulled)
    return pulled


@contextlib.asynccontextmanager
async def pulling(
    source: RtspSource,
    settings: PullSettings = SETTINGS,
    clock: SystemClock | None = None,
    mountpoint: Mountpoint | None = None,
) -> AsyncIterator[Pulled]:
    """Pulls while the block runs. A pull that ends before it does fails the block with its reason."""
    pulled = prepare(source, settings, clock, mountpoint)
    task = asyncio.create_task(pulled.pull.run())
    try:
        yield pulled
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def pull_until_it_ends(source: RtspSource, settings: PullSettings = SETTINGS) -> tuple[CameraError, Pulled]:
    """The error that ends the pull, and what was pulled until then."""
    pulled = prepare(source, settings)
    try:
        async with asyncio.timeout(10):
            await pulled.pull.run()
    except CameraError as error:
        return error, pulled
    raise AssertionError("a pull ends by raising CameraError")


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Returns once the condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, not only one that could set an event
            await asyncio.sleep(0.01)
