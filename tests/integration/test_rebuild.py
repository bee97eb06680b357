"""A lost catalogue comes back: from the bucket alone, and from a backup with the journal behind it."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiClient
from load_tests.stack import Stack, running_stack, wait_for
from load_tests.timeline import time_line
from tests.integration.s3 import delete_bucket

STORED = 2
"""Objects of each camera that a test waits for."""
BUCKETS = {"bucket": "footage-rebuild", "key_bucket": "keys-rebuild"}
SETTINGS = {"recording": {"object_s": 5.0}, "journal": {"interval_s": 0.5}, "storage": BUCKETS}
NEWEST_EPOCHS = "SELECT camera_id, max(epoch) FROM camera_epoch GROUP BY camera_id"
KEPT = {
    "recording": "object_id, object_key, camera_id, stream, epoch, session_id, seq, started_at, ended_at, "
    "size_bytes, crc32c, footer_offset, key_id, ended",
    "session": "session_id, camera_id, started_at, ended_at, first_keyframe_at, camera_offset_us",
    "gap": "gap_id, camera_id, stream, started_at, ended_at, cause",
    "hold": "hold_id, camera_id, started_at, ended_at, reason, case_number, placed_by",
    "camera": "camera_id, name, place_id, address, removed_at",
    "place": "place_id, parent_id, name, path",
}
TOLD = KEPT.keys() - {"recording"}


@pytest.fixture
def stack(tmp_path: Path, s3: SeaweedServer) -> Iterator[Stack]:
    """Two cameras that record, one of which has a gap, and one a hold."""
    farm = {"cameras": 2, "mode": "demo", "audio": "none"}
    with running_stack(tmp_path, farm, SETTINGS, s3) as stack:
        stack.wait_until_recording()
        yield stack
    for bucket in BUCKETS.values():
        delete_bucket(s3, bucket)


def catalogue(stack: Stack) -> Path:
    return stack.directory / "server" / "data" / "catalogue.db"


def execute(stack: Stack, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(catalogue(stack), timeout=10)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def rows(stack: Stack) -> dict[str, set[Any]]:
    return {table: set(execute(stack, f"SELECT {columns} FROM {table}")) for table, columns in KEPT.items()}


def live_through_something(stack: Stack) -> None:
    """A hold is placed, a camera falls away and comes back, and all that is stored."""
    now = datetime.now(UTC)
    start, end = (round((now + timedelta(minutes=minutes)).timestamp() * 1e6) for minutes in (-5, 5))
    statement = (
        "INSERT INTO hold (camera_id, started_at, ended_at, reason, case_number, placed_by, placed_at) "
        "VALUES (?, ?, ?, 'theft at the gate', 'VA-17', 'auditor-1', ?)"
    )
    execute(stack, statement, stack.cameras[0], start, end, start)
    stack.farm.fault(stack.cameras[1], "drop")
    wait_for(lambda: "camera_lost" in time_line(stack.client, stack.cameras[1]).causes, 30)
    stack.wait_until_recording()

    def stored() -> bool:
        counts = dict(execute(stack, "SELECT camera_id, count(*) FROM recording GROUP BY camera_id"))
        return all(counts.get(camera, 0) >= STORED for camera in stack.cameras)

    wait_for(stored, 60)


def journal(stack: Stack) -> list[str]:
    listing = stack.s3.client().list_objects(BUCKETS["bucket"], "_journal/", recursive=True)
    return sorted(str(one.object_name) for one in listing)


def lose_catalogue(stack: Stack) -> None:
    for name in ("catalogue.db", "catalogue.db-wal", "catalogue.db-shm"):
        catalogue(stack).with_name(name).unlink(missing_ok=True)


def log_in_anew(stack: Stack) -> ApiClient:
    return ApiClient(stack.url, stack.server.files.make_account("demo-2", stack.password, "test"))


@pytest.mark.timeout(180)
def test_it_is_rebuilt_from_the_bucket_alone(stack: Stack) -> None:
    live_through_something(stack)
    stack.server.stop()
    before = rows(stack)
    epochs = dict(execute(stack, NEWEST_EPOCHS))
    segments = journal(stack)
    lose_catalogue(stack)
    stack.server.start()
    wait_for(lambda: "it was lost" in stack.server.log_tail(20_000), 30)
    stack.server.stop()
    assert journal(stack) == segments, "a server without its catalogue wrote into the journal"
    lose_catalogue(stack)

    said = stack.server.files.command("check", "--rebuild")

    assert "0 have not" in said
    assert "0 s of footage are missing" in said
    after = rows(stack)
    assert after["recording"] >= before["recording"]
    assert {table: after[table] ^ before[table] for table in TOLD} == {table: set() for table in TOLD}
    assert "0 have their rows again" in stack.server.files.command("check", "--rebuild"), "again changes nothing"
    assert rows(stack) == after
    stack.server.start()
    client = log_in_anew(stack)
    wait_for(lambda: all(one["streams"]["main"]["state"] == "live" for one in client.cameras().values()), 60)
    for camera in stack.cameras:
        time_line(client, camera).check_whole(timedelta(seconds=0.3))
    assert all(epoch >> 48 > epochs[camera] >> 48 for camera, epoch in execute(stack, NEWEST_EPOCHS))


@pytest.mark.timeout(180)
def test_what_is_missing_is_a_gap_and_what_is_forged_is_not_believed(stack: Stack) -> None:
    live_through_something(stack)
    stack.server.stop()
    s3 = stack.s3.client()
    lost = execute(stack, "SELECT object_key, camera_id, started_at, ended_at FROM recording ORDER BY started_at")[1]
    s3.remove_object(BUCKETS["bucket"], lost[0])
    segments = journal(stack)
    body = bytearray(s3.get_object(BUCKETS["bucket"], segments[-1]).read())
    body[-100] ^= 1
    s3.remove_object(BUCKETS["bucket"], segments[-1])
    s3.put_object(BUCKETS["bucket"], segments[-1], io.BytesIO(bytes(body)), len(body))
    lose_catalogue(stack)

    with pytest.raises(RuntimeError) as told:
        stack.server.files.command("check", "--rebuild")

    assert segments[-1] in str(told.value)
    query = "SELECT started_at, ended_at FROM gap WHERE cause = 'footage_missing' AND camera_id = ?"
    missing = execute(stack, query, lost[1])
    assert any(abs(start - lost[2]) < 300_000 and abs(end - lost[3]) < 300_000 for start, end in missing)


@pytest.mark.timeout(180)
def test_a_backup_comes_back_with_what_the_journal_says_since(stack: Stack, tmp_path: Path) -> None:
    backup = tmp_path / "backup.msrv"
    said = stack.server.files.command("backup", str(backup))
    fingerprint = said.split()[-1]
    for plain in (b"demo", stack.cameras[0].encode(), b"PRIVATE"):
        assert plain not in backup.read_bytes()
    live_through_something(stack)
    stack.server.stop()
    before = rows(stack)
    lose_catalogue(stack)
    (catalogue(stack).with_name("node.key")).unlink()

    with pytest.raises(RuntimeError):
        stack.server.files.command("restore", str(backup))
    with pytest.raises(RuntimeError):
        stack.server.files.command("restore", str(backup), "--trust", "0" * 64)
    stack.server.files.command("restore", str(backup), "--trust", fingerprint)

    after = rows(stack)
    assert {table: after[table] ^ before[table] for table in KEPT} == {table: set() for table in KEPT}
    stack.server.start()  # with the key of before: it opens the cameras' passwords, and is registered
    client = ApiClient(stack.url, stack.client.token)  # accounts and tokens are of the backup
    wait_for(lambda: all(one["streams"]["main"]["state"] == "live" for one in client.cameras().values()), 60)
    stack.server.stop()
    with pytest.raises(RuntimeError):
        stack.server.files.command("restore", str(backup), "--trust", fingerprint)
