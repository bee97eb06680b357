"""`mediasrv check`: proves that catalogue, bucket, key bucket and spool agree, and that the access log is as it was
written; repairs what is safe to repair.

It may run beside a server that records and deletes. What looks wrong is therefore looked at once more before
it is reported, and an object younger than the commit window is nobody's orphan yet. Nothing that could
still be footage is ever deleted here: an orphan gets its row back, or is left for a person.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from mediasrv.catalogue import Catalogue, footage_queries, recordings
from mediasrv.catalogue.footage_queries import SEAM_US, GapRow, StoredObject
from mediasrv.catalogue.recordings import StoredRecording
from mediasrv.catalogue.spans import Span, merge, subtract
from mediasrv.checking.marks import Mark, Marks
from mediasrv.clock import DAY_US, SECOND_US, Clock, to_us
from mediasrv.errors import FootageError, FootageRefused, KeyUnavailable, StorageError
from mediasrv.media.access_unit import TrackKind
from mediasrv.security import access_log
from mediasrv.security.head_witness import compare_copy, list_copies, read_copy, recordings_of
from mediasrv.storage.footage import HEAD_BYTES, Footage, FootageIndex
from mediasrv.storage.keys import KeyRecord, parse_key_record
from mediasrv.storage.object_store import Listed, ObjectStore, crc32c_of
from mediasrv.storage.sealing import ObjectHeader, header_length, parse_header
from mediasrv.storage.spool_index import replay
from mediasrv.storage.spool_log import file_name, list_files, scan_file

A = TypeVar("A")
V = TypeVar("V")
Tell = Callable[[int, int, int], None]
"""Hears of objects that are done, of about how many, and of findings."""


def unheard(_done: int, _total: int, _findings: int) -> None:
    """Nobody wants to know how far it is."""


COMMIT_WINDOW_S: Final = 900
"""So long an object may lie in the bucket without a row, and garbage in the catalogue with its object."""

"""Keys of periods that began since are not looked at: retention gives them some hours."""

_LATER: Final = 1 << 63
"""Stands for the entry of a copied head that went because a later one has just taken its place."""

_PAGE: Final = 1000
_PARALLEL: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement: a code of docs/doors.md, what it is about, and a sentence for a person."""

    code: str
    subject: str
    sentence: str
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """What was looked at, and what does not agree."""

    rows: int = 0
    objects: int = 0
    keys: int = 0
    spooled: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing is wrong, or all that was wrong has been repaired."""
        return all(one.repaired for one in self.findings)


@dataclass(frozen=True, slots=True)
class SpoolContents:
    """What waits in the spool's files; read without opening the spool, which may be another process's."""

    object_ids: frozenset[str]
    key_ids: frozenset[str]
    damaged: tuple[str, ...]


class Checker:
    """One check. `spool` was read before: what is stored since has its row. `sweep` is retention's."""

    def __init__(
        self,
        catalogue: Catalogue,
        object_store: ObjectStore,
        footage: Footage,
        key_bucket: str,
        spool: SpoolContents,
        clock: Clock,
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        self._catalogue = catalogue
        self._store = object_store
        self._footage = footage
        self._key_bucket = key_bucket
        self._spool = spool
        self._clock = clock
        self._sweep = sweep
        self._repair = False
        self._checksums = True
        self._window_us = COMMIT_WINDOW_S * SECOND_US
        self._whole = 0.0
        self._report = Report()
        self._orphan_keys: set[str] = set()

    async def run(
        self,
        *,
        repair: bool = False,
        checksums: bool = True,
        whole: float = 0.0,
        marks: Marks | None = None,
        resume: bool = False,
        tell: Tell = unheard,
    ) -> Report:
        """Call once. Raises StorageError when storage is not to be reached: then nothing is known.

        `checksums` asks storage for each object's checksum; without, sizes are compared as listed, much faster.
        `whole` is the share of objects that are read, and their parts opened where this node has their keys.
        With `marks` a check that is cut off can be resumed behind the last objects that it looked at.
        """
        self._repair, self._checksums, self._whole = repair, checksums or whole > 0, whole
        mark = await asyncio.to_thread(marks.read) if marks is not None and resume else Mark("", {})
        self._go_on(mark)
        self._report.spooled = len(self._spool.object_ids)
        if not mark.after:
            for name in self._spool.damaged:
                self._found("spool_damaged", name, "The spool file is damaged; what follows the damage is lost.")
            await self._check_access_log()
        await self._check_objects(mark.after, marks, tell)
        await self._check_keys()
        await self._check_garbage()
        await self._check_gaps()
        if marks is not None:
            await asyncio.to_thread(marks.clear)
        return self._report

    def _go_on(self, mark: Mark) -> None:
        state = mark.state
        if state:
            self._report.rows, self._report.objects = state["rows"], state["objects"]
            self._report.findings = [Finding(*one) for one in state["findings"]]
            self._orphan_keys = set(state["orphan_keys"])

    def _mark(self, after: str) -> Mark:
        report = self._report
        findings = [dataclasses.astuple(one) for one in report.findings]
        counts = {"rows": report.rows, "objects": report.objects}
        return Mark(after, counts | {"findings": findings, "orphan_keys": sorted(self._orphan_keys)})

    async def adopt(self) -> Report:
        """Gives each object without a row one, young ones too: for a rebuild, while no server records. Call once."""
        self._repair, self._checksums, self._window_us = True, False, 0
        self._report.spooled = len(self._spool.object_ids)
        await self._check_objects("", None, unheard)
        return self._report

    def _found(self, code: str, subject: str, sentence: str, repaired: bool = False) -> None:
        self._report.findings.append(Finding(code, subject, sentence, repaired))

    def _before_window_us(self) -> int:
        return self._clock.wall_us() - self._window_us

    # --- the access log --------------------------------------------------------------------------

    async def _check_access_log(self) -> None:
        """The chain in itself, and each copied head against it. Copies are listed first: a log only grows."""
        copies = await list_copies(self._store)
        broken = await self._catalogue.read(access_log.verify)
        if broken is not None:
            self._found(broken.tampering, f"entry {broken.entry}", f"The access log: {broken.why}.")
        newest = max([await self._check_copy(one) for one in copies], default=0)
        old = await self._catalogue.read(access_log.read_head, self._clock.wall_us() - DAY_US)
        if old.entry > newest:
            sentence = f"Its entries up to {old.entry} are older than a day, and no copied head is about them."
            self._found("log_head_missing", f"entry {old.entry}", sentence)

    async def _check_copy(self, copy: Listed) -> int:
        """The number of the entry that a copied head is of; 0 where it is none."""
        try:
            data = await read_copy(self._store, copy)
            head, broken = await self._catalogue.read(compare_copy, data)
        except FootageRefused as error:
            self._found("log_head_refused", copy.key, error.sentence)
            return 0
        except StorageError as error:
            if error.code != "object_missing":
                raise
            return _LATER
        if broken is not None:
            self._found(broken.tampering, copy.key, f"The access log, entry {broken.entry}: {broken.why}.")
        return head.entry

    # --- objects ---------------------------------------------------------------------------------

    async def _check_objects(self, after: str, marks: Marks | None, tell: Tell) -> None:
        """Walks bucket and catalogue side by side, in order of the object keys beyond `after`, a page at a time."""
        report = self._report
        total = await self._catalogue.read(footage_queries.count_objects)
        async for page in _pages(recordings_of(self._store.list(after=after))):
            report.objects += len(page)
            last = max(after, page[-1].key)
            await self._compare(page, await self._rows(after, last))
            after = last
            tell(report.objects, max(total, report.objects), len(report.findings))
            if marks is not None:
                await asyncio.to_thread(marks.write, self._mark(after))
        await self._compare([], await self._rows(after, None))

    async def _rows(self, after: str, until: str | None) -> list[tuple[StoredObject, int]]:
        rows: list[tuple[StoredObject, int]] = []
        while page := await self._catalogue.read(footage_queries.objects_by_key, after, until, _PAGE):
            rows += page
            after = page[-1][0].object_key
        self._report.rows += len(rows)
        return rows

    async def _compare(self, listed: Sequence[Listed], rows: Sequence[tuple[StoredObject, int]]) -> None:
        sizes = {(one.key, one.version_id): one.size_bytes for one in listed}
        known = {(row.object_key, row.version_id) for row, _ in rows}
        doubtful = [
            pair
            for pair in rows
            if self._checksums or sizes.get((pair[0].object_key, pair[0].version_id)) != pair[0].size_bytes
        ]
        await _in_parallel(self._check_row, doubtful)
        old = [
            one
            for one in listed
            if (one.key, one.version_id) not in known and to_us(one.modified_at) < self._before_window_us()
        ]
        await _in_parallel(self._check_stranger, old)

    async def _check_row(self, pair: tuple[StoredObject, int]) -> None:
        """Whether the object of a row is there, as long as it was, with the checksum it had."""
        row, crc32c = pair
        head = await self._store.head(row.object_key, version_id=row.version_id)
        if head is not None and head.size_bytes == row.size_bytes and head.crc32c in (None, crc32c):
            # Without a checksum it was put there by somebody else, where the store keeps those of our own PUTs.
            is_chosen = self._whole > 0 and random.random() < self._whole  # noqa: S311 - a sample
            if is_chosen or (head.crc32c is None and not self._store.reads_back):
                await self._read_whole(row, crc32c)
            return
        if await self._catalogue.read(footage_queries.find_object, row.object_id) is None:
            return
        if head is None:
            self._found("object_missing", row.object_key, "It is in the catalogue and not in the bucket.")
        elif head.size_bytes != row.size_bytes:
            sentence = f"It has {head.size_bytes} bytes; the catalogue says {row.size_bytes}."
            self._found("object_altered", row.object_key, sentence)
        else:
            self._found("object_altered", row.object_key, "Its checksum is not the one in the catalogue.")

    async def _read_whole(self, row: StoredObject, crc32c: int) -> None:
        """Every byte of an object: as a reader does where its key is to be had, by its checksum where it is not."""
        try:
            index = await self._footage.index(row)
            try:
                await self._footage.check_parts(index)
            except KeyUnavailable as error:
                if error.code == "identity_unavailable":
                    raise  # it is asked to open footage, and cannot
                if await self._store.read_crc(row.object_key, version_id=row.version_id) != crc32c:
                    self._found("object_altered", row.object_key, "Its bytes are not those that were stored.")
        except KeyUnavailable:
            raise
        except FootageError as error:
            if await self._catalogue.read(footage_queries.find_object, row.object_id) is None:
                return  # retention was faster
            if isinstance(error, StorageError) and error.code != "object_truncated":
                raise
            self._found("object_altered", row.object_key, f"It is refused ({error.code}): {error.sentence}")

    async def _check_stranger(self, one: Listed) -> None:
        """An object that no row of its page names."""
        row = await self._catalogue.read(footage_queries.find_by_key, one.key)
        if row is not None and row.version_id == one.version_id:
            return
        if await self._catalogue.read(footage_queries.is_garbage, one.key):
            return
        if row is not None:
            self._found("object_orphaned", one.key, f"Version {one.version_id} is another than the catalogued one.")
            return
        try:
            index = await self._read_index(one)
        except FootageRefused as error:
            self._found("object_orphaned", one.key, f"No row names it, and it is refused: {error.sentence}")
            return
        except StorageError as error:
            if error.code != "object_missing":
                raise
            return
        if index.header.object_id not in self._spool.object_ids:
            await self._check_orphan(one, index)

    async def _check_orphan(self, one: Listed, index: FootageIndex) -> None:
        repaired, sentence = False, "No row names it, and it is not on the garbage list."
        if self._repair:
            try:
                await self._give_row(one, index)
                repaired = True
            except (FootageError, KeyUnavailable) as error:
                sentence = f"{sentence} It cannot have a row: {error.sentence}"
        if not repaired:
            self._orphan_keys.add(index.header.key_id)
        self._found("object_orphaned", one.key, sentence, repaired)

    async def _read_index(self, one: Listed) -> FootageIndex:
        """The verified index of an object of which only the place is known. Raises FootageRefused, StorageError."""
        head = await self._store.get_range(one.key, 0, min(HEAD_BYTES, one.size_bytes), version_id=one.version_id)
        size = header_length(head)
        if size > len(head):
            head = await self._store.get_range(one.key, 0, min(size, one.size_bytes), version_id=one.version_id)
        header = parse_header(head[:size])
        index = await self._footage.index(
            StoredObject(
                header.object_id, one.key, one.version_id, header.key_id, header.ref,
                header.started_us, header.started_us, one.size_bytes,
            )
        )  # fmt: skip
        if header.object_key != one.key:
            raise FootageRefused("It lies under another key than its own.", code="object_swapped")
        return index

    async def _give_row(self, one: Listed, index: FootageIndex) -> None:
        """Catalogues an orphan as `late`. Raises KeyUnavailable, StorageError."""
        head = await self._store.head(one.key, version_id=one.version_id)
        span = _span_of(index)
        if head is None or head.crc32c is None or span is None or index.ended is None:
            raise StorageError("The store has no checksum of it, or it is empty.", code="object_missing")
        await self._ensure_key(index.header)
        last = index.entries[-1]
        row = StoredRecording(
            index.header, one.key, one.version_id, index.ended, span.start_us, span.end_us,
            one.size_bytes, head.crc32c, last.offset + last.length,
        )  # fmt: skip
        await self._catalogue.write(recordings.commit_recordings, [row], "", self._clock.wall_us())

    async def _ensure_key(self, header: ObjectHeader) -> None:
        """A row needs its key's row: from the key bucket where the catalogue has none. A destroyed key stays so."""
        keys = await self._catalogue.read(footage_queries.data_keys)
        if keys.get(header.key_id):
            return
        if header.key_id in keys:
            raise KeyUnavailable(f"Data key {header.key_id} was destroyed.")
        record = parse_key_record(await self._store.get(_bucket_key(header), bucket=self._key_bucket))
        await self._put_key(record, header.key_id)

    async def _put_key(self, record: KeyRecord, key_id: str) -> None:
        """Into the catalogue. Raises FootageRefused for a record that no registered node made for this key."""
        node_key = await self._catalogue.read(recordings.node_public_key, record.node_id)
        if node_key is None or record.key_id != key_id:
            raise FootageRefused(f"Data key {key_id} was made by no registered node.", code="signer_unknown")
        record.verify(node_key)
        await self._catalogue.write(recordings.put_data_key, record, self._clock.wall_us())

    # --- keys ------------------------------------------------------------------------------------

    async def _check_keys(self) -> None:
        """Compares the two places that keep wrapped keys; what neither a row nor the spool needs goes."""
        kept = await self._catalogue.read(footage_queries.data_keys)
        lost = dict(await self._catalogue.read(footage_queries.destroyed_but_needed))
        wanted = self._spool.key_ids | self._orphan_keys
        listed: set[str] = set()
        async for one in self._store.list(bucket=self._key_bucket):
            self._report.keys += 1
            key_id = one.key.rpartition("/")[2]
            listed.add(key_id)
            if key_id in lost:
                await self._restore_key(one, lost.pop(key_id))
            elif not kept.get(key_id) and key_id not in wanted and to_us(one.modified_at) < self._before_window_us():
                await self._check_stray_key(one, key_id, was_known=key_id in kept)
        for key_id, count in lost.items():
            self._found("key_missing", key_id, f"{count} recordings need it, and it is in neither place.")
        for key_id in sorted(key_id for key_id, there in kept.items() if there and key_id not in listed):
            await self._check_missing_key(key_id)
        await self._check_unused_keys()

    async def _restore_key(self, one: Listed, recordings_count: int) -> None:
        if self._repair:
            record = parse_key_record(await self._store.get(one.key, bucket=self._key_bucket))
            await self._put_key(record, one.key.rpartition("/")[2])
        sentence = f"{recordings_count} recordings need it, and the catalogue has destroyed it."
        self._found("key_missing", one.key, sentence, self._repair)

    async def _check_stray_key(self, one: Listed, key_id: str, was_known: bool) -> None:
        """A key of the bucket that the catalogue has destroyed, or never knew."""
        if await self._catalogue.read(recordings.key_record, key_id) is not None:
            return
        if self._repair:
            await self._store.delete(one.key, one.version_id, bucket=self._key_bucket)
        if was_known:
            sentence = "The catalogue says that it was destroyed; the bucket still has it."
            self._found("key_leftover", one.key, sentence, self._repair)
        else:
            self._found("key_unused", one.key, "The catalogue does not know it, and nothing needs it.", self._repair)

    async def _check_missing_key(self, key_id: str) -> None:
        """A key that only the catalogue has: one copy is too few."""
        data = await self._catalogue.read(recordings.key_record, key_id)
        if data is None:
            return
        record = parse_key_record(data)
        if await self._store.head(record.bucket_key, bucket=self._key_bucket) is not None:
            return
        if self._repair:
            await self._store.put(record.bucket_key, [data], crc32c_of([data]), bucket=self._key_bucket)
        self._found("key_missing", record.bucket_key, "It is not in the key bucket.", self._repair)

    async def _check_unused_keys(self) -> None:
        unused = await self._catalogue.read(footage_queries.unneeded_keys, self._clock.wall_us() - DAY_US, _PAGE)
        unused = [(key_id, data) for key_id, data in unused if key_id not in self._spool.key_ids]
        if unused and self._repair:
            await self._sweep()
        left = await self._catalogue.read(footage_queries.data_keys)
        for key_id, data in unused:
            sentence = "No recording, no garbage and no object in the spool needs it."
            self._found("key_unused", parse_key_record(data).bucket_key, sentence, not left[key_id])

    # --- deletions and gaps ----------------------------------------------------------------------

    async def _check_garbage(self) -> None:
        """Deletions that were begun and not finished."""
        pending = await self._catalogue.read(footage_queries.garbage_marked_before, self._before_window_us())
        if pending and self._repair:
            await self._sweep()
        left = set(await self._catalogue.read(footage_queries.garbage_marked_before, self._before_window_us()))
        for object_key in pending:
            self._found(
                "garbage_pending", object_key, "It is marked for deletion and still there.", object_key not in left
            )

    async def _check_gaps(self) -> None:
        """A gap says that there is no footage; where there is, the gap is wrong."""
        last_id = 0
        while page := await self._catalogue.read(footage_queries.gaps_after, last_id, _PAGE):
            for row in page:
                await self._check_gap(row)
            last_id = page[-1].gap_id

    async def _check_gap(self, row: GapRow) -> None:
        whole = Span(row.started_us, self._clock.wall_us() if row.ended_us is None else row.ended_us)
        covered = merge(await self._catalogue.read(footage_queries.coverage, row.ref, whole), SEAM_US)
        overlap_us = sum(one.end_us - one.start_us for one in covered)
        if overlap_us <= SEAM_US:
            return
        # An open gap belongs to the recorder, which ends it with the footage that it has just made durable.
        repaired = self._repair and row.ended_us is not None
        if repaired:
            await self._catalogue.write(footage_queries.replace_gap, row, subtract([whole], covered))
        sentence = f"{overlap_us / SECOND_US:.1f} s of the gap ({row.cause}) have footage."
        self._found("gap_overlaps", f"{row.ref} gap {row.gap_id}", sentence, repaired)


# --- small things --------------------------------------------------------------------------------


def read_spool(directory: Path | None) -> SpoolContents:
    """What waits in this spool; nothing where there is no directory. Blocks."""
    if directory is None or not directory.is_dir():
        return SpoolContents(frozenset(), frozenset(), ())
    numbers = list_files(directory)
    scans = [scan_file(directory, number, number == numbers[-1]) for number in numbers]
    waiting = replay(record for scan in scans for record in scan.records)
    return SpoolContents(
        frozenset(waiting),
        frozenset(item.header.key_id for item in waiting.values()),
        tuple(file_name(scan.number) for scan in scans[:-1] if scan.damaged),
    )


def _span_of(index: FootageIndex) -> Span | None:
    """As the recorder has it: of the video, or of the audio where there is no video."""
    media = [entry.descriptor for entry in index.entries if not entry.descriptor.is_init]
    chosen = [one for one in media if one.track == TrackKind.VIDEO] or media
    return Span(chosen[0].started_us, max(one.ended_us for one in chosen)) if chosen else None


def _bucket_key(header: ObjectHeader) -> str:
    return f"{header.cell}/{header.camera}/{header.stream}/{header.key_id}"


async def _pages(listing: AsyncIterator[Listed]) -> AsyncIterator[list[Listed]]:
    """Pages that never part the versions of one object."""
    page: list[Listed] = []
    async for one in listing:
        if len(page) >= _PAGE and one.key != page[-1].key:
            yield page
            page = []
        page.append(one)
    if page:
        yield page


async def _in_parallel(check: Callable[[A], Awaitable[None]], items: Iterable[A]) -> None:
    at_once = asyncio.Semaphore(_PARALLEL)

    async def one(item: A) -> None:
        async with at_once:
            await check(item)

    await asyncio.gather(*(one(item) for item in items))
