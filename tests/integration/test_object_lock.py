"""Object Lock on a real S3 server: proved at the start, refused where it is only promised, kept by what is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from sqlalchemy import select

from load_tests.faulting.storage_proxy import FaultProxy
from load_tests.seaweed import SeaweedServer
from load_tests.server import ServerFiles
from mediasrv.catalogue.holds import NewHold, place_hold, release_hold
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import garbage, legal_hold, recording
from mediasrv.clock import SECOND_US, SystemClock, from_us
from mediasrv.errors import SettingsError, StorageError
from mediasrv.retention import RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.security.access_log import AccessLog
from mediasrv.settings import RetentionSettings, StorageSettings
from mediasrv.storage import object_lock
from mediasrv.storage.object_lock import prove_lock
from mediasrv.storage.object_store import ObjectStore, crc32c_of
from tests.integration.recording import REF, Recording, Running, new_session, now_us
from tests.integration.s3 import delete_bucket
from tests.unit.media.streams import video_units

BODY = [b"sealed"]
LOCK_S = 2
DAY_US = 86_400 * SECOND_US


@pytest.fixture
def locking(storage: StorageSettings, s3: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageSettings]:
    """Settings with Object Lock; probes are locked for two seconds, so that the bucket can be emptied."""
    monkeypatch.setattr(object_lock, "LOCK_PROBE_S", LOCK_S)
    yield replace(storage, object_lock="governance", lock_days=1)
    empty(s3, storage.bucket)


def empty(s3: SeaweedServer, bucket: str) -> None:
    """Deletes what is locked, as an administrator of the store may, and in compliance mode when its time has come."""
    client = s3.client()
    if not client.bucket_exists(bucket):
        return
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listed = list(client.list_objects(bucket, recursive=True, include_version=True))
        if not listed:
            return
        for one in listed:
            with contextlib.suppress(S3Error):  # it has none
                client.disable_object_legal_hold(bucket, str(one.object_name), one.version_id)
        doomed = [DeleteObject(one.object_name or "", one.version_id) for one in listed]
        if list(client.remove_objects(bucket, doomed, bypass_governance_mode=True)):
            time.sleep(0.2)
    raise AssertionError(f"{bucket} is not empty")


class LyingStore(FaultProxy):
    """Takes the headers of Object Lock, and deletes all the same."""

    def __init__(self, s3: SeaweedServer) -> None:
        super().__init__(s3.endpoint)
        self._s3 = s3

    async def _forward(self, request: web.Request) -> web.Response:
        if request.method != "DELETE":
            return await super()._forward(request)
        bucket, _, key = request.path.lstrip("/").partition("/")
        doomed = [DeleteObject(key, request.query.get("versionId"))]
        client = self._s3.client()
        refused = await asyncio.to_thread(
            lambda: list(client.remove_objects(bucket, doomed, bypass_governance_mode=True))
        )
        assert not refused
        return web.Response(status=204)


async def start(store: ObjectStore, storage: StorageSettings) -> None:
    """What the server does at its start."""
    await store.ensure_buckets()
    await prove_lock(store, storage, SystemClock())


# --- the proof at the start ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["governance", "compliance"])
async def test_a_store_that_keeps_its_locks_is_proved(locking: StorageSettings, s3: SeaweedServer, mode: str) -> None:
    storage = replace(locking, object_lock=mode)
    async with ObjectStore(storage) as store:
        await start(store, storage)
        kept = [one.key async for one in store.list()]
    assert len(kept) == 1
    assert kept[0].startswith("_lock_probe/")


async def test_a_store_that_only_takes_the_headers_is_refused(locking: StorageSettings, s3: SeaweedServer) -> None:
    proxy = LyingStore(s3)
    await proxy.start()
    try:
        async with ObjectStore(replace(locking, endpoint=proxy.endpoint)) as store:
            with pytest.raises(SettingsError, match="deleted all the same") as refused:
                await start(store, locking)
    finally:
        await proxy.stop()
    assert refused.value.code == "object_lock_unproved"


async def test_a_bucket_that_was_made_without_lock_is_refused(locking: StorageSettings, s3: SeaweedServer) -> None:
    s3.client().make_bucket(locking.bucket)
    async with ObjectStore(locking) as store:
        with pytest.raises(SettingsError) as refused:
            await start(store, locking)
    assert refused.value.code == "object_lock_unproved"


def test_a_server_that_cannot_lock_ends_with_a_sentence(tmp_path: Path, s3: SeaweedServer) -> None:
    bucket, keys = "never-locked", "never-locked-keys"
    s3.client().make_bucket(bucket)
    storage = {"bucket": bucket, "key_bucket": keys, "object_lock": "governance", "lock_days": 1}
    files = ServerFiles(tmp_path / "server", s3, overrides={"storage": storage})
    files.write()
    try:
        with pytest.raises(RuntimeError) as ended:
            files.command("serve")
    finally:
        empty(s3, bucket)
        for one in (bucket, keys):
            delete_bucket(s3, one)
    last = str(ended.value).splitlines()[-1]
    assert last.endswith("it refuses an object that is to be locked. [object_lock_unproved]")
    assert "Traceback" not in str(ended.value)


async def test_probes_of_earlier_starts_go(locking: StorageSettings) -> None:
    async with ObjectStore(locking) as store:
        await start(store, locking)
        (first,) = [one.key async for one in store.list()]
        async with asyncio.timeout(20):
            while first in (left := [one.key async for one in store.list()]):
                await asyncio.sleep(0.5)
                await start(store, locking)
    assert left


async def test_a_store_that_is_away_is_not_called_a_liar(locking: StorageSettings, s3: SeaweedServer) -> None:
    async with ObjectStore(replace(locking, endpoint="http://127.0.0.1:9")) as store:
        with pytest.raises(StorageError):
            await start(store, locking)


# --- what is recorded ----------------------------------------------------------------------------


async def test_many_are_deleted_and_those_that_are_locked_are_named(locking: StorageSettings) -> None:
    async with ObjectStore(locking) as store:
        await store.ensure_buckets()
        until_us = SystemClock().wall_us() + 3600 * SECOND_US
        put = {
            key: await store.put(key, BODY, crc32c_of(BODY), locked_until_us=until_us if key == "b" else None)
            for key in ("a", "b", "c")
        }
        outcomes = await store.delete_many([*((key, one.version_id) for key, one in put.items()), ("none", None)])
        assert [None if error is None else error.code for error in outcomes] == [None, "storage_refused", None, None]
        left = [one.key async for one in store.list() if not one.key.startswith("_lock_probe/")]
    assert left == ["b"]


async def recorded(running: Running, seconds: float = 9.0) -> list[Any]:
    session = new_session("a" * 16, now_us() - 60 * SECOND_US)
    running.recorder.start(REF, 1)
    await running.feed(session, video_units(session, seconds))
    await running.all_stored()
    return await running.rows()


async def test_what_is_recorded_is_locked_by_its_own_end(
    tmp_path: Path, locking: StorageSettings, s3: SeaweedServer
) -> None:
    async with Recording(tmp_path, locking).opened() as running:
        rows = await recorded(running)
    assert len(rows) > 1
    for row in rows:
        found = s3.client().get_object_retention(locking.bucket, row.object_key, row.version_id)
        assert found is not None
        assert found.mode == "GOVERNANCE"
        assert abs(found.retain_until_date - from_us(row.ended_us + DAY_US)) <= timedelta(seconds=1)


def retention(running: Running, storage: StorageSettings, **settings: Any) -> RetentionTask:
    chosen = RetentionSettings(**({"max_age_days": 0.000_001} | settings))
    log, clock = AccessLog(running.catalogue, SystemClock()), SystemClock()
    return RetentionTask(
        running.catalogue,
        running.store,
        storage.key_bucket,
        lambda: (),
        log,
        clock,
        chosen,
        Defaults.of(chosen, storage),
    )


async def count(running: Running, table: Any) -> int:
    return len(await running.catalogue.read(lambda connection: connection.execute(select(table)).all()))


async def test_what_is_locked_keeps_its_row_whatever_the_policy_says(tmp_path: Path, locking: StorageSettings) -> None:
    async with Recording(tmp_path, locking).opened() as running:
        rows = await recorded(running)
        await retention(running, locking, max_size_bytes=1).round()
        assert (await count(running, recording), await count(running, garbage)) == (len(rows), 0)
        # The same policy without the lock would have taken all but the newest.
        task = retention(running, replace(locking, object_lock="off", lock_days=0))
        await task.round()
        assert await count(running, recording) == 0
        assert task.state.waiting_garbage == len(rows)


async def test_a_hold_becomes_a_legal_hold_and_ends_with_it(
    tmp_path: Path, locking: StorageSettings, s3: SeaweedServer
) -> None:
    async with Recording(tmp_path, locking).opened() as running:
        rows = await recorded(running)
        span = Span(rows[0].started_us + SECOND_US, rows[0].started_us + 2 * SECOND_US)
        new = NewHold(REF.camera_id, span, "a case", None, None)
        held = await running.catalogue.write(place_hold, new, "lan", now_us())
        task = retention(running, locking)
        await task.round()
        assert legal_holds(s3, locking, rows) == [True, *[False] * (len(rows) - 1)]
        assert await count(running, legal_hold) == 1
        await running.catalogue.write(release_hold, held.hold_id, "lan", "closed", now_us())
        await task.round()
        assert legal_holds(s3, locking, rows) == [False] * len(rows)
        assert await count(running, legal_hold) == 0


def legal_holds(s3: SeaweedServer, storage: StorageSettings, rows: list[Any]) -> list[bool]:
    return [has_legal_hold(s3, storage, row) for row in rows]


def has_legal_hold(s3: SeaweedServer, storage: StorageSettings, row: Any) -> bool:
    try:
        return bool(s3.client().is_object_legal_hold_enabled(storage.bucket, row.object_key, row.version_id))
    except S3Error as error:
        if error.code != "NoSuchObjectLegalHold":  # SeaweedFS: none was ever set
            raise
        return False
