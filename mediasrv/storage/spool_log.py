"""The spool's files (docs/format.md, 3): framing, writing and scanning of records. Blocking; one thread writes.

    record = length u32  crc32c u32  type u8  body[length - 1]

A batch is durable when `LogWriter.write` returns: one gathered write and one fdatasync for the parts
of all cameras. When it raises OSError nothing of the batch counts, and the whole batch may be written again.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

import google_crc32c

from mediasrv.errors import FootageError

log = logging.getLogger(__name__)

RECORD_LIMIT: Final = 64 * 1024 * 1024
_HEAD: Final = struct.Struct(">IIB")
_PART_HEAD: Final = struct.Struct(">32sI32s")
_PART_SEALED_AT: Final = _HEAD.size + _PART_HEAD.size
_SMALL_RECORD: Final = 4096
_IOV_MAX: Final = 1024
_TAG_BYTES: Final = 16


class RecordType(IntEnum):
    """What a record of the spool log says."""

    KEY = 1
    BEGIN = 2
    PART = 3
    END = 4
    RELEASED = 5
    DROPPED = 6


class Record(NamedTuple):
    """One record to be written; `key_id` (16 bytes) names the key its object needs, empty where it needs none."""

    kind: RecordType
    body: tuple[bytes, ...]
    key_id: bytes = b""


class Position(NamedTuple):
    """Where a record lies: file number and offset of its first byte."""

    file: int
    offset: int


class Place(NamedTuple):
    """Where a sealed part lies in the log, and what the footer says of it."""

    file: int
    offset: int
    length: int
    descriptor: bytes
    tag: bytes


class Scanned(NamedTuple):
    """A record found in a file. `body` is the whole body, but of a part only what stands before the sealed bytes.

    `kind` may be one that this version does not know.
    """

    kind: int
    position: Position
    body: bytes
    sealed_bytes: int
    tag: bytes


class FileScan(NamedTuple):
    """What one file holds up to `good_bytes`; `damaged` when something else follows there."""

    number: int
    records: list[Scanned]
    good_bytes: int
    damaged: bool


def part_body(object_id: bytes, index: int, descriptor: bytes, sealed: bytes) -> tuple[bytes, ...]:
    return (_PART_HEAD.pack(object_id, index, descriptor), sealed)


def parse_part_head(body: bytes) -> tuple[bytes, int, bytes]:
    """Object id, part index and descriptor from the start of a part record's body."""
    object_id, index, descriptor = _PART_HEAD.unpack_from(body)
    return object_id, index, descriptor


def file_name(number: int) -> str:
    return f"{number:012d}.log"


def list_files(directory: Path) -> list[int]:
    """Numbers of the log's files, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("*.log") if path.stem.isdigit())


class LogWriter:
    """Appends to the newest file, begins new ones, and repeats keys in each file that needs them.

    `keys` (key id to key record) may be changed from another thread; `sizes` holds the synced length of
    every file by number.
    """

    def __init__(self, directory: Path, file_bytes: int) -> None:
        self.number = 0
        self.sizes: dict[int, int] = {}
        self.keys: dict[bytes, bytes] = {}
        self._directory = directory
        self.file_bytes = file_bytes
        self._descriptor = -1
        self._size = 0
        self._buffers: list[bytes] = []
        self._keys_here: set[bytes] = set()

    def continue_after(self, scans: Sequence[FileScan]) -> None:
        """Counts on after the files that are there; none of them is written to again."""
        self.sizes = {scan.number: scan.good_bytes for scan in scans}
        self.number = max(self.sizes, default=0)

    def write(self, batch: Sequence[Record]) -> list[Position]:
        """Writes and syncs a batch; the position of each of its records. Raises OSError: then none counts."""
        before, size_before = self.number, self.sizes.get(self.number, 0)
        try:
            positions = [self._put(record) for record in batch]
            self._sync()
        except OSError:
            self._undo(before, size_before)
            raise
        return positions

    def delete(self, numbers: Iterable[int]) -> None:
        """Deletes files, oldest first, so that a crash in between leaves no hole.

        Each is gone for good before the next one goes: a file system may keep deletions in another order, and what
        says that an object was released would be lost before the object.
        """
        for number in sorted(numbers):
            (self._directory / file_name(number)).unlink(missing_ok=True)
            sync_directory(self._directory)
            del self.sizes[number]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, record: Record) -> Position:
        size = _HEAD.size + sum(map(len, record.body))
        if self._descriptor < 0 or (self._size + size > self.file_bytes and self._size > 0):
            self._begin_file()
        if record.key_id and record.key_id not in self._keys_here:
            self._keys_here.add(record.key_id)
            key_record = self.keys.get(record.key_id)
            if key_record is not None:
                self._frame(Record(RecordType.KEY, (key_record,)))
        return self._frame(record)

    def _frame(self, record: Record) -> Position:
        position = Position(self.number, self._size)
        crc = google_crc32c.value(bytes((record.kind,)))
        length = 1
        for chunk in record.body:
            crc = google_crc32c.extend(crc, chunk)
            length += len(chunk)
        self._buffers.append(_HEAD.pack(length, crc, record.kind))
        self._buffers.extend(record.body)
        self._size += _HEAD.size - 1 + length
        return position

    def _sync(self) -> None:
        if not self._buffers:
            return
        buffers, self._buffers = self._buffers, []
        write_all(self._descriptor, buffers)
        os.fdatasync(self._descriptor)
        self.sizes[self.number] = self._size

    def _begin_file(self) -> None:
        self._sync()
        self.close()
        self.number += 1
        path = self._directory / file_name(self.number)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = self.sizes[self.number] = 0
        self._keys_here = set()
        sync_directory(self._directory)

    def _undo(self, number: int, size: int) -> None:
        """Takes a failed batch back: deletes the files it began and cuts the one it began in.

        That one is not written to again either: the kernel may have dropped pages whose sync failed, and
        would report success next time.
        """
        self._buffers = []
        self.close()
        try:
            self.delete([begun for begun in self.sizes if begun > number])
            if self.sizes.get(number):
                cut_file(self._directory / file_name(number), size)
                self.sizes[number] = size
        except OSError as error:
            log.warning("the spool's last batch cannot be taken back: %s", error.strerror)


def write_all(descriptor: int, buffers: Sequence[bytes]) -> None:
    """writev until all is written: it takes 1024 buffers at a time and may write less than asked."""
    rest: list[bytes | memoryview] = list(buffers)
    start = 0
    while start < len(rest):
        written = os.writev(descriptor, rest[start : start + _IOV_MAX])
        while start < len(rest) and written >= len(rest[start]):
            written -= len(rest[start])
            start += 1
        if written:
            rest[start] = memoryview(rest[start])[written:]


def sync_directory(directory: Path) -> None:
    """A new file's name is durable only when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def scan_file(directory: Path, number: int, newest: bool) -> FileScan:
    """Reads a file's records. Of older files, whose parts were synced, the CRC of parts is left for reading time."""
    path = directory / file_name(number)
    size = path.stat().st_size
    if size == 0:
        return FileScan(number, [], 0, False)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        records = list(_scan(data, number, check_parts=newest))
    good = _end_of(records[-1]) if records else 0
    return FileScan(number, records, good, good != size)


