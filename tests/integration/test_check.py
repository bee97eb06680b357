"""`mediasrv check` on a real S3 server: finds each disagreement that was planted, and repairs what is safe."""

from __future__ import annotations

import io
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from load_tests.faulting.tampering import HARMS, bit_flips
from load_tests.seaweed import SeaweedServer
from mediasrv.catalogue import footage_queries
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.catalogue.tables import data_key, gap, garbage, recording
from mediasrv.check import Checker, Report, SpoolContents, read_spool
from mediasrv.checking.marks import Marks
from mediasrv.clock import SECOND_US, SystemClock, from_us, to_us
from mediasrv.errors import Conflict
from mediasrv.media.access_unit import Session
from mediasrv.retention import RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.security.head_witness import HeadWitness, list_copies
from mediasrv.settings import RetentionSettings, SpoolSettings, StorageSettings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import Head, ObjectStore, crc32c_of
from mediasrv.storage.sealing import Descriptor
from mediasrv.storage.spool import Spool
from tests.archive import NODE_ID, Archive, Sealed
from tests.clocks import SimulatedClock
from tests.unit.media.streams import REF, STARTED_US, cut, video_units

NO_SPOOL = SpoolContents(frozenset(), frozenset(), ())


@dataclass
class Site:
    """An archive on S3, an hour after it was made."""

    archive: Archive
    store: ObjectStore
    made: list[Sealed]

    async def check(
        self,
        *,
        repair: bool = False,
        spool: SpoolContents = NO_SPOOL,
        whole: float = 0.0,
        opening: bool = True,
        **more: Any,
    ) -> Report:
        archive = self.archive
        log = AccessLog(archive.catalogue, archive.clock)
        retention = RetentionTask(
            archive.catalogue, self.store, archive.key_bucket, lambda: spool.key_ids, log, archive.clock,
            RetentionSettings(), Defaults.of(RetentionSettings(), StorageSettings()),
        )  # fmt: skip
        identities = [archive.identity] if whole and opening else []
        footage = Footage(self.store, None, KeyRing(identities, CatalogueKeys(archive.catalogue), archive.clock, 0.0))
        checker = Checker(
            archive.catalogue, self.store, footage, archive.key_bucket, spool, archive.clock, retention.sweep
        )
        try:
            return await checker.run(repair=repair, whole=whole, **more)
        finally:
            footage.close()

    async def found(self, *, repair: bool = False) -> list[tuple[str, bool]]:
        return [(one.code, one.repaired) for one in (await self.check(repair=repair)).findings]

    async def is_repaired(self, code: str) -> bool:
        """Finds exactly `code` and repairs it, and then finds nothing."""
        assert await self.found() == [(code, False)]
        assert await self.found(repair=True) == [(code, True)]
        return await self.found() == []

    async def is_only_reported(self, code: str) -> bool:
        assert await self.found(repair=True) == [(code, False)]
        return await self.found() == [(code, False)]


