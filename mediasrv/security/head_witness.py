"""Copies of the access log's head, signed by the node, in the footage bucket: out of reach of who writes the catalogue.

The log itself shows an edit; a truncation and a fork show only against a head that was kept elsewhere
(docs/adr/007-head-of-the-access-log-in-the-bucket.md). A copy is never overwritten, and it goes only after a later
one is there whose log still holds it: whatever happens to the log, the server itself removes no evidence of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.recordings import node_public_key
from mediasrv.clock import Clock
from mediasrv.errors import FootageRefused, MediasrvError, StorageError
from mediasrv.security.access_log import EMPTY, Broken, Head, compare, read_head, verify
from mediasrv.settings import StorageSettings
from mediasrv.storage.keys import verify_signature
from mediasrv.storage.object_store import Listed, ObjectStore, crc32c_of

log = logging.getLogger(__name__)

PREFIX: Final = "_access_log/"
"""No cell begins so: a recording object's key never does."""

LAST_S: Final = 5.0
_CONTEXT: Final = b"mediasrv access log head v1"
_LONGEST_BYTES: Final = 4096

Sign = Callable[[bytes], bytes]


# --- pure ----------------------------------------------------------------------------------------


def build_signed_head(node_id: str, head: Head, at_us: int, sign: Sign) -> bytes:
    """A JSON document, signed (Ed25519) as it stands over a context and its own bytes."""
    document = json.dumps(
        {"format": 1, "node_id": node_id, "entry": head.entry, "entry_hash": head.entry_hash.hex(), "at_us": at_us}
    )
    signature = sign(_CONTEXT + document.encode())
    return json.dumps({"document": document, "signature": signature.hex()}).encode()


def parse_signed_head(data: bytes, public_key: Callable[[str], bytes | None]) -> Head:
    """The head. Raises FootageRefused `head_invalid`, or `signature_wrong` where no registered node signed it."""
    try:
        outer = json.loads(data)
        text, signature = str(outer["document"]), bytes.fromhex(outer["signature"])
        document = json.loads(text)
        head = Head(int(document["entry"]), bytes.fromhex(document["entry_hash"]))
        node_id = str(document["node_id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FootageRefused("This is no signed head of an access log.", code="head_invalid") from error
    key = public_key(node_id)
    if key is None:
        raise FootageRefused("The head was signed by no registered node.", code="signature_wrong")
    verify_signature(key, signature, _CONTEXT + text.encode("utf-8", "replace"))
    return head


# --- reading copies ------------------------------------------------------------------------------


async def list_copies(store: ObjectStore) -> list[Listed]:
    """All copies of all nodes, every version of each. Raises StorageError."""
    return [one async for one in store.list(PREFIX)]


async def read_copy(store: ObjectStore, copy: Listed) -> bytes:
    """Raises StorageError, `object_missing` where a later copy has taken its place."""
    return await store.get_range(copy.key, 0, min(copy.size_bytes, _LONGEST_BYTES), version_id=copy.version_id)


def compare_copy(connection: Connection, data: bytes) -> tuple[Head, Broken | None]:
    """A copied head, and what the log has lost since. Raises FootageRefused for what no registered node signed."""
    head = parse_signed_head(data, lambda node_id: node_public_key(connection, node_id))
    return head, compare(connection, head)


async def recordings_of(listing: AsyncIterator[Listed]) -> AsyncIterator[Listed]:
    """Recording objects: what else lies in the bucket lies below a name that begins with `_`, as no cell does."""
    async for one in listing:
        if not one.key.startswith("_"):
            yield one


# --- making copies -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WitnessState:
    """`copied` is None until this run's first copy; `broken` is what was found wrong in the log while it ran."""

    copied: Head | None = None
    copied_us: int = 0
    reason_code: str | None = None
    broken: Broken | None = None


@dataclass(frozen=True, slots=True)
class _Copy:
    head: Head
    at_us: int
    key: str
    version_id: str | None


class HeadWitness:
    """Copies the head whenever the log has moved, at most once an interval, and once more at the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: ObjectStore,
        node_id: str,
        sign: Sign,
        clock: Clock,
        interval_s: float,
        settings: StorageSettings,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._node_id = node_id
        self._sign = sign
        self._clock = clock
        self._interval_s = interval_s
        self._settings = settings
        self._copying = asyncio.Lock()
        self._last: _Copy | None = None
        self._broken: Broken | None = None
        self._reason_code: str | None = None

    @property
    def state(self) -> WitnessState:
        if self._last is None:
            return WitnessState(None, 0, self._reason_code, self._broken)
        return WitnessState(self._last.head, self._last.at_us, self._reason_code, self._broken)

    async def run(self) -> None:
        """Until cancelled. While the store is away it is tried again, ever less often up to the interval."""
        retry_s = self._settings.retry_first_s
        while True:
            try:
                await self.copy_head()
            except Exception as error:
                self._failed(error)
                pause_s, retry_s = retry_s, min(2 * retry_s, self._settings.retry_most_s, self._interval_s)
            else:
                pause_s, retry_s = self._interval_s, self._settings.retry_first_s
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def copy_last(self) -> None:
        """At the orderly end, when no more entries come; at most `LAST_S`."""
        try:
            async with asyncio.timeout(LAST_S):
                await self.copy_head()
        except (MediasrvError, TimeoutError):
            log.warning("the access log's last head was not copied: the next start does it")

    async def copy_head(self) -> None:
        """Copies the head if the log has moved since the last copy. Raises StorageError."""
        async with self._copying:
            before = self._last
            head, broken = await self._catalogue.read(_head_after, before.head if before else None)
            if broken is not None:
                self._found(broken)
            if head == (before.head if before else EMPTY):
                return
            self._last = await self._put(head)
            self._reason_code = None
            if before is not None and broken is None:
                await self._drop(before)

    async def _put(self, head: Head) -> _Copy:
        at_us = self._clock.wall_us()
        body = [build_signed_head(self._node_id, head, at_us, self._sign)]
        key = f"{PREFIX}{self._node_id}/{head.entry:012d}-{at_us}"
        put = await self._store.put(key, body, crc32c_of(body))
        return _Copy(head, at_us, key, put.version_id)

    async def _drop(self, copy: _Copy) -> None:
        # A copy that stays, because storage is away or Object Lock keeps it, says nothing wrong.
        with contextlib.suppress(StorageError):
            await self._store.delete(copy.key, copy.version_id)

    def _found(self, broken: Broken) -> None:
        if broken != self._broken:
            log.critical("somebody has tampered with the access log: entry %d: %s", broken.entry, broken.why)
        self._broken = broken

    def _failed(self, error: Exception) -> None:
        """A supervisor: whatever goes wrong with a copy must not end the server."""
        code = error.code if isinstance(error, MediasrvError) else "storage_failed"
        if code != self._reason_code:
            log.warning("the access log's head is not copied: %s", error, exc_info=not isinstance(error, MediasrvError))
        self._reason_code = code


def _head_after(connection: Connection, known: Head | None) -> tuple[Head, Broken | None]:
    """The head now, and whether the log still follows from a head that was right: both of the same moment."""
    if known is None:
        return read_head(connection), None
    return read_head(connection), compare(connection, known) or verify(connection, known)
