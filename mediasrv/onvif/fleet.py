"""The ONVIF side of all cameras in service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import CameraError
from mediasrv.onvif.camera import OnvifCamera, Surroundings
from mediasrv.onvif.ptz_desk import PtzDesk
from mediasrv.onvif.pullpoint import EventKeeper
from mediasrv.onvif.requests import Login
from mediasrv.onvif.soap import SoapHttp
from mediasrv.settings import OnvifSettings, PullSettings

_SPREAD_S: Final = 2.0
_A_CAMERA_S: Final = 0.02
"""Cameras that start together are asked first at moments of their own, within so long and so much longer for each."""


class OnvifFleet:
    """`start` and `stop` cameras at any time; they are looked after while `run` runs."""

    def __init__(self, settings: OnvifSettings, pull: PullSettings, clock: Clock, keeper: EventKeeper) -> None:
        self._around = Surroundings(
            SoapHttp(pull.allowed_networks),
            settings,
            clock,
            keeper,
            asyncio.Semaphore(settings.parallel),
            pull.backoff_first_s,
            pull.backoff_most_s,
        )
        self.ptz = PtzDesk(self.get, clock, settings.ptz_hold_s, settings.ptz_lock_s)
        self._cameras: dict[str, OnvifCamera] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; then every camera is told goodbye, within two seconds."""
        async with self._around.http, asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.ptz.run(), name="ptz")
            try:
                for camera in self._cameras.values():
                    self._look_after(group, camera)
                await asyncio.Event().wait()
            finally:
                self._group = None

    def start(self, camera_id: str, address: str, login: Callable[[], Login]) -> None:
        """`login` is asked for at each connection, and may raise CameraError."""
        self.stop(camera_id)
        camera = self._cameras[camera_id] = OnvifCamera(camera_id, address, login, self._around)
        if self._group is not None:
            self._look_after(self._group, camera)

    def stop(self, camera_id: str) -> None:
        """Returns at once; the camera is told in the background. One that was never started is no error."""
        self._cameras.pop(camera_id, None)
        task = self._tasks.pop(camera_id, None)
        if task is not None:
            task.cancel()

    def retry(self, camera_id: str) -> None:
        """The camera is there, and takes our login. One that is not known is no error."""
        camera = self._cameras.get(camera_id)
        if camera is not None:
            camera.retry()

    def find(self, camera_id: str) -> OnvifCamera | None:
        return self._cameras.get(camera_id)

    def get(self, camera_id: str) -> OnvifCamera:
        """Raises CameraError (`ptz_unsupported`) for one that is switched off, or is no ONVIF camera."""
        camera = self._cameras.get(camera_id)
        if camera is None:
            raise CameraError("This camera is not reached over ONVIF.", code="ptz_unsupported")
        return camera

    def _look_after(self, group: asyncio.TaskGroup, camera: OnvifCamera) -> None:
        wait_s = random.uniform(0.0, _SPREAD_S + _A_CAMERA_S * len(self._cameras))  # noqa: S311 - jitter
        self._tasks[camera.camera_id] = group.create_task(_later(camera, wait_s), name=f"onvif {camera.camera_id}")


async def _later(camera: OnvifCamera, wait_s: float) -> None:
    await asyncio.sleep(wait_s)
    await camera.run()
