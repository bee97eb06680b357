"""What surrounds the supervisor of cameras in its tests: drivers that do what each test needs. No socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

from mediasrv.cameras import Cameras
from mediasrv.cameras.drivers import CameraDrivers, Login, Way
from mediasrv.cameras.views import ClockView, DeviceView, Profile, RecordingView
from mediasrv.catalogue import Catalogue
from mediasrv.clock import Clock, SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Codec, Session, StreamName, StreamRef, VideoFormat
from mediasrv.media.profile import MediaProfile
from mediasrv.security.access_log import AccessLog
from mediasrv.security.accounts import Actor
from mediasrv.security.credentials import CredentialVault
from mediasrv.settings import PullSettings, RecordingPlan, RecordingSettings

FORMAT = VideoFormat(Codec.H264, (b"\x67\x42\x00\x1f", b"\x68\xce"), 640, 360, "avc1.42001f")
ADMIN = Actor("p1", "admin", "192.0.2.1")
SETTINGS = PullSettings(backoff_first_s=0.001, backoff_most_s=0.002, stagger_s=0.0, linger_s=0.05)


class FakePuller:
    """Goes live at once and stays so until `lose`; or fails at once where the camera has a failure."""

    def __init__(self, world: World, url: str, mountpoint: Mountpoint, new_session: Callable[[], Session]) -> None:
        self.report = SimpleNamespace(video_format=None, audio_format=None, transport=world.transport)
        self._world, self._url, self._mountpoint, self.begin_session = world, url, mountpoint, new_session
        self.lost = asyncio.Event()
        self.connected = asyncio.Event()
        self.stop_reason = ""

    async def run(self) -> None:
        world = self._world
        failure = world.failures.get(self._url)
        if failure is not None:
            world.attempts.append(self._url)
            raise failure
        self.connected.set()
        world.running[self._url] = world.running.get(self._url, 0) + 1
        world.most_at_once = max(world.most_at_once, world.running[self._url])
        world.pulls.append(self._url)
        world.pullers[self._url] = self
        try:
            session = self.begin_session()
            self._mountpoint.start_session(session)
            self.report.video_format = FORMAT
            self._mountpoint.publish(AccessUnit(session, FORMAT, 0, 0, session.started_us, True, b"\0\0\0\1\x65"))
            await self.lost.wait()
            self._mountpoint.end_session("camera_lost")
            raise CameraError("The connection to the camera was lost.", code="camera_lost")
        except asyncio.CancelledError:
            self._mountpoint.end_session(self.stop_reason)
            self._world.ends.append(self.stop_reason)
            raise
        finally:
            world.running[self._url] -= 1


class FakeRecording:
    def __init__(self) -> None:
        self.started: dict[StreamRef, int] = {}
        self.outages: list[tuple[StreamRef, str]] = []
        self.stops: list[tuple[StreamRef, str]] = []
        self.plans: dict[StreamRef, tuple[RecordingPlan, bool]] = {}

    def start(self, ref: StreamRef, epoch: int, plan: RecordingPlan, sound: bool) -> None:
        self.started[ref] = epoch
        self.plans[ref] = (plan, sound)

    def stop(self, ref: StreamRef, cause: str) -> None:
        self.started.pop(ref, None)
        self.stops.append((ref, cause))

    def note_outage(self, ref: StreamRef, at_us: int, cause: str) -> None:
        self.outages.append((ref, cause))

    def view(self, ref: StreamRef) -> RecordingView:
        return RecordingView("recording" if ref in self.started else "off", None, None, None)


class FakeDevices:
    """What is told to look after cameras beside their streams."""

    def __init__(self) -> None:
        self.logins: dict[str, Callable[[], Login]] = {}
        self.retries: list[str] = []
        self.deaf: set[str] = set()

    def start(self, camera_id: str, address: str, login: Callable[[], Login]) -> None:
        self.logins[camera_id] = login

    def stop(self, camera_id: str) -> None:
        self.logins.pop(camera_id, None)

    def retry(self, camera_id: str) -> None:
        self.retries.append(camera_id)

    def hears(self, camera_id: str) -> bool:
        return camera_id not in self.deaf

    def view(self, camera_id: str) -> DeviceView | None:
        known = camera_id in self.logins
        return DeviceView(ClockView("ok", None, 0.1, 0.1, 0), {}) if known else None


class World:
    """All that surrounds the cameras under test."""

    def __init__(self, url: str) -> None:
        self.failures: dict[str, CameraError] = {}
        self.running: dict[str, int] = {}
        self.pulls: list[str] = []
        self.ends: list[str] = []
        self.pullers: dict[str, FakePuller] = {}
        self.most_at_once = 0
        self.logins: list[Login] = []
        self.ways: list[Way] = []
        self.attempts: list[str] = []
        self.transport = "tcp"
        self.readings = 0
        self.device_failure: CameraError | None = None
        self.hub = Hub()
        self.recording = FakeRecording()
        self.devices = FakeDevices()
        self.warnings: tuple[str, ...] = ()
        self.offers_sub = True
        self.catalogue = Catalogue(url)
        self.clock: Clock = SystemClock()
        self.settings = RecordingSettings(attestation="off")
        self.cameras = self.new_cameras()

    def new_cameras(self) -> Cameras:
        drivers = CameraDrivers(
            pull=self._pull,
            read_device=self._read_device,
            discover=self._discover,
            claim=self._claim,
            recording=self.recording,
            devices=self.devices,
            read_secret=lambda reference: f"secret of {reference}",
        )
        vault = CredentialVault(bytes(32))
        log = AccessLog(self.catalogue, SystemClock())
        return Cameras(self.hub, self.catalogue, log, vault, drivers, self.clock, SETTINGS, self.settings, "cell-1")

    def _pull(
        self, url: str, login: Login, way: Way, mountpoint: Mountpoint, new_session: Callable[[], Session]
    ) -> FakePuller:
        self.logins.append(login)
        self.ways.append(way)
        return FakePuller(self, url, mountpoint, new_session)

    async def _read_device(self, address: str, login: Login) -> Profile:
        self.readings += 1
        if self.device_failure is not None:
            raise self.device_failure
        main = MediaProfile("p1", "main", "h264", 640, 360, 15.0, 500, "pcma", f"rtsp://{address}/main")
        sub = dataclasses.replace(main, token="p2", name="sub", url=f"rtsp://{address}/sub")
        picked = sub if self.offers_sub else None
        return Profile("Maker", "Model", "1.0", 0.0, main, picked, "Picked.", "Đã chọn.", warnings=self.warnings)

    async def _discover(self, addresses: Sequence[str]) -> list[object]:
        return []

    async def _claim(self, camera_id: str) -> int:
        return 7


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is the program's state, it has no event
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def supervised(cameras: Cameras) -> AsyncIterator[None]:
    task = asyncio.create_task(cameras.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def stream(world: World, camera_id: str, name: StreamName = StreamName.MAIN) -> Any:
    return world.cameras.get(camera_id).streams[name]
