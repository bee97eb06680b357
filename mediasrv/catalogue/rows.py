"""Rows of any table as JSON, and back: for the journal, for backups, and for what is rebuilt from them.

Times are microseconds since 1970 UTC, bytes are base64; everything else is as JSON has it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, LargeBinary, Table, delete, func, insert, select, text, update
from sqlalchemy.engine import RowMapping

from mediasrv.catalogue.tables import UtcTime, metadata
from mediasrv.clock import from_us, to_us

_BATCH: Final = 500


def row_json(table: Table, row: RowMapping) -> dict[str, Any]:
    """All columns of a row."""
    return {column.name: _encode(column, row[column.name]) for column in table.columns}


def row_values(table: Table, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A row for `insert`; a column that did not exist when it was written keeps its default, one that is no more is
    left out. Raises ValueError, TypeError for what is no such row.
    """
    known = {column.name: column for column in table.columns}
    return {name: _decode(known[name], value) for name, value in fields.items() if name in known}


def dump(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    """All rows of a table, in order of its key."""
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_BATCH)
    for row in connection.execute(query).mappings():
        yield row_json(table, row)


def load(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Inserts rows in batches; how many."""
    count = 0
    batch: list[dict[str, Any]] = []
    for fields in rows:
        batch.append(row_values(table, fields))
        if len(batch) == _BATCH:
            connection.execute(insert(table), batch)
            count, batch = count + len(batch), []
    if batch:
        connection.execute(insert(table), batch)
    return count + len(batch)


def put(connection: Connection, key: Column[Any], value: object, fields: Mapping[str, Any] | None) -> None:
    """Makes the row with this key what `fields` say; None: there is none."""
    table = key.table
    if fields is None:
        connection.execute(delete(table).where(key == value))
        return
    values = row_values(table, fields)
    if connection.execute(update(table).where(key == value).values(values)).rowcount == 0:
        connection.execute(insert(table).values(values))


def count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def after_loading(connection: Connection, tables: Sequence[Table] | None = None) -> None:
    """PostgreSQL's counters go on behind the rows that were loaded with their numbers; SQLite's do so by themselves."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables or metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None and column.autoincrement is True:
            name = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            newest = f'SELECT COALESCE(MAX("{column.name}"), 0) + 1 FROM "{table.name}"'  # noqa: S608 - our own names
            connection.execute(text(f"SELECT setval({name}, ({newest}), false)"))


def _encode(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, UtcTime):
        return to_us(value)
    if isinstance(column.type, LargeBinary):
        return base64.b64encode(value).decode()
    return value


def _decode(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, UtcTime):
        return from_us(value)
    if isinstance(column.type, LargeBinary):
        return base64.b64decode(value)
    return value
