"""A fleet of ONVIF cameras that looks after fake ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from mediasrv.clock import SystemClock
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.onvif import Login, OnvifFleet
from mediasrv.onvif.camera import OnvifCamera
from mediasrv.settings import OnvifSettings, PullSettings
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera

PULL = PullSettings(allowed_networks=("127.0.0.1/32",), backoff_first_s=0.05, backoff_most_s=0.2)


@dataclass
class Keeper:
    """Keeps in memory; `was_active` is what an earlier life had kept."""

    events: list[CameraEvent] = field(default_factory=list)
    was_active: set[tuple[EventKind, str]] = field(default_factory=set)

    def offer(self, events: Sequence[CameraEvent]) -> None:
        self.events.extend(events)

    async def active(self, camera_id: str) -> set[tuple[EventKind, str]]:
        return self.was_active


@dataclass
class Fleet:
    """What the fleet delivered, in order."""

    fleet: OnvifFleet
    events: list[CameraEvent]

    def add(self, name: str, camera: FakeCamera, password: str = PASSWORD) -> OnvifCamera:
        self.fleet.start(name, camera.address, lambda: Login(USERNAME, password))
        return self.fleet.get(name)

    def of(self, name: str) -> list[tuple[str, str, bool]]:
        return [(str(one.kind), one.source, one.active) for one in self.events if one.camera_id == name]

    async def until(self, condition: Callable[[], object], within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - the condition is the program's state, it has no event
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def fleet_of(settings: OnvifSettings | None = None, keeper: Keeper | None = None) -> AsyncIterator[Fleet]:
    keeper = keeper or Keeper()
    fleet = OnvifFleet(settings or OnvifSettings(timeout_s=3.0), PULL, SystemClock(), keeper)
    running = asyncio.create_task(fleet.run())
    await asyncio.sleep(0)  # it runs
    try:
        yield Fleet(fleet, keeper.events)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
