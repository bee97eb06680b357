"""What a timeline asks of the catalogue, over as many recordings as a centre has after 70 days.

`python -m load_tests timelines --rows 10000000 --json`: a catalogue on PostgreSQL (or SQLite) is filled with made-up
rows, an object a minute for each camera, with gaps, events and holds, and then asked for spans of an hour, a day and 30
days of cameras at random, one question after another, through the same queries that the server uses.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text

from load_tests.measure import machine, print_json
from load_tests.postgres import postgres
from mediasrv.catalogue import Catalogue, partitions
from mediasrv.catalogue.camera_events import find_events
from mediasrv.catalogue.footage_queries import SEAM_US, active_holds, coverage, find_object, gaps
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.spans import Span
from mediasrv.clock import DAY_US, SECOND_US
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import CatalogueSettings

FIRST_DAY: Final = 20_454  # 2026-01-01
DAYS: Final = 70
MINUTES: Final = 1440
SPANS_S: Final = {"hour": 3600, "day": 86_400, "month": 30 * 86_400}
EVENTS: Final = 200
"""A page of events, as the API answers."""
_POSTGRES: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB", "fsync": "off", "synchronous_commit": "off"}
_PASSWORD: Final = "MEDIASRV_LOAD_TEST_DATABASE"


def main(argv: Sequence[str]) -> int:
    """0 where each kind of span was answered within `--bound-ms` at p95."""
    parser = argparse.ArgumentParser(prog="python -m load_tests timelines", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="recordings; cameras are as many as that takes")
    parser.add_argument("--questions", type=int, default=300, help="of each kind of span")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--bound-ms", type=float, default=50.0)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    with _catalogue(options.database) as catalogue:
        result = measure(catalogue, options)
    print_json(result)
    return 0 if max(result[f"{name}_ms_p95"] for name in SPANS_S) <= options.bound_ms else 1


@contextmanager
def _catalogue(database: str) -> Iterator[Catalogue]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="mediasrv-timeline-") as name:
            settings = CatalogueSettings(f"sqlite:///{Path(name) / 'catalogue.db'}")
            yield from _opened(settings)
        return
    with postgres(_POSTGRES) as server:
        os.environ[_PASSWORD] = server.password
        yield from _opened(CatalogueSettings(server.url(server.create_database()), password=f"env:{_PASSWORD}"))


def _opened(settings: CatalogueSettings) -> Iterator[Catalogue]:
    upgrade(settings.url, settings)
    catalogue = Catalogue(settings.url, settings)
    try:
        yield catalogue
    finally:
        catalogue.close()


def measure(catalogue: Catalogue, options: argparse.Namespace) -> dict[str, Any]:
    """Fills a catalogue and asks it."""
    cameras = max(1, options.rows // (DAYS * MINUTES))
    began = time.monotonic()
    with catalogue.engine.begin() as connection:
        _fill_cameras(connection, cameras)
    for day in range(FIRST_DAY, FIRST_DAY + DAYS):
        with catalogue.engine.begin() as connection:
            _fill_day(connection, cameras, day)
        if not options.json:
            print(f"day {day - FIRST_DAY + 1} of {DAYS}, {time.monotonic() - began:.0f} s", flush=True)
    _settle(catalogue)
    result: dict[str, Any] = {"database": options.database, "cameras": cameras, "days": DAYS}
    result |= _sizes(catalogue) | {"filled_in_s": round(time.monotonic() - began)}
    for name, span_s in SPANS_S.items():
        result |= asyncio.run(_ask(catalogue, name, span_s, cameras, options.questions))
    result |= asyncio.run(_ask_objects(catalogue, options.questions))
    return result | {"machine": machine()}


# --- questions -----------------------------------------------------------------------------------


async def _ask(catalogue: Catalogue, name: str, span_s: int, cameras: int, questions: int) -> dict[str, Any]:
    chance, taken_ms, first_ms = random.Random(span_s), [], 0.0
    for _ in range(questions):
        ref = StreamRef(_camera(chance.randrange(cameras)), StreamName.MAIN)
        latest = (DAYS * 86_400 - span_s) * SECOND_US
        start_us = FIRST_DAY * DAY_US + chance.randrange(latest)
        began = time.perf_counter()
        await _timeline(catalogue, ref, Span(start_us, start_us + span_s * SECOND_US))
        taken_ms.append((time.perf_counter() - began) * 1000)
        first_ms = first_ms or taken_ms[0]
    return {
        f"{name}_ms_p50": statistics.median(taken_ms),
        f"{name}_ms_p95": statistics.quantiles(taken_ms, n=20)[-1],
        f"{name}_ms_most": max(taken_ms),
    }


async def _timeline(catalogue: Catalogue, ref: StreamRef, within: Span) -> None:
    """As `Playback.timeline` asks, and the page of events that is shown with it."""
    found, covered, _, events = await asyncio.gather(
        catalogue.read(gaps, ref, within),
        catalogue.read(coverage, ref, within, SEAM_US),
        catalogue.read(active_holds, ref.camera_id, within.end_us),
        catalogue.read(find_events, ref.camera_id, within.start_us, within.end_us, (), EVENTS),
    )
    assert covered, "the question found no footage"
    assert within.end_us - within.start_us < DAY_US or (found and events), "the question found too little"


async def _ask_objects(catalogue: Catalogue, questions: int) -> dict[str, Any]:
    """A segment's URL names an object without its time."""
    with catalogue.engine.connect() as connection:
        some = text("SELECT object_id FROM recording WHERE camera_id = :of ORDER BY started_at")
        ids = list(connection.scalars(some, {"of": _camera(0)}))
    chance, taken_ms = random.Random(0), []
    for object_id in chance.choices(ids, k=questions):
        began = time.perf_counter()
        assert await catalogue.read(find_object, object_id) is not None
        taken_ms.append((time.perf_counter() - began) * 1000)
    return {"object_ms_p50": statistics.median(taken_ms), "object_ms_p95": statistics.quantiles(taken_ms, n=20)[-1]}


