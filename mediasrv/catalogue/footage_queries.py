"""Queries of the footage there is: timelines, what retention may take, what `check` compares.

Plain functions of a `Connection`, run by `Catalogue.read` and `Catalogue.write`. Times are wall time
in microseconds. Lists that can be long are bounded by `limit`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from mediasrv.catalogue.spans import Span, clip, merge, subtract
from mediasrv.catalogue.tables import camera, data_key, gap, garbage, hold, legal_hold, outbox, recording
from mediasrv.clock import SECOND_US, from_us
from mediasrv.errors import Conflict
from mediasrv.media.access_unit import StreamName, StreamRef

SEAM_US: Final = 250_000
"""Holes up to this between two objects are none: smoothed arrival and summed durations differ by as much."""

LONGEST_OBJECT_US: Final = 24 * 3600 * SECOND_US
"""An object ends about a minute after it began, at a keyframe. This bound, far beyond, keeps a question about
today from looking at each object since the camera was installed: the start is indexed, the end is not.
"""

_STREAMS: Final = tuple(StreamName)
_FIRST_PAGE: Final = 200
"""Most questions of retention end within this: nothing, or a minute's objects, is due."""
_PAGE: Final = 5000


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A recording object as retention and `check` see it."""

    object_id: str
    object_key: str
    version_id: str | None
    key_id: str
    ref: StreamRef
    started_us: int
    ended_us: int
    size_bytes: int

    @property
    def span(self) -> Span:
        return Span(self.started_us, self.ended_us)


@dataclass(frozen=True, slots=True)
class GapRow:
    """`ended_us` is None while it is open; `cause` is a code of docs/reasons.md."""

    gap_id: int
    ref: StreamRef
    started_us: int
    ended_us: int | None
    cause: str


class PlannedRow(NamedTuple):
    """An object as the plan of retention sees it. Of two, that which sorts first is the older one."""

    started_us: int
    object_id: str
    ended_us: int
    size_bytes: int


def _us(column: Any) -> ColumnElement[int]:
    """The integer in the database: a datetime for each of 40,000 rows would cost more than the query."""
    return type_coerce(column, BigInteger)


_OBJECT: Final = (
    recording.c.object_id,
    recording.c.object_key,
    recording.c.version_id,
    recording.c.key_id,
    recording.c.camera_id,
    recording.c.stream,
    _us(recording.c.started_at).label("started_us"),
    _us(recording.c.ended_at).label("ended_us"),
    recording.c.size_bytes,
)


_GARBAGE: Final = (
    garbage.c.object_id,
    garbage.c.object_key,
    garbage.c.version_id,
    garbage.c.key_id,
    garbage.c.camera_id,
    garbage.c.stream,
    _us(garbage.c.started_at).label("started_us"),
    _us(garbage.c.ended_at).label("ended_us"),
    garbage.c.size_bytes,
    _us(garbage.c.marked_at).label("marked_us"),
)


def _stored(row: Row[Any]) -> StoredObject:
    return StoredObject(
        row.object_id,
        row.object_key,
        row.version_id,
        row.key_id,
        StreamRef(row.camera_id, StreamName(row.stream)),
        row.started_us,
        row.ended_us,
        row.size_bytes,
    )


# --- timeline ------------------------------------------------------------------------------------


def coverage(connection: Connection, ref: StreamRef, within: Span, joined_us: int = 0) -> list[Span]:
    """Spans with catalogued footage, cut to `within`; holes up to `joined_us` are no holes.

    Objects are joined in the database: a month of footage is 43,200 rows there, and a few spans here.
    """
    starts = _us(recording.c.started_at)
    reached = func.max(_us(recording.c.ended_at)).over(order_by=starts, rows=(None, -1))
    rows = select(starts.label("start_us"), reached.label("reached_us")).where(in_span(ref, within)).subquery()
    is_begin = or_(rows.c.reached_us.is_(None), rows.c.start_us > rows.c.reached_us + joined_us)
    begins = connection.execute(select(rows).where(is_begin).order_by(rows.c.start_us)).all()
    if not begins:
        return []
    ends = [*(row.reached_us for row in begins[1:]), _last_end_us(connection, ref, within)]
    return clip((Span(row.start_us, end_us) for row, end_us in zip(begins, ends, strict=True)), within)


def _last_end_us(connection: Connection, ref: StreamRef, within: Span) -> int:
    """Of the objects in `within`, of which there is one at least; looks at those of its last day only."""
    newest = select(func.max(_us(recording.c.started_at))).where(in_span(ref, within))
    near_us = connection.execute(newest).scalar_one() - LONGEST_OBJECT_US
    last = select(func.max(_us(recording.c.ended_at))).where(
        in_span(ref, within), _us(recording.c.started_at) > near_us
    )
    return int(connection.execute(last).scalar_one())


def in_span(ref: StreamRef, within: Span) -> ColumnElement[bool]:
    """Condition on `recording`: objects of the stream with footage in `within`."""
    return and_(
        _of(recording, ref),
        recording.c.started_at > from_us(max(0, within.start_us - LONGEST_OBJECT_US)),
        recording.c.started_at < from_us(within.end_us),
        recording.c.ended_at > from_us(within.start_us),
    )


def objects_in_span(connection: Connection, ref: StreamRef, within: Span) -> list[StoredObject]:
    """Objects of the stream with footage in `within`, in order of their start."""
    query = select(*_OBJECT).where(in_span(ref, within)).order_by(recording.c.started_at, recording.c.object_id)
    return [_stored(row) for row in connection.execute(query)]


def find_object(connection: Connection, object_id: str) -> StoredObject | None:
    row = connection.execute(select(*_OBJECT).where(recording.c.object_id == object_id)).one_or_none()
    return None if row is None else _stored(row)


def find_objects(connection: Connection, limit: int, *conditions: ColumnElement[bool]) -> list[StoredObject]:
    """The first `limit` objects for which all conditions on `recording` hold."""
    return [_stored(row) for row in connection.execute(select(*_OBJECT).where(*conditions).limit(limit))]


def gaps(connection: Connection, ref: StreamRef, within: Span) -> list[GapRow]:
    """Gap rows that touch `within`, in order of their start."""
    query = (
        select(gap.c.gap_id, _us(gap.c.started_at), _us(gap.c.ended_at), gap.c.cause)
        .where(
            _of(gap, ref),
            gap.c.started_at < from_us(within.end_us),
            or_(gap.c.ended_at.is_(None), gap.c.ended_at > from_us(within.start_us)),
        )
        .order_by(gap.c.started_at, gap.c.gap_id)
    )
    return [GapRow(gap_id, ref, start, end, cause) for gap_id, start, end, cause in connection.execute(query)]


def active_holds(connection: Connection, camera_id: str, now_us: int) -> list[Span]:
    """Spans of a camera that nobody may delete now; both streams."""
    query = (
        select(_us(hold.c.started_at), _us(hold.c.ended_at))
        .where(hold.c.camera_id == camera_id, hold_is_active(now_us))
        .order_by(hold.c.started_at)
    )
    return [Span(*row) for row in connection.execute(query)]


def _of(table: Any, ref: StreamRef) -> ColumnElement[bool]:
    return and_(table.c.camera_id == ref.camera_id, table.c.stream == str(ref.stream))


def hold_is_active(now_us: int) -> ColumnElement[bool]:
    """Of rows of `hold`."""
    return and_(hold.c.released_at.is_(None), or_(hold.c.until_at.is_(None), hold.c.until_at > from_us(now_us)))


# --- retention: what may go ----------------------------------------------------------------------


def cameras_with_footage(connection: Connection) -> list[str]:
    """Ids of all cameras that have recordings, those out of service too; one index probe for each."""
    lowest = select(func.min(recording.c.camera_id).label("camera_id"))
    found = lowest.cte("found", recursive=True)
    following = lowest.where(recording.c.camera_id > found.c.camera_id).scalar_subquery()
    found = found.union_all(select(following).where(found.c.camera_id.is_not(None)))
    return list(connection.scalars(select(found.c.camera_id).where(found.c.camera_id.is_not(None))))


def stored_bytes(connection: Connection, camera_id: str) -> int:
    """Of a camera's objects, both streams together."""
    query = select(func.coalesce(func.sum(recording.c.size_bytes), 0)).where(recording.c.camera_id == camera_id)
    return int(connection.execute(query).scalar_one())


