"""What a survey finds out about a device. Frozen values; `None` and empty mean that it is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mediasrv.errors import CameraError
from mediasrv.media.profile import MediaProfile


class Target(Protocol):
    """A device to be surveyed. `address` is an ONVIF host or http:// URL, or an rtsp:// URL without credentials."""

    @property
    def address(self) -> str: ...

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be had: a reason code, and an English sentence where more is known than it says."""

    code: str
    sentence: str = ""

    @staticmethod
    def of(error: CameraError) -> Failure:
        return Failure(error.code, error.sentence)


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Camera time minus our time, true to `uncertainty_s` to either side."""

    offset_s: float
    uncertainty_s: float


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What a device told. `main` is the largest picture it has, also where that cannot be pulled, `sub` a smaller one
    that can. `failure` says why there is no `main`; `warnings` are reason codes of what is unwise about it."""

    main: MediaProfile | None
    sub: MediaProfile | None = None
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""
    clock: ClockOffset | None = None
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A stream as it came. `keyframe_interval_s` is the longest run without a keyframe, at least that where the
    measuring ended within it; None where none of the `keyframes` came at all. `audio` is empty where none was kept.
    `clock` is by RTCP sender reports."""

    seconds: float
    packets: int
    lost_packets: int
    bitrate_kbps: int
    rate: float
    keyframe_interval_s: float | None
    codec: str
    width: int
    height: int
    audio: str
    transport: str
    clock: ClockOffset | None = None
    keyframes: int = 2

    @property
    def lost_share(self) -> float:
        return self.lost_packets / max(1, self.packets + self.lost_packets)


@dataclass(frozen=True, slots=True)
class StreamFindings:
    """What a stream was declared as (`profile`), and either how it came or why it did not; neither: not tried."""

    profile: MediaProfile
    measured: Measured | None = None
    failure: Failure | None = None

    @property
    def keyframe_interval_s(self) -> float | None:
        """As measured; where less than a whole interval was, at least what the camera declares. None: not known."""
        declared_s, measured = self.profile.keyframe_interval_s, self.measured
        if measured is None:
            return declared_s or None
        if measured.keyframe_interval_s is None or measured.keyframes > 1:
            return measured.keyframe_interval_s
        return max(measured.keyframe_interval_s, declared_s)


@dataclass(frozen=True, slots=True)
class Findings:
    """`onvif` is None for a device that was not asked; `failure` ends the survey of a device before its streams.
    `in_service`: this server pulls the camera already, so what stands here is how it is doing."""

    onvif: bool | None = None
    reading: DeviceReading | None = None
    main: StreamFindings | None = None
    sub: StreamFindings | None = None
    failure: Failure | None = None
    in_service: bool = False

    @property
    def clock(self) -> ClockOffset | None:
        """As the device tells it; else as its sender reports do."""
        if self.reading is not None and self.reading.clock is not None:
            return self.reading.clock
        measured = [stream.measured for stream in (self.main, self.sub) if stream and stream.measured]
        return next((one.clock for one in measured if one.clock is not None), None)
