"""How a camera looks from ONVIF, and what the services ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from load_tests.camera_farm.clock import CameraClock
from load_tests.camera_farm.counts import CallCounts
from load_tests.camera_farm.events import EventBoard
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.ptz import PtzHead
from load_tests.camera_farm.troubles import Troubles

DEVICE_PATH: Final = "/onvif/device_service"


@dataclass(frozen=True, slots=True)
class OnvifFace:
    """`reported_host` empty means the address the request came to. `auth_kinds` of access.AUTH_KINDS, in their order.

    `media_services` are `media` (profile S) and `media2` (profile T).
    """

    camera_id: str
    name: str
    username: str
    password: str
    auth_kinds: tuple[str, ...] = ("wsse", "digest")
    reported_host: str = ""
    manufacturer: str = "Camera Farm"
    model: str = "Simulated ONVIF camera"
    firmware: str = "1.0"
    media_services: tuple[str, ...] = ("media",)
    has_events: bool = True
    has_ptz: bool = False

    @property
    def profiles(self) -> tuple[str, ...]:
        """The ONVIF profiles that it claims, as in its scopes."""
        known = {"media": "Streaming", "media2": "T"}
        return tuple(known[service] for service in self.media_services)


class OnvifCamera(Protocol):
    face: OnvifFace
    clock: CameraClock
    events: EventBoard
    ptz: PtzHead
    troubles: Troubles
    counts: CallCounts

    @property
    def streams(self) -> Mapping[str, StreamOnAir]: ...

    @property
    def onvif_port(self) -> int: ...

    def now(self) -> datetime:
        """By the camera's clock."""

    def stream_url(self, name: str, host: str, *, tls: bool = False) -> str: ...


def service_url(camera: OnvifCamera, path: str, host: str) -> str:
    return f"http://{host}:{camera.onvif_port}{path}"
