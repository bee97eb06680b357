"""Reading footage out of a real bucket: a valid object in the wrong place, lost keys, tampering in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from load_tests.seaweed import SeaweedServer
from mediasrv.clock import SECOND_US
from mediasrv.errors import FootageError, FootageRefused, KeyUnavailable, StorageError
from mediasrv.settings import StorageSettings
from mediasrv.storage.footage import KeyRing
from mediasrv.storage.keys import Identity, KeyRecord, create_data_key
from mediasrv.storage.object_store import crc32c_of
from tests.clocks import SimulatedClock
from tests.integration.recording import REF, Recording, Row, Running, new_session, now_us
from tests.peers.open_object import open_object
from tests.unit.media.streams import video_units
from tests.unit.storage.sealed import NODE


async def record(running: Running, seconds: float = 8.0) -> list[Row]:
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    running.recorder.start(REF, 1)
    await running.feed(session, video_units(session, seconds))
    await running.all_stored()
    return await running.rows()


async def overwrite(running: Running, row: Row, data: bytes) -> None:
    await running.store.delete(row.object_key)
    await running.store.put(row.object_key, [data], crc32c_of([data]))


async def test_a_valid_object_in_the_place_of_another_is_refused(tmp_path: Path, storage: StorageSettings) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        first, second = await record(running)
        data = await running.store.get(second.object_key)
        await overwrite(running, first, data)
        with pytest.raises(FootageRefused) as refused:
            await running.footage.index(replace(first, size_bytes=len(data)))
        assert refused.value.code == "object_swapped"


async def test_a_part_changed_in_the_bucket_is_refused_and_the_others_play(
    tmp_path: Path, storage: StorageSettings
) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        row, _ = await record(running)
        index = await running.footage.index(row)
        data = bytearray(await running.store.get(row.object_key))
        data[index.entries[2].offset + 5] ^= 1
        await overwrite(running, row, bytes(data))
        with pytest.raises(FootageRefused) as refused:
            await running.footage.parts(index, 0, 4)
        assert refused.value.code == "part_not_opened"
        assert len(await running.footage.parts(index, 3, 5)) == 3


async def test_an_object_cut_in_the_bucket_is_refused(tmp_path: Path, storage: StorageSettings) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        row, _ = await record(running)
        await overwrite(running, row, (await running.store.get(row.object_key))[:-100])
        with pytest.raises(FootageRefused) as refused:
            await running.footage.index(row)
        assert refused.value.code == "object_truncated"


async def test_a_missing_object_is_a_storage_error_and_not_a_refusal(tmp_path: Path, storage: StorageSettings) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        row, _ = await record(running)
        await running.store.delete(row.object_key)
        with pytest.raises(StorageError) as missing:
            await running.footage.index(row)
        assert missing.value.code == "object_missing"


async def test_the_stand_alone_reader_opens_what_lies_in_the_buckets(
    tmp_path: Path, storage: StorageSettings, s3: SeaweedServer
) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        for row in await record(running):
            index = await running.footage.index(row)
            header = index.header
            data = await running.store.get(row.object_key)
            record_key = f"{header.cell}/{header.camera}/{header.stream}/{header.key_id}"
            key_record = await running.store.get(record_key, bucket=storage.key_bucket)
            public = await running.footage._keyring.node_keys("node-1")
            document, parts = open_object(data, key_record, running.identity._private, public["node-1"])
            assert document["camera"] == REF.camera_id
            assert [plain for _, plain in parts] == await running.footage.parts(index, 0, len(parts) - 1)


async def test_footage_that_left_the_spool_says_so(tmp_path: Path, storage: StorageSettings) -> None:
    async with Recording(tmp_path, storage).opened() as running:
        session = new_session("a" * 16, now_us() - 100 * SECOND_US)
        running.recorder.start(REF, 1)
        await running.feed(session, video_units(session, 3.0), end=None)
        await running.spool.flush()
        (waiting,) = running.footage.spooled(REF)
        assert running.footage.spooled(REF, (0, 1)) == []
        running.mountpoint.end_session("camera_lost")
        await running.all_stored()
        for path in (tmp_path / "spool").glob("*.log"):
            path.unlink()
        with pytest.raises(FootageError) as moved:
            await running.footage.parts(waiting, 0, 1)
        assert moved.value.code == "footage_moved"


class Keys:
    """A catalogue of one key that counts how often it is asked."""

    def __init__(self, record: KeyRecord | None, node_key: bytes | None = NODE.public) -> None:
        self.record = record
        self.public = node_key
        self.asked = 0

    async def node_key(self, node_id: str) -> bytes | None:
        return self.public

    async def key_record(self, key_id: str) -> bytes | None:
        self.asked += 1
        return None if self.record is None else self.record.to_bytes()


async def test_a_data_key_is_kept_for_a_while_and_then_asked_for_again() -> None:
    identity = Identity.generate()
    key = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, [identity.recipient])
    keys, clock = Keys(key.record), SimulatedClock(0)
    ring = KeyRing([identity], keys, clock, 300.0)
    for _ in range(3):
        assert await ring.data_key(key.key_id) == key.secret
    assert keys.asked == 1
    clock.advance(301.0)
    keys.record = None
    with pytest.raises(KeyUnavailable):
        await ring.data_key(key.key_id)


async def test_a_key_record_of_an_unregistered_node_is_refused() -> None:
    identity = Identity.generate()
    key = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, [identity.recipient])
    for public in (None, bytes(32)):
        with pytest.raises(FootageRefused):
            await KeyRing([identity], Keys(key.record, public), SimulatedClock(0), 300.0).data_key(key.key_id)