@pytest.fixture
async def site(tmp_path: Path, storage: StorageSettings, each_database: None) -> AsyncIterator[Site]:
    clock = SimulatedClock(time.time_ns() // 1000 + 3600 * SECOND_US)
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        archive = Archive(tmp_path, store, storage.key_bucket, clock)
        await archive.register()
        made = await archive.record(video_units(Session("one", REF, 1, STARTED_US, 0.0), 40))
        yield Site(archive, store, made)
        archive.catalogue.close()


async def test_what_agrees_gives_no_finding(site: Site) -> None:
    report = await site.check()
    assert (report.findings, report.is_clean) == ([], True)
    assert (report.rows, report.objects, report.keys) == (4, 4, 1)


async def test_a_copied_head_of_the_access_log_is_no_orphan(site: Site) -> None:
    archive = site.archive
    await AccessLog(archive.catalogue, archive.clock).append(Event("login", "session"))
    await HeadWitness(
        archive.catalogue, site.store, NODE_ID, archive.node_key.sign, archive.clock, 60.0, StorageSettings()
    ).copy_head()
    report = await site.check(repair=True)
    assert (report.findings, report.objects) == ([], 4)
    assert len(await list_copies(site.store)) == 1


async def test_a_missing_object_is_reported(site: Site) -> None:
    await site.store.delete(site.made[1].header.object_key)
    assert await site.is_only_reported("object_missing")


async def test_the_last_object_missing_is_reported(site: Site) -> None:
    await site.store.delete(site.made[-1].header.object_key)
    assert await site.is_only_reported("object_missing")


@pytest.mark.parametrize("cut_bytes", [0, 1])
async def test_an_altered_object_is_reported(site: Site, cut_bytes: int) -> None:
    one = site.made[2]
    altered = one.body[:500] + bytes([one.body[500] ^ 1]) + one.body[501 : len(one.body) - cut_bytes]
    await site.store.delete(one.header.object_key)
    await site.store.put(one.header.object_key, [altered], crc32c_of([altered]))
    assert await site.is_only_reported("object_altered")


async def test_an_orphan_gets_its_row_back(site: Site) -> None:
    one = site.made[1]
    before = await _row(site, one)
    await site.archive.catalogue.write(_drop_row, one.header.object_id)
    assert await site.is_repaired("object_orphaned")
    after = await _row(site, one)
    assert after.status == "late"
    for name in before._fields:
        if name not in ("status", "committed_at"):
            assert getattr(after, name) == getattr(before, name)


async def _row(site: Site, one: Sealed) -> object:
    query = select(recording).where(recording.c.object_id == one.header.object_id)
    return await site.archive.catalogue.read(lambda connection: connection.execute(query).one())


def _drop_row(connection: Connection, object_id: str) -> None:
    connection.execute(delete(recording).where(recording.c.object_id == object_id))


async def test_an_orphan_gets_its_row_and_its_key_back(site: Site) -> None:
    def forget(connection: Connection) -> None:
        connection.execute(delete(recording))
        connection.execute(delete(data_key))

    await site.archive.catalogue.write(forget)
    assert [code for code, _ in await site.found()] == ["object_orphaned"] * 4
    assert await site.found(repair=True) == [("object_orphaned", True)] * 4
    assert await site.found() == []


async def test_an_orphan_whose_key_was_destroyed_is_only_reported(site: Site) -> None:
    def forget(connection: Connection) -> None:
        connection.execute(delete(recording))
        connection.execute(update(data_key).values(record=None, destroyed_at=from_us(STARTED_US)))

    await site.archive.catalogue.write(forget)
    assert await site.found(repair=True) == [("object_orphaned", False)] * 4


async def test_an_orphan_that_somebody_else_made_is_only_reported(site: Site) -> None:
    one = site.made[1]
    await site.archive.catalogue.write(_drop_row, one.header.object_id)
    forged = bytearray(one.body)
    forged[-80] ^= 1
    await site.store.delete(one.header.object_key)
    await site.store.put(one.header.object_key, [bytes(forged)], crc32c_of([bytes(forged)]))
    assert await site.is_only_reported("object_orphaned")


@pytest.mark.parametrize("content", [b"", b"something", b"MSRVOBJ1\x00\x00\x00\x02{}"])
async def test_what_is_no_recording_object_is_only_reported(site: Site, content: bytes) -> None:
    await site.store.put("cell-1/stray", [content], crc32c_of([content]))
    assert await site.is_only_reported("object_orphaned")


async def test_a_young_object_is_no_orphan(site: Site) -> None:
    await site.archive.catalogue.write(_drop_row, site.made[1].header.object_id)
    site.archive.clock.advance(-3600)
    assert await site.found() == []


async def test_an_object_that_waits_in_the_spool_is_no_orphan(site: Site) -> None:
    one = site.made[1]
    await site.archive.catalogue.write(_drop_row, one.header.object_id)
    spool = SpoolContents(frozenset({one.header.object_id}), frozenset({one.header.key_id}), ())
    assert (await site.check(repair=True, spool=spool)).findings == []


async def test_garbage_that_was_left_is_deleted(site: Site) -> None:
    one = site.made[0]
    await site.archive.catalogue.write(
        footage_queries.mark_garbage, [(one.header.object_id, "age")], site.archive.clock.wall_us() - 3600 * SECOND_US
    )
    assert await site.is_repaired("garbage_pending")
    assert await site.store.head(one.header.object_key) is None
    query = select(garbage)
    assert await site.archive.catalogue.read(lambda connection: connection.execute(query).all()) == []


async def test_fresh_garbage_is_retentions_business(site: Site) -> None:
    one = site.made[0]
    await site.archive.catalogue.write(
        footage_queries.mark_garbage, [(one.header.object_id, "age")], site.archive.clock.wall_us()
    )
    assert await site.found(repair=True) == []


async def test_a_key_that_only_the_catalogue_has_is_put_back(site: Site) -> None:
    record = next(iter(site.archive.keys.values())).record
    await site.store.delete(record.bucket_key, bucket=site.archive.key_bucket)
    assert await site.is_repaired("key_missing")
    assert await site.store.get(record.bucket_key, bucket=site.archive.key_bucket) == record.to_bytes()


async def test_a_destroyed_key_that_recordings_need_is_restored_from_the_bucket(site: Site) -> None:
    await site.archive.catalogue.write(_destroy_keys)
    assert await site.is_repaired("key_missing")


async def test_a_key_that_is_in_neither_place_is_reported(site: Site) -> None:
    record = next(iter(site.archive.keys.values())).record
    await site.archive.catalogue.write(_destroy_keys)
    await site.store.delete(record.bucket_key, bucket=site.archive.key_bucket)
    assert await site.is_only_reported("key_missing")


def _destroy_keys(connection: Connection) -> None:
    connection.execute(update(data_key).values(record=None, destroyed_at=from_us(STARTED_US)))


async def test_a_destroyed_key_that_the_bucket_kept_is_deleted(site: Site) -> None:
    for one in site.made:
        await site.archive.catalogue.write(_drop_row, one.header.object_id)
        await site.store.delete(one.header.object_key)
    await site.archive.catalogue.write(_destroy_keys)
    assert await site.is_repaired("key_leftover")


async def test_a_key_that_nothing_needs_is_destroyed(site: Site) -> None:
    for one in site.made:
        await site.archive.catalogue.write(_drop_row, one.header.object_id)
        await site.store.delete(one.header.object_key)
    assert await site.is_repaired("key_unused")
    record = next(iter(site.archive.keys.values())).record
    assert await site.store.head(record.bucket_key, bucket=site.archive.key_bucket) is None


async def test_a_key_that_nobody_knows_is_deleted(site: Site) -> None:
    await site.store.put(
        "cell-1/gate-9/main/" + "ab" * 16, [b"key"], crc32c_of([b"key"]), bucket=site.archive.key_bucket
    )
    assert await site.is_repaired("key_unused")


async def test_a_gap_over_footage_is_cut_to_what_has_none(site: Site) -> None:
    first, last = site.made[0].row, site.made[-1].row
    await site.archive.catalogue.write(_insert_gap, first.started_us - 5 * SECOND_US, last.ended_us + 5 * SECOND_US)
    assert await site.is_repaired("gap_overlaps")
    query = select(gap).order_by(gap.c.started_at)
    rows = await site.archive.catalogue.read(lambda connection: connection.execute(query).all())
    assert [(to_us(row.started_at), to_us(row.ended_at)) for row in rows] == [
        (first.started_us - 5 * SECOND_US, first.started_us),
        (last.ended_us, last.ended_us + 5 * SECOND_US),
    ]


async def test_what_is_cut_out_of_a_gap_has_no_seams(site: Site) -> None:
    """Objects of one stream follow each other to within a quarter of a second: what lies between is no gap."""
    rows = [one.row for one in site.made]
    ended_us = rows[0].ended_us - 100_000
    await site.archive.catalogue.write(_end_row, site.made[0].header.object_id, ended_us)
    await site.archive.catalogue.write(_insert_gap, rows[0].started_us, rows[-1].ended_us + 5 * SECOND_US)
    await site.check(repair=True)
    query = select(gap).order_by(gap.c.started_at)
    left = await site.archive.catalogue.read(lambda connection: connection.execute(query).all())
    assert [to_us(row.started_at) for row in left] == [rows[-1].ended_us]


async def test_an_open_gap_over_footage_is_only_reported(site: Site) -> None:
    await site.archive.catalogue.write(_insert_gap, site.made[2].row.started_us, None)
    assert await site.is_only_reported("gap_overlaps")


async def test_a_gap_beside_footage_is_right(site: Site) -> None:
    last = site.made[-1].row
    await site.archive.catalogue.write(_insert_gap, last.ended_us - 40_000, last.ended_us + SECOND_US)
    assert await site.found() == []


def _end_row(connection: Connection, object_id: str, ended_us: int) -> None:
    connection.execute(update(recording).where(recording.c.object_id == object_id).values(ended_at=from_us(ended_us)))


def _insert_gap(connection: Connection, start_us: int, end_us: int | None) -> None:
    ended_at = None if end_us is None else from_us(end_us)
    values = {"camera_id": REF.camera_id, "stream": str(REF.stream), "cause": "camera_lost"}
    connection.execute(insert(gap).values(started_at=from_us(start_us), ended_at=ended_at, **values))


async def test_a_spool_is_read_beside_its_owner(tmp_path: Path, site: Site) -> None:
    spool = Spool(tmp_path / "spool", SpoolSettings(), SystemClock())
    await spool.open()
    header = site.made[0].header
    spool.begin(header, next(iter(site.archive.keys.values())).record)
    part = cut(video_units(Session("two", REF, 1, STARTED_US, 0.0), 2))[0]
    spool.append(header.object_id, 0, Descriptor.of_part(part).pack(), part.fragment)
    await spool.flush()
    contents = read_spool(tmp_path / "spool")
    assert contents == SpoolContents(frozenset({header.object_id}), frozenset({header.key_id}), ())
    await spool.close()
    assert read_spool(tmp_path / "none") == NO_SPOOL


# --- what only reading finds ---------------------------------------------------------------------


def overwrite(s3: SeaweedServer, storage: StorageSettings, key: str, body: bytes) -> None:
    """As somebody does who has write access and a tool of their own: without a checksum."""
    s3.client().put_object(storage.bucket, key, io.BytesIO(body), len(body))


async def test_one_bit_that_changed_is_found_wherever_it_is(
    site: Site, s3: SeaweedServer, storage: StorageSettings
) -> None:
    one = site.made[1]
    for region, body in bit_flips(one.body, random.Random(1)).items():
        overwrite(s3, storage, one.header.object_key, body)
        for report in (await site.check(), await site.check(whole=True), await site.check(whole=True, opening=False)):
            found = [(found.code, found.subject) for found in report.findings]
            assert found == [("object_altered", one.header.object_key)], region


async def test_what_a_forger_puts_in_an_objects_place_is_found(
    site: Site, s3: SeaweedServer, storage: StorageSettings
) -> None:
    one = site.made[2]
    for name, harm in HARMS.items():
        overwrite(s3, storage, one.header.object_key, harm(one.body, random.Random(name)))
        found = [(found.code, found.subject) for found in (await site.check(whole=True)).findings]
        assert found == [("object_altered", one.header.object_key)], name


async def test_other_footage_with_the_same_checksum_is_found_by_opening_it_alone(
    site: Site, s3: SeaweedServer, storage: StorageSettings
) -> None:
    one = site.made[0]
    body = HARMS["same checksum"](one.body, random.Random(1))
    assert body != one.body
    assert crc32c_of([body]) == one.row.crc32c
    overwrite(s3, storage, one.header.object_key, body)
    assert (await site.check()).findings == []
    assert (await site.check(whole=True, opening=False)).findings == []
    (found,) = (await site.check(whole=True)).findings
    assert (found.code, found.subject) == ("object_altered", one.header.object_key)
    assert "part_not_opened" in found.sentence


async def test_objects_that_lie_in_each_others_place_are_found(
    site: Site, s3: SeaweedServer, storage: StorageSettings
) -> None:
    one, other = site.made[0], site.made[1]
    overwrite(s3, storage, one.header.object_key, other.body)
    overwrite(s3, storage, other.header.object_key, one.body)
    found = [(found.code, found.subject) for found in (await site.check()).findings]
    assert sorted(found) == [("object_altered", one.header.object_key), ("object_altered", other.header.object_key)]


async def test_an_object_that_is_replayed_under_another_key_gets_no_row(
    site: Site, s3: SeaweedServer, storage: StorageSettings
) -> None:
    one = site.made[0]
    overwrite(s3, storage, replace(one.header, seq=99).object_key, one.body)
    assert await site.is_only_reported("object_orphaned")


class CutOff(Exception):
    """Somebody pulls the plug."""


async def test_a_check_that_was_cut_off_goes_on_where_it_was(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediasrv.check._PAGE", 1)
    await site.store.delete(site.made[0].header.object_key)
    marks = Marks(tmp_path / "check.json", {"repair": False})
    seen: list[int] = []

    def tell(done: int, total: int, findings: int) -> None:
        seen.append(done)
        if done == 2:
            raise CutOff

    with pytest.raises(CutOff):
        await site.check(marks=marks, tell=tell)
    with pytest.raises(Conflict) as other:
        await site.check(marks=Marks(tmp_path / "check.json", {"repair": True}), resume=True)
    assert other.value.code == "nothing_to_resume"

    looked_at: list[str] = []
    head = site.store.head

    async def watched(key: str, **more: Any) -> Head | None:
        looked_at.append(key)
        return await head(key, **more)

    monkeypatch.setattr(site.store, "head", watched)
    report = await site.check(marks=marks, resume=True)

    assert [one.code for one in report.findings] == ["object_missing"], "what was found before is forgotten"
    assert site.made[0].header.object_key not in looked_at, "it began anew"
    assert (report.rows, report.objects) == (4, 3)
    with pytest.raises(Conflict):
        marks.read()


async def test_a_sample_reads_some_of_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    async def note(_checker: Checker, row: StoredObject, _crc32c: int) -> None:
        read.append(row.object_id)

    monkeypatch.setattr(Checker, "_read_whole", note)
    for share, least, most in ((0.0, 0, 0), (0.5, 20, 60), (1.0, 80, 80)):
        read.clear()
        for _ in range(20):
            await site.check(whole=share)
        assert least <= len(read) <= most
