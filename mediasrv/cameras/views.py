"""What is known of a camera: wishes, profiles, states. Frozen values that the API shows as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mediasrv.cameras.attestation import Attestation
from mediasrv.media.access_unit import AudioFormat, StreamName, VideoFormat
from mediasrv.media.profile import MediaProfile
from mediasrv.reasons import Reason
from mediasrv.settings import CONTINUOUS, RecordingPlan


@dataclass(frozen=True, slots=True)
class Profile:
    """What was read from a camera, which of its media profiles were picked, and why, in two languages."""

    manufacturer: str
    model: str
    firmware: str
    clock_offset_s: float | None
    main: MediaProfile
    sub: MediaProfile | None
    explanation: str
    explanation_vi: str
    clock_uncertainty_s: float = 0.0
    warnings: tuple[str, ...] = ()
    """Reason codes: what is unwise about the camera, though it works."""

    def pick(self, stream: StreamName) -> MediaProfile | None:
        return self.main if stream is StreamName.MAIN else self.sub

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Profile:
        main, sub = MediaProfile(**document["main"]), document["sub"]
        lists = {"warnings": tuple(document.get("warnings", ()))}
        return Profile(**{**document, **lists, "main": main, "sub": MediaProfile(**sub) if sub else None})


@dataclass(frozen=True, slots=True)
class NewCamera:
    """A wish for a camera. `address` is an ONVIF host or http:// URL, or an rtsp:// URL. `transport` is `auto`, `tcp`,
    `udp` or empty for that of the settings; `tls_fingerprint` pins the certificate of rtsps:// (64 hex digits).
    `record_stream` is `main`, `sub` or `both`; `grid_stream` is `main` or `sub`, empty for sub where there is one.
    `record_audio` is `policy`, `on` or `off`; `attested` is the version of the text that is attested, 0 for none."""

    address: str
    name: str = ""
    camera_id: str = ""
    sub_address: str = ""
    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    place_id: str = ""
    recording: RecordingPlan = CONTINUOUS
    transport: str = ""
    tls_fingerprint: str = ""
    record_stream: str = "main"
    grid_stream: str = ""
    record_audio: str = "policy"
    attested: int = 0

    @property
    def kind(self) -> str:
        return "rtsp" if self.address.startswith(("rtsp://", "rtsps://")) else "onvif"


@dataclass(frozen=True, slots=True)
class CameraChanges:
    """What PATCH may change; None leaves a field as it is, an empty transport or fingerprint takes it away."""

    name: str | None = None
    enabled: bool | None = None
    recording: RecordingPlan | None = None
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    transport: str | None = None
    tls_fingerprint: str | None = None
    record_stream: str | None = None
    grid_stream: str | None = None
    record_audio: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingView:
    """`state` is recording, waiting, failed or off. Times are server wall time in microseconds: until when footage was
    received, is locally durable, stored and indexed.
    """

    state: str
    reason: Reason | None
    durable_until_us: int | None
    stored_until_us: int | None
    received_until_us: int | None = None
    indexed_until_us: int | None = None


@dataclass(frozen=True, slots=True)
class StreamView:
    """`state` is live, connecting, retrying, idle or off; `transport` how media comes: `tcp`, `udp`, `tls`, or empty
    while none does."""

    state: str
    reason: Reason | None
    since_us: int
    video: VideoFormat | None
    audio: AudioFormat | None
    subscribers: int
    recording: RecordingView
    transport: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """`state` is ok, offered, missing, failed, off or unknown."""

    state: str
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class ClockView:
    """`state` is ok, alarm or unknown. `offset_s` is camera time minus server time, true to `uncertainty_s`."""

    state: str
    reason: Reason | None
    offset_s: float | None
    uncertainty_s: float | None
    read_us: int | None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What is known of a camera beside its streams."""

    clock: ClockView
    services: Mapping[str, ServiceView]


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera as docs/api.md shows it, without what depends on who asks. `grid_stream` is a stream that it has;
    `audio_recorded` is what `record_audio` comes to.
    """

    camera_id: str
    name: str
    kind: str
    address: str
    place_id: str
    origin: str
    enabled: bool
    recording: RecordingPlan
    streams: Mapping[StreamName, StreamView]
    profile: Profile | None
    transport: str | None = None
    tls_fingerprint: str | None = None
    record_stream: str = "main"
    grid_stream: str = "main"
    device: DeviceView | None = None
    record_audio: str = "policy"
    audio_recorded: bool = True
    attestation: Attestation | None = None
