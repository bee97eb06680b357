"""A recorder on real parts (S3, spool, catalogue) that is fed made-up access units instead of a camera."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select

from mediasrv.catalogue import Catalogue, tables
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.ownership import FileLockOwnership
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.clock import SECOND_US, SystemClock, to_us
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef, TrackKind
from mediasrv.media.fmp4 import read_samples
from mediasrv.recorder import NodeContext, Recorder
from mediasrv.recording.stream import object_phase_us
from mediasrv.settings import RecordingSettings, SpoolSettings, StorageSettings
from mediasrv.storage.footage import Footage, FootageIndex, KeyRing
from mediasrv.storage.keys import Identity, NodeKey
from mediasrv.storage.object_store import ObjectStore
from mediasrv.storage.spool import Spool
from tests.databases import url_for

REF = StreamRef("gate-1", StreamName.MAIN)
OBJECT_US = 4 * SECOND_US


@dataclass
class Recording:
    """All that a recorder needs, over one directory; `opened` runs it once."""

    directory: Path
    storage: StorageSettings
    recording: RecordingSettings = field(default_factory=lambda: RecordingSettings(object_s=OBJECT_US / SECOND_US))
    spool_settings: SpoolSettings = field(default_factory=lambda: SpoolSettings(sync_interval_s=0.05))

    @asynccontextmanager
    async def opened(self, flush: bool = True) -> AsyncIterator[Running]:
        """Recorder and all, running; without `flush` it ends as if it had been killed."""
        url = url_for(self.directory)
        await asyncio.to_thread(upgrade, url)
        catalogue, clock = Catalogue(url), SystemClock()
        node_key = NodeKey.load_or_create(self.directory / "node.key")
        identity = Identity.load_or_create(self.directory / "identity.key")
        ownership = FileLockOwnership(self.directory, catalogue, "node-1", node_key.public, clock)
        node = NodeContext("node-1", await ownership.join(), "cell-1", node_key, [identity.recipient])
        spool = Spool(self.directory / "spool", self.spool_settings, clock)
        async with ObjectStore(self.storage, clock) as store:
            with contextlib.suppress(Exception):
                await store.ensure_buckets()
            hub = Hub(self.recording.part_s)
            recorder = Recorder(hub, spool, store, catalogue, node, clock, self.recording, self.storage)
            keyring = KeyRing([identity], CatalogueKeys(catalogue), clock, 300.0)
            footage = Footage(store, spool, keyring)
            await recorder.open()
            task = asyncio.create_task(recorder.run())
            try:
                yield Running(self, hub, recorder, spool, store, catalogue, footage, identity, ownership)
                if flush:
                    await recorder.flush()
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                footage.close()
                if flush:
                    await spool.close()
                await ownership.leave()
                catalogue.close()


@dataclass
class Running:
    home: Recording
    hub: Hub
    recorder: Recorder
    spool: Spool
    store: ObjectStore
    catalogue: Catalogue
    footage: Footage
    identity: Identity
    ownership: FileLockOwnership

    @property
    def mountpoint(self) -> Mountpoint:
        return self.hub.mountpoint(REF)

    async def feed(self, session: Session, units: Iterable[AccessUnit], end: str | None = "camera_lost") -> None:
        """One whole session through the hub, faster than life."""
        if self.mountpoint.session is not session:
            self.mountpoint.start_session(session)
        for number, unit in enumerate(units):
            self.mountpoint.publish(unit)
            if number % 200 == 0:
                await asyncio.sleep(0)
        if end is not None:
            self.mountpoint.end_session(end)

    async def all_stored(self) -> None:
        """All that was fed and closed is in storage and catalogue, and has left the spool."""
        await self.until(lambda: not self.spool.objects())

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - any condition of any part
                await asyncio.sleep(0.02)

    async def rows(self) -> list[Row]:
        return await self.catalogue.read(_rows)

    async def gaps(self) -> list[tuple[int, int | None, str]]:
        """Start, end (None: open) and cause, in order; written facts only."""
        await self.recorder._facts.drained()
        return await self.catalogue.read(_gaps)

    async def read_back(self, track: TrackKind = TrackKind.VIDEO) -> list[bytes]:
        """Payloads of all access units of a track: catalogued objects in order, then what waits in the spool."""
        rows = await self.rows()
        indexes = [await self.footage.index(row) for row in rows]
        known = {row.object_id for row in rows}
        indexes += [index for index in self.footage.spooled(REF) if index.header.object_id not in known]
        payloads: list[bytes] = []
        for index in indexes:
            payloads += await self.payloads(index, track)
        return payloads

    async def payloads(self, index: FootageIndex, track: TrackKind) -> list[bytes]:
        parts = await self.footage.parts(index, 0, len(index.entries) - 1)
        wanted = [
            part
            for part, entry in zip(parts, index.entries, strict=True)
            if entry.descriptor.track == track and not entry.descriptor.is_init
        ]
        return [sample.payload for sample in read_samples(b"".join(wanted))]


@dataclass(frozen=True)
class Row:
    """A recording row as `Footage.index` wants it, and some more."""

    object_id: str
    object_key: str
    version_id: str | None
    size_bytes: int
    started_us: int
    ended_us: int
    status: str
    ended: str
    session_id: str
    seq: int


def _rows(connection: Connection) -> list[Row]:
    table = tables.recording
    found = connection.execute(select(table).order_by(table.c.started_at))
    return [
        Row(
            row.object_id, row.object_key, row.version_id, row.size_bytes, to_us(row.started_at),
            to_us(row.ended_at), row.status, row.ended, row.session_id, row.seq,
        )
        for row in found
    ]  # fmt: skip


def _gaps(connection: Connection) -> list[tuple[int, int | None, str]]:
    table = tables.gap
    found = connection.execute(select(table).order_by(table.c.started_at, table.c.gap_id))
    return [(to_us(row.started_at), None if row.ended_at is None else to_us(row.ended_at), row.cause) for row in found]


async def tables_of(catalogue: Catalogue, table: object) -> list[dict[str, object]]:
    """All rows of a table."""

    def query(connection: Connection) -> list[dict[str, object]]:
        return [dict(row._mapping) for row in connection.execute(select(table))]  # type: ignore[call-overload]

    return await catalogue.read(query)


def new_session(name: str, started_us: int, epoch: int = 1) -> Session:
    return Session(name, REF, epoch, started_us, SystemClock().monotonic())


def now_us() -> int:
    """About now: a moment at which an object of the stream would end, so that one begun then is of full length."""
    phase_us = object_phase_us(REF, OBJECT_US)
    return (SystemClock().wall_us() - phase_us) // OBJECT_US * OBJECT_US + phase_us
