"""Queries of what cameras told. `source` is sealed before it comes here, and opened by whoever may read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, delete, insert, select, type_coerce

from mediasrv.catalogue.footage_queries import hold_is_active
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import camera_event, hold, outbox
from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.media.camera_event import EventKind

LONGEST_STATE_US: Final = 3600 * SECOND_US
"""Ends of states get lost, with a camera's power for one: what is kept for their sake must not grow without end."""

_TOLD_UPWARDS: Final = frozenset({EventKind.TAMPER, EventKind.STORAGE})
"""What a centre wants to hear of by itself: the camera is in trouble. Motion and inputs it reads by event id."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it lies in the catalogue; `event_id` rises in the order in which events were kept."""

    event_id: int
    camera_id: str
    kind: EventKind
    active: bool
    source: bytes
    camera_us: int | None
    arrived_us: int


def insert_events(connection: Connection, events: Sequence[EventRow]) -> list[int]:
    """Keeps events, whatever their `event_id` says, with outbox entries; the ids they got, in the same order."""
    values = [_values(event) for event in events]
    query = insert(camera_event).returning(camera_event.c.event_id, sort_by_parameter_order=True)
    ids = list(connection.scalars(query, values))
    announced = [
        _announcement(event_id, event)
        for event_id, event in zip(ids, events, strict=True)
        if event.kind in _TOLD_UPWARDS
    ]
    if announced:
        connection.execute(insert(outbox), announced)
    return ids


def find_events(
    connection: Connection,
    camera_id: str,
    start_us: int,
    end_us: int,
    kinds: Collection[EventKind],
    limit: int,
    after: int | None = None,
) -> list[EventRow]:
    """The first `limit` events of a camera that arrived from `start_us` until before `end_us`; no kinds: all.

    With `after` those with a higher id, in the order of their ids: a reader who asks on from the last one misses none,
    though the clock was set back meanwhile.
    """
    query = (
        select(camera_event)
        .where(
            camera_event.c.camera_id == camera_id,
            camera_event.c.arrived_at >= from_us(start_us),
            camera_event.c.arrived_at < from_us(end_us),
        )
        .limit(limit)
    )
    if after is None:
        query = query.order_by(camera_event.c.arrived_at, camera_event.c.event_id)
    else:
        # As an expression, so that no planner walks the events of all cameras by their ids instead of this one's span.
        query = query.where(camera_event.c.event_id > after).order_by(camera_event.c.event_id + 0)
    if kinds:
        query = query.where(camera_event.c.kind.in_([str(kind) for kind in kinds]))
    return [_row(found) for found in connection.execute(query)]


def last_events(connection: Connection, camera_id: str, limit: int) -> list[EventRow]:
    """The last `limit` events of a camera, oldest first."""
    query = (
        select(camera_event)
        .where(camera_event.c.camera_id == camera_id)
        .order_by(camera_event.c.arrived_at.desc(), camera_event.c.event_id.desc())
        .limit(limit)
    )
    return [_row(found) for found in connection.execute(query)][::-1]


def event_spans(connection: Connection, camera_id: str, kinds: Collection[str], since_us: int) -> dict[str, list[Span]]:
    """When states of these kinds went on, by kind: from a begin to the next change of that kind, or for
    LONGEST_STATE_US; an end is an instant. Sources are not told apart: they lie sealed.
    """
    arrived = type_coerce(camera_event.c.arrived_at, BigInteger)
    query = (
        select(camera_event.c.kind, camera_event.c.active, arrived)
        .where(
            camera_event.c.camera_id == camera_id,
            camera_event.c.arrived_at >= from_us(since_us),
            camera_event.c.kind.in_(list(kinds)),
        )
        .order_by(camera_event.c.arrived_at, camera_event.c.event_id)
    )
    spans: dict[str, list[Span]] = {kind: [] for kind in kinds}
    begun: dict[str, int] = {}
    for kind, active, at_us in connection.execute(query):
        spans[kind].append(Span(at_us, at_us))
        if kind in begun:
            spans[kind].append(Span(begun[kind], min(at_us, begun[kind] + LONGEST_STATE_US)))
            del begun[kind]
        if active:
            begun[kind] = at_us
    for kind, at_us in begun.items():
        spans[kind].append(Span(at_us, at_us + LONGEST_STATE_US))
    return spans


def expire_events(connection: Connection, before_us: Mapping[str, int], now_us: int, limit: int) -> int:
    """Deletes events of each camera that arrived before its bound and lie under no hold, `limit` at most in all;
    how many those were.
    """
    gone = 0
    for camera_id, bound_us in before_us.items():
        if gone >= limit:
            break
        held = select(hold.c.hold_id).where(
            hold.c.camera_id == camera_event.c.camera_id,
            hold.c.started_at <= camera_event.c.arrived_at,
            hold.c.ended_at >= camera_event.c.arrived_at,
            hold_is_active(now_us),
        )
        expired = (
            select(camera_event.c.event_id)
            .where(
                camera_event.c.camera_id == camera_id,
                camera_event.c.arrived_at < from_us(bound_us),
                ~held.exists(),
            )
            .limit(limit - gone)
        )
        of_age = camera_event.c.arrived_at < from_us(bound_us)
        gone += connection.execute(delete(camera_event).where(camera_event.c.event_id.in_(expired), of_age)).rowcount
    return gone


def _values(event: EventRow) -> dict[str, Any]:
    return {
        "camera_id": event.camera_id,
        "kind": str(event.kind),
        "active": event.active,
        "source": event.source,
        "camera_at": None if event.camera_us is None else from_us(event.camera_us),
        "arrived_at": from_us(event.arrived_us),
    }


def _row(found: Any) -> EventRow:
    return EventRow(
        found.event_id,
        found.camera_id,
        EventKind(found.kind),
        found.active,
        found.source,
        None if found.camera_at is None else to_us(found.camera_at),
        to_us(found.arrived_at),
    )


def _announcement(event_id: int, event: EventRow) -> dict[str, Any]:
    body = {"event_id": event_id, "kind": str(event.kind), "active": event.active}
    return {"at": from_us(event.arrived_us), "kind": "camera.event", "subject": event.camera_id, "body": body}
