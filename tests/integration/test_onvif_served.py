"""A whole server with an ONVIF camera: events, clock and PTZ through the public doors, from start to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiClient, ApiError, CameraAddress, ServerFiles, ServerProcess
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera, fake_camera, notification
from tests.integration.s3 import find_plain

T = TypeVar("T")
SOURCE = "Phòng giám đốc 7"


async def soon(ask: Callable[[], T], within_s: float = 20.0) -> T:
    """The first answer that is not empty; asked in a thread, since the camera lives in this one."""
    async with asyncio.timeout(within_s):
        while not (found := await asyncio.to_thread(ask)):  # noqa: ASYNC110 - the answer comes over HTTP
            await asyncio.sleep(0.1)
    return found


class Served:
    def __init__(self, server: ServerProcess, client: ApiClient, camera: FakeCamera) -> None:
        self.server, self.client, self.camera = server, client, camera

    def device(self) -> Any:
        return self.client.get("/api/v1/cameras/gate-1")["device"]

    def events(self) -> list[Any]:
        now = datetime.now(UTC)
        start, end = (quote(at.isoformat()) for at in (now - timedelta(hours=1), now + timedelta(minutes=1)))
        found: list[Any] = self.client.get(f"/api/v1/cameras/gate-1/events?start={start}&end={end}")["events"]
        return found

    def events_are_on(self) -> bool:
        device = self.device()  # None before it is started
        return device is not None and bool(device["services"]["events"]["state"] == "ok")


@asynccontextmanager
async def served(directory: Path, s3: SeaweedServer) -> AsyncIterator[Served]:
    async with fake_camera("media2", "events", "ptz") as camera:
        address = CameraAddress("gate-1", camera.address, username=USERNAME, password=PASSWORD)
        overrides = {"storage": {"bucket": "onvif-footage", "key_bucket": "onvif-keys"}, "onvif": {"ptz_hold_s": 1.0}}
        files = ServerFiles(directory, s3, (address,), overrides=overrides)
        files.write()
        token = await asyncio.to_thread(files.make_account, "lan", "correct horse battery", "test")
        server = ServerProcess(files)
        await asyncio.to_thread(server.start)
        try:
            yield Served(server, ApiClient(files.url, token), camera)
        finally:
            await asyncio.to_thread(server.stop)


@pytest.mark.timeout(120)
async def test_events_clock_and_ptz_of_a_served_camera(tmp_path: Path, s3: SeaweedServer) -> None:
    async with served(tmp_path, s3) as site:
        site.camera.offset_s = -7.0
        await soon(site.events_are_on)
        for value in ("true", "false"):
            site.camera.notify(notification("tns1:VideoSource/MotionAlarm", "State", value, source=SOURCE))
        events = await soon(lambda: found if len(found := site.events()) == 2 else [])
        assert [(one["kind"], one["active"], one["source"]) for one in events] == [
            ("motion", True, SOURCE),
            ("motion", False, SOURCE),
        ]
        device = await soon(lambda: found if (found := site.device())["clock"]["state"] == "alarm" else None)
        assert device["clock"]["reason"]["code"] == "clock_off"
        assert device["clock"]["offset_s"] == pytest.approx(-7.0, abs=0.5)
        assert device["services"]["media"]["reason"]["code"] == "service_missing"
        metrics = await asyncio.to_thread(site.client.fetch, "/metrics")
        assert b"mediasrv_camera_events_total 2\n" in metrics
        assert b"mediasrv_clock_alarms 1\n" in metrics

        await asyncio.to_thread(
            site.client.call, "POST", "/api/v1/cameras/gate-1/ptz", {"move": "continuous", "pan": 1}
        )
        await site.camera.until(lambda: site.camera.counts["Stop"] == 1)
        with pytest.raises(ApiError) as caught:
            await asyncio.to_thread(site.client.call, "POST", "/api/v1/cameras/gate-1/ptz", {"move": "up"})
        assert caught.value.code == "ptz_move_unknown"
        assert await asyncio.to_thread(site.server.stop) == 0
        assert not any(one.alive for one in site.camera.subscriptions)
        # Neither what the camera said nor how we log in to it lies anywhere.
        assert find_plain([SOURCE.encode(), PASSWORD.encode()], tmp_path / "data", site.server.log_path) == []


@pytest.mark.timeout(120)
async def test_events_of_a_server_that_was_killed_are_there_and_go_on(tmp_path: Path, s3: SeaweedServer) -> None:
    async with served(tmp_path, s3) as site:
        await soon(site.events_are_on)
        site.camera.notify(notification("tns1:VideoSource/MotionAlarm", "State", "true", source=SOURCE))
        await soon(site.events)
        site.server.kill()
        site.camera.forget_subscriptions()
        # Each subscription is told the states as they are.
        site.camera.state_messages = [notification("tns1:VideoSource/MotionAlarm", "State", "false", source=SOURCE)]
        await asyncio.to_thread(site.server.start)
        events = await soon(lambda: found if len(found := site.events()) >= 2 else [])
        assert [(one["active"], one["source"]) for one in events] == [(True, SOURCE), (False, SOURCE)]
