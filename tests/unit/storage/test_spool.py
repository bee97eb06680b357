"""The spool: what was synced is there after any crash, whole and once; what cannot be kept is never silent."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mediasrv.errors import FootageError, SpoolFull, Unavailable
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import SpoolSettings
from mediasrv.storage import spool_log
from mediasrv.storage.keys import KeyRecord, create_data_key
from mediasrv.storage.sealing import Descriptor, Ended, ObjectHeader
from mediasrv.storage.spool import Spool, SpoolCondition, SpoolListener
from mediasrv.storage.spool_index import SpooledObject
from tests.clocks import SimulatedClock
from tests.unit.storage.sealed import HEADER, IDENTITY, NODE, STARTED_US

KEY: KeyRecord = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, [IDENTITY.recipient]).record
SETTINGS = SpoolSettings()


def header(number: int, camera: str = "gate-1") -> ObjectHeader:
    return replace(HEADER, object_id=f"{number:064x}", camera=camera, key_id=KEY.key_id, seq=number)


def descriptor(index: int) -> bytes:
    return Descriptor(1, 2, 12, 90_000, STARTED_US + index * 480_000, index * 43_200, 43_200).pack()


def sealed(number: int, index: int, size: int = 300) -> bytes:
    return f"{number}/{index} ".encode().ljust(size, b"\xee")


@dataclass
class Listener(SpoolListener):
    ended: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refuses: bool = False
    holding: set[str] = field(default_factory=set)

    async def held(self, items: Sequence[SpooledObject]) -> Collection[str]:
        return {item.object_id for item in items} & self.holding

    def on_ended(self, item: SpooledObject) -> None:
        self.ended.append(item.object_id)

    async def before_drop(self, item: SpooledObject) -> None:
        if self.refuses:
            raise Unavailable("not now")
        self.dropped.append(item.object_id)


@asynccontextmanager
async def opened(directory: Path, settings: SpoolSettings = SETTINGS) -> AsyncIterator[Spool]:
    """An open spool; the end of the block is a crash: nothing more is written."""
    spool = Spool(directory, settings, SimulatedClock(STARTED_US))
    spool.listener = Listener()
    await spool.open()
    try:
        yield spool
    finally:
        spool._queue.clear()
        await spool.close()


async def record(spool: Spool, number: int, parts: int, end: bool = True, size: int = 300) -> str:
    one = header(number)
    spool.begin(one, KEY)
    for index in range(parts):
        spool.append(one.object_id, index, descriptor(index), sealed(number, index, size))
    if end:
        spool.end(one.object_id, Ended.CLOSED)
    await spool.flush()
    return one.object_id


def only_file(directory: Path) -> Path:
    (number,) = spool_log.list_files(directory)
    return directory / spool_log.file_name(number)


def replace_files(directory: Path, path: Path, data: bytes) -> None:
    """One file with this content and nothing else."""
    shutil.rmtree(directory)
    directory.mkdir()
    path.write_bytes(data)


def listener(spool: Spool) -> Listener:
    assert isinstance(spool.listener, Listener)
    return spool.listener


async def test_parts_can_be_read_as_soon_as_they_are_synced_and_not_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 3, end=False)
        spool.append(object_id, 3, descriptor(3), sealed(1, 3))
        item = spool.get(object_id)
        assert item is not None
        assert await spool.read(item) == [sealed(1, index) for index in range(3)]
        await spool.flush()
        assert await spool.read(item, 2, 3) == [sealed(1, 2), sealed(1, 3)]
        assert item.span_us == (STARTED_US, STARTED_US + 4 * 480_000)


async def test_what_came_in_one_beat_is_synced_right_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, sync_interval_s=600.0)) as spool:
        object_id = await record(spool, 1, 1, end=False)
        item = spool.get(object_id)
        assert item is not None
        spool.append(object_id, 1, descriptor(1), sealed(1, 1))
        running = asyncio.create_task(spool.run())
        async with asyncio.timeout(10):
            while len(await spool.read(item)) < 2:
                pass  # the first tick is due at once
            spool.append(object_id, 2, descriptor(2), sealed(1, 2))
            spool.flush_soon()
            while len(await spool.read(item)) < 3:
                pass
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_object_is_offered_for_storage_only_when_its_end_is_durable(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 3, end=False)
        spool.end(object_id, Ended.CLOSED)
        assert listener(spool).ended == []
        await spool.flush()
        assert listener(spool).ended == [object_id]


async def test_a_crash_ends_an_open_object_as_recovered_and_keeps_a_closed_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        closed = await record(spool, 1, 3)
        cut_short = await record(spool, 2, 2, end=False)
        released = await record(spool, 3, 1)
        spool.release(released)
        await spool.flush()
        spool.append(cut_short, 2, descriptor(2), sealed(2, 2))
    async with opened(tmp_path) as spool:
        await spool.flush()
        found = {item.object_id: (item.parts, item.ended) for item in spool.objects()}
        assert found == {closed: (3, Ended.CLOSED), cut_short: (2, Ended.RECOVERED)}
        assert listener(spool).ended == [cut_short]
        for item in spool.objects():
            assert await spool.read(item) == [sealed(item.header.seq, index) for index in range(item.parts)]
            assert item.header == header(item.header.seq)
            assert item.key_record == KEY


async def test_a_tail_torn_at_any_byte_of_the_last_record_loses_that_record_alone(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    async with opened(whole) as spool:
        await record(spool, 1, 2, end=False)
        before = spool_log.list_files(whole)[-1]
        size = (whole / spool_log.file_name(before)).stat().st_size
        spool.append(header(1).object_id, 2, descriptor(2), sealed(1, 2, 60))
        await spool.flush()
    path = whole / spool_log.file_name(before)
    data = path.read_bytes()
    for length in range(size, len(data)):
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        (torn / path.name).write_bytes(data[:length])
        spool = Spool(torn, SETTINGS, SimulatedClock(STARTED_US))
        recovered = await spool.open()
        assert recovered.torn_bytes == length - size
        assert [item.parts for item in spool.objects()] == [2]
        assert (torn / path.name).stat().st_size == size
        await spool.close()


async def test_a_changed_byte_in_the_last_record_loses_that_record_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await record(spool, 1, 3, end=False)
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    for position in range(len(data) - 77 - 300, len(data), 7):
        altered = data.copy()
        altered[position] ^= 0x10
        replace_files(tmp_path, path, altered)
        async with opened(tmp_path) as spool:
            assert [item.parts for item in spool.objects()] == [2]


async def test_a_record_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await record(spool, 1, 1, end=False)
        spool._append(spool_log.Record(99, (b"of another time",)), 15)  # type: ignore[arg-type]
        spool.append(header(1).object_id, 1, descriptor(1), sealed(1, 1))
        await spool.flush()
    async with opened(tmp_path) as spool:
        assert [item.parts for item in spool.objects()] == [2]


async def test_files_go_oldest_first_when_all_that_began_in_them_is_released(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, file_bytes=2000)) as spool:
        ids = [await record(spool, number, 5) for number in range(4)]
        files = spool_log.list_files(tmp_path)
        assert len(files) > 4
        spool.release(ids[1])
        spool.release(ids[2])
        await spool.flush()
        await spool.keep_house()
        assert spool_log.list_files(tmp_path)[0] == files[0]
        spool.release(ids[0])
        await spool.flush()
        await spool.keep_house()
        first = spool.get(ids[3])
        assert first is not None
        assert spool_log.list_files(tmp_path)[0] == first.first_file
    async with opened(tmp_path) as spool:
        await spool.flush()
        assert [item.object_id for item in spool.objects()] == [ids[3]]
        assert await spool.read(spool.objects()[0]) == [sealed(3, index) for index in range(5)]


async def test_each_file_has_the_keys_of_the_objects_that_go_on_in_it(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, file_bytes=2000)) as spool:
        await record(spool, 1, 20)
        files = spool_log.list_files(tmp_path)
    assert len(files) > 2
    for number in files:
        kinds = [one.kind for one in spool_log.scan_file(tmp_path, number, newest=True).records]
        assert kinds.count(spool_log.RecordType.KEY) == 1
        assert kinds[0] == spool_log.RecordType.KEY


async def test_a_crash_while_files_are_deleted_brings_nothing_back(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    async with opened(tmp_path / "spool", replace(SETTINGS, file_bytes=2000)) as spool:
        for number in range(3):
            spool.release(await record(spool, number, 5))
        await spool.flush()
        files = spool_log.list_files(tmp_path / "spool")
    for already_gone in range(len(files)):
        shutil.copytree(tmp_path / "spool", kept)
        for number in files[:already_gone]:
            (kept / spool_log.file_name(number)).unlink()
        async with opened(kept) as spool:
            assert spool.objects() == []
        shutil.rmtree(kept)


class Disk:
    """Fails the writes or syncs of the spool as a disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.at_sync = False
        self._writev, self._fdatasync = os.writev, os.fdatasync
        monkeypatch.setattr(spool_log.os, "writev", self.writev)
        monkeypatch.setattr(spool_log.os, "fdatasync", self.fdatasync)

    def writev(self, descriptor: int, buffers: list[bytes]) -> int:
        if self.error is not None and not self.at_sync:
            self._writev(descriptor, [b"".join(buffers)[:100]])
            raise OSError(self.error, os.strerror(self.error))
        # Short writes are legal at any time.
        return self._writev(descriptor, [b"".join(buffers)[:5000]])

    def fdatasync(self, descriptor: int) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self._fdatasync(descriptor)


