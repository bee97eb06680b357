"""One stream: pulled while it is wanted, tried again when it fails, with the reason at hand."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from mediasrv.backoff import Backoff
from mediasrv.cameras.drivers import Puller
from mediasrv.cameras.hosts import UNREACHED, Host
from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import StreamRef
from mediasrv.reasons import Reason, reason
from mediasrv.settings import PullSettings
from mediasrv.waiting import wait_for_event

log = logging.getLogger(__name__)

SETTLED_S: Final = 20.0
"""A pull that lasted this long starts its back-off anew."""
PASSWORD_TRIES: Final = 3
"""So often a refused password is tried at the usual pace: many cameras lock an account at the fifth."""


class StreamSupervisor:
    """Keeps one stream pulled while it is wanted: always, or on demand. `run` never ends by itself."""

    def __init__(
        self,
        mountpoint: Mountpoint,
        connect: Callable[[Mountpoint], Awaitable[Puller]],
        *,
        on_demand: bool,
        host: Host,
        failed: Callable[[StreamRef, CameraError], None],
        clock: Clock,
        settings: PullSettings,
    ) -> None:
        self.mountpoint = mountpoint
        self.reason: Reason | None = None
        self.since_us = clock.wall_us()
        self.puller: Puller | None = None
        self.failures = 0
        self.transport = ""
        """By which pictures came the last time, empty before that."""
        self.stop_reason = "not_watched"
        """Why the session ends when the pull is cancelled: a reason code."""
        self._connect = connect
        self._on_demand = on_demand
        self._host = host
        self._failed = failed
        self._clock = clock
        self._settings = settings
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_most_s)
        self._passwords_refused = 0
        self._wanted_until = 0.0
        self._changed = asyncio.Event()
        self._phase = "idle" if on_demand else "connecting"

    @property
    def state(self) -> str:
        return "live" if self.mountpoint.live else self._phase

    @property
    def transport_in_use(self) -> str:
        """How pictures come at the moment: `tcp`, `udp` or `tls`; empty while none do."""
        report = self.puller.report if self.puller is not None else None
        return report.transport if report is not None and report.video_format is not None else ""

    def want(self) -> None:
        """Asks for the stream; on demand it then stays at least `linger_s`."""
        self._wanted_until = self._clock.monotonic() + self._settings.linger_s
        self._changed.set()

    def set_on_demand(self, on_demand: bool) -> None:
        """A pull that goes on goes on: one that nobody needs any more lingers like one whose last viewer left."""
        self._on_demand = on_demand
        self._changed.set()

    async def run(self, delay_s: float = 0.0) -> None:
        demand = self.mountpoint.on_demand_change(self._changed.set)
        try:
            await asyncio.sleep(delay_s)
            await self._strive()
        finally:
            demand.close()

    async def _strive(self) -> None:
        while True:
            await self._wait_until_wanted()
            await self._host.turn()
            began = self._clock.monotonic()
            try:
                await self._pull_while_wanted()
                self._enter("idle")
            except CameraError as error:
                if self._clock.monotonic() - began > SETTLED_S:
                    self._backoff.reset()
                    self._passwords_refused = 0
                await self._retry_later(error, began)
            except Exception:
                # One camera's surprise must not end the others' supervision.
                log.exception("%s: the pull failed unexpectedly", self.mountpoint.ref)
                surprise = CameraError("The server failed while pulling this camera; see its log.")
                await self._retry_later(surprise, began)

    async def _retry_later(self, error: CameraError, began: float) -> None:
        self.failures += 1
        self._enter("retrying", reason(error.code, error.sentence))
        self._failed(self.mountpoint.ref, error)
        if error.code == UNREACHED:
            self._host.failed()
        await asyncio.sleep(self._pause_s(error, self._clock.monotonic() - began))

    def _pause_s(self, error: CameraError, lasted_s: float) -> float:
        """The back-off counts from the beginning of an attempt: one that waited in vain for an answer has waited."""
        if error.code == "credentials_wrong":
            self._passwords_refused += 1
            if self._passwords_refused >= PASSWORD_TRIES:
                most_s = self._settings.backoff_password_s
                return random.uniform(most_s / 2, most_s)  # noqa: S311 - jitter
        least_s = self._settings.backoff_first_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        return max(least_s, self._backoff.next_s() - lasted_s)

    def _enter(self, phase: str, why: Reason | None = None) -> None:
        if (phase, why) != (self._phase, self.reason):
            self.since_us = self._clock.wall_us()
        self._phase, self.reason = phase, why

    def _wanted(self) -> bool:
        if not self._on_demand:
            return True
        return self.mountpoint.subscribers > 0 or self._clock.monotonic() < self._wanted_until

    async def _wait_until_wanted(self) -> None:
        while not self._wanted():
            self._enter("idle", self.reason)
            self._changed.clear()
            await self._changed.wait()

    async def _pull_while_wanted(self) -> None:
        self._enter("connecting", self.reason)
        self.puller = await self._connect(self.mountpoint)
        pull = asyncio.create_task(self.puller.run(), name=f"pull {self.mountpoint.ref}")
        watch = asyncio.create_task(self._until_unwanted())
        tell = asyncio.create_task(self._tell_host(self.puller.connected))
        try:
            await asyncio.wait({pull, watch}, return_when=asyncio.FIRST_COMPLETED)
            if pull.done():
                pull.result()
        finally:
            self.puller.stop_reason = self.stop_reason
            for task in (pull, watch, tell):
                task.cancel()
            await asyncio.gather(pull, watch, tell, return_exceptions=True)
            self.transport = self.transport_in_use or self.transport
            self.puller = None

    async def _tell_host(self, connected: asyncio.Event) -> None:
        """That it is up, from the connection on until this is cancelled with the pull."""
        await connected.wait()
        with self._host.standing():
            await asyncio.Event().wait()

    async def _until_unwanted(self) -> None:
        while self._wanted():
            self._changed.clear()
            await wait_for_event(self._changed, self._settings.linger_s)
            if self._changed.is_set() and self._on_demand and not self.mountpoint.subscribers:
                self._wanted_until = self._clock.monotonic() + self._settings.linger_s
