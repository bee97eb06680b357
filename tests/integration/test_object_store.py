"""The object store against a real S3 server, and against one that fails in the ways servers fail."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from load_tests.seaweed import SeaweedServer
from mediasrv.errors import SettingsError, StorageError
from mediasrv.settings import StorageSettings
from mediasrv.storage.object_store import ObjectStore, crc32c_of

BODY = [os.urandom(100_000), os.urandom(17), os.urandom(300_000)]
WHOLE = b"".join(BODY)


async def test_versions_are_told_listed_and_deleted_one_by_one(storage: StorageSettings, s3: SeaweedServer) -> None:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        s3.client().set_bucket_versioning(storage.bucket, VersioningConfig(ENABLED))
        first = (await store.put("a", BODY, crc32c_of(BODY))).version_id
        assert first is not None
        assert (await store.put("a", BODY, crc32c_of(BODY))).version_id == first
        assert [(item.key, item.version_id) async for item in store.list()] == [("a", first)]
        await store.delete("a", first)
        assert [item async for item in store.list()] == []
        await store.delete("a", first)


@pytest.mark.parametrize("reads_back", [False, True])
async def test_what_is_replaced_is_gone(storage: StorageSettings, reads_back: bool) -> None:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        store.reads_back = reads_back
        for body in (b"first", b"second"):
            await store.replace("k", body, crc32c_of([body]), bucket=storage.key_bucket)
            assert await store.get("k", bucket=storage.key_bucket) == body
        assert [(item.key, item.version_id) async for item in store.list(bucket=storage.key_bucket)] == [("k", None)]


async def test_a_replacement_that_was_not_taken_as_it_was_given_is_said(storage: StorageSettings) -> None:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        with pytest.raises(StorageError):
            await store.replace("k", b"first", crc32c_of([b"other"]), bucket=storage.key_bucket)


async def test_listing_goes_beyond_one_page(storage: StorageSettings) -> None:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        for number in range(12):
            await store.put(f"x/{number:02d}", [b"x"], crc32c_of([b"x"]))
        await store.put("y/1", [b"y"], crc32c_of([b"y"]))
        assert [item.key async for item in store.list("x/")] == [f"x/{number:02d}" for number in range(12)]


async def test_a_key_bucket_with_versions_is_refused(storage: StorageSettings, s3: SeaweedServer) -> None:
    client = s3.client()
    client.make_bucket(storage.key_bucket)
    client.set_bucket_versioning(storage.key_bucket, VersioningConfig(ENABLED))
    async with ObjectStore(storage) as store:
        with pytest.raises(SettingsError) as refused:
            await store.ensure_buckets()
    assert refused.value.code == "key_bucket_keeps"


async def test_a_key_bucket_with_object_lock_is_refused(storage: StorageSettings, s3: SeaweedServer) -> None:
    s3.client().make_bucket(storage.key_bucket, object_lock=True)
    async with ObjectStore(storage) as store:
        with pytest.raises(SettingsError):
            await store.ensure_buckets()


async def test_wrong_credentials_are_named(storage: StorageSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "0123456789abcdef")
    async with ObjectStore(replace(storage, secret_key="env:WRONG")) as store:
        with pytest.raises(StorageError) as refused:
            await store.put("a", BODY, crc32c_of(BODY))
        assert refused.value.code == "storage_refused"
        with pytest.raises(StorageError) as refused:
            await store.ensure_buckets()
        assert refused.value.code == "storage_refused"
    assert "0123456789abcdef" not in str(refused.value)


async def test_an_object_that_ends_before_what_is_asked_for_is_cut_and_no_failing_store(
    storage: StorageSettings,
) -> None:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        await store.put("a", [b"short"], crc32c_of([b"short"]))
        for first in (0, 3, 5, 5000):
            with pytest.raises(StorageError) as cut:
                await store.get_range("a", first, 10)
            assert cut.value.code == "object_truncated"
