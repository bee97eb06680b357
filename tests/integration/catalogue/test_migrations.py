"""Migrations on data, on both databases: what was there at the first schema is there after each step, up and down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, inspect, select, text

from mediasrv.catalogue import Catalogue, footage_queries, migrate, partitions
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import UtcTime, metadata, place
from mediasrv.clock import DAY_US
from mediasrv.media.access_unit import StreamName, StreamRef
from tests.databases import all_on, url_for

FIRST_US = 20_454 * DAY_US
HOUR_US = DAY_US // 24
ROWS = 200
"""Of footage: an object an hour, so that they lie in several days."""

MOVED = {"camera": {"max_age_days", "max_size_bytes", "record"}}
"""Columns that a later step makes something else of; coming down they are columns again, with what was in them."""


@pytest.fixture
def empty_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """As `each_database`, but without a schema on PostgreSQL too."""
    if request.param == "sqlite":
        yield
        return
    with all_on(request.getfixturevalue("postgres_server")):
        yield


@pytest.fixture
def catalogue(empty_databases: None, tmp_path: Path) -> Iterator[Catalogue]:
    made = Catalogue(url_for(tmp_path))
    yield made
    made.close()


on_both = pytest.mark.parametrize("empty_databases", ["sqlite", "postgresql"], indirect=True)
on_postgresql = pytest.mark.parametrize("empty_databases", ["postgresql"], indirect=True)


@on_both
def test_rows_of_the_first_schema_survive_each_step_up_and_down(catalogue: Catalogue) -> None:
    revisions = _revisions()
    _go(catalogue, command.upgrade, revisions[0])
    with catalogue.engine.begin() as connection:
        _fill(connection)
        before = _contents(connection)
    assert (len(before), len(before["recording"])) == (17, ROWS)
    assert all(before.values()), "each table has rows"
    for step in revisions[1:]:
        _go(catalogue, command.upgrade, step)
        with catalogue.engine.begin() as connection:
            kept = _without_moved(connection, before)
            assert _contents(connection, kept) == kept, f"after the step up to {step}"
            if step == "0003":
                _fill_events(connection)
                before |= {"camera_event": _contents(connection)["camera_event"]}
    for step in revisions[-2::-1]:
        _go(catalogue, command.downgrade, step)
        if step == "0002":
            assert len(before.pop("camera_event")) == ROWS, "events came with 0003"
        with catalogue.engine.begin() as connection:
            kept = _without_moved(connection, before)
            assert _contents(connection, kept) == kept, f"after the step down to {step}"
    _go(catalogue, command.downgrade, "base")
    with catalogue.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


@on_both
def test_a_catalogue_that_was_taken_up_answers(catalogue: Catalogue, tmp_path: Path) -> None:
    _go(catalogue, command.upgrade, "0003")
    with catalogue.engine.begin() as connection:
        _fill(connection)
        _fill_events(connection)
    upgrade(url_for(tmp_path))
    with catalogue.engine.begin() as connection:
        ref, whole = StreamRef("gate-1", StreamName.MAIN), Span(FIRST_US, FIRST_US + 30 * DAY_US)
        assert len(footage_queries.objects_in_span(connection, ref, whole)) == ROWS
        _fill_events(connection, 1)
        assert connection.scalar(text("SELECT max(event_id) FROM camera_event")) == ROWS + 1, "ids go on"


@on_postgresql
def test_old_rows_lie_in_their_days_after_a_start(catalogue: Catalogue, tmp_path: Path) -> None:
    _go(catalogue, command.upgrade, "0003")
    with catalogue.engine.begin() as connection:
        _fill(connection)
        _fill_events(connection)
    upgrade(url_for(tmp_path))
    with catalogue.engine.begin() as connection:
        for table in ("recording", "camera_event"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}_rest")) == 0
            assert connection.scalar(text(f"SELECT count(*) FROM {table}_d{FIRST_US // DAY_US}")) == 24
            assert partitions.days(connection, table)[:9] == [FIRST_US // DAY_US + n for n in range(9)]


@on_postgresql
def test_migrated_schema_is_the_tables_but_for_keys_with_their_day(catalogue: Catalogue, tmp_path: Path) -> None:
    upgrade(url_for(tmp_path))
    with catalogue.engine.connect() as connection:
        options = {"compare_type": _same_type, "include_object": _is_no_partition}
        context = MigrationContext.configure(connection, opts=options)
        differences = [one for one in compare_metadata(context, metadata) if "constraint" not in one[0]]
        assert differences == []
        found = inspect(connection)
        days = {"recording": "started_at", "camera_event": "arrived_at"}
        for table in metadata.sorted_tables:
            extra = [days[table.name]] if table.name in days else []
            key = [column.name for column in table.primary_key.columns]
            assert found.get_pk_constraint(table.name)["constrained_columns"] == key + extra
            unique = sorted(one["column_names"] for one in found.get_unique_constraints(table.name))
            assert unique == sorted([*one, *extra] for one in _unique(table))
        query = text("SELECT collation_name FROM information_schema.columns WHERE column_name = 'object_key'")
        assert "C" in connection.scalars(query).all(), "check compares with the bucket's order of bytes"


@on_postgresql
def test_processes_may_upgrade_a_new_catalogue_at_once(catalogue: Catalogue, tmp_path: Path) -> None:
    url = url_for(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(upgrade, url) for _ in range(4)]:
            future.result(timeout=30)
    with catalogue.engine.connect() as connection:
        assert connection.execute(select(place.c.place_id)).scalars().all() == ["root"]


# --- inside --------------------------------------------------------------------------------------


def _revisions() -> list[str]:
    """All, from the first one on."""
    steps = ScriptDirectory(str(migrate.MIGRATIONS)).walk_revisions()
    return [step.revision for step in steps][::-1]


def _go(catalogue: Catalogue, direction: Any, revision: str) -> None:
    with catalogue.engine.begin() as connection:
        migrate._lock(connection)
        direction(migrate._config(connection), revision)


def _contents(connection: Connection, like: dict[str, list[dict[str, Any]]] | None = None) -> dict[str, Any]:
    """All rows of all tables; with `like` only its tables and columns."""
    found = {}
    for table in like if like is not None else inspect(connection).get_table_names():
        if table == "alembic_version":
            continue
        rows = [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
        if like is not None and like[table]:
            rows = [{name: row[name] for name in like[table][0]} for row in rows]
        found[table] = sorted(rows, key=str)
    return found


def _without_moved(connection: Connection, contents: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Without the columns of `MOVED` that this schema has not."""
    kept: dict[str, Any] = dict(contents)
    for table, names in MOVED.items():
        gone = names - {column["name"] for column in inspect(connection).get_columns(table)}
        rows = [{name: value for name, value in row.items() if name not in gone} for row in contents[table]]
        kept[table] = sorted(rows, key=str)
    return kept