def planned_rows(connection: Connection, camera_id: str, started_by_us: int | None = None) -> Iterator[PlannedRow]:
    """All objects of a camera, or those that began by then, oldest first, both streams together; a page at a time."""
    return heapq.merge(*(_rows_of(connection, StreamRef(camera_id, stream), started_by_us) for stream in _STREAMS))


def _rows_of(connection: Connection, ref: StreamRef, started_by_us: int | None) -> Iterator[PlannedRow]:
    started = _us(recording.c.started_at)
    query = (
        select(started, recording.c.object_id, _us(recording.c.ended_at), recording.c.size_bytes)
        .where(_of(recording, ref))
        .order_by(recording.c.started_at, recording.c.object_id)
    )
    if started_by_us is not None:
        query = query.where(recording.c.started_at <= from_us(started_by_us))
    page, rows = query.limit(_FIRST_PAGE), []
    while True:
        rows = [PlannedRow._make(row) for row in connection.execute(page)]
        yield from rows
        if not rows:
            return
        # The bound on the start first: it is the indexed one.
        at = from_us(rows[-1].started_us)
        page = query.where(
            recording.c.started_at >= at,
            or_(recording.c.started_at > at, recording.c.object_id > rows[-1].object_id),
        ).limit(_PAGE)


def newest_objects(connection: Connection, camera_id: str) -> frozenset[str]:
    """The last object of each stream."""
    newest: set[str] = set()
    for stream in _STREAMS:
        query = (
            select(recording.c.object_id)
            .where(_of(recording, StreamRef(camera_id, stream)))
            .order_by(recording.c.started_at.desc())
            .limit(1)
        )
        newest.update(connection.execute(query).scalars())
    return frozenset(newest)


