"""What cameras tell beside pictures: states that change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The values are part of the API and of the catalogue."""

    MOTION = "motion"
    TAMPER = "tamper"
    """The camera was covered, turned, blinded or put out of focus."""
    DIGITAL_INPUT = "digital_input"
    STORAGE = "storage"
    """The camera's own memory failed."""


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """A state of a camera that began (`active`) or ended.

    `source` names what changed, in the camera's own words. `arrived_us` is server wall time, by which events are
    found; `camera_us` is what the camera says, None where it says nothing that can be a time.
    """

    camera_id: str
    kind: EventKind
    source: str
    active: bool
    camera_us: int | None
    arrived_us: int