def _fill(connection: Connection) -> None:
    """Rows of each kind that refer to each other, with what is hard to keep: bytes, JSON, null, letters."""
    for statement in (
        "INSERT INTO node VALUES ('node-1', :bytes, 1)",
        "INSERT INTO incarnation VALUES ('one', 'node-1', 1, 2, NULL)",
        "INSERT INTO generation VALUES (1, 1)",
        "INSERT INTO place VALUES ('root', NULL, 'centre', 'Trung tâm', 'root/')",
        "INSERT INTO place VALUES ('north', 'root', 'province', 'Bắc', 'root/north/')",
        "INSERT INTO camera (camera_id, cell, place_id, name, kind, address, credentials, origin, enabled, record,"
        " profile, created_at)"
        " VALUES ('gate-1', 'c', 'north', 'Cổng', 'rtsp', 'rtsp://h/', :bytes, 'api', true, true, :json, 1)",
        "INSERT INTO camera_epoch VALUES ('gate-1', 281474976710657, 'node-1', 'one', 1, NULL, NULL)",
        "INSERT INTO session (session_id, camera_id, stream, epoch, node_id, incarnation, started_at)"
        " VALUES ('s', 'gate-1', 'main', 281474976710657, 'node-1', 'one', 1)",
        "INSERT INTO data_key VALUES ('k', 'gate-1', 'main', 1, 'node-1', :bytes, 1, NULL)",
        "INSERT INTO gap (camera_id, stream, started_at, cause) VALUES ('gate-1', 'main', 5, 'camera_lost')",
        "INSERT INTO hold (camera_id, started_at, ended_at, reason, placed_by, placed_at)"
        " VALUES ('gate-1', 1, 2, 'vụ án', 'judge', 1)",
        "INSERT INTO garbage VALUES ('old', 'key', NULL, 'k', 'gate-1', 'main', 1, 2, 3, 'age', 4)",
        "INSERT INTO principal VALUES ('p1', 'lan', 'hash', 1, NULL)",
        "INSERT INTO access_grant (principal_id, role, place_id, starts_at, purpose)"
        " VALUES ('p1', 'viewer', 'north', 1, 'demo')",
        "INSERT INTO credential (token_hash, kind, principal_id, created_at) VALUES (:bytes, 'session', 'p1', 1)",
        "INSERT INTO access_log VALUES (1, 1, 'p1', 'lan', '', 'login', 'x', '{}', :bytes, :bytes)",
        "INSERT INTO outbox (at, kind, subject, body) VALUES (1, 'gap', 'gate-1', :json)",
    ):
        values = {"bytes": bytes(range(256)), "json": '{"a": [1, null, "ế"]}'}
        connection.execute(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
    row = "('o{n}', 'c/gate-1/{n:05}', NULL, 'c', 'gate-1', 'main', 1, 's', {n}, 'node-1', 'one', 'live', 'closed',"
    row += " {at}, {end}, 9, 8, 7, 'k', 1)"
    hours = [row.format(n=n, at=FIRST_US + n * HOUR_US, end=FIRST_US + (n + 1) * HOUR_US) for n in range(ROWS)]
    connection.exec_driver_sql("INSERT INTO recording VALUES " + ", ".join(hours))


def _fill_events(connection: Connection, count: int = ROWS) -> None:
    columns = "camera_id, kind, active, source, arrived_at"
    statement = text(f"INSERT INTO camera_event ({columns}) VALUES ('gate-1', 'motion', true, :source, :at)")
    connection.execute(statement, [{"source": b"sealed", "at": FIRST_US + n * HOUR_US} for n in range(count)])


def _unique(table: Table) -> list[list[str]]:
    named = [one for one in table.constraints if one.__visit_name__ == "unique_constraint"]
    return [[column.name for column in one.columns] for one in named]  # type: ignore[attr-defined]


def _is_no_partition(_object: Any, name: str | None, type_: str, _reflected: bool, _like: Any) -> bool:
    return not (type_ == "table" and name is not None and ("_d2" in name or name.endswith("_rest")))


def _same_type(_context: Any, _inspected: Any, column: Any, _inspected_type: Any, type_: Any) -> bool | None:
    return False if isinstance(type_, UtcTime) and column is not None else None