@pytest.mark.parametrize("file_bytes", [3000, 1 << 20])
@pytest.mark.parametrize("at_sync", [False, True])
@pytest.mark.parametrize(("error", "code"), [(errno.ENOSPC, "spool_full"), (errno.EIO, "spool_failed")])
async def test_a_failing_disk_is_said_and_loses_nothing_that_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_sync: bool, error: int, code: str, file_bytes: int
) -> None:
    disk = Disk(monkeypatch)
    settings = replace(SETTINGS, file_bytes=file_bytes, queue_bytes=4000)
    async with opened(tmp_path, settings) as spool:
        object_id = await record(spool, 1, 3, end=False)
        disk.error, disk.at_sync = error, at_sync
        taken = 3
        with pytest.raises(SpoolFull) as refused:  # noqa: PT012 - refused when the queue is full
            while True:
                spool.append(object_id, taken, descriptor(taken), sealed(1, taken))
                taken += 1
                await spool.flush()
        assert refused.value.code == code
        assert spool.state.condition is SpoolCondition.FAILING
        assert spool.state.reason_code == code
        item = spool.get(object_id)
        assert item is not None
        assert item.parts == 3
        disk.error = None
        spool.end(object_id, Ended.CLOSED)
        await spool.flush()
        assert spool.state.condition is SpoolCondition.OK
        assert spool.state.queued_bytes == 0
        assert await spool.read(item) == [sealed(1, index) for index in range(taken)]
    async with opened(tmp_path, settings) as spool:
        found = spool.get(object_id)
        assert found is not None
        assert await spool.read(found) == [sealed(1, index) for index in range(taken)]


