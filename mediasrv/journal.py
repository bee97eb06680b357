"""The journal: what a catalogue knows that recording objects do not say, kept beside them in the footage bucket.

Places, cameras, sessions, gaps, holds and policies, each change of a row as the row then is, in numbered segments:
sealed documents, signed by the node, each naming the hash of the one before it. A catalogue that is lost is rebuilt
from them and from the objects (`mediasrv check --rebuild`).

A segment is stored before the catalogue forgets what it holds. Where its answer was lost, or the server died in
between, the next start finds the segment and goes on behind it; what it held is then told once more, which is harmless.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mediasrv.catalogue import Catalogue, journalling
from mediasrv.catalogue.journalling import Head
from mediasrv.clock import Clock
from mediasrv.errors import Conflict, FootageRefused, MediasrvError, StorageConflict
from mediasrv.settings import JournalSettings
from mediasrv.storage.documents import DocumentHead, open_document, read_head, seal_document, verify_document
from mediasrv.storage.keys import NodeKey
from mediasrv.storage.object_store import ObjectStore, crc32c_of

log = logging.getLogger(__name__)

PREFIX: Final = "_journal/"
KIND: Final = "journal"
LAST_S: Final = 5.0
_MOST_CHANGES: Final = 5000

Unwrap = Callable[[DocumentHead], Awaitable[bytes]]
"""What opens a document. Raises KeyUnavailable."""


@dataclass(frozen=True, slots=True)
class JournalState:
    """`number` is that of the last segment; `reason_code` says why none is written now."""

    number: int
    written_us: int
    reason_code: str | None


class Journal:
    """Writes a segment whenever something has changed, at most once an interval, and once more at the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: ObjectStore,
        node_id: str,
        node_key: NodeKey,
        recipients: Iterable[str],
        clock: Clock,
        settings: JournalSettings,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._node_id = node_id
        self._sign, self._public_key = node_key.sign, node_key.public
        self._recipients = recipients
        self._clock = clock
        self._settings = settings
        self._writing = asyncio.Lock()
        self._state = JournalState(0, 0, None)

    @property
    def state(self) -> JournalState:
        return self._state

    async def run(self) -> None:
        """Until cancelled. While storage is away changes wait in the catalogue."""
        while True:
            await asyncio.sleep(self._settings.interval_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            try:
                await self.write_all()
            except Exception as error:
                # A supervisor: whatever goes wrong with the journal must not end the server.
                self._failed(error)

    async def write_last(self) -> None:
        """At the orderly end; at most `LAST_S`."""
        try:
            async with asyncio.timeout(LAST_S):
                await self.write_all()
        except (MediasrvError, TimeoutError):
            log.warning("the journal's last changes were not stored: the next start does it")

    async def write_all(self) -> None:
        """Stores all changes there are. Raises StorageError."""
        async with self._writing:
            while await self._write_segment():
                pass

    async def _write_segment(self) -> bool:
        changes = await self._catalogue.read(journalling.read_changes, _MOST_CHANGES)
        if not changes.change_ids:
            return False
        now_us = self._clock.wall_us()
        last = await self._catalogue.read(journalling.read_journal_head, self._node_id) or await self._begin(now_us)
        body = await asyncio.to_thread(self._build, changes.entries, last, now_us)
        key = segment_key(self._node_id, last.number + 1)
        try:
            await self._store.put(key, [body], crc32c_of([body]))
        except StorageConflict:
            head, change_ids = await self._behind(key, last), []
        else:
            head, change_ids = Head(last.number + 1, hashlib.sha256(body).digest()), changes.change_ids
        await self._catalogue.write(journalling.note_segment, self._node_id, head, change_ids, now_us)
        self._state = JournalState(head.number, now_us, None)
        return True

    async def _begin(self, now_us: int) -> Head:
        """Raises Conflict where the bucket has a journal of this node that the catalogue knows nothing of."""
        async for _ in self._store.list(f"{PREFIX}{self._node_id}/"):
            raise Conflict(
                "The bucket has a journal of this node, and the catalogue knows nothing of it: it was lost.",
                code="catalogue_lost",
            )
        begun = Head(0, b"")
        await self._catalogue.write(journalling.note_segment, self._node_id, begun, [], now_us)
        return begun

    async def _behind(self, key: str, last: Head) -> Head:
        """The end of the journal where a segment lies already: ours, whose answer was lost, or a stranger's."""
        body = await self._store.get(key)
        try:
            verify_document(io.BytesIO(body), self._public_key)
        except FootageRefused as error:
            log.critical("somebody else wrote into the journal: %s: %s", key, error.sentence)
            return Head(last.number + 1, last.hash)
        return Head(last.number + 1, hashlib.sha256(body).digest())

    def _build(self, entries: Sequence[Mapping[str, Any]], last: Head, now_us: int) -> bytes:
        about = {"number": last.number + 1, "previous": last.hash.hex()}
        body = zlib.compress(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        return b"".join(seal_document([body], KIND, about, self._node_id, now_us, self._sign, [*self._recipients]))

    def _failed(self, error: Exception) -> None:
        code = error.code if isinstance(error, MediasrvError) else "storage_failed"
        if code != self._state.reason_code:
            log.warning("the journal is not written: %s", error, exc_info=not isinstance(error, MediasrvError))
        self._state = JournalState(self._state.number, self._state.written_us, code)


def segment_key(node_id: str, number: int) -> str:
    return f"{PREFIX}{node_id}/{number:012d}"


# --- reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """`follows`: it names the hash of the last good one before it. `refused` says why it is not believed."""

    key: str
    hash: bytes
    number: int
    follows: bool
    entries: list[dict[str, Any]]
    refused: str = ""


async def read_journal(store: ObjectStore, node_id: str, public_key: bytes, unwrap: Unwrap) -> AsyncIterator[Segment]:
    """A node's segments in their order. Raises KeyUnavailable where no identity opens one, StorageError."""
    previous, number = b"", 0
    async for one in store.list(f"{PREFIX}{node_id}/"):
        body = await store.get_range(one.key, 0, one.size_bytes, version_id=one.version_id)
        try:
            head = _parse_head(body, one.key, node_id)
            entries = await asyncio.to_thread(_open, body, await unwrap(head), public_key)
            names = bytes.fromhex(head.about["previous"])
        except (FootageRefused, ValueError, KeyError, TypeError) as error:
            sentence = error.sentence if isinstance(error, FootageRefused) else "Its head cannot be read."
            yield Segment(one.key, previous, number, True, [], sentence)
            continue
        number, follows, previous = int(head.about["number"]), names == previous, hashlib.sha256(body).digest()
        yield Segment(one.key, previous, number, follows, entries)


def _parse_head(body: bytes, key: str, node_id: str) -> DocumentHead:
    head = read_head(io.BytesIO(body))
    if head.kind != KIND or head.node_id != node_id or key != segment_key(node_id, int(head.about["number"])):
        raise FootageRefused("It is no segment of this journal, or another one.", code="document_altered")
    return head


def _open(body: bytes, secret: bytes, public_key: bytes) -> list[dict[str, Any]]:
    plain = b"".join(open_document(io.BytesIO(body), secret, public_key))
    try:
        return list(_parse(zlib.decompress(plain)))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise FootageRefused("A segment of the journal cannot be read.", code="document_broken") from error


def _parse(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        entry = json.loads(line)
        yield {"table": entry["table"], "key": str(entry["key"]), "row": entry["row"]}
