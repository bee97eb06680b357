"""What mediasrv needs of an S3 server, tried at each that can be had here, and what it does where one lacks it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from load_tests.faulting.storage_proxy import Fault, FaultProxy
from load_tests.seaweed import SeaweedServer
from mediasrv.errors import SettingsError, StorageConflict, StorageError
from mediasrv.settings import StorageSettings
from mediasrv.storage.abilities import PROBE_PREFIX, Ability, find_lacking, prepare
from mediasrv.storage.object_store import ObjectStore, crc32c_of
from tests.integration.other_s3 import OtherS3, moto, rclone
from tests.integration.s3 import storage_settings

BODY = [os.urandom(200_000), os.urandom(17), os.urandom(300_000)]
WHOLE = b"".join(BODY)
LACKS: dict[str, set[Ability]] = {"seaweed": set(), "moto": {Ability.CHECKSUMS}}


@pytest.fixture(scope="module")
def other() -> Iterator[OtherS3]:
    with moto() as server:
        yield server


@pytest.fixture(params=list(LACKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(kind: str, s3: SeaweedServer, other: OtherS3) -> StorageSettings:
    return storage_settings(s3 if kind == "seaweed" else other, tolerate=("checksums",))


@pytest_asyncio.fixture
async def store(settings: StorageSettings) -> AsyncIterator[ObjectStore]:
    """As the server has it after its start."""
    async with ObjectStore(settings) as store:
        await store.ensure_buckets()
        await prepare(store, settings.tolerate)
        yield store


async def test_what_it_lacks_is_found_and_nothing_is_left_of_the_trial(
    store: ObjectStore, kind: str, settings: StorageSettings
) -> None:
    async with ObjectStore(settings) as fresh:
        assert await find_lacking(fresh) == LACKS[kind]
    assert [one.key async for one in store.list(PROBE_PREFIX)] == []


async def test_an_object_comes_back_whole_and_in_ranges(store: ObjectStore) -> None:
    await store.put("cell-1/gate-1/main/a", BODY, crc32c_of(BODY))
    assert await store.get("cell-1/gate-1/main/a") == WHOLE
    assert await store.get_range("cell-1/gate-1/main/a", 199_990, 40) == WHOLE[199_990:200_030]
    head = await store.head("cell-1/gate-1/main/a")
    assert head is not None
    assert head.size_bytes == len(WHOLE)


async def test_a_body_that_does_not_match_its_checksum_is_never_taken_for_stored(store: ObjectStore) -> None:
    with pytest.raises(StorageError):
        await store.put("a", BODY, crc32c_of([b"other"]))


async def test_a_repeated_put_is_success_and_another_content_a_conflict(store: ObjectStore) -> None:
    await store.put("a", BODY, crc32c_of(BODY))
    await store.put("a", BODY, crc32c_of(BODY))
    with pytest.raises(StorageConflict):
        await store.put("a", [b"other"], crc32c_of([b"other"]))
    assert await store.get("a") == WHOLE


async def test_listing_is_in_order_and_goes_by_prefix(store: ObjectStore) -> None:
    for key in ("x/2", "x/10", "y/1", "x/1"):
        await store.put(key, [b"x"], crc32c_of([b"x"]))
    assert [item.key async for item in store.list("x/")] == ["x/1", "x/10", "x/2"]


async def test_what_is_deleted_is_gone_and_deleting_it_again_is_success(store: ObjectStore) -> None:
    await store.put("a", BODY, crc32c_of(BODY))
    await store.delete("a")
    assert await store.head("a") is None
    await store.delete("a")
    with pytest.raises(StorageError) as missing:
        await store.get_range("a", 0, 10)
    assert missing.value.code == "object_missing"


# --- stores that lack something --------------------------------------------------------------------


async def test_a_store_that_checks_no_checksums_is_refused_by_name(other: OtherS3) -> None:
    settings = storage_settings(other)
    async with ObjectStore(settings) as store:
        await store.ensure_buckets()
        with pytest.raises(SettingsError) as refused:
            await prepare(store, settings.tolerate)
    assert refused.value.code == "storage_unfit"
    assert "checksums" in refused.value.sentence


async def test_a_store_that_says_checksums_back_and_overwrites_is_found_out(tmp_path: Path) -> None:
    with rclone(tmp_path) as server:
        settings = storage_settings(server)
        (tmp_path / settings.bucket).mkdir()
        async with ObjectStore(settings) as store:
            assert await find_lacking(store) >= {Ability.CHECKSUMS, Ability.CONDITIONAL_WRITES}


async def test_where_it_is_tolerated_nothing_is_overwritten_and_each_object_is_read_back(tmp_path: Path) -> None:
    tolerated = ("checksums", "conditional_writes")
    with rclone(tmp_path) as server:
        settings = storage_settings(server, tolerate=tolerated)
        (tmp_path / settings.bucket).mkdir()
        async with ObjectStore(settings) as store:
            store.reads_back = store.looks_first = True
            await store.put("a/b", BODY, crc32c_of(BODY))
            await store.put("a/b", BODY, crc32c_of(BODY))
            with pytest.raises(StorageConflict):
                await store.put("a/b", [b"other"], crc32c_of([b"other"]))
            with pytest.raises(StorageError):
                await store.put("a/c", BODY, crc32c_of([b"other"]))
        assert (tmp_path / settings.bucket / "a" / "b").read_bytes() == WHOLE


async def test_a_store_that_does_not_answer_is_not_judged(storage: StorageSettings, s3: SeaweedServer) -> None:
    proxy = FaultProxy(s3.endpoint)
    await proxy.start()
    try:
        async with ObjectStore(_by(proxy, storage)) as store:
            await store.ensure_buckets()
            await proxy.set(Fault.REFUSE)
            with pytest.raises(StorageError) as away:
                await find_lacking(store)
            assert away.value.code == "storage_unreachable"
    finally:
        await proxy.stop()


# --- lines and logins ------------------------------------------------------------------------------


async def test_uploads_together_keep_to_their_rate(storage: StorageSettings) -> None:
    async with ObjectStore(_with(storage, upload_kbps=8000)) as store:
        await store.ensure_buckets()
        started_s = time.monotonic()
        await asyncio.gather(*(store.put(str(number), BODY, crc32c_of(BODY)) for number in range(4)))
        took_s = time.monotonic() - started_s
    # 2 MB at 1 MB/s; the last pieces are sent without a wait behind them.
    assert 1.2 < took_s < 4


async def test_an_object_may_take_longer_than_a_step(storage: StorageSettings) -> None:
    async with ObjectStore(_with(storage, upload_kbps=2000, request_timeout_s=0.7)) as store:
        await store.ensure_buckets()
        started_s = time.monotonic()
        await store.put("a", BODY, crc32c_of(BODY))
        assert time.monotonic() - started_s > 1.0
        assert await store.get("a") == WHOLE


async def test_a_store_that_takes_nothing_more_is_given_up(storage: StorageSettings, s3: SeaweedServer) -> None:
    proxy = FaultProxy(s3.endpoint)
    await proxy.start()
    try:
        async with ObjectStore(_with(_by(proxy, storage), request_timeout_s=0.5)) as store:
            await store.ensure_buckets()
            await proxy.set(Fault.HANG)
            with pytest.raises(StorageError) as late:
                await store.put("a", BODY, crc32c_of(BODY))
            assert late.value.code == "storage_timeout"
    finally:
        await proxy.stop()


async def test_exchanged_credentials_are_read_anew(storage: StorageSettings, s3: SeaweedServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of yesterday")
    async with ObjectStore(_with(storage, secret_key=f"file:{secret}")) as store:
        with pytest.raises(StorageError) as refused:
            await store.ensure_buckets()
        assert refused.value.code == "storage_refused"
        secret.write_text(s3.secret_key)
        with pytest.raises(StorageError):  # the refusal is what has them read
            await store.ensure_buckets()
        await store.ensure_buckets()
        await store.put("a", BODY, crc32c_of(BODY))
        assert await store.get("a") == WHOLE


def _with(settings: StorageSettings, **changes: object) -> StorageSettings:
    return replace(settings, **changes)  # type: ignore[arg-type]


def _by(proxy: FaultProxy, settings: StorageSettings) -> StorageSettings:
    return _with(settings, endpoint=proxy.endpoint)
