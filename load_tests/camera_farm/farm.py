"""All cameras of one process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from load_tests.camera_farm.camera import Place, SimulatedCamera, prepare_clips
from load_tests.camera_farm.discovery import Announcement, DiscoveryResponder, start_discovery
from load_tests.camera_farm.doors import Ports
from load_tests.camera_farm.orders import FaultSchedule, parse_order
from load_tests.camera_farm.plan import FarmPlan


class Farm:
    """Raises ValueError where an ordered fault makes no sense."""

    def __init__(self, plan: FarmPlan) -> None:
        self.plan = plan
        self.key = plan.key or secrets.token_bytes(32)
        self.cameras: dict[str, SimulatedCamera] = {}
        self.discovery_port: int | None = None
        self.faults = FaultSchedule(self.cameras)
        self._orders = [parse_order(text, len(plan.plans)) for text in plan.faults]
        self._discovery: DiscoveryResponder | None = None

    async def start(self) -> None:
        """Encodes what is needed (minutes of pictures the very first time, else from the cache) and goes online."""
        for camera_plan in dict.fromkeys(self.plan.plans):
            await asyncio.to_thread(prepare_clips, self.plan.mode, camera_plan)
        for number, camera_plan in enumerate(self.plan.plans, 1):
            place = Place(number, self.plan.mode, self.plan.host, self.key, self.cameras, self.plan.replan)
            camera = SimulatedCamera(place, camera_plan, self._ports_of(number))
            self.cameras[camera.camera_id] = camera
            await camera.go_online()
        if self.plan.discovery_port >= 0:
            started = await start_discovery(self.plan.host, self.plan.discovery_port, self._announcements)
            if started is not None:
                self._discovery, self.discovery_port = started

    def _ports_of(self, number: int) -> Ports:
        chosen = (self.plan.rtsp_port, self.plan.rtsps_port, self.plan.onvif_port)
        return Ports(*(first + number - 1 if first else 0 for first in chosen))

    async def run(self) -> None:
        """Lets the ordered faults happen, until it is cancelled."""
        for order in self._orders:
            self.faults.add(order)
        await self.faults.run()

    async def stop(self) -> None:
        if self._discovery is not None:
            self._discovery.close()
        for camera in self.cameras.values():
            await camera.go_offline()

    def describe(self) -> dict[str, Any]:
        """What the control door answers to `GET /cameras`."""
        first = self.plan.plans[0]
        return {
            "key": self.key.hex(),
            "mode": self.plan.mode,
            "username": first.username,
            "password": first.password,
            "discovery_port": self.discovery_port,
            "cameras": [camera.describe() for camera in self.cameras.values()],
        }

    def ready(self, pid: int, control_port: int) -> Mapping[str, Any]:
        """The line that says that every camera can be pulled."""
        return {
            "ready": True,
            "pid": pid,
            "control_url": f"http://{self.plan.host}:{control_port}",
            "discovery_port": self.discovery_port,
            "cameras": [camera.ready() for camera in self.cameras.values()],
        }

    def _announcements(self) -> list[Announcement]:
        return [camera.announcement() for camera in self.cameras.values() if camera.online]
