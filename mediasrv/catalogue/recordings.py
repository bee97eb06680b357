"""Queries of the recorder: recordings, data keys, sessions and gaps, and what a start must know of the last run.

Plain functions of a `Connection`, run by `Catalogue.read` and `Catalogue.write`. Every one that writes may be
run again with the same arguments and then changes nothing: the recorder repeats what it has no answer to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.footage_queries import cut_gaps
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import data_key, gap, garbage, incarnation, node, outbox, recording, session
from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.media.access_unit import Session, StreamName, StreamRef
from mediasrv.media.gaps import GapChange, GapOpened, OpenGap, OutageEnded
from mediasrv.storage.keys import KeyRecord
from mediasrv.storage.sealing import Ended, ObjectHeader

OVERLAP_US: Final = SECOND_US
_NEIGHBOURHOOD_US: Final = 900 * SECOND_US


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """An object that is stored and verified, on its way into the catalogue."""

    header: ObjectHeader
    object_key: str
    version_id: str | None
    ended: Ended
    started_us: int
    ended_us: int
    size_bytes: int
    crc32c: int
    footer_offset: int
    may_be_dropped: bool = False
    """A gap row may say that it was given up: it was stored after all."""

    @property
    def ref(self) -> StreamRef:
        return self.header.ref


# --- recordings and keys -------------------------------------------------------------------------


def commit_recordings(
    connection: Connection, stored: Sequence[StoredRecording], incarnation_id: str, now_us: int
) -> None:
    """Rows of stored objects with their outbox entries; those that have a row already keep it.

    Status: `overlap` where another owner recorded the same span, `late` where an earlier incarnation made it.
    """
    started = [one.started_us for one in stored]
    # With their days: PostgreSQL keeps each in a table of its own.
    in_days = recording.c.started_at.between(from_us(min(started, default=0)), from_us(max(started, default=0)))
    known = _known_objects(connection, [one.header.object_id for one in stored], in_days)
    fresh = [one for one in stored if one.header.object_id not in known]
    for one in fresh:
        status = _status(connection, one, incarnation_id)
        connection.execute(_INSERT_RECORDING, _recording_values(one, status, now_us))
        if one.may_be_dropped or status != "live":
            _forget_drop(connection, one)
        cut_gaps(connection, one.ref, Span(one.started_us, one.ended_us))
        _announce(connection, "recording.committed", str(one.ref), _recording_body(one), now_us)


def stored_objects(connection: Connection, object_ids: Sequence[str]) -> set[str]:
    """Which of these objects have a row, or had one and are being deleted."""
    found = _known_objects(connection, object_ids)
    for chunk in _chunks(object_ids):
        found |= set(connection.scalars(select(garbage.c.object_id).where(garbage.c.object_id.in_(chunk))))
    return found


def put_data_key(connection: Connection, record: KeyRecord, now_us: int) -> None:
    """The wrapped key, before the first recording that needs it. One that was destroyed lives again, and says so."""
    existing = connection.execute(
        select(data_key.c.record.is_(None)).where(data_key.c.key_id == record.key_id)
    ).scalar_one_or_none()
    if existing is None:
        connection.execute(insert(data_key).values(_data_key_values(record, now_us)))
    elif existing:
        values = {"record": record.to_bytes(), "destroyed_at": None}
        connection.execute(update(data_key).where(data_key.c.key_id == record.key_id).values(values))


def key_record(connection: Connection, key_id: str) -> bytes | None:
    """The stored key record; None where there is none or it was destroyed."""
    return connection.execute(select(data_key.c.record).where(data_key.c.key_id == key_id)).scalar_one_or_none()


def node_public_key(connection: Connection, node_id: str) -> bytes | None:
    return connection.execute(select(node.c.public_key).where(node.c.node_id == node_id)).scalar_one_or_none()


class CatalogueKeys:
    """What `storage.footage` asks the catalogue for: node keys and wrapped data keys."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def node_key(self, node_id: str) -> bytes | None:
        return await self._catalogue.read(node_public_key, node_id)

    async def key_record(self, key_id: str) -> bytes | None:
        return await self._catalogue.read(key_record, key_id)


