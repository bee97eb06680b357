"""From the spool into storage: assemble, PUT, verify, catalogue, release; again until it works.

States of footage: received, locally durable (spool), stored (the store has answered with the checksum),
indexed (catalogue row). Only then the spool's copy may go.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from mediasrv.catalogue import Catalogue, recordings
from mediasrv.catalogue.recordings import StoredRecording
from mediasrv.clock import DAY_US, Clock
from mediasrv.errors import FootageError, StorageConflict, StorageError
from mediasrv.media.access_unit import StreamRef
from mediasrv.media.gaps import CLOCK_WENT_BACK_US
from mediasrv.recording.stream import NodeContext
from mediasrv.settings import StorageSettings
from mediasrv.storage.keys import KeyRecord
from mediasrv.storage.object_store import ObjectStore, Put, crc32c_of
from mediasrv.storage.sealing import Ended, build_footer
from mediasrv.storage.spool import Spool
from mediasrv.storage.spool_index import SpooledObject

log = logging.getLogger(__name__)

COMMIT_BATCH: Final = 100
KNOWN_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class UploadState:
    """`reason_code` is why storage fails now, None while it works; `stored` counts since the start."""

    waiting: int
    stored: int
    stored_bytes: int
    failures: int
    reason_code: str | None


@dataclass(frozen=True, slots=True)
class _Assembled:
    """An object's bytes, buffer by buffer, as they will be stored."""

    body: list[bytes]
    size_bytes: int
    footer_offset: int
    crc32c: int


