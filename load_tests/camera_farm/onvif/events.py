"""The event service: pull points (ONVIF Core, 9.2; WS-BaseNotification)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from load_tests.camera_farm.events import TOPICS, Event, EventBoard, notification, utc_text
from load_tests.camera_farm.onvif.face import OnvifCamera, service_url
from load_tests.camera_farm.onvif.soap import NAMESPACES, Call, Handler, SoapFault, duration_s

DEFAULT_LIFE_S: Final = 60.0
LONGEST_PULL_S: Final = 60.0
EVENTS_KEPT: Final = 200
_PATH: Final = "/onvif/event_service"


class PullPoint:
    """What one subscriber has not fetched yet; where it fetches too late the oldest are lost."""

    def __init__(self, board: EventBoard, filters: list[str]) -> None:
        self._board, self._filters = board, filters
        self._waiting: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._something = asyncio.Event()
        self.ends_at = 0.0
        self.synchronise()
        board.listen(self._take)

    def synchronise(self) -> None:
        for event in self._board.initial():
            self._take(event)

    def _take(self, event: Event) -> None:
        if not self._filters or any(event.topic.path.startswith(wanted) for wanted in self._filters):
            self._waiting.append(event)
            self._something.set()

    async def pull(self, timeout_s: float, limit: int) -> list[Event]:
        """At least one event, or none after the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._something.wait()
        events = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if not self._waiting:
            self._something.clear()
        return events

    def close(self) -> None:
        self._board.forget(self._take)


class EventService:
    name, namespace, path = "events", NAMESPACES["tev"], _PATH

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self._points: dict[str, PullPoint] = {}
        self._ids = itertools.count(1)
        self.operations: Mapping[str, Handler] = {
            "GetServiceCapabilities": self._capabilities,
            "GetEventProperties": self._properties,
            "CreatePullPointSubscription": self._create,
            "PullMessages": self._pull,
            "SetSynchronizationPoint": self._synchronise,
            "Renew": self._renew,
            "Unsubscribe": self._unsubscribe,
        }

    @property
    def pull_points(self) -> int:
        self._forget_expired()
        return len(self._points)

    def close(self) -> None:
        for point in self._points.values():
            point.close()
        self._points.clear()

    def _capabilities(self, _call: Call) -> str:
        inner = '<tev:Capabilities WSPullPointSupport="true" MaxPullPoints="16"/>'
        return f"<tev:GetServiceCapabilitiesResponse>{inner}</tev:GetServiceCapabilitiesResponse>"

    def _properties(self, _call: Call) -> str:
        dialect = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
        return (
            "<tev:GetEventPropertiesResponse>"
            "<tev:TopicNamespaceLocation>http://www.onvif.org/onvif/ver10/topics/topicns.xml</tev:TopicNamespaceLocation>"
            f"<wsnt:FixedTopicSet>true</wsnt:FixedTopicSet><wstop:TopicSet>{''.join(_topic_set())}</wstop:TopicSet>"
            f"<wsnt:TopicExpressionDialect>{dialect}</wsnt:TopicExpressionDialect>"
            "<tev:MessageContentFilterDialect>http://www.onvif.org/ver10/tev/messageContentFilter/ItemFilter"
            "</tev:MessageContentFilterDialect><tev:MessageContentSchemaLocation>"
            "http://www.onvif.org/onvif/ver10/schema/onvif.xsd</tev:MessageContentSchemaLocation>"
            "</tev:GetEventPropertiesResponse>"
        )

    def _create(self, call: Call) -> str:
        filters = [one.strip().removesuffix("//.") for one in call.text("TopicExpression").split("|") if one.strip()]
        point = PullPoint(self._camera.events, filters)
        self._extend(point, call.text("InitialTerminationTime"))
        number = str(next(self._ids))
        self._points[number] = point
        address = service_url(self._camera, f"{_PATH}?subscription={number}", call.host)
        reference = f"<tev:SubscriptionReference><wsa:Address>{address}</wsa:Address></tev:SubscriptionReference>"
        times = self._times(point, "wsnt")
        return f"<tev:CreatePullPointSubscriptionResponse>{reference}{times}</tev:CreatePullPointSubscriptionResponse>"

    async def _pull(self, call: Call) -> str:
        point = self._point_of(call)
        limit = call.text("MessageLimit")
        timeout_s = min(duration_s(call.text("Timeout"), 1.0), LONGEST_PULL_S)
        events = await point.pull(timeout_s, int(limit) if limit.isdigit() else EVENTS_KEPT)
        messages = "".join(notification(event) for event in events)
        return f"<tev:PullMessagesResponse>{self._times(point, 'tev')}{messages}</tev:PullMessagesResponse>"

    def _synchronise(self, call: Call) -> str:
        self._point_of(call).synchronise()
        return "<tev:SetSynchronizationPointResponse/>"

    def _renew(self, call: Call) -> str:
        point = self._point_of(call)
        self._extend(point, call.text("TerminationTime"))
        ends = utc_text(self._ends(point))
        now = utc_text(self._camera.now())
        times = f"<wsnt:TerminationTime>{ends}</wsnt:TerminationTime><wsnt:CurrentTime>{now}</wsnt:CurrentTime>"
        return f"<wsnt:RenewResponse>{times}</wsnt:RenewResponse>"

    def _unsubscribe(self, call: Call) -> str:
        self._point_of(call).close()
        del self._points[call.query["subscription"]]
        return "<wsnt:UnsubscribeResponse/>"

    def _point_of(self, call: Call) -> PullPoint:
        self._forget_expired()
        point = self._points.get(call.query.get("subscription", ""))
        if point is None:
            raise SoapFault(400, "ter:InvalidArgVal", "The subscription does not exist (ResourceUnknownFault).")
        return point

    def _forget_expired(self) -> None:
        now = asyncio.get_running_loop().time()
        for number, point in tuple(self._points.items()):
            if point.ends_at < now:
                point.close()
                del self._points[number]

    def _extend(self, point: PullPoint, asked: str) -> None:
        point.ends_at = asyncio.get_running_loop().time() + duration_s(asked, DEFAULT_LIFE_S)

    def _ends(self, point: PullPoint) -> datetime:
        return self._camera.now() + timedelta(seconds=point.ends_at - asyncio.get_running_loop().time())

    def _times(self, point: PullPoint, prefix: str) -> str:
        now, ends = utc_text(self._camera.now()), utc_text(self._ends(point))
        return (
            f"<{prefix}:CurrentTime>{now}</{prefix}:CurrentTime>"
            f"<{prefix}:TerminationTime>{ends}</{prefix}:TerminationTime>"
        )


def _topic_set() -> Iterator[str]:
    """Each topic as nested elements, the last of them marked as a topic (WS-Topics, 4)."""
    for topic in TOPICS.values():
        names = topic.path.split("/")
        opened = "".join(f"<{name}>" for name in names[:-1])
        closed = "".join(f"</{name}>" for name in reversed(names[:-1]))
        yield f'{opened}<{names[-1]} wstop:topic="true"/>{closed}'