# --- sessions and gaps ---------------------------------------------------------------------------


def start_session(
    connection: Connection, started: Session, node_id: str, incarnation_id: str, first_keyframe_us: int | None
) -> None:
    """A session of a stream. Again: it goes on after all, or its first keyframe has become known."""
    which = session.c.session_id == started.session_id
    values: dict[str, Any] = {"ended_at": None, "end_reason": None}
    if first_keyframe_us is not None:
        values["first_keyframe_at"] = from_us(first_keyframe_us)
    if connection.execute(_KNOWN_SESSION, {"of": started.session_id}).first() is not None:
        connection.execute(update(session).where(which).values(values))
        return
    values |= _ref_values(started.ref) | {
        "session_id": started.session_id,
        "epoch": started.epoch,
        "node_id": node_id,
        "incarnation": incarnation_id,
        "started_at": from_us(started.started_us),
    }
    connection.execute(_INSERT_SESSION, values)


def end_session(connection: Connection, session_id: str, ended_us: int, reason: str) -> None:
    """The first end of a session counts; `ended_us` is not before its start."""
    connection.execute(_END_SESSION, {"of": session_id, "at": from_us(ended_us), "why": reason})


def note_counts(connection: Connection, of: Session) -> None:
    """What the puller knows of a session by now; again when it ends."""
    counts = of.counts
    values = {
        "units_before_keyframe": counts.units_before_keyframe,
        "camera_offset_us": counts.camera_offset_us,
        "camera_uncertainty_us": counts.camera_uncertainty_us,
    }
    connection.execute(update(session).where(session.c.session_id == of.session_id).values(values))


def change_gaps(connection: Connection, ref: StreamRef, changes: Sequence[GapChange], now_us: int) -> None:
    """Carries out what a `GapLedger` said, with outbox entries."""
    for change in changes:
        if isinstance(change, GapOpened):
            _open_gap(connection, ref, change, now_us)
        else:
            _end_outage(connection, ref, change, now_us)


def note_dropped(
    connection: Connection, ref: StreamRef, started_us: int, ended_us: int, cause: str, now_us: int
) -> None:
    """A closed gap for footage that was given up after it had been durable."""
    start, end = from_us(started_us), from_us(ended_us)
    same = (gap.c.started_at == start, gap.c.ended_at == end, gap.c.cause == cause)
    if connection.execute(select(gap.c.gap_id).where(_of(gap, ref), *same)).first() is None:
        values = {"started_at": start, "ended_at": end, "cause": cause} | _ref_values(ref)
        connection.execute(insert(gap).values(values))
        _announce(connection, "gap", str(ref), {"start_us": started_us, "end_us": ended_us, "cause": cause}, now_us)


# --- what a start must know ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LastRun:
    """What the catalogue says of this node's earlier incarnations, and of all streams' open gaps."""

    alive_until_us: int | None
    unfinished: list[tuple[str, StreamRef, int]]
    """Sessions without an end: id, stream, start."""
    open_gaps: dict[StreamRef, OpenGap]


def last_run(connection: Connection, node_id: str, incarnation_id: str) -> LastRun:
    earlier = and_(incarnation.c.node_id == node_id, incarnation.c.incarnation != incarnation_id)
    alive_at = connection.execute(select(func.max(incarnation.c.alive_at)).where(earlier)).scalar_one()
    open_sessions = (
        select(session.c.session_id, session.c.camera_id, session.c.stream, session.c.started_at)
        .where(session.c.ended_at.is_(None), session.c.node_id == node_id, session.c.incarnation != incarnation_id)
        .order_by(session.c.started_at)
    )
    unfinished = [
        (row.session_id, StreamRef(row.camera_id, StreamName(row.stream)), to_us(row.started_at))
        for row in connection.execute(open_sessions)
    ]
    return LastRun(None if alive_at is None else to_us(alive_at), unfinished, _open_gaps(connection))


