"""The access log: who did what, when, from where. Append-only and hash-linked.

Entries are numbered from 1 without a hole. `entry_hash` is SHA-256 over the previous entry's hash (32
zero bytes before the first) and the entry's canonical bytes, so a change, a deletion or a reordering is
found by `verify`; a truncation and a fork are found by `compare` with a head that was copied elsewhere
(`head_witness`). An entry is committed before `append` returns: callers wait for it before media leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Row, insert, select, text
from sqlalchemy.exc import IntegrityError

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.tables import access_log
from mediasrv.clock import Clock, from_us, to_us

P = ParamSpec("P")
T = TypeVar("T")

GENESIS: Final = bytes(32)
MOST_REMEMBERED: Final = 20_000
_CONTEXT: Final = b"mediasrv access log v1"
_ATTEMPTS: Final = 8
_LOCK_ID: Final = 0x6163636C  # any constant: writers of one PostgreSQL database append one after another


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. `detail` holds plain JSON values and never a secret; long texts are cut to the column."""

    action: str
    subject: str
    principal_id: str | None = None
    username: str = ""
    remote: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry's number and hash; `EMPTY` of an empty log."""

    entry: int
    entry_hash: bytes


EMPTY: Final = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as the API shows it."""

    entry: int
    at_us: int
    username: str
    remote: str
    action: str
    subject: str
    detail: Mapping[str, Any]


class Tampering(StrEnum):
    """What was done to a log, as docs/doors.md (Check) names it."""

    EDITED = "log_edited"
    TRUNCATED = "log_truncated"
    FORKED = "log_forked"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry that is not as it was written, and in what way. `why` continues a sentence."""

    entry: int
    tampering: Tampering
    why: str


# --- pure ----------------------------------------------------------------------------------------


def link(
    previous_hash: bytes,
    entry: int,
    at_us: int,
    principal_id: str | None,
    username: str,
    remote: str,
    action: str,
    subject: str,
    detail: str,
) -> bytes:
    """The hash of an entry: a JSON array (ASCII, no spaces) keeps the fields apart."""
    fields = [entry, at_us, principal_id, username, remote, action, subject, detail]
    canonical = json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return hashlib.sha256(previous_hash + _CONTEXT + canonical).digest()


# --- queries -------------------------------------------------------------------------------------


def read_head(connection: Connection, until_us: int | None = None) -> Head:
    """The last entry's, or that of the last one made before `until_us`."""
    query = select(access_log.c.entry, access_log.c.entry_hash).order_by(access_log.c.entry.desc()).limit(1)
    if until_us is not None:
        query = query.where(access_log.c.at < from_us(until_us))
    row = connection.execute(query).one_or_none()
    return EMPTY if row is None else Head(row.entry, row.entry_hash)


def append_events(connection: Connection, events: list[Event], now_us: int) -> Head:
    """Appends in the caller's transaction; the new head. IntegrityError where another process was faster."""
    if events and connection.dialect.name == "postgresql":
        # Else of many writers all but one would fail, and some more often than they try.
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
    head = read_head(connection)
    if not events:
        return head
    rows = []
    for event in events:
        row = _row(head, event, now_us)
        rows.append(row)
        head = Head(row["entry"], row["entry_hash"])
    connection.execute(insert(access_log), rows)
    return head


def read_entries(connection: Connection, limit: int, before: int | None = None) -> list[Entry]:
    """The newest `limit` entries below number `before`, newest first."""
    query = select(access_log).order_by(access_log.c.entry.desc()).limit(limit)
    if before is not None:
        query = query.where(access_log.c.entry < before)
    return [_entry(row) for row in connection.execute(query)]


def entries_after(connection: Connection, after: int, actions: Collection[str], limit: int) -> list[Entry]:
    """The first `limit` entries of these actions beyond number `after`, oldest first."""
    query = select(access_log).where(access_log.c.entry > after, access_log.c.action.in_(list(actions)))
    return [_entry(row) for row in connection.execute(query.order_by(access_log.c.entry).limit(limit))]


def verify(connection: Connection, after: Head = EMPTY) -> Broken | None:
    """Walks the log from the entry after a head that is known to be right; by default the whole log.

    None where every entry follows from the one before. Reads in steps; memory stays small.
    """
    query = select(access_log).where(access_log.c.entry > after.entry).order_by(access_log.c.entry)
    with connection.execution_options(yield_per=1000).execute(query) as rows:
        for row in rows:
            broken = _check(after, row)
            if broken is not None:
                return broken
            after = Head(row.entry, row.entry_hash)
    return None


def compare(connection: Connection, known: Head) -> Broken | None:
    """Whether the log still holds the entry of a head that was copied elsewhere. One query, or two."""
    if known == EMPTY:
        return None
    query = select(access_log.c.entry_hash).where(access_log.c.entry == known.entry)
    found = connection.execute(query).scalar_one_or_none()
    if found == known.entry_hash:
        return None
    if found is not None:
        return Broken(known.entry, Tampering.FORKED, "it is another entry than the one that was signed for")
    last = read_head(connection).entry
    if last > known.entry:
        return Broken(known.entry, Tampering.EDITED, "the entry is missing")
    return Broken(last + 1, Tampering.TRUNCATED, f"the entries up to {known.entry} that were signed for are missing")


