"""The spool: the local, sealed, synced waiting room of recording objects on their way to storage.

All methods are called on the event loop's thread. Appending only queues; one thread writes and syncs
what was queued, once a tick, for all cameras (`spool_log`). An object's parts can be read as soon as they are
durable. The index of what waits is in memory (`spool_index`) and is rebuilt from the files at start.

Files go oldest first, once no object waits that begins in them or before. So the record that an object
was released is never deleted before the object itself, which would bring it back at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import FootageError, MediasrvError, SpoolFull
from mediasrv.media.access_unit import StreamRef
from mediasrv.settings import SpoolSettings
from mediasrv.storage.keys import KeyRecord
from mediasrv.storage.sealing import TAG_BYTES, Ended, ObjectHeader
from mediasrv.storage.spool_budget import SpoolBudget
from mediasrv.storage.spool_index import SpooledObject, replay
from mediasrv.storage.spool_log import (
    FileScan,
    LogWriter,
    Place,
    Position,
    Record,
    RecordType,
    cut_file,
    file_name,
    list_files,
    part_body,
    read_places,
    scan_file,
)
from mediasrv.waiting import wait_for_event

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

HOUSEKEEPING_S: Final = 1.0
HELD_SHARE: Final = 0.5
"""Of the budget, at most, is kept for footage under holds while storage is away."""
_FILES_A_BUDGET: Final = 16
_SMALLEST_FILE_BYTES: Final = 1 << 20


class SpoolCondition(StrEnum):
    """`alarm`: the budget will be spent soon; `failing`: nothing can be written now."""

    OK = "ok"
    ALARM = "alarm"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class SpoolState:
    """A snapshot. `reason_code` says why it is failing or in alarm; `waiting` counts objects not yet released.

    At the present rate, `bytes_per_s`, the rest of the budget is enough for `left_s` and all of it for `lasts_s`; None
    where nothing comes in. `oldest_us` is when the oldest footage that waits began.
    """

    condition: SpoolCondition
    reason_code: str | None
    used_bytes: int
    budget_bytes: int
    queued_bytes: int
    waiting: int
    bytes_per_s: float = 0.0
    left_s: float | None = None
    lasts_s: float | None = None
    oldest_us: int | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `open` found: objects that were being recorded, bytes of torn tail cut off, files with damage."""

    open_objects: int
    torn_bytes: int
    damaged_files: tuple[str, ...]


class SpoolListener:
    """What the recorder wants to know; this one ignores it."""

    def on_ended(self, item: SpooledObject) -> None:
        """An object and its end are durable: it can be stored."""

    async def held(self, items: Sequence[SpooledObject]) -> Collection[str]:
        """Which of these objects lie under a hold, by id: they are given up last. May raise MediasrvError."""
        return ()

    async def before_drop(self, item: SpooledObject) -> None:
        """The object is given up under the budget when this returns; when it raises MediasrvError, not yet."""


class _Queued(NamedTuple):
    record: Record
    size_bytes: int
    written: Callable[[Position], None] | None


