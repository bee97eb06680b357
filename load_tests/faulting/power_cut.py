"""A power cut at any moment of the spool's life, thousands of times, in memory.

`RecordedDisk` stands between the spool and the operating system and keeps every write, sync, truncation, creation and
deletion. From any prefix of that history `Crash` makes what a disk may hold after the power went: what was synced is
there; of what was written since, each sector may be there or not, in any order, and the file's length is anything
between. A name is durable when its directory was synced, so is the end of one. A sync that failed leaves its sectors to
chance for ever, as Linux does, which calls such pages clean. Then the spool is opened on it.

    python -m load_tests faults --fault power_cut --times 3000 --json
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from load_tests.faulting.rig import FaultFound
from mediasrv.check import read_spool
from mediasrv.clock import SystemClock
from mediasrv.errors import FootageError
from mediasrv.settings import SpoolSettings
from mediasrv.storage import spool_log
from mediasrv.storage.keys import Identity, KeyRecord, NodeKey, create_data_key
from mediasrv.storage.sealing import INDEPENDENT, Descriptor, Ended, ObjectHeader
from mediasrv.storage.spool import Spool
from mediasrv.storage.spool_index import SpooledObject

SECTORS: Final = (512, 4096)
_FILE_BYTES: Final = 60_000
_CUTS_A_LIFE: Final = 150
_STEPS: Final = 60


class Operation(NamedTuple):
    """What the spool asked of the disk: `write` (data at an offset), `sync`, `failed_sync`, `truncate` (to an offset),
    `create`, `delete`, `sync_names`.
    """

    kind: str
    file: str = ""
    offset: int = 0
    data: bytes = b""


class RecordedDisk:
    """Takes the place of `os` in the spool's modules. Everything really happens, and is kept in `history`."""

    def __init__(self, dice: random.Random) -> None:
        self.history: list[Operation] = []
        self.failing_syncs = 0.0
        self._dice = dice
        self._open: dict[int, str] = {}
        self._ends: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            self.history.append(Operation("create", path.name))
            self._open[descriptor], self._ends[path.name] = path.name, 0
        return descriptor

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        os.close(descriptor)

    def writev(self, descriptor: int, buffers: Sequence[bytes]) -> int:
        # Short writes are legal at any time, and one of them may be the last that was.
        data = b"".join(buffers)[: self._dice.randrange(3000, 40_000)]
        name = self._open[descriptor]
        self.history.append(Operation("write", name, self._ends[name], data))
        self._ends[name] += len(data)
        return os.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        if self._dice.random() < self.failing_syncs:
            self.history.append(Operation("failed_sync", self._open[descriptor]))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.history.append(Operation("sync", self._open[descriptor]))

    def fsync(self, descriptor: int) -> None:
        """Of a directory, or of a file that was cut."""
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        if name.endswith(".log") and self._dice.random() < self.failing_syncs:
            self.history.append(Operation("failed_sync", name))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.history.append(Operation("sync", name) if name.endswith(".log") else Operation("sync_names"))

    def ftruncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        self.history.append(Operation("truncate", name, length))
        self._ends[name] = length

    def unlinked(self, name: str) -> None:
        self.history.append(Operation("delete", name))