class Uploader:
    """Workers that store ended objects, oldest first, and one committer that catalogues what they stored."""

    def __init__(
        self,
        node: NodeContext,
        spool: Spool,
        object_store: ObjectStore,
        catalogue: Catalogue,
        clock: Clock,
        settings: StorageSettings,
    ) -> None:
        self.stored_until_us: dict[StreamRef, int] = {}
        self.indexed_until_us: dict[StreamRef, int] = {}
        self._node = node
        self._spool = spool
        self._object_store = object_store
        self._catalogue = catalogue
        self._clock = clock
        self._settings = settings
        self._ready: deque[str] = deque()
        self._wake = asyncio.Event()
        self._stored: asyncio.Queue[StoredRecording] = asyncio.Queue(2 * settings.parallel_uploads)
        self._kept_keys: set[str] = set()
        self._failing = 0
        self._reason_code: str | None = None
        self._count = self._bytes = self._failures = 0

    def offer(self, item: SpooledObject) -> None:
        """An object and its end are durable."""
        self._ready.append(item.object_id)
        self._wake.set()

    async def run(self) -> None:
        """Stores until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.parallel_uploads):
                group.create_task(self._work())
            group.create_task(self._commit_stored())

    @property
    def state(self) -> UploadState:
        return UploadState(len(self._ready), self._count, self._bytes, self._failures, self._reason_code)

    # --- storing ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            item = await self._next()
            item.busy = True
            try:
                stored = await self._store(item)
            except FootageError as error:
                await self._failed(item, error.code, error.sentence)
            except Exception:
                # A supervisor: whatever goes wrong with one object must not end the recording of all.
                log.exception("object %s cannot be stored", item.object_id)
                await self._failed(item, "storage_failed", "unexpected error")
            else:
                self._failing, self._reason_code = 0, None
                self._advance(self.stored_until_us, stored)
                await self._stored.put(stored)

    async def _next(self) -> SpooledObject:
        while True:
            while self._ready:
                item = self._spool.get(self._ready.popleft())
                if item is not None:
                    return item
            self._wake.clear()
            await self._wake.wait()

    async def _failed(self, item: SpooledObject, code: str, sentence: str) -> None:
        """Waits before the object is offered again: one that never succeeds keeps one worker busy, not all."""
        item.busy = False
        self._failing += 1
        self._failures += 1
        if self._reason_code != code:
            log.warning("object %s waits in the spool: %s", item.header.object_key, sentence)
        self._reason_code = code
        await asyncio.sleep(self._backoff_s())
        self._ready.appendleft(item.object_id)
        self._wake.set()

    def _backoff_s(self) -> float:
        settings = self._settings
        # All workers fail together when the store is away: the exponent counts rounds, not failures.
        rounds = min(16, self._failing // max(1, settings.parallel_uploads))
        ceiling_s = min(settings.retry_most_s, settings.retry_first_s * 2.0**rounds)
        return ceiling_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    async def _store(self, item: SpooledObject) -> StoredRecording:
        assembled = await self._assemble(item)
        await self._keep_key(item.key_record)
        object_key, put = await self._put(item, assembled)
        started_us, ended_us = item.span_us or (item.header.started_us, item.header.started_us)
        return StoredRecording(
            header=item.header,
            object_key=object_key,
            version_id=put.version_id,
            ended=item.ended or Ended.RECOVERED,
            started_us=started_us,
            ended_us=ended_us,
            size_bytes=assembled.size_bytes,
            crc32c=assembled.crc32c,
            footer_offset=assembled.footer_offset,
            may_be_dropped=item.drop_noted,
        )

    async def _assemble(self, item: SpooledObject) -> _Assembled:
        try:
            parts = await self._spool.read(item)
        except FootageError as error:
            if error.code != "spool_damaged":
                raise
            parts = await self._read_undamaged(item)
        places = item.places()
        footer = build_footer(
            item.header_bytes,
            [(place.length, place.descriptor, place.tag) for place in places],
            item.ended or Ended.RECOVERED,
            item.header.key_id,
            self._node.node_key,
        )
        body = [item.header_bytes, *parts, footer]
        size_bytes = sum(map(len, body))
        crc32c = await asyncio.to_thread(crc32c_of, body)
        return _Assembled(body, size_bytes, size_bytes - len(footer), crc32c)

    async def _read_undamaged(self, item: SpooledObject) -> list[bytes]:
        """The parts before the first one that the disk has spoilt; the rest is a gap."""
        whole_us, parts = item.span_us, []
        try:
            for index in range(item.parts):
                parts += await self._spool.read(item, index, index)
        except FootageError as error:
            log.error("%s Only %d of %d parts are left.", error.sentence, len(parts), item.parts)
        kept_us = item.span_of(len(parts))
        if whole_us is not None:
            kept_until_us = whole_us[0] if kept_us is None else kept_us[1]
            await self._note_damage(item.header.ref, kept_until_us, whole_us[1])
        # Not before the gap is a fact: what is cut off leaves no other trace.
        item.cut(len(parts))
        return parts

    async def _note_damage(self, ref: StreamRef, started_us: int, ended_us: int) -> None:
        now_us = self._clock.wall_us()
        try:
            await self._catalogue.write(recordings.note_dropped, ref, started_us, ended_us, "spool_failed", now_us)
        except SQLAlchemyError as error:
            raise StorageError("The catalogue does not take a gap now.", code="catalogue_failed") from error

    async def _put(self, item: SpooledObject, assembled: _Assembled) -> tuple[str, Put]:
        object_key, until_us = item.header.object_key, self._locked_until_us(item)
        put = self._object_store.put
        try:
            return object_key, await put(object_key, assembled.body, assembled.crc32c, locked_until_us=until_us)
        except StorageConflict:
            # Somebody else wrote there: a second owner, or a forger. Ours is kept under a name of its own.
            log.error("another object lies at %s; this one is stored beside it", object_key)
            object_key = f"{object_key}-{item.object_id[:16]}"
            return object_key, await put(object_key, assembled.body, assembled.crc32c, locked_until_us=until_us)

    def _locked_until_us(self, item: SpooledObject) -> int | None:
        """By the object's end, not by the time it is stored: so its row says when it may go."""
        if self._settings.object_lock == "off" or item.span_us is None:
            return None
        return item.span_us[1] + self._settings.lock_days * DAY_US

    async def _keep_key(self, record: KeyRecord) -> None:
        """The wrapped key is in the key bucket and in the catalogue before any row needs it."""
        if record.key_id in self._kept_keys:
            return
        data, other = [record.to_bytes()], None
        try:
            await self._object_store.put(record.bucket_key, data, crc32c_of(data), bucket=self._settings.key_bucket)
        except StorageConflict as conflict:
            other = conflict
        try:
            # Another record of this key: wrapped anew since it was spooled. Only a key that is catalogued ever is.
            if other is not None and await self._catalogue.read(recordings.key_record, record.key_id) is None:
                raise other
            await self._catalogue.write(recordings.put_data_key, record, self._clock.wall_us())
        except SQLAlchemyError as error:
            raise StorageError("The catalogue does not take a data key now.", code="catalogue_failed") from error
        if len(self._kept_keys) >= KNOWN_KEYS:
            self._kept_keys.clear()
        self._kept_keys.add(record.key_id)

    # --- cataloguing -----------------------------------------------------------------------------

    async def _commit_stored(self) -> None:
        while True:
            batch = [await self._stored.get()]
            while len(batch) < COMMIT_BATCH and not self._stored.empty():
                batch.append(self._stored.get_nowait())
            await self._commit(batch)
            self._release(batch)

    async def _commit(self, batch: Sequence[StoredRecording]) -> None:
        delay_s = self._settings.retry_first_s
        while True:
            try:
                await self._catalogue.write(
                    recordings.commit_recordings, batch, self._node.incarnation, self._clock.wall_us()
                )
                return
            except SQLAlchemyError as error:
                self._reason_code = "catalogue_failed"
                log.error("the catalogue does not take %d recordings: %s", len(batch), error)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay_s = min(self._settings.retry_most_s, delay_s * 2)

    def _release(self, batch: Iterable[StoredRecording]) -> None:
        for stored in batch:
            self._spool.release(stored.header.object_id)
            self._count += 1
            self._bytes += stored.size_bytes
            self._advance(self.indexed_until_us, stored)

    def _advance(self, until_us: dict[StreamRef, int], stored: StoredRecording) -> None:
        known_us = until_us.get(stored.ref, 0)
        clock_went_back = known_us > self._clock.wall_us() + CLOCK_WENT_BACK_US
        until_us[stored.ref] = stored.ended_us if clock_went_back else max(known_us, stored.ended_us)
