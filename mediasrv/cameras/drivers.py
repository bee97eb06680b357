"""What the supervisor is handed: the parts that talk to cameras and keep what they send. app.py binds them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mediasrv.cameras.views import Profile, RecordingView
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AudioFormat, Session, StreamRef, VideoFormat


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
    """The recorder's side that the supervisor drives."""

    def start(self, ref: StreamRef, epoch: int) -> None: ...

    def stop(self, ref: StreamRef, cause: str) -> None: ...

    def note_outage(self, ref: StreamRef, at_us: int, cause: str) -> None: ...

    def view(self, ref: StreamRef) -> RecordingView: ...


@dataclass(frozen=True, slots=True)
class CameraDrivers:
    """The parts that talk to cameras and keep what they send; app.py binds them."""

    pull: Callable[[str, Login, Way, Mountpoint, Callable[[], Session]], Puller]
    read_device: Callable[[str, Login], Awaitable[Profile]]
    discover: Callable[[], Awaitable[Sequence[object]]]
    claim: Callable[[str], Awaitable[int]]
    recording: RecordingControl
    read_secret: Callable[[str], str]
