"""Retention on a real S3 server: versions, keys and Object Lock as storage really has them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, GOVERNANCE
from minio.deleteobjects import DeleteObject
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import VersioningConfig
from sqlalchemy import select

from mediasrv.catalogue.recordings import commit_recordings, put_data_key
from mediasrv.catalogue.tables import garbage, recording
from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import Session
from mediasrv.retention import RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.security.access_log import AccessLog
from mediasrv.security.receipts import Receipts
from mediasrv.settings import RetentionSettings, StorageSettings, read_secret
from mediasrv.storage.object_store import ObjectStore
from tests.archive import INCARNATION, NODE_ID, Archive
from tests.clocks import SimulatedClock
from tests.unit.media.streams import REF, STARTED_US, video_units

DAY_S = 86_400


def sdk(storage: StorageSettings) -> Minio:
    return Minio(
        storage.endpoint.removeprefix("http://"),
        access_key=read_secret(storage.access_key),
        secret_key=read_secret(storage.secret_key),
        secure=False,
    )


def versions(storage: StorageSettings, bucket: str) -> int:
    """All versions and delete markers that the bucket still has."""
    return len(list(sdk(storage).list_objects(bucket, recursive=True, include_version=True)))


@pytest.fixture
async def clock() -> SimulatedClock:
    # S3 refuses requests whose clock is far from its own.
    return SimulatedClock(int(datetime.now(UTC).timestamp()) * SECOND_US)


async def record(archive: Archive, store: ObjectStore) -> None:
    """Like `Archive.record`, with the version that storage gave."""
    for one in archive.seal(video_units(Session("one", REF, 1, STARTED_US, 0.0), 30)):
        key = next(iter(archive.keys.values()))
        await archive.catalogue.write(put_data_key, key.record, archive.clock.wall_us())
        put = await store.put(one.header.object_key, [one.body], one.row.crc32c)
        row = dataclasses.replace(one.row, version_id=put.version_id)
        await archive.catalogue.write(commit_recordings, [row], INCARNATION, archive.clock.wall_us())


def retention(archive: Archive, store: ObjectStore, storage: StorageSettings | None = None) -> RetentionTask:
    log = AccessLog(archive.catalogue, archive.clock)
    settings = RetentionSettings(max_age_days=1.0)
    defaults = Defaults.of(settings, storage or StorageSettings())
    receipts = Receipts(archive.catalogue, log, NODE_ID, archive.node_key.sign, archive.clock, 0.0, 30, "keys")
    return RetentionTask(
        archive.catalogue, store, archive.key_bucket, lambda: (), log, archive.clock, settings, defaults, receipts
    )


@pytest.fixture
async def archive(tmp_path: Path, storage: StorageSettings, clock: SimulatedClock) -> AsyncIterator[Archive]:
    async with ObjectStore(storage) as store:
        made = Archive(tmp_path, store, storage.key_bucket, clock)
        await made.register()
        yield made
        made.catalogue.close()


def store_of(archive: Archive) -> ObjectStore:
    assert isinstance(archive.store, ObjectStore)
    return archive.store


async def test_objects_and_their_key_go(archive: Archive, storage: StorageSettings) -> None:
    await store_of(archive).ensure_buckets()
    await archive.record(video_units(Session("one", REF, 1, STARTED_US, 0.0), 30))
    task = retention(archive, store_of(archive))
    await task.round()
    assert (task.state.deleted_objects, task.state.destroyed_keys) == (3, 1)
    assert [one async for one in store_of(archive).list()] == []
    assert [one async for one in store_of(archive).list(bucket=storage.key_bucket)] == []


async def test_of_a_bucket_with_versions_no_version_is_left(archive: Archive, storage: StorageSettings) -> None:
    await store_of(archive).ensure_buckets()
    sdk(storage).set_bucket_versioning(storage.bucket, VersioningConfig(ENABLED))
    await record(archive, store_of(archive))
    assert versions(storage, storage.bucket) == 3
    await retention(archive, store_of(archive)).round()
    assert versions(storage, storage.bucket) == 0


async def test_locked_objects_stay_garbage_until_storage_lets_them_go(
    archive: Archive, storage: StorageSettings
) -> None:
    client = sdk(storage)
    client.make_bucket(storage.bucket, object_lock=True)
    client.set_object_lock_config(storage.bucket, ObjectLockConfig(GOVERNANCE, 1, DAYS))
    await store_of(archive).ensure_buckets()
    await record(archive, store_of(archive))
    task = retention(archive, store_of(archive))
    await task.round()
    rows = await archive.catalogue.read(
        lambda connection: [len(connection.execute(select(table)).all()) for table in (recording, garbage)]
    )
    assert rows == [0, 3]
    assert task.state.waiting_garbage == 3
    assert (task.state.deleted_objects, task.state.destroyed_keys) == (0, 0)
    assert versions(storage, storage.bucket) == 3
    unlock(storage)


def unlock(storage: StorageSettings) -> None:
    """Deletes locked objects as only an administrator of the store may."""
    listed = sdk(storage).list_objects(storage.bucket, recursive=True, include_version=True)
    doomed = [DeleteObject(one.object_name or "", one.version_id) for one in listed]
    assert not list(sdk(storage).remove_objects(storage.bucket, doomed, bypass_governance_mode=True))
