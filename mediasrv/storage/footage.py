"""Reads sealed footage, wherever it lies: verified objects in storage, durable parts in the spool.

Nothing is handed out that was not checked: the footer's signature by a registered node, that the object is the one
its catalogue row names, each part's tag against the footer, and each part's own seal.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from mediasrv.clock import Clock
from mediasrv.errors import FootageRefused, KeyUnavailable, StorageError
from mediasrv.media.access_unit import StreamRef
from mediasrv.storage.identities import HeldIdentities, Identities
from mediasrv.storage.keys import Identity, KeyRecord, parse_key_record
from mediasrv.storage.object_store import ObjectStore
from mediasrv.storage.sealing import (
    SIGNATURE_BYTES,
    TRAILER_BYTES,
    Descriptor,
    Ended,
    ObjectCipher,
    ObjectHeader,
    ObjectIndex,
    PartEntry,
    check_tag,
    footer_length,
    header_length,
    parse_header,
)
from mediasrv.storage.spool import Spool
from mediasrv.storage.spool_index import SpooledObject

TAIL_BYTES: Final = 32 * 1024
"""As a rule a footer whole: 80 bytes for each of some 250 parts, and the signature."""
HEAD_BYTES: Final = 4096
"""The header, and behind it the init segment of the pictures: a playlist needs both of each object."""
INDEX_CACHE: Final = 256
EXPIRE_S: Final = 5.0
READ_BYTES: Final = 8 << 20
THREAD_FROM_BYTES: Final = 256 * 1024
"""Unsealing less than this takes less time than handing it to a thread and back."""


class KeySource(Protocol):
    """What the catalogue knows: `catalogue.recordings.CatalogueKeys`."""

    async def node_key(self, node_id: str) -> bytes | None:
        """The registered Ed25519 public key of a node."""

    async def key_record(self, key_id: str) -> bytes | None:
        """A stored key record; None where there is none or it was destroyed."""


class RecordingRow(Protocol):
    """What must be known of a catalogued object to read it."""

    @property
    def object_id(self) -> str: ...

    @property
    def object_key(self) -> str: ...

    @property
    def version_id(self) -> str | None: ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class FootageIndex:
    """A verified object in storage (`object_key`), or what is durable of one in the spool (`spooled`).

    `ended` says how an object in storage ended; `head` is what was read of its beginning, sealed as it is;
    `footer_sha256` and `signature` what its node signed: the footer up to the signature (docs/format.md, 1.3), which
    holds the header's hash and every part's tag.
    """

    header: ObjectHeader
    entries: tuple[PartEntry, ...]
    object_key: str = ""
    version_id: str | None = None
    spooled: SpooledObject | None = None
    ended: Ended | None = None
    head: bytes = b""
    footer_sha256: bytes = b""
    signature: bytes = b""


class KeyRing:
    """Opens data keys with the identities of this process; keeps at most `most` of them, each for `cache_s`.

    What is kept is forgotten in time only where `run` runs beside.
    """

    def __init__(
        self,
        identities: Identities | Sequence[Identity],
        source: KeySource,
        clock: Clock,
        cache_s: float,
        most: int = 4096,
    ) -> None:
        self._identities = identities if isinstance(identities, Identities) else HeldIdentities(identities, clock)
        self._source = source
        self._clock = clock
        self._cache_s = cache_s
        self._most = most
        self._opened: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._node_keys: dict[str, bytes] = {}

    async def run(self) -> None:
        """Forgets what is due, until cancelled; then all."""
        try:
            while True:
                await asyncio.sleep(min(max(self._cache_s / 10, 0.05), EXPIRE_S))
                self.expire()
        finally:
            self._opened.clear()
            self._identities.close()

    def expire(self) -> None:
        """Forgets opened keys and identities that were kept for long enough."""
        now = self._clock.monotonic()
        while self._opened and next(iter(self._opened.values()))[0] <= now:  # oldest first
            self._opened.popitem(last=False)
        self._identities.expire()

    @property
    def held(self) -> int:
        """How many opened data keys lie in memory."""
        return len(self._opened)

    async def node_keys(self, node_id: str) -> dict[str, bytes]:
        """The registered public key of this node, by its id; empty where there is none."""
        known = self._node_keys.get(node_id) or await self._source.node_key(node_id)
        if known is None:
            return {}
        self._node_keys[node_id] = known
        return {node_id: known}

    async def data_key(self, key_id: str, record: KeyRecord | None = None) -> bytes:
        """Raises KeyUnavailable when it is destroyed, wrapped to others or not to be opened now
        (`identity_unavailable`), FootageRefused when it is forged.
        """
        self.expire()
        kept = self._opened.get(key_id)
        if kept is None:
            secret = await self._identities.unwrap(record or await self._load(key_id))
            kept = self._opened[key_id] = (self._clock.monotonic() + self._cache_s, secret)
            self._opened.move_to_end(key_id)
            while len(self._opened) > self._most:
                self._opened.popitem(last=False)
        return kept[1]

    async def _load(self, key_id: str) -> KeyRecord:
        data = await self._source.key_record(key_id)
        if data is None:
            raise KeyUnavailable(f"Data key {key_id} was destroyed or never stored.")
        record = parse_key_record(data)
        public_key = (await self.node_keys(record.node_id)).get(record.node_id)
        if public_key is None or record.key_id != key_id:
            raise FootageRefused(f"Data key {key_id} was made by no registered node.", code="signer_unknown")
        record.verify(public_key)
        return record


class Footage:
    """Indexes and plain parts. `spool` is None in a process that does not record."""

    def __init__(self, object_store: ObjectStore, spool: Spool | None, keyring: KeyRing) -> None:
        self._object_store = object_store
        self._spool = spool
        self._keyring = keyring
        self._indexes: OrderedDict[str, FootageIndex] = OrderedDict()
        self._threads = ThreadPoolExecutor(2, "unseal")

    def close(self) -> None:
        self._threads.shutdown()

    async def index(self, row: RecordingRow) -> FootageIndex:
        """The part index of a catalogued object. Raises FootageRefused, StorageError."""
        found = self._indexes.get(row.object_id)
        if found is None:
            found = await self._read_index(row)
            while len(self._indexes) >= INDEX_CACHE:
                self._indexes.popitem(last=False)
            self._indexes[row.object_id] = found
        self._indexes.move_to_end(row.object_id)
        return found

    def spooled(self, ref: StreamRef, within_us: tuple[int, int] | None = None) -> list[FootageIndex]:
        """Objects of a stream that wait in the spool, oldest first; only those with footage in `within_us`."""
        waiting = self._spool.of_stream(ref) if self._spool is not None else []
        return [_spooled_index(item) for item in waiting if within_us is None or _touches(item, within_us)]

    def find_spooled(self, object_id: str) -> FootageIndex | None:
        """An object that waits in the spool, of whatever stream."""
        item = self._spool.get(object_id) if self._spool is not None else None
        return None if item is None else _spooled_index(item)

    async def parts(self, index: FootageIndex, first: int, last: int) -> list[bytes]:
        """Plain bytes of parts `first` to `last`, both included.

        Raises FootageRefused, KeyUnavailable, StorageError, and FootageError `footage_moved` for an object that
        has left the spool since: it is in the catalogue then.
        """
        entries = index.entries[first : last + 1]
        if not entries:
            return []
        sealed = await self._sealed_parts(index, first, last, entries)
        record = None if index.spooled is None else index.spooled.key_record
        cipher = ObjectCipher(index.header, await self._keyring.data_key(index.header.key_id, record))
        if sum(map(len, sealed)) < THREAD_FROM_BYTES:
            return _unseal(cipher, first, entries, sealed)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _unseal, cipher, first, entries, sealed)

    async def check_parts(self, index: FootageIndex) -> None:
        """Reads every part, some at a time, and opens it: returns where all is as it was sealed. Raises as `parts`."""
        first, size = 0, 0
        for number, entry in enumerate(index.entries):
            if size and size + entry.length > READ_BYTES:
                await self.parts(index, first, number - 1)
                first, size = number, 0
            size += entry.length
        await self.parts(index, first, len(index.entries) - 1)

    async def _read_index(self, row: RecordingRow) -> FootageIndex:
        size = row.size_bytes
        try:
            head, tail = await asyncio.gather(
                self._read(row, 0, min(HEAD_BYTES, size)),
                self._read(row, max(0, size - TAIL_BYTES), min(TAIL_BYTES, size)),
            )
            header_size, footer_size = header_length(head), footer_length(tail)
            if header_size + footer_size > size:
                raise FootageRefused("The object is shorter than its header and footer.", code="object_truncated")
            head = head if len(head) >= header_size else await self._read(row, 0, header_size)
            tail = tail if len(tail) >= footer_size else await self._read(row, size - footer_size, footer_size)
        except StorageError as error:
            if error.code != "object_truncated":
                raise
            raise FootageRefused(error.sentence, code=error.code) from error
        header, footer = head[:header_size], tail[-footer_size:]
        node_keys = await self._keyring.node_keys(parse_header(header).node_id)
        # In a thread: some hundred entries and a signature take milliseconds, and a playlist needs many objects.
        loop = asyncio.get_running_loop()
        verified = await loop.run_in_executor(self._threads, ObjectIndex.verify, header, footer, size, node_keys)
        if verified.header.object_id != row.object_id:
            raise FootageRefused("Another object lies in its place.", code="object_swapped")
        signed, signature = footer[: -TRAILER_BYTES - SIGNATURE_BYTES], footer[-TRAILER_BYTES - SIGNATURE_BYTES :]
        return FootageIndex(
            verified.header,
            verified.entries,
            row.object_key,
            row.version_id,
            ended=verified.ended,
            head=head,
            footer_sha256=sha256(signed).digest(),
            signature=signature[:SIGNATURE_BYTES],
        )

    async def _read(self, row: RecordingRow, first: int, length: int) -> bytes:
        return await self._object_store.get_range(row.object_key, first, length, version_id=row.version_id)

    async def _sealed_parts(
        self, index: FootageIndex, first: int, last: int, entries: Sequence[PartEntry]
    ) -> list[bytes]:
        if index.spooled is not None and self._spool is not None:
            return await self._spool.read(index.spooled, first, last)
        start, end = entries[0].offset, entries[-1].offset + entries[-1].length
        if end <= len(index.head):
            data = index.head[start:end]
        else:
            data = await self._object_store.get_range(index.object_key, start, end - start, version_id=index.version_id)
        return [data[entry.offset - start : entry.offset - start + entry.length] for entry in entries]


def _unseal(cipher: ObjectCipher, first: int, entries: Sequence[PartEntry], sealed: Sequence[bytes]) -> list[bytes]:
    parts = []
    for number, (entry, data) in enumerate(zip(entries, sealed, strict=True), first):
        check_tag(number, entry, data)
        parts.append(cipher.open(number, entry.descriptor.pack(), data))
    return parts


def _spooled_index(item: SpooledObject) -> FootageIndex:
    entries, offset = [], len(item.header_bytes)
    for place in item.places():
        entries.append(PartEntry(offset, place.length, Descriptor.unpack(place.descriptor), place.tag))
        offset += place.length
    return FootageIndex(item.header, tuple(entries), spooled=item)


def _touches(item: SpooledObject, within_us: tuple[int, int]) -> bool:
    span_us = item.span_us
    return span_us is not None and span_us[0] < within_us[1] and span_us[1] > within_us[0]