@contextmanager
def recorded_disk(dice: random.Random) -> Iterator[RecordedDisk]:
    """The disk under every spool of this process."""
    disk, unlink = RecordedDisk(dice), Path.unlink

    def recording_unlink(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        disk.unlinked(path.name)

    with patch.object(spool_log, "os", disk), patch.object(Path, "unlink", recording_unlink):
        yield disk


# --- what is left of it --------------------------------------------------------------------------


@dataclass
class _File:
    """`synced` is sure; `later` was written since, piece by piece; each piece of `doubtful` never will be sure."""

    synced: bytes = b""
    later: list[tuple[int, bytes]] = field(default_factory=list)
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Lengths it may have, by cuts that were not synced."""
    named: bool = False

    def apply(self, one: Operation) -> None:
        match one.kind:
            case "write":
                self.later.append((one.offset, one.data))
            case "sync":
                # What a failed sync left to chance is clean to the kernel: this one does not write it.
                self.synced = _written(self.synced, self.later)
                if self.lengths:
                    self.synced = self.synced[: min(self.lengths)]
                    self.doubtful = _before(self.doubtful, min(self.lengths))
                self.later, self.lengths = [], []
            case "failed_sync":
                self.doubtful += self.later
                self.later = []
            case "truncate":
                self.lengths.append(one.offset)
                self.later = _before(self.later, one.offset)


def _not_cut(history: Sequence[Operation]) -> set[str]:
    """Files whose cut could not be synced: there may be damage behind it."""
    pairs = pairwise(history)
    return {one.file for before, one in pairs if (before.kind, one.kind) == ("truncate", "failed_sync")}


def _before(pieces: Sequence[tuple[int, bytes]], length: int) -> list[tuple[int, bytes]]:
    return [(at, data[: length - at]) for at, data in pieces if at < length]


def _written(content: bytes, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    data = bytearray(content)
    for at, piece in pieces:
        data.extend(bytes(max(0, at + len(piece) - len(data))))
        data[at : at + len(piece)] = piece
    return bytes(data)


def disk_after(history: Sequence[Operation], dice: random.Random) -> dict[str, bytes]:
    """Files by name as a power cut behind these operations may leave them."""
    files: dict[str, _File] = {}
    going: list[str] = []
    sector = dice.choice(SECTORS)
    for one in history:
        match one.kind:
            case "create":
                files[one.file] = _File()
            case "delete":
                going.append(one.file)
            case "sync_names":
                for name in going:
                    files.pop(name, None)
                going = []
                for file in files.values():
                    file.named = True
            case _ if one.file in files:
                files[one.file].apply(one)
    left = {}
    for name, file in files.items():
        if (not file.named and dice.random() < 0.5) or (name in going and dice.random() < 0.5):
            continue
        left[name] = _torn(file, sector, dice)
    return left


def _torn(file: _File, sector: int, dice: random.Random) -> bytes:
    """Each sector that was not synced is there or not; the length is that of some of them."""
    pieces = [*file.doubtful, *file.later]
    share = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    kept: list[tuple[int, bytes]] = []
    for at, data in pieces:
        start = at
        while start < at + len(data):
            end = min(at + len(data), (start // sector + 1) * sector)
            if dice.random() < share:
                kept.append((start, data[start - at : end - at]))
            start = end
    content = _written(file.synced, kept)
    longest = max([len(content), *(at + len(data) for at, data in pieces)])
    if dice.random() < 0.3:
        content = content.ljust(longest, b"\0")  # the length was written, the data was not
    if file.lengths and dice.random() < 0.5:
        content = content[: max(len(file.synced), file.lengths[-1])] if file.lengths[-1] else content
    return content


# --- a life of the spool -------------------------------------------------------------------------


@dataclass
class _Said:
    """What the spool had acknowledged at some moment: durable parts, ends, and objects that were released."""

    at: int
    parts: dict[str, int]
    ended: frozenset[str]
    released: frozenset[str]


_NOTHING: Final = _Said(0, {}, frozenset(), frozenset())


@dataclass
class _Life:
    """Everything that was ever appended, and what was said when."""

    key: KeyRecord
    node: NodeKey
    sealed: dict[str, list[bytes]] = field(default_factory=dict)
    said: list[_Said] = field(default_factory=list)
    released: set[str] = field(default_factory=set)


async def _live(directory: Path, disk: RecordedDisk, dice: random.Random, failing_syncs: float) -> _Life:
    node = NodeKey.generate()
    record = create_data_key(
        "cell-1", "gate-1", "main", 0, 3600, "node-1", node, [Identity.generate().recipient]
    ).record
    life, settings = _Life(record, node), SpoolSettings(file_bytes=_FILE_BYTES)
    spool = Spool(directory, settings, SystemClock())
    # Its own file size has a floor of a MiB: here a file has to be full within a few batches.
    spool._writer.file_bytes = _FILE_BYTES
    await spool.open()
    open_objects: list[str] = []
    for _ in range(_STEPS):
        disk.failing_syncs = dice.choice((0.0, 0.0, 0.0, failing_syncs))
        _append_something(spool, life, open_objects, dice)
        await spool.flush()
        _release_something(spool, life, dice)
        if dice.random() < 0.3:
            await spool.keep_house()
        life.said.append(_what_it_says(spool, life, len(disk.history)))
    disk.failing_syncs = 0.0
    spool._queue.clear()
    await spool.close()
    return life


def _append_something(spool: Spool, life: _Life, open_objects: list[str], dice: random.Random) -> None:
    if len(open_objects) < 3:
        object_id = secrets.token_hex(32)
        header = ObjectHeader(
            object_id, "cell-1", "gate-1", "main", "5e" * 8, 1, len(life.sealed), "node-1", "1c" * 16,
            life.key.key_id, 0,
        )  # fmt: skip
        spool.begin(header, life.key)
        life.sealed[object_id] = []
        open_objects.append(object_id)
    for object_id in list(open_objects):
        for _ in range(dice.randrange(3)):
            parts = life.sealed[object_id]
            sealed = dice.randbytes(dice.choice((60, 900, 5000, 14_000)))
            spool.append(object_id, len(parts), _descriptor(len(parts)), sealed)
            parts.append(sealed)
        if dice.random() < 0.25:
            spool.end(object_id, Ended.CLOSED)
            open_objects.remove(object_id)


def _descriptor(index: int) -> bytes:
    return Descriptor(1, INDEPENDENT, 12, 90_000, index * 480_000, index * 43_200, 43_200).pack()


def _release_something(spool: Spool, life: _Life, dice: random.Random) -> None:
    for item in spool.objects():
        if item.ended is not None and item.parts and dice.random() < 0.4:
            spool.release(item.object_id)
            life.released.add(item.object_id)


def _what_it_says(spool: Spool, life: _Life, at: int) -> _Said:
    waiting = spool.objects()
    durable_release = frozenset(life.released) if not spool._queue else frozenset()
    return _Said(
        at,
        {item.object_id: item.parts for item in waiting},
        frozenset(item.object_id for item in waiting if item.ended is not None),
        durable_release,
    )


def _lay_out(directory: Path, files: dict[str, bytes]) -> None:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)


# --- the check -----------------------------------------------------------------------------------


async def _check_cut(directory: Path, left: dict[str, bytes], life: _Life, said: _Said, uncut: set[str]) -> int:
    """Opens a spool on what is left; how many parts it has. Raises FaultFound where something acknowledged is not
    there, or something is there that was never written.
    """
    _lay_out(directory, left)
    spool = Spool(directory, SpoolSettings(), SystemClock())
    await spool.open()
    await spool.flush()
    found = {item.object_id: item for item in spool.objects()}
    readable: dict[str, list[bytes]] = {}
    parts = 0
    for object_id, item in found.items():
        sealed = readable[object_id] = await _readable(spool, item)
        if sealed != life.sealed[object_id][: len(sealed)]:
            raise FaultFound(f"{object_id[:8]}: a part is not the one that was written")
        parts += len(sealed)
    for object_id, count in said.parts.items():
        there, left_of_it = found.get(object_id), len(readable.get(object_id, ()))
        if object_id in life.released - said.released:
            continue  # released since: that record may have been the last that was written
        if left_of_it < count:
            raise FaultFound(f"{object_id[:8]}: {left_of_it} of {count} acknowledged parts")
        if there and object_id in said.ended and there.ended is not Ended.CLOSED:
            raise FaultFound(f"{object_id[:8]}: its acknowledged end is lost")
    back = sorted(found.keys() & said.released)
    if back:
        raise FaultFound(f"{back[0][:8]} was released and is back")
    await spool.close()
    contents = read_spool(directory)
    if contents.object_ids != found.keys():
        raise FaultFound("the spool changes from one opening to the next")
    if wrongly := set(contents.damaged) - uncut:
        raise FaultFound(f"damage is reported where there is none: {wrongly}")
    return parts


async def _readable(spool: Spool, item: SpooledObject) -> list[bytes]:
    """The parts before the first one that is damaged: as the recorder stores them."""
    parts: list[bytes] = []
    with contextlib.suppress(FootageError):
        for index in range(item.parts):
            parts += await spool.read(item, index, index)
    return parts


async def power_cuts(
    times: int, dice: random.Random, say: Callable[[str], None], failing_syncs: float = 0.0
) -> dict[str, Any]:
    """Lives of the spool, each cut at many points; in some of their ticks a share of the syncs fails.

    Raises FaultFound with what to repeat it by.
    """
    cuts = parts = lives = 0
    with tempfile.TemporaryDirectory(prefix="mediasrv-power-cut-") as name:
        while cuts < times:
            seed = dice.randrange(1 << 32)
            of_life, lives = random.Random(seed), lives + 1
            with recorded_disk(of_life) as disk:
                life = await _live(Path(name) / f"life-{lives}", disk, of_life, failing_syncs)
            for _ in range(min(_CUTS_A_LIFE, times - cuts)):
                cuts += 1
                at = of_life.randrange(len(disk.history) + 1)
                said = next((one for one in reversed(life.said) if one.at <= at), _NOTHING)
                left = disk_after(disk.history[:at], of_life)
                uncut = _not_cut(disk.history[:at])
                try:
                    parts += await _check_cut(Path(name) / f"cut-{cuts}", left, life, said, uncut)
                except FaultFound as error:
                    raise FaultFound(f"{error} (life of seed {seed}, cut {cuts} behind operation {at})") from error
            say(f"{cuts} power cuts, {parts} parts read back")
    return {"cuts": cuts, "lives": lives, "parts_read_back": parts}