def cut_file(path: Path, size_bytes: int) -> None:
    """Cuts a file, for good: what stood behind must not come back with the next loss of power."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size_bytes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_places(directory: Path, places: Iterable[Place]) -> list[bytes]:
    """The sealed bytes of parts. Raises FootageError: `spool_damaged`, or `footage_moved` when the file is gone."""
    parts: list[bytes] = []
    number, descriptor = -1, -1
    try:
        for place in places:
            if place.file != number:
                if descriptor >= 0:
                    os.close(descriptor)
                descriptor = -1
                number, descriptor = place.file, os.open(directory / file_name(place.file), os.O_RDONLY)
            parts.append(_read_part(descriptor, place))
    except FileNotFoundError as error:
        raise FootageError("The footage has left the spool.", code="footage_moved") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return parts


def _read_part(descriptor: int, place: Place) -> bytes:
    # Two reads instead of one: cutting a large record into its pieces would copy it.
    head = os.pread(descriptor, _PART_SEALED_AT, place.offset)
    sealed = os.pread(descriptor, place.length, place.offset + _PART_SEALED_AT)
    if len(head) == _PART_SEALED_AT and len(sealed) == place.length:
        length, crc, _ = _HEAD.unpack_from(head)
        found = google_crc32c.extend(google_crc32c.value(head[_HEAD.size - 1 :]), sealed)
        if (length, crc) == (1 + _PART_HEAD.size + len(sealed), found):
            return sealed
    raise FootageError(f"Spool file {file_name(place.file)} is damaged at byte {place.offset}.", code="spool_damaged")


def _scan(data: mmap.mmap, number: int, check_parts: bool) -> Iterator[Scanned]:
    offset, size = 0, len(data)
    while offset + _HEAD.size <= size:
        length, crc, kind = _HEAD.unpack_from(data, offset)
        end = offset + _HEAD.size - 1 + length
        if not 1 <= length <= RECORD_LIMIT or end > size:
            return
        is_part = kind == RecordType.PART
        if is_part and length < 1 + _PART_HEAD.size + _TAG_BYTES:
            return
        checked = check_parts or not is_part or length <= _SMALL_RECORD
        if checked and crc != google_crc32c.value(data[offset + _HEAD.size - 1 : end]):
            return
        yield _scanned(data, kind, Position(number, offset), end)
        offset = end


def _scanned(data: mmap.mmap, kind: int, position: Position, end: int) -> Scanned:
    start = position.offset + _HEAD.size
    if kind != RecordType.PART:
        return Scanned(kind, position, data[start:end], 0, b"")
    sealed_at = start + _PART_HEAD.size
    return Scanned(kind, position, data[start:sealed_at], end - sealed_at, data[end - _TAG_BYTES : end])


def _end_of(record: Scanned) -> int:
    return record.position.offset + _HEAD.size + len(record.body) + record.sealed_bytes