async def test_the_budget_drops_the_oldest_objects_and_says_so_first(tmp_path: Path) -> None:
    settings = replace(SETTINGS, budget_bytes=6 << 20)
    async with opened(tmp_path, settings) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(9)]
        assert spool.state.condition is SpoolCondition.ALARM
        await spool.keep_house()
        await spool.flush()
        await spool.keep_house()
        assert spool.state.used_bytes <= settings.budget_bytes
        dropped = listener(spool).dropped
        assert dropped == ids[: len(dropped)]
        assert len(dropped) in range(3, 6)
        assert [item.object_id for item in spool.objects()] == ids[len(dropped) :]
    async with opened(tmp_path, settings) as spool:
        assert [item.object_id for item in spool.objects()] == ids[len(dropped) :]


async def keep_house(spool: Spool) -> None:
    """As long as it takes: what is carried on counts until its first copy is gone."""
    for _ in range(10):
        await spool.keep_house()
        await spool.flush()


async def test_the_budget_drops_what_is_held_last_and_it_survives_a_crash(tmp_path: Path) -> None:
    settings = replace(SETTINGS, budget_bytes=6 << 20)
    async with opened(tmp_path, settings) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(9)]
        listener(spool).holding = {ids[0], ids[2]}
        await keep_house(spool)
        assert spool.state.used_bytes <= settings.budget_bytes
        dropped = listener(spool).dropped
        assert dropped == [one for one in ids if one not in (ids[0], ids[2])][: len(dropped)]
        assert dropped
        left = [item.object_id for item in spool.objects()]
        assert set(left) == set(ids) - set(dropped)
        assert await _contents(spool, ids[0]) == [sealed(0, index, 500_000) for index in range(2)]
    async with opened(tmp_path, settings) as spool:
        assert [item.object_id for item in spool.objects()] == left
        for number in (0, 2):
            assert await _contents(spool, ids[number]) == [sealed(number, index, 500_000) for index in range(2)]
            assert (spool.get(ids[number]) or pytest.fail("gone")).ended is Ended.CLOSED
        spool.release(ids[0])
        await spool.flush()
    async with opened(tmp_path, settings) as spool:
        assert spool.get(ids[0]) is None