def footage_since(connection: Connection, ref: StreamRef, since_us: int) -> tuple[int, int] | None:
    """First start and last end of the stream's recordings that begin at `since_us` or later."""
    query = select(func.min(recording.c.started_at), func.max(recording.c.ended_at)).where(
        _of(recording, ref), recording.c.started_at >= from_us(since_us)
    )
    first, last = connection.execute(query).one()
    return None if first is None else (to_us(first), to_us(last))


# --- inside --------------------------------------------------------------------------------------


def _of(table: Any, ref: StreamRef) -> ColumnElement[bool]:
    return and_(table.c.camera_id == ref.camera_id, table.c.stream == str(ref.stream))


def _ref_values(ref: StreamRef) -> dict[str, Any]:
    return {"camera_id": ref.camera_id, "stream": str(ref.stream)}


def _bind_ref(ref: StreamRef) -> dict[str, Any]:
    return {"of_camera": ref.camera_id, "of_stream": str(ref.stream)}


def _chunks(items: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _known_objects(connection: Connection, object_ids: Sequence[str], *which: ColumnElement[bool]) -> set[str]:
    found: set[str] = set()
    for chunk in _chunks(object_ids):
        found |= set(connection.scalars(select(recording.c.object_id).where(recording.c.object_id.in_(chunk), *which)))
    return found


def _status(connection: Connection, one: StoredRecording, incarnation_id: str) -> str:
    if one.ended_us - one.started_us > OVERLAP_US:
        values = _bind_ref(one.ref) | {
            "of_epoch": one.header.epoch,
            "near": from_us(one.started_us - _NEIGHBOURHOOD_US),
            "start": from_us(one.started_us + OVERLAP_US),
            "end": from_us(one.ended_us - OVERLAP_US),
        }
        if connection.execute(_OVERLAPPING, values).first() is not None:
            return "overlap"
    return "live" if one.header.incarnation == incarnation_id else "late"


def _recording_values(one: StoredRecording, status: str, now_us: int) -> dict[str, Any]:
    header = one.header
    return _ref_values(one.ref) | {
        "object_id": header.object_id,
        "object_key": one.object_key,
        "version_id": one.version_id,
        "cell": header.cell,
        "epoch": header.epoch,
        "session_id": header.session,
        "seq": header.seq,
        "node_id": header.node_id,
        "incarnation": header.incarnation,
        "status": status,
        "ended": one.ended.name.lower(),
        "started_at": from_us(one.started_us),
        "ended_at": from_us(one.ended_us),
        "size_bytes": one.size_bytes,
        "crc32c": one.crc32c,
        "footer_offset": one.footer_offset,
        "key_id": header.key_id,
        "committed_at": from_us(now_us),
    }


def _recording_body(one: StoredRecording) -> dict[str, Any]:
    return {
        "object_id": one.header.object_id,
        "start_us": one.started_us,
        "end_us": one.ended_us,
        "size": one.size_bytes,
    }


def _forget_drop(connection: Connection, one: StoredRecording) -> None:
    # The server died between the gap row and giving the footage up: it is there after all.
    connection.execute(
        delete(gap).where(
            _of(gap, one.ref),
            gap.c.cause == "footage_dropped",
            gap.c.started_at == from_us(one.started_us),
            gap.c.ended_at == from_us(one.ended_us),
        )
    )


def _data_key_values(record: KeyRecord, now_us: int) -> dict[str, Any]:
    return {
        "key_id": record.key_id,
        "camera_id": record.camera,
        "stream": record.stream,
        "period_at": from_us(record.period_us),
        "node_id": record.node_id,
        "record": record.to_bytes(),
        "created_at": from_us(now_us),
    }


def _open_gap(connection: Connection, ref: StreamRef, opened: GapOpened, now_us: int) -> None:
    # A second open row of a stream would never end: there is one, or none.
    if connection.execute(_OPEN_GAP, _bind_ref(ref)).first() is None:
        values = {"started_at": from_us(opened.started_us), "cause": opened.cause}
        connection.execute(_INSERT_GAP, _ref_values(ref) | values)
        body = {"start_us": opened.started_us, "cause": opened.cause}
        _announce(connection, "gap.opened", str(ref), body, now_us)


def _end_outage(connection: Connection, ref: StreamRef, ended: OutageEnded, now_us: int) -> None:
    at = from_us(ended.at_us)
    for gap_id, started_at, ended_at in _rows_of_outage(connection, ref, ended.since_us):
        if started_at >= at:
            connection.execute(_DELETE_GAP, {"of": gap_id})
        elif ended_at is None or ended_at > at:
            connection.execute(_END_GAP, {"of": gap_id, "at": at})
    cut_gaps(connection, ref, Span(ended.since_us, ended.at_us))
    _announce(connection, "gap.ended", str(ref), {"since_us": ended.since_us, "end_us": ended.at_us}, now_us)


def _rows_of_outage(connection: Connection, ref: StreamRef, since_us: int) -> list[Any]:
    """The open row of a stream and those that led to it, one at the end of the other: id, start, end.

    Not all that begin after the outage did: where the clock was set back there are gaps of times yet to come.
    """
    rows = connection.execute(_GAPS_SINCE, _bind_ref(ref) | {"since": from_us(since_us)}).all()
    chain = [row for row in rows if row.ended_at is None]
    for row in sorted(rows, key=lambda row: row.started_at, reverse=True):
        if chain and row.ended_at is not None and row.ended_at == chain[-1].started_at:
            chain.append(row)
    return chain


def _open_gaps(connection: Connection) -> dict[StreamRef, OpenGap]:
    rows = connection.execute(
        select(gap.c.camera_id, gap.c.stream, gap.c.started_at, gap.c.cause)
        .where(gap.c.ended_at.is_(None))
        .order_by(gap.c.started_at)
    )
    found = {}
    for row in rows:
        started_us = to_us(row.started_at)
        found[StreamRef(row.camera_id, StreamName(row.stream))] = OpenGap(started_us, row.cause, started_us)
    return found


def _announce(connection: Connection, kind: str, subject: str, body: dict[str, Any], now_us: int) -> None:
    connection.execute(_ANNOUNCE, {"at": from_us(now_us), "kind": kind, "subject": subject, "body": body})


# Built once: building them anew would cost several times what the database takes for them.


def _bound(table: Any) -> ColumnElement[bool]:
    return and_(table.c.camera_id == bindparam("of_camera"), table.c.stream == bindparam("of_stream"))


_ANNOUNCE: Final = insert(outbox)
_INSERT_RECORDING: Final = insert(recording)
_INSERT_SESSION: Final = insert(session)
_INSERT_GAP: Final = insert(gap)
_KNOWN_SESSION: Final = select(session.c.session_id).where(session.c.session_id == bindparam("of"))
_END_SESSION: Final = (
    update(session)
    .where(session.c.session_id == bindparam("of"), session.c.ended_at.is_(None))
    .values(ended_at=bindparam("at"), end_reason=bindparam("why"))
)
_OVERLAPPING: Final = (
    select(recording.c.object_id)
    .where(
        _bound(recording),
        recording.c.epoch != bindparam("of_epoch"),
        recording.c.started_at > bindparam("near"),
        recording.c.started_at < bindparam("end"),
        recording.c.ended_at > bindparam("start"),
    )
    .limit(1)
)
_OPEN_GAP: Final = select(gap.c.gap_id).where(_bound(gap), gap.c.ended_at.is_(None))
_GAPS_SINCE: Final = select(gap.c.gap_id, gap.c.started_at, gap.c.ended_at).where(
    _bound(gap), gap.c.started_at >= bindparam("since")
)
_DELETE_GAP: Final = delete(gap).where(gap.c.gap_id == bindparam("of"))
_END_GAP: Final = update(gap).where(gap.c.gap_id == bindparam("of")).values(ended_at=bindparam("at"))