def is_held(now_us: int) -> ColumnElement[bool]:
    """Of rows of `recording`."""
    return exists().where(
        hold.c.camera_id == recording.c.camera_id,
        hold_is_active(now_us),
        hold.c.started_at <= recording.c.ended_at,
        hold.c.ended_at >= recording.c.started_at,
    )


# --- retention: the steps of a deletion ----------------------------------------------------------


def has_legal_hold() -> ColumnElement[bool]:
    """Of rows of `recording`: storage keeps their version for a hold."""
    return exists().where(legal_hold.c.object_id == recording.c.object_id)


def mark_garbage(
    connection: Connection, doomed: Sequence[tuple[str, str]], now_us: int, cause: str = "retention"
) -> list[StoredObject]:
    """First step: (object id, reason) pairs of one camera become garbage, in one transaction with the end of
    their recording rows, the gap rows of that cause, and the outbox. Returns those that went.

    Holds are looked at once more here: what was held since the plan was made stays. Whoever places a hold
    takes the camera's row lock as this does, so that on PostgreSQL too one of the two comes first.
    """
    reasons = dict(doomed)
    _lock_cameras(connection, reasons)
    # A version that still has its legal hold could not be deleted: it goes when retention has taken that away.
    query = select(*_OBJECT).where(recording.c.object_id.in_(reasons), ~is_held(now_us), ~has_legal_hold())
    going = [_stored(row) for row in connection.execute(query)]
    if not going:
        return []
    connection.execute(insert(garbage), [_garbage_values(one, reasons[one.object_id], now_us) for one in going])
    started_us = [one.started_us for one in going]
    # With their days: PostgreSQL keeps each in a table of its own.
    in_days = _us(recording.c.started_at).between(min(started_us), max(started_us))
    connection.execute(delete(recording).where(recording.c.object_id.in_([one.object_id for one in going]), in_days))
    for ref in sorted({one.ref for one in going}):
        spans = [one.span for one in going if one.ref == ref]
        add_gap(connection, ref, spans, cause)
        size_bytes = sum(one.size_bytes for one in going if one.ref == ref)
        _announce_deletion(connection, ref, spans, size_bytes, now_us)
    return going


def garbage_after(connection: Connection, last: tuple[int, str], limit: int) -> list[tuple[int, StoredObject]]:
    """Garbage with the time it was marked, in that order, beyond `last` (marked_us, object id)."""
    marked_us, object_id = last
    at = from_us(marked_us)
    query = (
        select(*_GARBAGE)
        .where(or_(garbage.c.marked_at > at, and_(garbage.c.marked_at == at, garbage.c.object_id > object_id)))
        .order_by(garbage.c.marked_at, garbage.c.object_id)
        .limit(limit)
    )
    return [(row.marked_us, _stored(row)) for row in connection.execute(query)]


def garbage_under(connection: Connection, key_id: str, limit: int) -> list[StoredObject]:
    """What is marked of the objects under a data key."""
    query = select(*_GARBAGE).where(garbage.c.key_id == key_id).order_by(garbage.c.object_id).limit(limit)
    return [_stored(row) for row in connection.execute(query)]


def drop_garbage(connection: Connection, object_ids: Sequence[str]) -> int:
    """Last step, after storage has confirmed: the number of rows dropped."""
    return connection.execute(delete(garbage).where(garbage.c.object_id.in_(object_ids))).rowcount


