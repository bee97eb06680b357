"""Events in the catalogue: kept in order, found by span and kind, gone when they are of age, but not under a hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, update

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.camera_events import EventRow, expire_events, find_events, insert_events
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.tables import camera_event, hold, outbox
from mediasrv.clock import SECOND_US, from_us
from mediasrv.media.camera_event import EventKind
from tests.databases import url_for

NOON_US = 1_777_636_800_000_000


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = url_for(tmp_path)
    upgrade(url)
    catalogue = Catalogue(url)
    with catalogue.engine.begin() as opened:
        yield opened
    catalogue.close()


def row(second: float, camera_id: str = "gate-1", kind: EventKind = EventKind.MOTION, active: bool = True) -> EventRow:
    at_us = NOON_US + round(second * SECOND_US)
    return EventRow(0, camera_id, kind, active, b"sealed", at_us - 5, at_us)


def found(connection: Connection, *kinds: EventKind, limit: int = 100, end_s: float = 100) -> list[float]:
    rows = find_events(connection, "gate-1", NOON_US, NOON_US + round(end_s * SECOND_US), kinds, limit)
    return [(one.arrived_us - NOON_US) / SECOND_US for one in rows]


def test_events_come_back_as_they_were_kept_with_rising_ids(connection: Connection) -> None:
    kept = [
        row(2),
        row(1, kind=EventKind.TAMPER, active=False),
        EventRow(0, "gate-1", EventKind.STORAGE, True, b"", None, NOON_US),
    ]
    ids = insert_events(connection, kept)
    assert ids == sorted(set(ids))
    rows = find_events(connection, "gate-1", NOON_US, NOON_US + 10 * SECOND_US, (), 10)
    assert [one.event_id for one in rows] == ids[::-1]
    assert [(one.kind, one.active, one.source, one.camera_us) for one in rows] == [
        (EventKind.STORAGE, True, b"", None),
        (EventKind.TAMPER, False, b"sealed", kept[1].camera_us),
        (EventKind.MOTION, True, b"sealed", kept[0].camera_us),
    ]


def test_a_span_is_open_at_its_end_and_of_one_camera(connection: Connection) -> None:
    insert_events(connection, [row(0), row(1), row(2), row(1, "gate-2"), row(-1)])
    assert found(connection, end_s=2) == [0, 1]
    assert found(connection, limit=2) == [0, 1]


def test_a_reader_who_asks_on_misses_nothing_though_the_clock_was_set_back(connection: Connection) -> None:
    ids = insert_events(connection, [row(0), row(50), row(1, "gate-2"), row(60), row(40, kind=EventKind.TAMPER)])
    read: list[int] = []
    while page := find_events(connection, "gate-1", NOON_US, NOON_US + 10**9, (), 2, read[-1] if read else 0):
        read += [one.event_id for one in page]
    assert read == [ids[0], ids[1], ids[3], ids[4]]
    [late] = insert_events(connection, [row(30)])
    assert [one.event_id for one in find_events(connection, "gate-1", NOON_US, NOON_US + 10**9, (), 9, read[-1])] == [
        late
    ]
    assert find_events(connection, "gate-1", NOON_US, NOON_US + 10**9, [EventKind.TAMPER], 9, ids[4]) == []


def test_kinds_are_chosen(connection: Connection) -> None:
    insert_events(connection, [row(0), row(1, kind=EventKind.TAMPER), row(2, kind=EventKind.STORAGE)])
    assert found(connection, EventKind.TAMPER, EventKind.STORAGE) == [1, 2]


def test_a_centre_hears_of_trouble_and_not_of_each_motion(connection: Connection) -> None:
    ids = insert_events(connection, [row(0), row(1, kind=EventKind.TAMPER), row(2, kind=EventKind.DIGITAL_INPUT)])
    [told] = connection.execute(select(outbox)).all()
    assert (told.kind, told.subject) == ("camera.event", "gate-1")
    assert told.body == {"event_id": ids[1], "kind": "tamper", "active": True}


def test_events_go_when_they_are_of_age_each_camera_by_its_own(connection: Connection) -> None:
    insert_events(connection, [row(0), row(5), row(0, "gate-2"), row(0, "gate-3")])
    bounds = {"gate-1": NOON_US + 5 * SECOND_US, "gate-2": NOON_US}
    assert expire_events(connection, bounds, NOON_US + 60 * SECOND_US, 100) == 1
    left = connection.execute(select(camera_event.c.camera_id).order_by(camera_event.c.camera_id)).scalars().all()
    assert left == ["gate-1", "gate-2", "gate-3"]
    assert found(connection) == [5]


def test_no_more_go_at_once_than_a_batch(connection: Connection) -> None:
    insert_events(connection, [row(second, camera) for second in range(6) for camera in ("gate-1", "gate-2")])
    bounds = dict.fromkeys(("gate-1", "gate-2"), NOON_US + 100 * SECOND_US)
    assert [expire_events(connection, bounds, NOON_US, 5) for _ in range(4)] == [5, 5, 2, 0]


def test_an_event_under_a_hold_stays_as_long_as_the_hold(connection: Connection) -> None:
    insert_events(connection, [row(0), row(5), row(10)])
    connection.execute(
        insert(hold).values(
            camera_id="gate-1",
            started_at=from_us(NOON_US + 4 * SECOND_US),
            ended_at=from_us(NOON_US + 5 * SECOND_US),
            reason="evidence",
            placed_by="judge",
            placed_at=from_us(NOON_US),
        )
    )
    bounds = {"gate-1": NOON_US + 100 * SECOND_US}
    assert expire_events(connection, bounds, NOON_US, 100) == 2
    assert found(connection) == [5]
    connection.execute(update(hold).values(released_at=from_us(NOON_US)))
    assert expire_events(connection, bounds, NOON_US, 100) == 1