async def _contents(spool: Spool, object_id: str) -> list[bytes]:
    item = spool.get(object_id)
    assert item is not None
    return await spool.read(item)


async def test_a_crash_right_after_an_object_was_carried_on_keeps_it_once(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, budget_bytes=6 << 20)) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(9)]
        listener(spool).holding = {ids[0]}
        await spool._make_room()
        await spool.flush()
        files = spool_log.list_files(tmp_path)
    assert files[0] == 1, "the first copy is still there"
    async with opened(tmp_path) as spool:
        assert [item.object_id for item in spool.objects()].count(ids[0]) == 1
        assert await _contents(spool, ids[0]) == [sealed(0, index, 500_000) for index in range(2)]


async def test_held_footage_takes_no_more_than_half_of_the_budget(tmp_path: Path) -> None:
    settings = replace(SETTINGS, budget_bytes=6 << 20)
    async with opened(tmp_path, settings) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(9)]
        listener(spool).holding = set(ids)
        await keep_house(spool)
        assert spool.state.used_bytes <= settings.budget_bytes
        assert listener(spool).dropped == ids[: len(listener(spool).dropped)]


async def test_nothing_is_given_up_while_nobody_knows_what_is_held(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, budget_bytes=3 << 20)) as spool:
        [await record(spool, number, 2, size=500_000) for number in range(5)]

        async def unknown(items: Sequence[SpooledObject]) -> Collection[str]:
            raise Unavailable("not now")

        listener(spool).held = unknown  # type: ignore[method-assign]
        await spool.keep_house()
        assert len(spool.objects()) == 5


async def test_the_disk_bounds_the_budget_and_a_disk_that_cannot_be_asked_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    room = [usage._replace(free=40 << 20)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room[0])
    async with opened(tmp_path, replace(SETTINGS, budget_bytes=0)) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(9)]
        await spool.keep_house()
        assert (len(spool.objects()), spool.state.condition) == (9, SpoolCondition.OK)
        room[0] = usage._replace(free=0)
        await spool.keep_house()
        await spool.flush()
        await spool.keep_house()
        kept = [item.object_id for item in spool.objects()]
        assert kept == ids[-len(kept) :]
        assert 0 < len(kept) < 9
        assert spool.state.used_bytes > 0
        monkeypatch.setattr(shutil, "disk_usage", _refuse)
        await spool.keep_house()
        assert [item.object_id for item in spool.objects()] == kept


def _refuse(_: object) -> object:
    raise OSError("the disk does not answer")


async def test_an_object_that_is_being_uploaded_or_whose_gap_is_not_noted_is_not_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, budget_bytes=3 << 20)) as spool:
        ids = [await record(spool, number, 2, size=500_000) for number in range(5)]
        listener(spool).refuses = True
        await spool.keep_house()
        assert len(spool.objects()) == 5
        listener(spool).refuses = False
        oldest = spool.get(ids[0])
        assert oldest is not None
        oldest.busy = True
        await spool.keep_house()
        assert spool.get(ids[0]) is oldest
        oldest.busy = False
        await spool.keep_house()
        assert spool.get(ids[0]) is None


async def test_damage_in_a_synced_file_is_found_when_the_part_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 3, size=5000)
    path = only_file(tmp_path)
    async with opened(tmp_path) as spool:
        item = spool.get(object_id)
        assert item is not None
        data = bytearray(path.read_bytes())
        data[item.places()[1].offset + 200] ^= 1
        path.write_bytes(data)
        assert await spool.read(item, 0, 0) == [sealed(1, 0, 5000)]
        with pytest.raises(FootageError) as damaged:
            await spool.read(item)
        assert damaged.value.code == "spool_damaged"