def count_garbage(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(garbage)).scalar_one()


def unneeded_keys(
    connection: Connection, period_before_us: int, limit: int, among: Iterable[str] | None = None
) -> list[tuple[str, bytes]]:
    """(key id, record) of keys of periods that began before, which no recording and no garbage needs.

    The caller adds what only it knows: objects that still wait in the spool.
    """
    query = (
        select(data_key.c.key_id, data_key.c.record)
        .where(data_key.c.record.is_not(None), data_key.c.period_at < from_us(period_before_us), ~_key_is_needed())
        .order_by(data_key.c.period_at)
        .limit(limit)
    )
    if among is not None:
        query = query.where(data_key.c.key_id.in_(list(among)))
    return [(row.key_id, row.record) for row in connection.execute(query)]


def destroy_key(connection: Connection, key_id: str, now_us: int) -> None:
    """Forgets the wrapped key, keeps that it was. Raises Conflict where an object has come to need it since."""
    if connection.dialect.name == "sqlite":
        # Without it the bytes of the old row stay in the file's free pages.
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    values = {"record": None, "destroyed_at": from_us(now_us)}
    statement = update(data_key).where(data_key.c.key_id == key_id, ~_key_is_needed()).values(values)
    if connection.execute(statement).rowcount != 1:
        raise Conflict(f"Data key {key_id} is needed again.", code="key_needed")


def _key_is_needed() -> ColumnElement[bool]:
    return or_(
        exists().where(recording.c.key_id == data_key.c.key_id), exists().where(garbage.c.key_id == data_key.c.key_id)
    )


def lock_camera(connection: Connection, camera_id: str) -> None:
    """No footage of the camera is marked for deletion until this transaction ends, and none was begun before."""
    connection.execute(select(camera.c.camera_id).where(camera.c.camera_id == camera_id).with_for_update()).all()


def _lock_cameras(connection: Connection, object_ids: Iterable[str]) -> None:
    ids = select(recording.c.camera_id).where(recording.c.object_id.in_(list(object_ids)))
    query = select(camera.c.camera_id).where(camera.c.camera_id.in_(ids)).order_by(camera.c.camera_id)
    connection.execute(query.with_for_update()).all()


def _garbage_values(one: StoredObject, reason: str, now_us: int) -> dict[str, Any]:
    return {
        "object_id": one.object_id,
        "object_key": one.object_key,
        "version_id": one.version_id,
        "key_id": one.key_id,
        "camera_id": one.ref.camera_id,
        "stream": str(one.ref.stream),
        "started_at": from_us(one.started_us),
        "ended_at": from_us(one.ended_us),
        "size_bytes": one.size_bytes,
        "reason": reason,
        "marked_at": from_us(now_us),
    }


def _announce_deletion(
    connection: Connection, ref: StreamRef, spans: Sequence[Span], size_bytes: int, now_us: int
) -> None:
    body = {"objects": len(spans), "size_bytes": size_bytes, "spans_us": [list(one) for one in merge(spans, SEAM_US)]}
    values = {"at": from_us(now_us), "kind": "footage.deleted", "subject": str(ref), "body": body}
    connection.execute(insert(outbox).values(values))


# --- gaps ----------------------------------------------------------------------------------------


def add_gap(connection: Connection, ref: StreamRef, spans: Sequence[Span], cause: str) -> None:
    """Writes that `spans` have no footage, but for what other recordings cover; joins rows of the same cause
    that lie within a seam of each other, so that years of deletions are one row and not a million.
    """
    whole = merge(spans, SEAM_US)
    if not whole:
        return
    around = Span(whole[0].start_us - SEAM_US, whole[-1].end_us + SEAM_US)
    neighbours = [row for row in gaps(connection, ref, around) if row.cause == cause and row.ended_us is not None]
    connection.execute(delete(gap).where(gap.c.gap_id.in_([row.gap_id for row in neighbours])))
    joined = merge([*whole, *(Span(row.started_us, row.ended_us or 0) for row in neighbours)], SEAM_US)
    query = select(_us(recording.c.started_at), _us(recording.c.ended_at)).where(in_span(ref, around))
    taken = [Span(*row) for row in connection.execute(query)]
    values = [_gap_values(ref, one, cause) for one in subtract(joined, taken)]
    if values:
        connection.execute(insert(gap), values)


