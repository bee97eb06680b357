"""What happens before a camera: events with a state, told to pull points (ONVIF) and to the metadata track.

A property event has a state that lasts (ONVIF Core, 9.4): who comes new is told the states of the moment
(`Initialized`), and everybody is told each change (`Changed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

VIDEO_SOURCE: Final = "source-1"


@dataclass(frozen=True, slots=True)
class Topic:
    """`path` is the ONVIF topic; `source` are its source items, `state` the name of the item with its state."""

    path: str
    source: tuple[tuple[str, str], ...]
    state: str


def _rule(name: str) -> tuple[tuple[str, str], ...]:
    return (
        ("VideoSourceConfigurationToken", "source"),
        ("VideoAnalyticsConfigurationToken", "analytics"),
        ("Rule", name),
    )


TOPICS: Final = {
    "motion": Topic("tns1:RuleEngine/CellMotionDetector/Motion", _rule("MyMotionDetectorRule"), "IsMotion"),
    "motion_alarm": Topic("tns1:VideoSource/MotionAlarm", (("Source", VIDEO_SOURCE),), "State"),
    "tamper": Topic("tns1:RuleEngine/TamperDetector/Tamper", _rule("MyTamperDetectorRule"), "IsTamper"),
    "scene_change": Topic("tns1:VideoSource/GlobalSceneChange/ImagingService", (("Source", VIDEO_SOURCE),), "State"),
    "digital_input": Topic("tns1:Device/Trigger/DigitalInput", (("InputToken", "input-1"),), "LogicalState"),
    "storage": Topic("tns1:Device/HardwareFailure/StorageFailure", (("Token", "card-1"),), "Failed"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """`operation` is `Initialized` or `Changed`; `happened_at` is by the camera's clock."""

    topic: Topic
    state: bool
    happened_at: datetime
    operation: str


Listener = Callable[[Event], None]


class EventBoard:
    """The states of one camera and who wants to know of them. Listeners must not raise."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._states = dict.fromkeys(TOPICS, False)
        self._listeners: list[Listener] = []
        self.ordered = 0

    def order(self, topic: str, state: bool) -> None:
        """Something happens, or is over. Raises KeyError for a topic that is none of TOPICS."""
        event = Event(TOPICS[topic], state, self._now(), "Changed")
        self._states[topic] = state
        self.ordered += 1
        for listener in tuple(self._listeners):
            listener(event)

    def states(self) -> dict[str, bool]:
        return dict(self._states)

    def initial(self) -> Iterator[Event]:
        """The states of the moment, for a newcomer."""
        now = self._now()
        return (Event(TOPICS[topic], state, now, "Initialized") for topic, state in self._states.items())

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def forget(self, listener: Listener) -> None:
        self._listeners.remove(listener)


def utc_text(moment: datetime) -> str:
    """xs:dateTime in UTC, in milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def notification(event: Event) -> str:
    """The event as wsnt:NotificationMessage (ONVIF Core, 9.5.2); prefixes wsnt, tns1 and tt are the document's."""
    items = "".join(f'<tt:SimpleItem Name="{name}" Value="{value}"/>' for name, value in event.topic.source)
    state = f'<tt:SimpleItem Name="{event.topic.state}" Value="{str(event.state).lower()}"/>'
    return (
        '<wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">'
        f"{event.topic.path}</wsnt:Topic><wsnt:Message>"
        f'<tt:Message UtcTime="{utc_text(event.happened_at)}" PropertyOperation="{event.operation}">'
        f"<tt:Source>{items}</tt:Source><tt:Data>{state}</tt:Data></tt:Message>"
        "</wsnt:Message></wsnt:NotificationMessage>"
    )