async def test_reading_what_has_left_the_spool_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(SETTINGS, file_bytes=1000)) as spool:
        first = await record(spool, 1, 5)
        item = spool.get(first)
        assert item is not None
        spool.release(first)
        await record(spool, 2, 5)
        await spool.keep_house()
        with pytest.raises(FootageError) as moved:
            await spool.read(item)
        assert moved.value.code == "footage_moved"


async def test_an_object_without_a_part_is_never_offered(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await record(spool, 1, 0)
        assert listener(spool).ended == []
        assert spool.objects() == []


async def test_streams_are_told_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        spool.begin(header(1), KEY)
        spool.begin(header(2, "gate-2"), KEY)
        waiting = spool.of_stream(StreamRef("gate-2", StreamName.MAIN))
        assert [item.object_id for item in waiting] == [header(2).object_id]


async def test_a_disk_that_fails_twice_leaves_no_damage_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 3, end=False)
        disk.error = errno.ENOSPC
        for index in range(3, 6):
            spool.append(object_id, index, descriptor(index), sealed(1, index))
            await spool.flush()
            assert spool.state.condition is SpoolCondition.FAILING
        disk.error = None
        await spool.flush()
        item = spool.get(object_id)
        assert item is not None
        assert await spool.read(item) == [sealed(1, index) for index in range(6)]
    again = Spool(tmp_path, SETTINGS, SimulatedClock(STARTED_US))
    assert (await again.open()).damaged_files == ()
    await again.close()


async def test_what_a_failed_sync_left_behind_does_not_stand_in_for_what_was_written_after_it(tmp_path: Path) -> None:
    """A power cut spoils the first copy of a part, which was never acknowledged; the second one was."""
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 2, end=False, size=9000)
    first = only_file(tmp_path)
    second = tmp_path / spool_log.file_name(int(first.stem) + 1)
    second.write_bytes(first.read_bytes())
    spoilt = bytearray(first.read_bytes())
    # The last part's frame is there, all behind it is not: descriptor and sealed bytes are zero.
    at = len(spoilt) - 9000 - 32
    spoilt[at:] = bytes(len(spoilt) - at)
    first.write_bytes(spoilt)
    async with opened(tmp_path) as spool:
        item = spool.get(object_id)
        assert item is not None
        assert await spool.read(item) == [sealed(1, index, 9000) for index in range(2)]
        assert item.span_us == (STARTED_US, STARTED_US + 2 * 480_000)


async def test_damage_in_the_middle_of_an_older_file_does_not_keep_the_spool_from_opening(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        object_id = await record(spool, 1, 2, end=False, size=9000)
    path = only_file(tmp_path)
    spoilt = bytearray(path.read_bytes())
    at = len(spoilt) - 9000 - 32
    spoilt[at:] = bytes(len(spoilt) - at)
    path.write_bytes(spoilt)
    (tmp_path / spool_log.file_name(int(path.stem) + 1)).touch()
    async with opened(tmp_path) as spool:
        item = spool.get(object_id)
        assert item is not None
        assert await spool.read(item, 0, 0) == [sealed(1, 0, 9000)]
        with pytest.raises(FootageError) as damaged:
            await spool.read(item)
        assert damaged.value.code == "spool_damaged"


async def test_each_deletion_is_for_good_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may keep deletions in another order than they came in: what was released would be back."""
    happened: list[str] = []
    unlink, sync = Path.unlink, spool_log.sync_directory
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: happened.append(path.name) or unlink(path))
    monkeypatch.setattr(spool_log, "sync_directory", lambda path: happened.append("sync") or sync(path))
    async with opened(tmp_path, replace(SETTINGS, file_bytes=2000)) as spool:
        spool.release(await record(spool, 1, 20))
        await spool.flush()
        happened.clear()
        await spool.keep_house()
    deleted = happened[::2]
    assert len(deleted) > 2
    assert deleted == sorted(deleted)
    assert happened[1::2] == ["sync"] * len(deleted)


async def test_a_file_that_cannot_be_deleted_does_not_end_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async with opened(tmp_path, replace(SETTINGS, file_bytes=2000)) as spool:
        spool.release(await record(spool, 1, 20))
        await spool.flush()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            await spool.keep_house()
        before = len(spool_log.list_files(tmp_path))
        await spool.keep_house()
        assert len(spool_log.list_files(tmp_path)) < before
