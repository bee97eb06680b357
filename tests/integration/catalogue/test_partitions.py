"""Days of recordings and events on PostgreSQL: made ahead, never missing for a row, and gone when they are empty."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, text
from sqlalchemy.exc import IntegrityError

from mediasrv.catalogue import Catalogue, footage_queries, partitions
from mediasrv.catalogue.camera_events import EventRow, expire_events, find_events, insert_events
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import data_key, recording
from mediasrv.clock import DAY_US, SECOND_US, SystemClock, from_us
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.media.camera_event import EventKind
from tests.databases import Databases

TODAY = 30_000
"""Far from the days that were made when the database was."""
REF = StreamRef("gate-1", StreamName.MAIN)


@pytest.fixture
def catalogue(on_postgresql: Databases, tmp_path: Path) -> Iterator[Catalogue]:
    made = Catalogue(on_postgresql.url(tmp_path))
    yield made
    made.close()


@pytest.fixture
def connection(catalogue: Catalogue) -> Iterator[Connection]:
    with catalogue.engine.begin() as opened:
        values = {"camera_id": "gate-1", "stream": "main", "node_id": "n", "period_at": from_us(0)}
        opened.execute(insert(data_key).values(key_id="k", created_at=from_us(0), **values))
        yield opened


def record(connection: Connection, day: float, seq: int = 0, object_id: str = "") -> None:
    started_us = round(day * DAY_US)
    connection.execute(
        insert(recording).values(
            object_id=object_id or f"object-{day}-{seq}", object_key=f"c/gate-1/main/{day}/{seq}", cell="c",
            camera_id="gate-1", stream="main", epoch=1, session_id="s", seq=seq, node_id="n", incarnation="i",
            status="live", ended="closed", started_at=from_us(started_us),
            ended_at=from_us(started_us + 60 * SECOND_US), size_bytes=1, crc32c=1, footer_offset=1, key_id="k",
            committed_at=from_us(started_us),
        )
    )  # fmt: skip


def event(day: float) -> EventRow:
    return EventRow(0, "gate-1", EventKind.MOTION, True, b"sealed", None, round(day * DAY_US))


def tables_of_rows(connection: Connection, table: str) -> list[str]:
    query = f"SELECT tableoid::regclass::text FROM {table} ORDER BY 1"
    return list(connection.scalars(text(query)))


def test_a_start_makes_yesterday_and_a_week_ahead(connection: Connection) -> None:
    today = SystemClock.wall_us() // DAY_US
    for table in ("recording", "camera_event"):
        assert partitions.days(connection, table) == list(range(today - 1, today + 8))


def test_rows_lie_in_their_day_from_its_first_microsecond_to_its_last(connection: Connection) -> None:
    assert partitions.make_days(connection, TODAY * DAY_US) == 2 * 9
    record(connection, TODAY)
    record(connection, TODAY + 1 - 1 / DAY_US, seq=1)
    record(connection, TODAY + 1, seq=2)
    names = ["recording_d30000", "recording_d30000", "recording_d30001"]
    assert tables_of_rows(connection, "recording") == names


def test_a_row_of_no_day_is_kept_and_moves_to_its_day(connection: Connection) -> None:
    record(connection, TODAY + 100)
    insert_events(connection, [event(TODAY - 100)])
    assert tables_of_rows(connection, "recording") == ["recording_rest"]
    whole = Span((TODAY + 99) * DAY_US, (TODAY + 101) * DAY_US)
    [before] = footage_queries.objects_in_span(connection, REF, whole)
    assert partitions.make_days(connection, TODAY * DAY_US) == 2 * 9 + 2
    assert tables_of_rows(connection, "recording") == [f"recording_d{TODAY + 100}"]
    assert tables_of_rows(connection, "camera_event") == [f"camera_event_d{TODAY - 100}"]
    assert footage_queries.objects_in_span(connection, REF, whole) == [before]
    assert partitions.make_days(connection, TODAY * DAY_US) == 0


@pytest.mark.parametrize("day", [TODAY, TODAY + 100])
def test_an_object_has_one_row(catalogue: Catalogue, connection: Connection, day: int) -> None:
    partitions.make_days(connection, TODAY * DAY_US)
    record(connection, day)
    with pytest.raises(IntegrityError), connection.begin_nested():
        record(connection, day)
    with pytest.raises(IntegrityError), connection.begin_nested():
        record(connection, day, object_id="another id, and the same key")
    assert len(tables_of_rows(connection, "recording")) == 1


def test_empty_days_go_when_they_are_over_and_others_stay(connection: Connection) -> None:
    partitions.make_days(connection, TODAY * DAY_US)
    partitions.make_days(connection, (TODAY + 9) * DAY_US)
    record(connection, TODAY + 1)
    insert_events(connection, [event(TODAY + 2)])
    connection.execute(delete(recording).where(recording.c.seq == 7))
    dropped = partitions.drop_empty(connection, (TODAY + 4) * DAY_US)
    assert [day for day in partitions.days(connection, "recording") if day >= TODAY - 1][:2] == [TODAY + 1, TODAY + 4]
    assert [day for day in partitions.days(connection, "camera_event") if day >= TODAY - 1][:2] == [
        TODAY + 2,
        TODAY + 4,
    ]
    assert dropped == 2 * 9 + 2 * 4, "those of the present, long over by then, and those of this test"
    record(connection, TODAY)  # late: its day is gone, and it is kept all the same
    assert tables_of_rows(connection, "recording") == [f"recording_d{TODAY + 1}", "recording_rest"]


def test_events_of_several_days_are_read_in_order_and_go_by_age(connection: Connection) -> None:
    partitions.make_days(connection, TODAY * DAY_US)
    ids = insert_events(connection, [event(TODAY + day / 2) for day in range(6)])
    found = find_events(connection, "gate-1", TODAY * DAY_US, (TODAY + 3) * DAY_US, (), 100)
    assert [one.event_id for one in found] == ids
    assert expire_events(connection, {"gate-1": (TODAY + 2) * DAY_US}, 0, 100) == 4
    assert tables_of_rows(connection, "camera_event") == [f"camera_event_d{TODAY + 2}"] * 2


def test_processes_may_make_days_at_once(catalogue: Catalogue) -> None:
    def make(_number: int) -> int:
        with catalogue.engine.begin() as connection:
            return partitions.make_days(connection, TODAY * DAY_US)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(make, range(4))) == [0, 0, 0, 2 * 9]
