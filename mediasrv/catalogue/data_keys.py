"""Queries of wrapped data keys, for the commands that wrap them anew or destroy them.

Plain functions of a `Connection`, run by `Catalogue.read` and `Catalogue.write`. Times are wall time in microseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update

from mediasrv.catalogue.footage_queries import is_held
from mediasrv.catalogue.tables import data_key, garbage, recording
from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.storage.keys import parse_key_record


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Which data keys are meant. Empty fields choose all; times bound the key's period."""

    camera_id: str = ""
    stream: str = ""
    start_us: int | None = None
    end_us: int | None = None
    key_id: str = ""

    def touches(self, period_us: int, period_s: int) -> bool:
        """Some of the period is meant."""
        after_start = self.start_us is None or period_us + period_s * SECOND_US > self.start_us
        return after_start and (self.end_us is None or period_us < self.end_us)

    def holds(self, period_us: int, period_s: int) -> bool:
        """All of the period is meant."""
        after_start = self.start_us is None or period_us >= self.start_us
        return after_start and (self.end_us is None or period_us + period_s * SECOND_US <= self.end_us)

    def conditions(self) -> list[ColumnElement[bool]]:
        """As far as the database can tell: it does not know how long a period is."""
        found: list[ColumnElement[bool]] = []
        if self.camera_id:
            found.append(data_key.c.camera_id == self.camera_id)
        if self.stream:
            found.append(data_key.c.stream == self.stream)
        if self.key_id:
            found.append(data_key.c.key_id == self.key_id)
        if self.end_us is not None:
            found.append(data_key.c.period_at < from_us(self.end_us))
        return found


@dataclass(frozen=True, slots=True)
class Needs:
    """What needs a data key: recordings, those of them under a hold, and objects that are marked for deletion."""

    recordings: int
    held: int
    garbage: int


@dataclass(frozen=True, slots=True)
class KeyMonth:
    """Data keys of periods that began in a month (`YYYY-MM`, UTC)."""

    month: str
    kept: int
    destroyed: int


def kept_records(connection: Connection, choice: KeyChoice, after: str, limit: int) -> list[tuple[str, bytes]]:
    """(key id, record) of keys that are not destroyed, in order of their id, beyond `after`."""
    query = (
        select(data_key.c.key_id, data_key.c.record)
        .where(data_key.c.record.is_not(None), data_key.c.key_id > after, *choice.conditions())
        .order_by(data_key.c.key_id)
        .limit(limit)
    )
    return [(row.key_id, row.record) for row in connection.execute(query)]


def count_kept(connection: Connection, choice: KeyChoice) -> int:
    query = select(func.count()).select_from(data_key).where(data_key.c.record.is_not(None), *choice.conditions())
    return connection.execute(query).scalar_one()


def replace_record(connection: Connection, key_id: str, before: bytes, after: bytes) -> bool:
    """False where the record is another one than `before` by now, or was destroyed: then nothing is changed."""
    statement = update(data_key).where(data_key.c.key_id == key_id, data_key.c.record == before).values(record=after)
    return connection.execute(statement).rowcount == 1


def needs(connection: Connection, key_id: str, now_us: int) -> Needs:
    def count(*conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(recording).where(recording.c.key_id == key_id, *conditions)
        return connection.execute(query).scalar_one()

    waiting = select(func.count()).select_from(garbage).where(garbage.c.key_id == key_id)
    return Needs(count(), count(is_held(now_us)), connection.execute(waiting).scalar_one())


def object_ids(connection: Connection, key_id: str) -> Sequence[str]:
    """Of the recordings under a key, oldest first."""
    query = select(recording.c.object_id).where(recording.c.key_id == key_id).order_by(recording.c.started_at)
    return list(connection.execute(query).scalars())


def by_month(connection: Connection) -> list[KeyMonth]:
    """Streams through all rows; memory stays small."""
    counts: dict[str, list[int]] = {}
    query = select(data_key.c.period_at, data_key.c.record.is_not(None).label("kept"))
    with connection.execution_options(yield_per=5000).execute(query) as rows:
        for row in rows:
            month = from_us(to_us(row.period_at)).strftime("%Y-%m")
            counts.setdefault(month, [0, 0])[0 if row.kept else 1] += 1
    return [KeyMonth(month, kept, destroyed) for month, (kept, destroyed) in sorted(counts.items())]


@dataclass(slots=True)
class WrappedCounts:
    """Kept data keys by whom they are wrapped to: exactly the present recipients, or others; opened by one here."""

    kept: int = 0
    present: int = 0
    others: int = 0
    opened: int = 0


def count_wrapped(connection: Connection, present: Collection[str], identities: Collection[str]) -> WrappedCounts:
    """Streams through all kept records; memory stays small."""
    counts, wanted, own = WrappedCounts(), set(present), set(identities)
    query = select(data_key.c.record).where(data_key.c.record.is_not(None))
    with connection.execution_options(yield_per=1000).execute(query) as rows:
        for row in rows:
            wrapped = set(parse_key_record(row.record).wrapped)
            counts.kept += 1
            counts.present += wrapped == wanted
            counts.opened += bool(wrapped & own)
    counts.others = counts.kept - counts.present
    return counts