# --- rows ----------------------------------------------------------------------------------------


def _camera(number: int) -> str:
    return f"camera-{number:05}"


def _fill_cameras(connection: Connection, cameras: int) -> None:
    partitions.make_days(connection, FIRST_DAY * DAY_US)
    connection.execute(text("CREATE TABLE made_camera (camera_id varchar(64))"))
    rows = [{"camera_id": _camera(number)} for number in range(cameras)]
    connection.execute(text("INSERT INTO made_camera VALUES (:camera_id)"), rows)


def _fill_day(connection: Connection, cameras: int, day: int) -> None:
    """All rows of a day in the order of time, as they come. One minute of 70 is missing, and a gap says so."""
    partitions.make_days(connection, day * DAY_US)
    is_postgres = connection.dialect.name == "postgresql"
    word, octets = ("md5(random()::text)", "bytea") if is_postgres else ("lower(hex(randomblob(16)))", "blob")
    values = {"day": day, "day_us": day * DAY_US, "minute_us": 60 * SECOND_US, "date": f"'d{day}'"}
    for statement in (_KEYS, _RECORDINGS.replace("WORD", word), _GAPS, _EVENTS.replace("BYTES", octets), _HOLDS):
        for name in sorted(values, key=len, reverse=True):
            statement = statement.replace(f":{name}", str(values[name]))
        connection.exec_driver_sql(statement)


_TIMES: Final = "WITH RECURSIVE made(n) AS (SELECT CAST(0 AS bigint) UNION ALL SELECT n + 1 FROM made WHERE n < LAST)"
_KEYS: Final = """
    INSERT INTO data_key (key_id, camera_id, stream, period_at, node_id, created_at) TIMES
    SELECT camera_id || '-' || (:day * 24 + n), camera_id, 'main', :day_us + n * 60 * :minute_us, 'node-1', :day_us
    FROM made, made_camera
""".replace("TIMES", _TIMES.replace("LAST", "23"))
_RECORDINGS: Final = (
    """
    INSERT INTO recording (object_id, object_key, cell, camera_id, stream, epoch, session_id, seq, node_id, incarnation,
    status, ended, started_at, ended_at, size_bytes, crc32c, footer_offset, key_id, committed_at) TIMES
    SELECT WORD || WORD, 'cell-1/' || camera_id || '/main/' || :date || '/281474976710657/' || substr(camera_id, 8)
    || 'SESSION/' || n, 'cell-1', camera_id, 'main', 281474976710657, substr(camera_id, 8) || 'SESSION' || :date, n,
    'node-1', 'INCARNATION', 'live', 'closed', :day_us + n * :minute_us, :day_us + (n + 1) * :minute_us - 40000,
    15000000, 12345, 14990000, camera_id || '-' || (:day * 24 + n / 60), :day_us + (n + 1) * :minute_us
    FROM made, made_camera WHERE (n + :day) % 70 <> 0 ORDER BY n
""".replace("TIMES", _TIMES.replace("LAST", "1439"))
    .replace("SESSION", "0" * 20)
    .replace("INCARNATION", "1" * 32)
)
_GAPS: Final = """
    INSERT INTO gap (camera_id, stream, started_at, ended_at, cause) TIMES
    SELECT camera_id, 'main', :day_us + n * :minute_us - 40000, :day_us + (n + 1) * :minute_us, 'camera_lost'
    FROM made, made_camera WHERE (n + :day) % 70 = 0 ORDER BY n
""".replace("TIMES", _TIMES.replace("LAST", "1439"))
_EVENTS: Final = """
    INSERT INTO camera_event (camera_id, kind, active, source, arrived_at) TIMES
    SELECT camera_id, 'motion', n % 2 = 0, CAST('made up' AS BYTES), :day_us + n * 7 * :minute_us
    FROM made, made_camera ORDER BY n
""".replace("TIMES", _TIMES.replace("LAST", str(EVENTS - 1)))
_HOLDS: Final = """
    INSERT INTO hold (camera_id, started_at, ended_at, reason, placed_by, placed_at)
    SELECT camera_id, :day_us, :day_us + :minute_us, 'case', 'judge', :day_us FROM made_camera WHERE :day % 23 = 0
"""


def _settle(catalogue: Catalogue) -> None:
    """What a server's autovacuum or SQLite's `optimize` does in the course of a day."""
    statement = "VACUUM ANALYZE" if catalogue.engine.dialect.name == "postgresql" else "ANALYZE"
    with catalogue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)


def _sizes(catalogue: Catalogue) -> dict[str, Any]:
    with catalogue.engine.connect() as connection:
        tables = ("recording", "gap", "camera_event")
        counts = {f"{table}s": connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables}  # noqa: S608
        if catalogue.engine.dialect.name == "postgresql":
            counts["gb"] = int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0) / 1e9
    return counts
