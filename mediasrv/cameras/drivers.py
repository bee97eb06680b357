"""What the supervisor is handed: the parts that talk to cameras and keep what they send. app.py binds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mediasrv.cameras.views import Profile, RecordingView
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AudioFormat, Session, StreamRef, VideoFormat


class PullReport(Protocol):
    """What a supervisor reads from a running pull."""

    video_format: VideoFormat | None
    audio_format: AudioFormat | None


class Puller(Protocol):
    """One RTSP connection. `run` ends by raising CameraError; cancelled, it ends its session for `stop_reason`."""

    stop_reason: str

    @property
    def report(self) -> PullReport: ...

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Login:
    username: str = ""
    password: str = dataclasses.field(default="", repr=False)


class RecordingControl(Protocol):
    """The recorder's side that the supervisor drives."""

    def start(self, ref: StreamRef, epoch: int) -> None: ...

    def stop(self, ref: StreamRef, cause: str) -> None: ...

    def note_outage(self, ref: StreamRef, at_us: int, cause: str) -> None: ...

    def view(self, ref: StreamRef) -> RecordingView: ...


@dataclass(frozen=True, slots=True)
class CameraDrivers:
    """The parts that talk to cameras and keep what they send; app.py binds them."""

    pull: Callable[[str, Login, Mountpoint, Callable[[], Session]], Puller]
    read_device: Callable[[str, Login], Awaitable[Profile]]
    discover: Callable[[], Awaitable[Sequence[object]]]
    claim: Callable[[str], Awaitable[int]]
    recording: RecordingControl
    read_secret: Callable[[str], str]