def _gap_values(ref: StreamRef, span: Span, cause: str) -> dict[str, Any]:
    return {
        "camera_id": ref.camera_id,
        "stream": str(ref.stream),
        "started_at": from_us(span.start_us),
        "ended_at": from_us(span.end_us),
        "cause": cause,
        "detail": None,
    }


def replace_gap(connection: Connection, row: GapRow, spans: Sequence[Span]) -> None:
    """What of a closed gap is left: `check` cuts it where there is footage after all."""
    connection.execute(delete(gap).where(gap.c.gap_id == row.gap_id))
    values = [_gap_values(row.ref, one, row.cause) for one in spans]
    if values:
        connection.execute(insert(gap), values)


def cut_gaps(connection: Connection, ref: StreamRef, within: Span) -> None:
    """Closed gaps that touch `within` keep only what has no footage.

    Where the server's clock was set, a gap and footage can be of the same time: the gap from before a step to behind
    it, and what was recorded there before the step, or when the clock had been set back again.
    """
    rows = connection.execute(
        select(gap.c.gap_id, _us(gap.c.started_at), _us(gap.c.ended_at), gap.c.cause).where(
            _of(gap, ref),
            gap.c.started_at > from_us(max(0, within.start_us - LONGEST_OBJECT_US)),
            gap.c.started_at < from_us(within.end_us),
            gap.c.ended_at > from_us(within.start_us),
        )
    )
    for gap_id, start_us, end_us, cause in rows.all():
        whole = Span(start_us, end_us)
        covered = merge(coverage(connection, ref, whole), SEAM_US)
        if sum(one.end_us - one.start_us for one in covered) > SEAM_US:
            replace_gap(connection, GapRow(gap_id, ref, start_us, end_us, cause), subtract([whole], covered))


# --- what `check` compares -----------------------------------------------------------------------


def objects_by_key(connection: Connection, after: str, until: str | None, limit: int) -> list[tuple[StoredObject, int]]:
    """Objects with their crc32c whose object key lies beyond `after` and not beyond `until`, in that order."""
    query = select(*_OBJECT, recording.c.crc32c).where(recording.c.object_key > after)
    if until is not None:
        query = query.where(recording.c.object_key <= until)
    query = query.order_by(recording.c.object_key).limit(limit)
    return [(_stored(row), row.crc32c) for row in connection.execute(query)]


def count_objects(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(recording)).scalar_one())


def find_by_key(connection: Connection, object_key: str) -> StoredObject | None:
    row = connection.execute(select(*_OBJECT).where(recording.c.object_key == object_key)).one_or_none()
    return None if row is None else _stored(row)


def is_garbage(connection: Connection, object_key: str) -> bool:
    query = select(garbage.c.object_id).where(garbage.c.object_key == object_key)
    return connection.execute(query.limit(1)).first() is not None


def garbage_marked_before(connection: Connection, before_us: int) -> list[str]:
    """Object keys of garbage that should be gone by now."""
    query = select(garbage.c.object_key).where(garbage.c.marked_at < from_us(before_us))
    return list(connection.execute(query.order_by(garbage.c.object_key)).scalars())


def data_keys(connection: Connection) -> dict[str, bool]:
    """Ids of all data keys, and whether the wrapped key is still there."""
    query = select(data_key.c.key_id, data_key.c.record.is_not(None))
    return {key_id: bool(kept) for key_id, kept in connection.execute(query)}


def destroyed_but_needed(connection: Connection) -> list[tuple[str, int]]:
    """(key id, number of recordings) of keys that are gone from the catalogue although recordings need them."""
    query = (
        select(recording.c.key_id, func.count())
        .join(data_key, data_key.c.key_id == recording.c.key_id)
        .where(data_key.c.record.is_(None))
        .group_by(recording.c.key_id)
        .order_by(recording.c.key_id)
    )
    return [(key_id, count) for key_id, count in connection.execute(query)]


def gaps_after(connection: Connection, last_id: int, limit: int) -> list[GapRow]:
    """Gap rows of all streams in order of their id."""
    query = (
        select(gap.c.gap_id, gap.c.camera_id, gap.c.stream, _us(gap.c.started_at), _us(gap.c.ended_at), gap.c.cause)
        .where(gap.c.gap_id > last_id)
        .order_by(gap.c.gap_id)
        .limit(limit)
    )
    return [
        GapRow(gap_id, StreamRef(camera_id, StreamName(stream)), start, end, cause)
        for gap_id, camera_id, stream, start, end, cause in connection.execute(query)
    ]
