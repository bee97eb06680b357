"""What retention costs: planning over millions of objects, and deleting many while cameras record.

`python -m load_tests retention --rows 10000000 --json` plans over so many objects in memory, with holds and events;
with `--catalogue` they are read from a catalogue. `--objects 100000 --cameras 30` deletes so many from a real S3 server
while cameras record beside, and reads back afterwards what these sent.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from load_tests.measure import machine, print_json, usage_of
from load_tests.record import read_back
from load_tests.reference import LOAD
from load_tests.stack import Stack, running_stack, wait_for
from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.footage_queries import PlannedRow
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.recordings import put_data_key
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import garbage, recording
from mediasrv.clock import SECOND_US, from_us
from mediasrv.retention.due import preview
from mediasrv.retention.plan import Policy, Reason, plan
from mediasrv.settings import CatalogueSettings, StorageSettings
from mediasrv.storage.keys import Identity, NodeKey, create_data_key
from mediasrv.storage.object_store import ObjectStore, crc32c_of

_MINUTE_US: Final = 60 * SECOND_US
_HOUR_OBJECTS: Final = 60
_PUTS_AT_ONCE: Final = 32
_OLD: Final = "gone-1"
_LIMIT_S: Final = 600.0


def main(argv: Sequence[str]) -> int:
    """0 within the bounds: 60 s for ten million rows; 180 s for 100,000 objects, and nothing lost beside."""
    parser = argparse.ArgumentParser(prog="python -m load_tests retention", description=__doc__)
    parser.add_argument("--rows", type=int, default=0, help="objects to plan over")
    parser.add_argument("--catalogue", action="store_true", help="read them from a catalogue")
    parser.add_argument("--objects", type=int, default=0, help="objects to delete")
    parser.add_argument("--cameras", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    say: Callable[[str], None] = (lambda text: None) if options.json else print
    if options.objects:
        result, within = _delete(options, say)
    elif options.catalogue:
        result, within = _plan_catalogue(options.rows or 1_000_000, options.cameras, say)
    else:
        result, within = _plan(options.rows or 10_000_000, options.cameras)
    print_json({"name": "retention", "machine": machine()} | result)
    return 0 if within else 1


# --- planning ------------------------------------------------------------------------------------


def _plan(count: int, cameras: int) -> tuple[dict[str, Any], bool]:
    """A third is of age, of which events keep some and holds more, and the rest goes by size: no row is passed over."""
    now_us = 2_000_000_000 * SECOND_US
    each = count // cameras
    policy = Policy(each * 40.0, 1, (("motion", each * 50.0), ("tamper", each * 60.0)), 30.0, 30.0)
    began_us = now_us - each * _MINUTE_US
    holds = [Span(began_us + n * each * 600_000, began_us + n * each * 600_000 + 5 * _MINUTE_US) for n in range(100)]
    motion = [Span(at, at + 10 * SECOND_US) for at in range(began_us, now_us, 17 * _MINUTE_US)]
    events = {"motion": motion, "tamper": motion[::50]}
    counts = dict.fromkeys(Reason, 0)
    started = time.monotonic()
    for camera in range(cameras):
        rows = _rows(f"{camera:04d}", each, began_us)
        for _, reason in plan(rows, policy, holds, now_us, each * 1000, (), events):
            counts[reason] += 1
    seconds = time.monotonic() - started
    result: dict[str, Any] = {
        "rows": each * cameras,
        "cameras": cameras,
        "seconds": seconds,
        "rows_per_s": each * cameras / seconds,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    return result | {str(reason): number for reason, number in counts.items()}, seconds < 60 * max(1, count / 10**7)


def _rows(camera: str, count: int, began_us: int) -> Iterator[PlannedRow]:
    """One at a time, as a catalogue hands them out; none of them stays."""
    for number in range(count):
        start_us = began_us + number * _MINUTE_US
        yield PlannedRow(start_us, f"{camera}{number:08d}", start_us + _MINUTE_US, 1000)


def _plan_catalogue(count: int, cameras: int, say: Callable[[str], None]) -> tuple[dict[str, Any], bool]:
    with tempfile.TemporaryDirectory(prefix="mediasrv-retention-") as name:
        url = f"sqlite:///{Path(name) / 'catalogue.db'}"
        upgrade(url)
        catalogue = Catalogue(url)
        say(f"making {count} rows")
        now_us = time.time_ns() // 1000
        each = count // cameras
        with catalogue.engine.begin() as connection:
            for camera in range(cameras):
                _insert_rows(connection, f"camera-{camera}", each, now_us - each * _MINUTE_US)
        policy = Policy(1.0, 0)
        started = time.monotonic()
        with catalogue.engine.connect() as connection:
            found = [preview(connection, f"camera-{one}", policy, now_us, 10**9) for one in range(cameras)]
        seconds = time.monotonic() - started
        catalogue.close()
    result = {
        "rows": each * cameras,
        "due": sum(one.objects for one in found),
        "cameras": cameras,
        "seconds": seconds,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    return result, seconds < 60 * max(1, count / 10**7)


# --- deleting ------------------------------------------------------------------------------------


def _delete(options: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], bool]:
    farm = {"cameras": options.cameras, **LOAD}
    overrides = {"retention": {"max_age_days": 30.0, "interval_s": 1.0, "receipt_interval_s": 1.0}}
    with (
        tempfile.TemporaryDirectory(prefix="mediasrv-retention-") as name,
        running_stack(Path(name), farm, overrides) as stack,
    ):
        stack.wait_until_recording()
        say(f"storing {options.objects} objects while {options.cameras} cameras record")
        keys = asyncio.run(_store_objects(stack, options.objects))
        url = f"sqlite:///{stack.server.files.directory / 'data' / 'catalogue.db'}"
        catalogue = Catalogue(url, CatalogueSettings(busy_timeout_s=60.0))
        say("deleting")
        with usage_of(stack.server.pid) as usage:
            started = time.monotonic()
            with catalogue.engine.begin() as connection:
                _insert_old(connection, keys)
            wait_for(lambda: _left(catalogue) == 0, _LIMIT_S, lambda: f"{_left(catalogue)} left", 0.5)
            seconds = time.monotonic() - started
        receipts = stack.client.get("/api/v1/receipts")["receipts"]
        status = stack.client.get("/api/v1/status")
        catalogue.close()
        say("reading back what the cameras sent meanwhile")
        account = read_back(stack)
    result = {
        "objects": options.objects,
        "cameras": options.cameras,
        "seconds": seconds,
        "objects_per_s": options.objects / seconds,
        "cpu_s": usage.cpu_s,
        "loop_late_ms_p99": status["node"]["loop_late_ms_p99"],
        "in_receipts": sum(one["objects"] for one in receipts),
        "access_units_sent": account.sent,
        "access_units_kept": account.kept,
        "lost": len(account.missing),
    }
    within = seconds < 180 * max(1.0, options.objects / 100_000) and account.ok
    return result, within and result["in_receipts"] >= options.objects


async def _store_objects(stack: Stack, count: int) -> list[str]:
    """Tiny objects, stored as the server stores them."""
    os.environ |= {"MEDIASRV_LOAD_ACCESS": stack.s3.access_key, "MEDIASRV_LOAD_SECRET": stack.s3.secret_key}
    settings = StorageSettings(
        endpoint=stack.s3.endpoint,
        access_key="env:MEDIASRV_LOAD_ACCESS",
        secret_key="env:MEDIASRV_LOAD_SECRET",
        parallel_uploads=_PUTS_AT_ONCE,
    )
    keys = [f"cell-1/{_OLD}/main/20200101/{number:07d}" for number in range(count)]
    body = [b"x"]
    crc32c = crc32c_of(body)
    waiting = iter(keys)
    async with ObjectStore(settings) as store:

        async def put_some() -> None:
            for key in waiting:
                await store.put(key, body, crc32c)

        await asyncio.gather(*(put_some() for _ in range(_PUTS_AT_ONCE)))
    return keys


def _insert_old(connection: Connection, keys: Sequence[str]) -> None:
    """Rows of objects that ended long ago."""
    _insert_rows(connection, _OLD, len(keys), int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US, keys)


def _left(catalogue: Catalogue) -> int:
    with catalogue.engine.connect() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(table).where(table.c.camera_id == _OLD)).scalar_one()
            for table in (recording, garbage)
        ]
    return sum(counts)


def _insert_rows(
    connection: Connection, camera_id: str, count: int, began_us: int, keys: Sequence[str] | None = None
) -> None:
    """Objects of a minute each, with a data key an hour."""
    node_key, recipient = NodeKey.generate(), Identity.generate().recipient
    for first in range(0, count, _HOUR_OBJECTS):
        period_us = began_us + first * _MINUTE_US
        key = create_data_key("cell-1", camera_id, "main", period_us, 3600, "node-1", node_key, [recipient])
        put_data_key(connection, key.record, period_us)
        rows = range(first, min(count, first + _HOUR_OBJECTS))
        connection.execute(
            insert(recording),
            [
                _row_values(camera_id, number, began_us, key.key_id, keys[number] if keys else f"{camera_id}/{number}")
                for number in rows
            ],
        )


def _row_values(camera_id: str, number: int, began_us: int, key_id: str, object_key: str) -> dict[str, Any]:
    start_us = began_us + number * _MINUTE_US
    return {
        "object_id": hashlib.sha256(object_key.encode()).hexdigest(),
        "object_key": object_key,
        "cell": "cell-1",
        "camera_id": camera_id,
        "stream": "main",
        "epoch": 1,
        "session_id": "s",
        "seq": number,
        "node_id": "node-1",
        "incarnation": "i",
        "status": "live",
        "ended": "closed",
        "started_at": from_us(start_us),
        "ended_at": from_us(start_us + _MINUTE_US),
        "size_bytes": 1,
        "crc32c": 0,
        "footer_offset": 0,
        "key_id": key_id,
        "committed_at": from_us(start_us + _MINUTE_US),
    }
