"""What the supervisor is handed: the parts that talk to cameras and keep what they send. app.py binds them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mediasrv.cameras.views import DeviceView, Profile, RecordingView
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AudioFormat, Session, StreamRef, VideoFormat
from mediasrv.settings import RecordingPlan


class PullReport(Protocol):
    """What a supervisor reads from a pull. `transport` is how media comes: `tcp`, `udp` or `tls`."""

    transport: str
    video_format: VideoFormat | None
    audio_format: AudioFormat | None


class Puller(Protocol):
    """One RTSP connection. `run` ends by raising CameraError; cancelled, it ends its session for `stop_reason`.
    `connected` is set once the host has taken the connection."""

    stop_reason: str
    connected: asyncio.Event

    @property
    def report(self) -> PullReport: ...

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Login:
    username: str = ""
    password: str = dataclasses.field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Way:
    """How a camera's media is to come: `transport` and `tls_fingerprint` as its owner wishes, empty for the settings';
    `preferred` is the transport that worked the last time."""

    transport: str = ""
    tls_fingerprint: str = ""
    preferred: str = ""


class RecordingControl(Protocol):
    """The recorder's side that the supervisor drives. `start` again changes the plan of a stream that is recorded."""

    def start(self, ref: StreamRef, epoch: int, plan: RecordingPlan, sound: bool) -> None: ...

    def stop(self, ref: StreamRef, cause: str) -> None: ...

    def note_outage(self, ref: StreamRef, at_us: int, cause: str) -> None: ...

    def view(self, ref: StreamRef) -> RecordingView: ...


class DeviceControl(Protocol):
    """What looks after a camera beside its streams: clock, events, PTZ. `login` may raise CameraError; `retry` says
    that the camera is there and takes the login: what has failed need not wait longer. `hears` is false where what the
    camera tells is known not to get here."""

    def start(self, camera_id: str, address: str, login: Callable[[], Login]) -> None: ...

    def stop(self, camera_id: str) -> None: ...

    def retry(self, camera_id: str) -> None: ...

    def hears(self, camera_id: str) -> bool: ...

    def view(self, camera_id: str) -> DeviceView | None: ...


@dataclass(frozen=True, slots=True)
class CameraDrivers:
    """The parts that talk to cameras and keep what they send; app.py binds them.

    `discover` is given the addresses to ask; none: the local network. A camera whose profile carries one of the
    `refused_warnings` is not added.
    """

    pull: Callable[[str, Login, Way, Mountpoint, Callable[[], Session]], Puller]
    read_device: Callable[[str, Login], Awaitable[Profile]]
    discover: Callable[[Sequence[str]], Awaitable[Sequence[object]]]
    claim: Callable[[str], Awaitable[int]]
    recording: RecordingControl
    devices: DeviceControl
    read_secret: Callable[[str], str]
    refused_warnings: frozenset[str] = frozenset()
