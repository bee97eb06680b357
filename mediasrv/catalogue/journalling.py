"""What the journal takes out of the catalogue, and what a rebuild puts back into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, delete, insert, select, update
from sqlalchemy.types import Integer

from mediasrv.catalogue import rows
from mediasrv.catalogue.tables import JOURNALLED, journal, row_change
from mediasrv.clock import from_us

_CHUNK: Final = 500


class Head(NamedTuple):
    """The last segment of a node's journal; number 0 and an empty hash where one is begun."""

    number: int
    hash: bytes


class Changes(NamedTuple):
    """`change_ids` go once the segment with `entries` is stored."""

    change_ids: list[int]
    entries: list[dict[str, Any]]


def read_journal_head(connection: Connection, node_id: str) -> Head | None:
    """None where this catalogue knows of no journal."""
    row = connection.execute(select(journal.c.number, journal.c.hash).where(journal.c.node_id == node_id)).one_or_none()
    return None if row is None else Head(row.number, row.hash)


def read_changes(connection: Connection, limit: int) -> Changes:
    """Rows that have changed, each as it is now (`row` null: it is no more), parents first."""
    changed = connection.execute(select(row_change).order_by(row_change.c.change_id).limit(limit)).all()
    keys: dict[str, dict[str, None]] = {name: {} for name in JOURNALLED}
    for row in changed:
        keys.setdefault(row.of_table, {})[row.row_key] = None
    entries = [entry for name, column in JOURNALLED.items() for entry in _entries(connection, name, column, keys[name])]
    return Changes([row.change_id for row in changed], entries)


def note_segment(connection: Connection, node_id: str, head: Head, change_ids: Sequence[int], now_us: int) -> None:
    """The segment is stored: what it holds need not be told again."""
    values = {"number": head.number, "hash": head.hash, "at": from_us(now_us)}
    if connection.execute(update(journal).where(journal.c.node_id == node_id).values(values)).rowcount == 0:
        connection.execute(insert(journal).values(values | {"node_id": node_id}))
    for start in range(0, len(change_ids), _CHUNK):
        part = change_ids[start : start + _CHUNK]
        connection.execute(delete(row_change).where(row_change.c.change_id.in_(part)))


def replay_segment(
    connection: Connection, node_id: str, head: Head, entries: Sequence[Mapping[str, Any]], now_us: int
) -> int:
    """Makes rows what a segment says, and its journal end with it; how many rows. Again: nothing changes.

    Rows that others refer to are changed in place, so parents may come again after their children.
    """
    known = [entry for entry in entries if entry["table"] in JOURNALLED]  # else: of a later version
    for entry in known:
        column = JOURNALLED[entry["table"]]
        rows.put(connection, column, _typed(column, entry["key"]), entry["row"])
    rows.after_loading(connection, [column.table for column in JOURNALLED.values()])
    connection.execute(delete(row_change))  # the journal has them: that is where they came from
    note_segment(connection, node_id, head, [], now_us)
    return len(known)


def _entries(connection: Connection, name: str, column: Column[Any], keys: Iterable[str]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), _CHUNK):
        part = [_typed(column, key) for key in wanted[start : start + _CHUNK]]
        for row in connection.execute(select(column.table).where(column.in_(part))).mappings():
            found[str(row[column.name])] = rows.row_json(column.table, row)
    return [{"table": name, "key": key, "row": found.get(key)} for key in wanted]


def _typed(column: Column[Any], key: str) -> str | int:
    return int(key) if isinstance(column.type, Integer) else key
