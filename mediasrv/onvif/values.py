"""What is known of an ONVIF device. Text that a camera sent is cut and freed of control characters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mediasrv.media.profile import MediaProfile

TEXT_LENGTH: Final = 100
H264: Final = "h264"
H265: Final = "h265"


class Service(StrEnum):
    """The services that are asked; `media` is ver10 (profile S), `media2` ver20 (profile T)."""

    DEVICE = "device"
    MEDIA = "media"
    MEDIA2 = "media2"
    EVENTS = "events"
    PTZ = "ptz"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How one service of a camera is doing: `ok`, `offered` (not asked yet), `missing`, `failed`, `off` or `unknown`.

    `code` is a reason code where it is missing or failed, `sentence` says more where more is known.
    """

    state: str
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class OnvifDevice:
    """What `read_device` found. `clock_offset_s` is camera time minus server time, None where it was not told, and
    true to `clock_uncertainty_s`.

    `replaced_host` is the host that the camera reported for itself where that one cannot be reached and the
    address' own host stands in the URLs instead; empty otherwise. `ptz_profile` is the token of the profile through
    which the camera is moved, empty where it cannot be. `warnings` are reason codes: `password_default`,
    `password_empty`.
    """

    manufacturer: str
    model: str
    firmware: str
    clock_offset_s: float | None
    profiles: tuple[MediaProfile, ...]
    replaced_host: str = ""
    clock_uncertainty_s: float = 0.0
    services: Mapping[Service, ServiceState] = field(default_factory=dict)
    ptz_profile: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PickedStreams:
    """The streams to pull, and why, in English and Vietnamese."""

    main: MediaProfile
    sub: MediaProfile | None
    explanation: str
    explanation_vi: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """A device that answered a probe. `address` is what `read_device` takes; nobody has checked any of it."""

    address: str
    name: str
    model: str
    xaddrs: tuple[str, ...]


def clean_text(value: object) -> str:
    """Text from a camera, fit to be shown: printable, one line, at most TEXT_LENGTH characters."""
    text = "" if value is None else str(value)[: 4 * TEXT_LENGTH]
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:TEXT_LENGTH]
