"""Which recorded footage belongs to an export, and its plain parts, object after object."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mediasrv.catalogue import Catalogue, export_queries, footage_queries
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.errors import FootageError, FootageRefused, KeyUnavailable, StorageError
from mediasrv.media.access_unit import Format, StreamRef
from mediasrv.media.fmp4 import read_format
from mediasrv.storage.cuts import CutPair, cut_object
from mediasrv.storage.footage import Footage, FootageIndex

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 8 * 1024 * 1024
"""So much is read and unsealed in one go."""

AHEAD: Final = 4
"""So many are read at once: storage answers while the one before is written."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object whose footage cannot be given: altered, signed by a stranger, or without a key."""

    object_id: str
    object_key: str
    span: Span
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Source:
    """An object that may have footage in the span. Of one that is stored the index is read when it is due."""

    found: StoredObject | FootageIndex
    session_id: str
    seq: int
    span: Span
    size_bytes: int

    def unreadable(self, error: FootageError) -> Unreadable:
        named = self.found if isinstance(self.found, StoredObject) else self.found.header
        return Unreadable(named.object_id, named.object_key, self.span, error.code, error.sentence)


@dataclass(slots=True)
class Plan:
    """What there may be of one stream in a span: sources in the order in which they play."""

    within: Span
    sources: list[Source] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(source.size_bytes for source in self.sources)


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of cuts of one object with their plain parts by number, and the formats by number of their init part."""

    index: FootageIndex
    pairs: Sequence[CutPair]
    parts: Mapping[int, bytes]
    formats: Mapping[int, Format]

    @property
    def size_bytes(self) -> int:
        return sum(cut.size_bytes for pair in self.pairs for cut in pair if cut is not None)


class Collector:
    """Reads for exports. Raises StorageError where storage is away: then there is no export rather than half of one."""

    def __init__(self, catalogue: Catalogue, footage: Footage) -> None:
        self._catalogue = catalogue
        self._footage = footage

    async def plan(self, ref: StreamRef, within: Span) -> Plan:
        """Footage is widened to whole GOPs, as in playback. No object is looked into yet: there may be thousands."""
        # The spool first: an object that is stored in between is then in both, not in neither.
        waiting = self._footage.spooled(ref, within)
        rows = await self._catalogue.read(footage_queries.objects_in_span, ref, within)
        places = await self._catalogue.read(export_queries.places_in_sessions, ref, within)
        known = {row.object_id for row in rows}
        sources = [
            Source(row, *places[row.object_id], row.span, row.size_bytes) for row in rows if row.object_id in places
        ]
        sources += [_spooled(one) for one in waiting if one.header.object_id not in known]
        return Plan(within, _in_order(sources))

    async def batches(self, plan: Plan) -> AsyncGenerator[Batch, None]:
        """All that was planned, a few batches read ahead. What cannot be opened goes to `plan.unreadable`."""
        ahead: deque[tuple[Source, asyncio.Task[Batch]]] = deque()
        jobs = self._jobs(plan)
        try:
            while True:
                while len(ahead) < AHEAD and (job := await anext(jobs, None)) is not None:
                    source, index, pairs = job
                    reading = asyncio.create_task(self._batch(index, pairs), name="export reads ahead")
                    ahead.append((source, reading))
                if not ahead:
                    return
                source, reading = ahead[0]
                try:
                    batch = await reading
                except FootageError as error:
                    _leave_out(plan, source, error)
                    batch = None
                ahead.popleft()
                if batch is not None:
                    yield batch
        finally:
            for _, reading in ahead:
                reading.cancel()
            await asyncio.gather(*(reading for _, reading in ahead), return_exceptions=True)
            await jobs.aclose()

    async def _jobs(self, plan: Plan) -> AsyncGenerator[tuple[Source, FootageIndex, Sequence[CutPair]], None]:
        for source in plan.sources:
            try:
                found = source.found
                index = await self._footage.index(found) if isinstance(found, StoredObject) else found
            except FootageError as error:
                _leave_out(plan, source, error)
                continue
            for pairs in await asyncio.to_thread(_runs_in, index, plan.within):
                yield source, index, pairs

    async def _batch(self, index: FootageIndex, pairs: Sequence[CutPair]) -> Batch:
        cuts = [cut for pair in pairs for cut in pair if cut is not None]
        first, last = min(cut.first for cut in cuts), max(cut.last for cut in cuts)
        parts = dict(enumerate(await self._parts(index, first, last), first))
        formats = {}
        for number in sorted({cut.init for cut in cuts}):
            plain = parts.get(number) or (await self._parts(index, number, number))[0]
            formats[number] = read_format(plain)
        return Batch(index, pairs, parts, formats)

    async def _parts(self, index: FootageIndex, first: int, last: int) -> list[bytes]:
        try:
            return await self._footage.parts(index, first, last)
        except FootageError as error:
            if error.code != "footage_moved":
                raise
        # It has left the spool while it was read: it is in the catalogue by now, with the same parts.
        row = await self._catalogue.read(footage_queries.find_object, index.header.object_id)
        if row is None:
            raise StorageError("The footage is neither in the spool nor in the catalogue.", code="footage_moved")
        return await self._footage.parts(await self._footage.index(row), first, last)


def _leave_out(plan: Plan, source: Source, error: FootageError) -> None:
    """For what is wrong with this object alone: it was altered, or it or its key has been deleted. Else raises."""
    if not isinstance(error, FootageRefused | KeyUnavailable) and error.code != "object_missing":
        raise error
    one = source.unreadable(error)
    log.error("object %s is left out of an export (%s)", one.object_id, one.code)
    if all(other.object_id != one.object_id for other in plan.unreadable):
        plan.unreadable.append(one)


def _spooled(index: FootageIndex) -> Source:
    media = [entry.descriptor for entry in index.entries if not entry.descriptor.is_init]
    span = Span(min(one.started_us for one in media), max(one.ended_us for one in media))
    size_bytes = sum(entry.length for entry in index.entries)
    return Source(index, index.header.session, index.header.seq, span, size_bytes)


def _in_order(sources: Sequence[Source]) -> list[Source]:
    """Session after session in the order in which they begin: sessions that overlap are not interleaved."""
    sessions: dict[str, list[Source]] = {}
    for one in sorted(sources, key=lambda source: source.seq):
        sessions.setdefault(one.session_id, []).append(one)
    runs = sorted(sessions.values(), key=lambda run: run[0].span)
    return [source for run in runs for source in run]


def _runs_in(index: FootageIndex, within: Span) -> list[Sequence[CutPair]]:
    """Those cuts of an object that touch the span, in runs that are read in one go."""
    pairs = cut_object((entry.length, entry.descriptor) for entry in index.entries)
    return list(_runs([one for one in pairs if Span(one.video.started_us, one.video.ended_us).overlaps(within)]))


def _runs(pairs: Sequence[CutPair]) -> Iterator[Sequence[CutPair]]:
    run: list[CutPair] = []
    size = 0
    for pair in pairs:
        added = sum(cut.size_bytes for cut in pair if cut is not None)
        if run and size + added > BATCH_BYTES:
            yield run
            run, size = [], 0
        run.append(pair)
        size += added
    if run:
        yield run
