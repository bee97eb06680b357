"""Where footage is: joined in the database as it would be joined here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.footage_queries import LONGEST_OBJECT_US, cameras_with_footage, coverage
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.spans import Span, clip, merge
from mediasrv.catalogue.tables import data_key, recording
from mediasrv.clock import DAY_US, from_us
from mediasrv.media.access_unit import StreamName, StreamRef
from tests.databases import url_for

REF = StreamRef("gate-1", StreamName.MAIN)
NOON_US = 1_777_636_800_000_000


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = url_for(tmp_path)
    upgrade(url)
    catalogue = Catalogue(url)
    with catalogue.engine.begin() as opened:
        values = {"camera_id": "gate-1", "stream": "main", "node_id": "n", "period_at": from_us(0)}
        opened.execute(insert(data_key).values(key_id="k", created_at=from_us(0), **values))
        yield opened
    catalogue.close()


def record(connection: Connection, spans: list[Span], camera_id: str = "gate-1", stream: str = "main") -> None:
    rows = [
        {
            "object_id": f"{camera_id}-{stream}-{number}", "object_key": f"{camera_id}/{stream}/{number}", "cell": "c",
            "camera_id": camera_id, "stream": stream, "epoch": 1, "session_id": "s", "seq": number, "node_id": "n",
            "incarnation": "i", "status": "live", "ended": "closed", "started_at": from_us(span.start_us),
            "ended_at": from_us(span.end_us), "size_bytes": 1, "crc32c": 1, "footer_offset": 1, "key_id": "k",
            "committed_at": from_us(0),
        }
        for number, span in enumerate(spans)
    ]  # fmt: skip
    connection.execute(insert(recording), rows)


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_what_merging_all_objects_gives(connection: Connection, seed: int) -> None:
    chance = random.Random(seed)
    starts = [NOON_US + chance.randrange(3 * DAY_US) // 1000 * 1000 for _ in range(300)]
    spans = [Span(start, start + chance.choice((1, 1000, 10**7, 10**9, 10**10))) for start in starts]
    record(connection, spans)
    record(connection, [Span(NOON_US, NOON_US + DAY_US)], stream="sub")
    record(connection, [Span(NOON_US, NOON_US + DAY_US)], camera_id="gate-2")
    for _ in range(60):
        start_us = NOON_US + chance.randrange(-DAY_US, 4 * DAY_US)
        within = Span(start_us, start_us + chance.choice((1, 10**8, DAY_US, 9 * DAY_US)))
        joined_us = chance.choice((0, 250_000, 10**8, DAY_US))
        touching = [one for one in spans if one.overlaps(within)]
        assert coverage(connection, REF, within, joined_us) == clip(merge(touching, joined_us), within)


def test_the_last_end_may_be_of_an_object_that_began_long_before_the_last(connection: Connection) -> None:
    long = Span(NOON_US, NOON_US + LONGEST_OBJECT_US - 1)
    record(connection, [long, Span(NOON_US + DAY_US // 2, NOON_US + DAY_US // 2 + 10)])
    assert coverage(connection, REF, Span(NOON_US - DAY_US, NOON_US + 2 * DAY_US)) == [long]


def test_without_footage_there_is_no_coverage(connection: Connection) -> None:
    assert coverage(connection, REF, Span(0, NOON_US)) == []


def test_cameras_with_footage_are_each_named_once(connection: Connection) -> None:
    assert cameras_with_footage(connection) == []
    for camera_id in ("b", "a", "c-2"):
        record(connection, [Span(NOON_US, NOON_US + 1), Span(NOON_US + 2, NOON_US + 3)], camera_id)
    assert cameras_with_footage(connection) == ["a", "b", "c-2"]
