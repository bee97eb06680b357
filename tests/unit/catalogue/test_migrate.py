"""Migrations: a migrated catalogue is exactly `tables.metadata`, and upgrading is safe to repeat and to race."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, select

from mediasrv.catalogue import accounts, migrate, tables
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.policies import Bounds, Subject, read_policies
from mediasrv.catalogue.tables import UtcTime, metadata
from tests.databases import url_for


def schema(connection: Connection) -> dict[str, Any]:
    """Names, types, keys and indexes of every table, as the database tells them."""
    found = inspect(connection)
    return {
        name: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)],
            "key": found.get_pk_constraint(name),
            "foreign": sorted(map(str, found.get_foreign_keys(name))),
            "unique": sorted(map(str, found.get_unique_constraints(name))),
            "indexes": sorted(map(str, found.get_indexes(name))),
        }
        for name in found.get_table_names()
        if name != "alembic_version"
    }


def _same_type(_context: Any, _inspected: Any, column: Any, _inspected_type: Any, type_: Any) -> bool | None:
    return False if isinstance(type_, UtcTime) and column is not None else None


@pytest.fixture
def url(tmp_path: Path) -> str:
    return url_for(tmp_path)


def test_migrated_schema_is_exactly_the_tables(url: str, tmp_path: Path) -> None:
    upgrade(url)
    made = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    migrated = create_engine(url)
    metadata.create_all(made)
    with made.connect() as left, migrated.connect() as right:
        assert schema(right) == schema(left)
        context = MigrationContext.configure(right, opts={"compare_type": _same_type})
        assert compare_metadata(context, metadata) == []
    made.dispose()
    migrated.dispose()


def test_upgrade_twice_changes_nothing(url: str) -> None:
    upgrade(url)
    upgrade(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(select(tables.place.c.place_id)).scalars().all() == ["root"]
    engine.dispose()


def test_sessions_of_the_first_schema_stay_valid(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0001")
        connection.exec_driver_sql("insert into principal values ('p1', 'lan', null, 1, null)")
        connection.exec_driver_sql("insert into credential values (x'01', 'session', 'p1', null, 1, null, null)")
    engine.dispose()
    upgrade(url)
    catalogue = create_engine(url)
    with catalogue.connect() as connection:
        (found,) = accounts.identify(connection, {b"\x01"}, 2).values()
    catalogue.dispose()
    assert (found[0].issued_by, found[1]) == (None, "lan")


def test_policies_of_cameras_move_into_their_table_and_back(url: str) -> None:
    insert = (
        "insert into camera (camera_id, cell, place_id, name, kind, address, origin, enabled, record, created_at,"
        " max_age_days, max_size_bytes) values ('{}', 'c', 'root', 'n', 'rtsp', 'a', 'api', 1, 1, 1, {})"
    )
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0009")
        connection.exec_driver_sql("insert into place values ('root', null, 'centre', 'n', 'root/')")
        connection.exec_driver_sql(insert.format("gate-1", "7, 0"))
        connection.exec_driver_sql(insert.format("gate-2", "null, null"))
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0010")
        found = read_policies(connection)
    assert found == {Subject("camera", "gate-1"): Bounds(7, 0)}
    with engine.begin() as connection:
        command.downgrade(migrate._config(connection), "0009")
        rows = connection.exec_driver_sql("select camera_id, max_age_days, max_size_bytes from camera order by 1")
        assert [tuple(row) for row in rows] == [("gate-1", 7, 0), ("gate-2", None, None)]
        assert "retention_policy" not in inspect(connection).get_table_names()
    engine.dispose()


def test_two_processes_may_upgrade_a_new_catalogue_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(upgrade, url) for _ in range(4)]:
            future.result(timeout=30)


def test_what_was_recorded_before_plans_is_recorded_by_them_and_back_again(url: str) -> None:
    engine = create_engine(url)
    cameras = "select camera_id, {} from camera order by camera_id"
    with engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0010")
        connection.exec_driver_sql("insert into place values ('root', null, 'centre', 'Root', 'root/')")
        columns = "camera_id, record, cell, place_id, name, kind, address, origin, enabled, created_at"
        same = "'c', 'root', 'A', 'onvif', '192.0.2.1', 'api', 1, 5"
        connection.exec_driver_sql(f"insert into camera ({columns}) values ('a', 1, {same}), ('b', 0, {same})")
        command.upgrade(migrate._config(connection), "0011")
        found = connection.exec_driver_sql(cameras.format("recording, record_audio, attestation")).all()
        assert [(row[0], json.loads(row[1]), row[2], json.loads(row[3])) for row in found] == [
            ("a", {"mode": "continuous"}, "policy", {"version": 0, "by": "", "at_us": 5}),
            ("b", {"mode": "off"}, "policy", {"version": 0, "by": "", "at_us": 5}),
        ]
        command.downgrade(migrate._config(connection), "0010")
        assert connection.exec_driver_sql(cameras.format("record")).all() == [("a", 1), ("b", 0)]
    engine.dispose()