class Spool:
    """See the module. `open` first, then `run` beside everything else, `close` at the end."""

    def __init__(self, directory: Path, settings: SpoolSettings, clock: Clock) -> None:
        self.directory = directory
        self.listener: SpoolListener = SpoolListener()
        self._settings = settings
        self._clock = clock
        self._writer = LogWriter(directory, settings.file_bytes)
        self._budget = SpoolBudget(settings)
        self._taken_bytes = 0
        self._objects: dict[str, SpooledObject] = {}
        self._key_uses: Counter[str] = Counter()
        self._queue: list[_Queued] = []
        self._queued_bytes = 0
        self._appended = 0
        self._durable = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._failing: str | None = None
        self._keeps_files = False
        self._tick = asyncio.Lock()
        self._due = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "spool-write")
        self._readers = ThreadPoolExecutor(2, "spool-read")

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> Recovered:
        """Scans the files, cuts the torn tail, and ends objects that were open. Raises OSError when it cannot."""
        scans, torn_bytes = await self._in_thread(_scan_directory, self.directory)
        self._writer.continue_after(scans)
        await self._measure()
        # Small files where the budget is small, so that giving up one file is not giving up most of it.
        budget = self._budget_bytes or self._settings.file_bytes * _FILES_A_BUDGET
        self._writer.file_bytes = min(self._settings.file_bytes, max(budget // _FILES_A_BUDGET, _SMALLEST_FILE_BYTES))
        for item in replay(record for scan in scans for record in scan.records).values():
            self._adopt(item)
        open_objects = [item for item in self._objects.values() if item.ended is None]
        for item in open_objects:
            self.end(item.object_id, Ended.RECOVERED)
        damaged = tuple(file_name(scan.number) for scan in scans[:-1] if scan.damaged)
        for name in damaged:
            log.error("spool file %s is damaged; what follows the damage in it is lost", name)
        return Recovered(len(open_objects), torn_bytes, damaged)

    async def run(self) -> None:
        """Syncs when it is due, every sync_interval_s at the latest, and keeps house; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sync_forever())
            group.create_task(self._keep_house_forever())

    async def _sync_forever(self) -> None:
        while True:
            deadline = self._clock.monotonic() + self._settings.sync_interval_s
            self._due.clear()
            await self.flush()
            await wait_for_event(self._due, max(0.0, deadline - self._clock.monotonic()))

    async def _keep_house_forever(self) -> None:
        # Apart from syncing: giving footage up waits for the catalogue, new footage must not.
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self.keep_house()

    def flush_soon(self) -> None:
        """All that is appended in one beat has just come: waiting longer would only keep it from being durable."""
        if self._queue:
            self._due.set()

    async def flush(self) -> None:
        """One tick now: all that was queued before is durable when this returns, unless the spool is failing."""
        async with self._tick:
            await self._write_queue()

    async def keep_house(self) -> None:
        """Gives up the oldest footage beyond the budget, and deletes files that nothing needs."""
        await self._measure()
        await self._make_room()
        await self._delete_files()

    async def close(self) -> None:
        """Flushes and stops the threads."""
        await self.flush()
        await self._in_thread(self._writer.close)
        self._thread.shutdown()
        self._readers.shutdown()

    # --- appending -------------------------------------------------------------------------------

    def begin(self, header: ObjectHeader, key_record: KeyRecord) -> None:
        """A new object; its key record is written before it. Raises SpoolFull."""
        self._check_room()
        item = SpooledObject(header, header.build(), key_record)
        self._adopt(item)
        record = Record(RecordType.BEGIN, (item.header_bytes,), bytes.fromhex(header.key_id))

        def written(position: Position) -> None:
            item.first_file = position.file

        self._append(record, len(item.header_bytes), written)

    def append(self, object_id: str, index: int, descriptor: bytes, sealed: bytes) -> int:
        """The next part of an object. Returns a mark for `synced`; raises SpoolFull.

        The caller ends the object when a part is refused: parts have no holes.
        """
        self._check_room()
        item = self._objects[object_id]
        body = part_body(bytes.fromhex(object_id), index, descriptor, sealed)

        def written(position: Position) -> None:
            if index == item.parts:
                item.add(Place(*position, len(sealed), descriptor, sealed[-TAG_BYTES:]))

        return self._append(Record(RecordType.PART, body, bytes.fromhex(item.header.key_id)), len(sealed), written)

    def end(self, object_id: str, how: Ended) -> int:
        """No more parts. Never refused. Once durable the listener hears of it, or it goes when it has no part."""
        item = self._objects[object_id]

        def written(_: Position) -> None:
            item.ended = how
            if object_id in self._objects:
                self._ended(item)

        return self._append(Record(RecordType.END, (bytes.fromhex(object_id), bytes((how,)))), 33, written)

    def release(self, object_id: str) -> None:
        """The object is stored, verified and catalogued: the spool's copy may go. One that is gone is no error."""
        if object_id in self._objects:
            self._remove(object_id, RecordType.RELEASED)

    async def synced(self, mark: int) -> None:
        """Waits until what `mark` names, and all before it, is durable."""
        if mark > self._durable:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((mark, waiter))
            await waiter

    @property
    def mark(self) -> int:
        """Names all that was appended so far."""
        return self._appended

    # --- reading ---------------------------------------------------------------------------------

    def get(self, object_id: str) -> SpooledObject | None:
        return self._objects.get(object_id)

    def objects(self) -> list[SpooledObject]:
        """All that waits, oldest first."""
        return list(self._objects.values())

    def of_stream(self, ref: StreamRef) -> list[SpooledObject]:
        return [item for item in self._objects.values() if item.header.ref == ref]

    async def read(self, item: SpooledObject, first: int = 0, last: int | None = None) -> list[bytes]:
        """Sealed bytes of durable parts `first` to `last`. Raises FootageError: spool_damaged or footage_moved."""
        places = item.places(first, last)
        return await asyncio.get_running_loop().run_in_executor(self._readers, read_places, self.directory, places)

    @property
    def state(self) -> SpoolState:
        used, budget = self._used_bytes, self._budget_bytes
        oldest = next(iter(self._objects.values()), None)
        oldest_us = oldest.header.started_us if oldest is not None else None
        backlog_s = (self._clock.wall_us() - oldest_us) / SECOND_US if oldest_us is not None else 0.0
        condition, code = SpoolCondition.OK, self._failing
        if code is not None:
            condition = SpoolCondition.FAILING
        elif self._budget.is_alarming(used, backlog_s):
            condition, code = SpoolCondition.ALARM, "spool_filling"
        return SpoolState(
            *(condition, code, used, budget, self._queued_bytes, len(self._objects)),
            bytes_per_s=self._budget.bytes_per_s,
            left_s=self._budget.lasts_s(budget - used) if budget else None,
            lasts_s=self._budget.lasts_s(budget) if budget else None,
            oldest_us=oldest_us,
        )

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _used_bytes(self) -> int:
        return sum(list(self._writer.sizes.values()))

    @property
    def _budget_bytes(self) -> int:
        return self._budget.budget_bytes(self._used_bytes)

    async def _measure(self) -> None:
        free_bytes = None
        with contextlib.suppress(OSError):  # a disk that does not tell must not cost footage
            free_bytes = (await self._in_thread(shutil.disk_usage, self.directory)).free
        self._budget.note(self._clock.monotonic(), self._taken_bytes, free_bytes)

    def _adopt(self, item: SpooledObject) -> None:
        key_id = item.header.key_id
        self._objects[item.object_id] = item
        self._key_uses[key_id] += 1
        self._writer.keys[bytes.fromhex(key_id)] = item.key_record.to_bytes()

    def _ended(self, item: SpooledObject) -> None:
        if item.parts:
            self.listener.on_ended(item)
        else:
            self.release(item.object_id)

    def _check_room(self) -> None:
        if self._queued_bytes > self._settings.queue_bytes:
            raise SpoolFull("The spool cannot be written as fast as footage comes in.", code=self._failing)

    def _append(self, record: Record, size_bytes: int, written: Callable[[Position], None] | None = None) -> int:
        self._queue.append(_Queued(record, size_bytes, written))
        self._queued_bytes += size_bytes
        self._taken_bytes += size_bytes
        self._appended += 1
        return self._appended

    def _remove(self, object_id: str, why: RecordType) -> None:
        item = self._objects.pop(object_id)
        self._append(Record(why, (bytes.fromhex(object_id),)), 32)
        key_id = item.header.key_id
        self._key_uses[key_id] -= 1
        if not self._key_uses[key_id]:
            del self._key_uses[key_id]
            self._writer.keys.pop(bytes.fromhex(key_id), None)

    async def _write_queue(self) -> None:
        batch, self._queue = self._queue, []
        if not batch:
            return
        try:
            positions = await self._in_thread(self._writer.write, [queued.record for queued in batch])
        except OSError as error:
            self._queue = batch + self._queue
            self._fail(error)
            return
        except asyncio.CancelledError:
            # The thread goes on; written twice is harmless, lost is not.
            self._queue = batch + self._queue
            raise
        self._failing = None
        self._durable += len(batch)
        for queued, position in zip(batch, positions, strict=True):
            self._queued_bytes -= queued.size_bytes
            if queued.written is not None:
                queued.written(position)
        self._wake()

    def _fail(self, error: OSError) -> None:
        reason = "spool_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "spool_failed"
        if self._failing != reason:
            log.error("the spool cannot be written: %s", error.strerror)
        self._failing = reason

    def _wake(self) -> None:
        for mark, waiter in self._waiters:
            if mark <= self._durable and not waiter.done():
                waiter.set_result(None)
        self._waiters = [waiting for waiting in self._waiters if not waiting[1].done()]

    async def _make_room(self) -> None:
        """Gives up the oldest objects while more than the budget is used."""
        budget = self._budget_bytes
        excess = self._used_bytes - budget if budget else 0
        for number, size in sorted(self._writer.sizes.items()):
            if excess <= 0 or number == self._writer.number or not await self._give_up_file(number):
                return
            excess -= size

    async def _give_up_file(self, number: int) -> bool:
        """Drops the objects that keep this file, and carries those under a hold to the end of the log; False when one
        of them is being uploaded or recorded just now.
        """
        keeping = [item for item in self._objects.values() if 0 <= item.first_file <= number]
        try:
            spared = await self._spared(keeping)
        except MediasrvError as error:
            log.error("the spool stays beyond its budget: %s", error.sentence)
            return False
        for item in keeping:
            if item.busy:
                continue
            if item.object_id in spared:
                if not await self._carry(item):
                    return False
                continue
            item.drop_noted = True
            try:
                await self.listener.before_drop(item)
            except MediasrvError as error:
                log.error("object %s stays in the spool beyond its budget: %s", item.object_id, error.sentence)
                return False
            # Its upload may have begun in the meantime; when that succeeds it was not dropped after all.
            if item.object_id in self._objects and not item.busy:
                self._remove(item.object_id, RecordType.DROPPED)
        return not any(item.busy for item in keeping)

    async def _spared(self, keeping: Sequence[SpooledObject]) -> Collection[str]:
        """Which of these are not given up, since they are held; none where held footage is too much of the budget."""
        held = await self.listener.held(keeping)
        if not held:
            return ()
        everything = await self.listener.held(list(self._objects.values()))
        held_bytes = sum(item.sealed_bytes for item in self._objects.values() if item.object_id in everything)
        if held_bytes <= HELD_SHARE * self._budget_bytes:
            return held
        log.error("footage under holds takes more than half of the spool's budget: the oldest of it goes, too")
        return ()

    async def _carry(self, item: SpooledObject) -> bool:
        """Writes an object anew at the end of the log, so that the files before it can go. False where it stays.

        While both copies are in the log either will do: of parts that come twice the last one counts.
        """
        if item.ended is None:
            return False
        places, key_id = item.places(), bytes.fromhex(item.header.key_id)
        try:
            sealed = await self.read(item)
        except FootageError as error:
            log.error("held object %s cannot be carried on: %s", item.object_id, error.sentence)
            return False
        if item.busy or item.object_id not in self._objects:
            return False
        moved: list[Place] = []
        began: list[Position] = []
        self._append(Record(RecordType.BEGIN, (item.header_bytes,), key_id), len(item.header_bytes), began.append)
        for index, (place, part) in enumerate(zip(places, sealed, strict=True)):
            body = part_body(bytes.fromhex(item.object_id), index, place.descriptor, part)
            self._append(Record(RecordType.PART, body, key_id), len(part), _moving(moved, place))

        def ended(_: Position) -> None:
            if not item.busy and item.object_id in self._objects:
                item.move(began[0].file, moved)
                # In the order of the log: files go up to the first one that the first object needs.
                self._objects[item.object_id] = self._objects.pop(item.object_id)

        self._append(Record(RecordType.END, (bytes.fromhex(item.object_id), bytes((item.ended,)))), 33, ended)
        await self.flush()
        return item.places() == moved

    async def _delete_files(self) -> None:
        oldest = next(iter(self._objects.values()), None)
        keep_from = self._writer.number
        if oldest is not None and oldest.first_file >= 0:
            keep_from = min(keep_from, oldest.first_file)
        done = [number for number in list(self._writer.sizes) if number < keep_from]
        if not done:
            return
        try:
            await self._in_thread(self._writer.delete, done)
        except OSError as error:
            if not self._keeps_files:
                log.error("a file that nothing needs cannot be deleted from the spool: %s", error.strerror)
            self._keeps_files = True
        else:
            self._keeps_files = False

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))


def _moving(moved: list[Place], place: Place) -> Callable[[Position], None]:
    def written(position: Position) -> None:
        moved.append(Place(*position, place.length, place.descriptor, place.tag))

    return written


def _scan_directory(directory: Path) -> tuple[list[FileScan], int]:
    """All files' records; the newest file's torn tail is cut off, and its length returned."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    numbers = list_files(directory)
    scans = [scan_file(directory, number, number == numbers[-1]) for number in numbers]
    if not scans or not scans[-1].damaged:
        return scans, 0
    torn_bytes = (directory / file_name(numbers[-1])).stat().st_size - scans[-1].good_bytes
    cut_file(directory / file_name(numbers[-1]), scans[-1].good_bytes)
    return scans, torn_bytes
