"""What a camera's notifications mean (WS-BaseNotification, ONVIF Core 9): kind, source, state, time. Pure.

Cameras repeat themselves, tell all their states anew at each subscription, and some send a state every second:
`KnownStates` lets pass what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element

from mediasrv.clock import to_us
from mediasrv.media.camera_event import EventKind
from mediasrv.onvif.envelope import find, find_all, parse_flag, text_of
from mediasrv.onvif.values import clean_text

MOST_SOURCES: Final = 256
_KINDS: Final[dict[tuple[str, ...], EventKind]] = {
    # Topics without their namespaces; the longest beginning counts.
    ("VideoSource", "MotionAlarm"): EventKind.MOTION,
    ("RuleEngine", "CellMotionDetector"): EventKind.MOTION,
    ("RuleEngine", "MotionRegionDetector"): EventKind.MOTION,
    ("VideoAnalytics", "MotionDetection"): EventKind.MOTION,
    ("CameraApplicationPlatform", "VMD"): EventKind.MOTION,
    # ONVIF profile T, 8.17, tampering.
    ("VideoSource", "GlobalSceneChange"): EventKind.TAMPER,
    ("VideoSource", "ImageTooBlurry"): EventKind.TAMPER,
    ("VideoSource", "ImageTooBright"): EventKind.TAMPER,
    ("VideoSource", "ImageTooDark"): EventKind.TAMPER,
    ("VideoSource", "Tampering"): EventKind.TAMPER,
    ("RuleEngine", "TamperDetector"): EventKind.TAMPER,
    ("Device", "Trigger", "DigitalInput"): EventKind.DIGITAL_INPUT,
    ("Device", "HardwareFailure", "StorageFailure"): EventKind.STORAGE,
    ("Storage", "Disruption"): EventKind.STORAGE,
}
_LAST_US: Final = to_us(datetime(2200, 1, 1, tzinfo=UTC))
_STATE_NAMES: Final = frozenset(
    {"state", "ismotion", "istamper", "logicalstate", "failed", "active", "motion", "tampering", "disruption"}
)


@dataclass(frozen=True, slots=True)
class Notification:
    kind: EventKind
    source: str
    active: bool
    camera_us: int | None


def parse_notifications(answer: Element) -> Iterator[Notification]:
    """The notifications of a PullMessages answer that are of a kind we know and tell a state."""
    for message in find_all(answer, "NotificationMessage"):
        kind = _kind(text_of(message, "Topic"))
        told = find(message, "Message", "Message")
        if kind is None or told is None:
            continue
        active = _state(find(told, "Data"))
        if told.get("PropertyOperation") == "Deleted":
            active = False
        if active is not None:
            sources = [item.get("Value", "") for name in ("Source", "Key") for item in _items(find(told, name))]
            yield Notification(kind, clean_text("/".join(sources)), active, _time_us(told.get("UtcTime", "")))


class KnownStates:
    """The last state of each source of one camera; a source begins inactive. Outlives subscriptions."""

    def __init__(self) -> None:
        self._active: dict[tuple[EventKind, str], bool] = {}

    def recall(self, active: Iterable[tuple[EventKind, str]]) -> None:
        """What was active before this program ran: that it ended meanwhile is news."""
        self._active |= dict.fromkeys(active, True)

    def is_news(self, notification: Notification) -> bool:
        """Whether this changes something; it is known from then on. A camera with endless sources is not heard."""
        key = (notification.kind, notification.source)
        if self._active.get(key, False) == notification.active:
            return False
        if key not in self._active and len(self._active) >= MOST_SOURCES:
            return False
        self._active[key] = notification.active
        return True


def _kind(topic: str) -> EventKind | None:
    """Topics come as `tns1:RuleEngine/CellMotionDetector/Motion`, some with `//.` at the end."""
    path = tuple(step.rpartition(":")[2] for step in topic[:200].rstrip("/.").split("/"))
    return next((_KINDS[path[:length]] for length in range(len(path), 1, -1) if path[:length] in _KINDS), None)


def _state(data: Element | None) -> bool | None:
    """The item that is known to be a state, or the only one."""
    items = [(item.get("Name", "").lower(), item.get("Value", "")) for item in _items(data)]
    named = [value for name, value in items if name in _STATE_NAMES] or [value for _, value in items if len(items) == 1]
    return parse_flag(named[0]) if named else None


def _items(parent: Element | None) -> Iterator[Element]:
    return find_all(parent, "SimpleItem")


def _time_us(text: str) -> int | None:
    """Some cameras write `0000-00-00T00:00:00Z`, some leave the zone out: UTC is what the standard demands."""
    try:
        at = datetime.fromisoformat(text.strip())
        at_us = to_us(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
    return at_us if 0 <= at_us < _LAST_US else None
