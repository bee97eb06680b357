"""Recordings and events by day, on PostgreSQL: a partition for each day (UTC) of `started_at` and `arrived_at`.

What has no partition of its day lies in the table's default one (`…_rest`), so that nothing is ever refused; the next
`make_days` moves it. SQLite has one table, and here nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, text

from mediasrv.clock import DAY_US, from_us

AHEAD_DAYS: Final = 7
_MOST_DAYS: Final = 400
"""Moved out of the default partition at once: a clock that was years off must not make a thousand tables."""
_COLUMNS: Final = {"recording": "started_at", "camera_event": "arrived_at"}
_DAY_NAME: Final = re.compile(r"_d(\d+)$")
_LOCK_ID: Final = 0x64617973  # any constant: of several processes one at a time makes and drops partitions
_PATIENCE: Final = "5s"
"""For the lock on the whole table, behind which everybody else waits."""


def make_days(connection: Connection, now_us: int) -> int:
    """Partitions of yesterday until `AHEAD_DAYS` ahead, and of each day that has rows in the default one; how many
    were missing. Safe to run at once from several processes.
    """
    if connection.dialect.name != "postgresql":
        return 0
    _lock(connection)
    today, made = now_us // DAY_US, 0
    for table in _COLUMNS:
        wanted = {*range(today - 1, today + AHEAD_DAYS + 1), *_days_in_rest(connection, table)}
        missing = sorted(wanted - set(days(connection, table)))
        _make(connection, table, missing)
        made += len(missing)
    return made


def drop_empty(connection: Connection, before_us: int) -> int:
    """Drops partitions of days that were over by then and have no row; how many those were."""
    if connection.dialect.name != "postgresql":
        return 0
    _lock(connection)
    dropped = 0
    for table in _COLUMNS:
        for day in days(connection, table):
            if (day + 1) * DAY_US > before_us:
                break
            dropped += _drop_if_empty(connection, f"{table}_d{day}")
    return dropped


def days(connection: Connection, table: str) -> list[int]:
    """Days since 1970 that have a partition, oldest first."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:of AS regclass)"
    found = (_DAY_NAME.search(name) for name in connection.scalars(text(query), {"of": table}))
    return sorted(int(match[1]) for match in found if match)


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
    connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))


def _days_in_rest(connection: Connection, table: str) -> list[int]:
    column = _COLUMNS[table]
    query = f"SELECT DISTINCT {column} / {DAY_US} AS day FROM {table}_rest ORDER BY day DESC LIMIT {_MOST_DAYS}"  # noqa: S608
    return [int(day) for day in connection.scalars(text(query))]


def _make(connection: Connection, table: str, missing: Iterable[int]) -> None:
    column = _COLUMNS[table]
    for day in missing:
        name, first, last = f"{table}_d{day}", day * DAY_US, (day + 1) * DAY_US
        # Made beside the table and then attached: that takes no lock that readers and writers wait behind.
        for statement in (
            f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
            f"WITH moved AS (DELETE FROM {table}_rest WHERE {column} >= {first} AND {column} < {last} RETURNING *) "  # noqa: S608
            f"INSERT INTO {name} SELECT * FROM moved",
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})",
            f"COMMENT ON TABLE {name} IS '{from_us(first):%Y-%m-%d}'",
        ):
            connection.execute(text(statement))


def _drop_if_empty(connection: Connection, name: str) -> bool:
    if connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1")).first() is not None:  # noqa: S608
        return False
    connection.execute(text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
    if connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1")).first() is not None:  # noqa: S608
        return False
    connection.execute(text(f"DROP TABLE {name}"))
    return True
