"""Queries of holds: evidence locks on spans of footage, and the legal holds that storage keeps for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from mediasrv.catalogue.footage_queries import (
    LONGEST_OBJECT_US,
    StoredObject,
    active_holds,
    find_objects,
    has_legal_hold,
    hold_is_active,
    is_held,
    lock_camera,
)
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import hold, legal_hold, outbox, recording
from mediasrv.clock import from_us, to_us
from mediasrv.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold to be placed; `until_us` None: until it is released."""

    camera_id: str
    span: Span
    reason: str
    case_number: str | None
    until_us: int | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it was placed. One that was released, or has expired, stays as a row and holds nothing."""

    hold_id: int
    camera_id: str
    span: Span
    reason: str
    case_number: str | None
    placed_by: str
    placed_us: int
    until_us: int | None
    released_us: int | None
    released_by: str | None
    release_reason: str | None

    def is_active(self, now_us: int) -> bool:
        return self.released_us is None and (self.until_us is None or now_us < self.until_us)


@dataclass(frozen=True, slots=True)
class Touched:
    """The recording objects that a span touches."""

    objects: int
    size_bytes: int


def place_hold(connection: Connection, new: NewHold, by: str, now_us: int) -> Hold:
    """Takes the camera's row lock as a deletion does, so that one of the two comes first."""
    lock_camera(connection, new.camera_id)
    values = {
        "camera_id": new.camera_id,
        "started_at": from_us(new.span.start_us),
        "ended_at": from_us(new.span.end_us),
        "reason": new.reason,
        "case_number": new.case_number,
        "placed_by": by,
        "placed_at": from_us(now_us),
        "until_at": None if new.until_us is None else from_us(new.until_us),
    }
    hold_id = connection.execute(insert(hold).values(values).returning(hold.c.hold_id)).scalar_one()
    placed = get_hold(connection, hold_id)
    _announce(connection, "hold.placed", placed, now_us)
    return placed


def release_hold(connection: Connection, hold_id: int, by: str, reason: str, now_us: int) -> Hold:
    """Keeps the row. Raises NotFound, or Conflict `hold_ended` where it holds nothing any more."""
    values = {"released_at": from_us(now_us), "released_by": by, "release_reason": reason}
    statement = update(hold).where(hold.c.hold_id == hold_id, hold_is_active(now_us)).values(values)
    if connection.execute(statement).rowcount != 1:
        get_hold(connection, hold_id)
        raise Conflict("This hold has been released, or has expired.", code="hold_ended")
    released = get_hold(connection, hold_id)
    _announce(connection, "hold.released", released, now_us)
    return released


def get_hold(connection: Connection, hold_id: int) -> Hold:
    """Raises NotFound `hold_not_found`."""
    row = connection.execute(select(hold).where(hold.c.hold_id == hold_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such hold.", code="hold_not_found")
    return _hold(row)


def list_holds(
    connection: Connection,
    now_us: int,
    limit: int,
    before: int | None = None,
    *,
    active: bool = False,
    within: tuple[str, Span] | None = None,
    cameras: Collection[str] | None = None,
) -> list[Hold]:
    """The newest below number `before`; those in force only where `active`; of a camera's span where `within`; of some
    cameras only where they are named.
    """
    query = select(hold).order_by(hold.c.hold_id.desc()).limit(limit)
    if before is not None:
        query = query.where(hold.c.hold_id < before)
    if active:
        query = query.where(hold_is_active(now_us))
    if cameras is not None:
        query = query.where(hold.c.camera_id.in_(list(cameras)))
    if within is not None:
        camera_id, span = within
        query = query.where(
            hold.c.camera_id == camera_id,
            hold.c.started_at <= from_us(span.end_us),
            hold.c.ended_at >= from_us(span.start_us),
        )
    return [_hold(row) for row in connection.execute(query)]


def held_among(connection: Connection, spans: Sequence[tuple[str, str, Span]], now_us: int) -> set[str]:
    """Which of (name, camera, span) touch a hold in force, by their names."""
    held = {camera_id: active_holds(connection, camera_id, now_us) for camera_id in {one[1] for one in spans}}
    return {
        name
        for name, camera_id, span in spans
        if any(one.start_us <= span.end_us and span.start_us <= one.end_us for one in held[camera_id])
    }


def touched_by(connection: Connection, camera_id: str, span: Span) -> Touched:
    """What a hold of the span protects."""
    query = select(func.count(), func.coalesce(func.sum(recording.c.size_bytes), 0)).where(_touches(camera_id, span))
    objects, size_bytes = connection.execute(query).one()
    return Touched(objects, int(size_bytes))


# --- legal holds ---------------------------------------------------------------------------------


def legal_holds_due(connection: Connection, now_us: int, limit: int) -> list[tuple[StoredObject, bool]]:
    """Objects whose version should get a legal hold (True), or lose it (False), `limit` at most."""
    found: dict[str, tuple[StoredObject, bool]] = {}
    active = select(hold.c.camera_id, hold.c.started_at, hold.c.ended_at).where(hold_is_active(now_us))
    for row in connection.execute(active):
        span = Span(to_us(row.started_at), to_us(row.ended_at))
        due = find_objects(connection, limit, _touches(row.camera_id, span), ~has_legal_hold())
        found |= {one.object_id: (one, True) for one in due}
        if len(found) >= limit:
            break
    free = find_objects(connection, limit, has_legal_hold(), ~is_held(now_us))
    found |= {one.object_id: (one, False) for one in free}
    return list(found.values())[:limit]


def set_legal_holds(connection: Connection, changed: Sequence[tuple[str, bool]], now_us: int) -> None:
    """Notes what storage has done."""
    given = [{"object_id": object_id, "set_at": from_us(now_us)} for object_id, on in changed if on]
    taken = [object_id for object_id, on in changed if not on]
    connection.execute(delete(legal_hold).where(legal_hold.c.object_id.in_(taken)))
    if given:
        connection.execute(insert(legal_hold), given)


# --- inside --------------------------------------------------------------------------------------


def _touches(camera_id: str, span: Span) -> ColumnElement[bool]:
    return (
        (recording.c.camera_id == camera_id)
        & recording.c.stream.in_(["main", "sub"])
        & (recording.c.started_at >= from_us(max(0, span.start_us - LONGEST_OBJECT_US)))
        & (recording.c.started_at <= from_us(span.end_us))
        & (recording.c.ended_at >= from_us(span.start_us))
    )


def _hold(row: Any) -> Hold:
    return Hold(
        row.hold_id,
        row.camera_id,
        Span(to_us(row.started_at), to_us(row.ended_at)),
        row.reason,
        row.case_number,
        row.placed_by,
        to_us(row.placed_at),
        None if row.until_at is None else to_us(row.until_at),
        None if row.released_at is None else to_us(row.released_at),
        row.released_by,
        row.release_reason,
    )


def _announce(connection: Connection, kind: str, one: Hold, now_us: int) -> None:
    body = {"hold_id": one.hold_id, "span_us": list(one.span), "case_number": one.case_number}
    values = {"at": from_us(now_us), "kind": kind, "subject": one.camera_id, "body": body}
    connection.execute(insert(outbox).values(values))