def _check(head: Head, row: Row[Any]) -> Broken | None:
    if row.entry != head.entry + 1:
        return Broken(head.entry + 1, Tampering.EDITED, "the entry is missing")
    if row.previous_hash != head.entry_hash:
        return Broken(row.entry, Tampering.EDITED, "it does not continue the entry before")
    expected = link(
        head.entry_hash,
        row.entry,
        to_us(row.at),
        row.principal_id,
        row.username,
        row.remote,
        row.action,
        row.subject,
        row.detail,
    )
    return None if expected == row.entry_hash else Broken(row.entry, Tampering.EDITED, "its content was changed")


def _row(head: Head, event: Event, now_us: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "principal_id": event.principal_id,
        "username": _fit(event.username, 100),
        "remote": _fit(event.remote, 64),
        "action": event.action,
        "subject": _fit(event.subject, 400),
        "detail": json.dumps(dict(event.detail), ensure_ascii=True, separators=(",", ":"), sort_keys=True),
    }
    entry = head.entry + 1
    entry_hash = link(head.entry_hash, entry, now_us, **values)
    return values | {
        "entry": entry,
        "at": from_us(now_us),
        "previous_hash": head.entry_hash,
        "entry_hash": entry_hash,
    }


def _fit(text: str, most: int) -> str:
    """Databases take no lone surrogates and PostgreSQL no NUL: what is hashed must be what is stored."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")[:most]


def _entry(row: Row[Any]) -> Entry:
    detail = json.loads(row.detail)
    return Entry(row.entry, to_us(row.at), row.username, row.remote, row.action, row.subject, detail)


# --- the log -------------------------------------------------------------------------------------


class _Waiting:
    """An event on its way to the disk."""

    __slots__ = ("event", "written")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.written = False


class AccessLog:
    """The door. Events that come at the same time share one commit."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._flushing = asyncio.Lock()
        self._seen: OrderedDict[tuple[str | None, str, str], float] = OrderedDict()
        self._writing_once: dict[tuple[str | None, str, str], asyncio.Lock] = {}

    async def append(self, event: Event) -> None:
        """Committed when it returns; raises what the database raises, and then nothing may leave."""
        waiting = _Waiting(event)
        self._waiting.append(waiting)
        async with self._flushing:
            if not waiting.written:
                await self._flush(waiting)

    async def once(self, event: Event, window_s: float) -> None:
        """Like `append`, but one entry for a run of same events with less than `window_s` between two of them.

        Same: principal, action and subject. An HLS viewing is one entry, whatever its requests.
        """
        key = (event.principal_id, event.action, event.subject)
        if self._renew(key, window_s):
            return
        lock = self._writing_once.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if not self._renew(key, window_s):
                    await self.append(event)
                    self._remember(key, window_s)
        finally:
            self._writing_once.pop(key, None)

    def renew(self, principal_id: str, action: str, subject: str, window_s: float) -> bool:
        """`once`, where the entry is there already: False where it is to be made. Hot."""
        return self._renew((principal_id, action, subject), window_s)

    async def write(
        self, event: Event, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs a query and appends `event` in one transaction: no change without its entry, no entry without it."""

        def both(connection: Connection) -> T:
            result = query(connection, *args, **kwargs)
            append_events(connection, [event], self._clock.wall_us())
            return result

        return await self.transact(both)

    async def head(self) -> Head:
        return await self._catalogue.read(read_head)

    def _renew(self, key: tuple[str | None, str, str], window_s: float) -> bool:
        if self._seen.get(key, 0.0) <= self._clock.monotonic():
            return False
        self._remember(key, window_s)
        return True

    def _remember(self, key: tuple[str | None, str, str], window_s: float) -> None:
        self._seen[key] = self._clock.monotonic() + window_s
        self._seen.move_to_end(key)
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)

    async def _flush(self, leader: _Waiting) -> None:
        """Writes all that wait. A caller that is cancelled leaves only when the outcome is known.

        Where writing fails the leader's caller is told, and each of the others tries for itself.
        """
        batch, self._waiting = self._waiting, []
        events = [waiting.event for waiting in batch]
        writing = asyncio.ensure_future(self.transact(append_events, events, self._clock.wall_us()))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})
            if writing.exception() is None:
                for waiting in batch:
                    waiting.written = True
            else:
                self._waiting = [*(one for one in batch if one is not leader), *self._waiting]

    async def transact(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a query that calls `append_events` itself.

        Another process (the command line) may take the next number first: then the whole is done again.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                return await self._catalogue.write(query, *args, **kwargs)
            except IntegrityError:
                if not left:
                    raise
        raise AssertionError("the loop returns or raises")
