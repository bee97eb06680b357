"""What is known of an ONVIF device. Text that a camera sent is cut and freed of control characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mediasrv.media.profile import MediaProfile

TEXT_LENGTH: Final = 100
H264: Final = "h264"


OnvifProfile = MediaProfile


@dataclass(frozen=True, slots=True)
class OnvifDevice:
    """What `read_device` found. `clock_offset_s` is camera time minus server time, None where it was not told.

    `replaced_host` is the host that the camera reported for itself where that one cannot be reached and the
    address' own host stands in the URLs instead; empty otherwise.
    """

    manufacturer: str
    model: str
    firmware: str
    clock_offset_s: float | None
    profiles: tuple[OnvifProfile, ...]
    replaced_host: str = ""


@dataclass(frozen=True, slots=True)
class PickedStreams:
    """The streams to pull, and why, in English and Vietnamese."""

    main: OnvifProfile
    sub: OnvifProfile | None
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
