"""Which recorded footage belongs to an export, and its plain parts, object after object."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from mediasrv.catalogue import Catalogue, footage_queries
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.errors import FootageError, FootageRefused, KeyUnavailable, MediasrvError, StorageError
from mediasrv.media.access_unit import Format, StreamRef
from mediasrv.media.fmp4 import read_format
from mediasrv.storage.cuts import CutPair, cut_object
from mediasrv.storage.footage import Footage, FootageIndex

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 8 * 1024 * 1024
"""So much is read and unsealed in one go."""

AHEAD: Final = 4
"""So many are read at once: storage answers while the one before is written."""

_PARALLEL: Final = 8


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
    """An object and those of its cuts that touch the span."""

    index: FootageIndex
    pairs: Sequence[CutPair]

    @property
    def span(self) -> Span:
        return Span(self.pairs[0].video.started_us, self.pairs[-1].video.ended_us)

    @property
    def size_bytes(self) -> int:
        return sum(cut.size_bytes for pair in self.pairs for cut in pair if cut is not None)

    def unreadable(self, error: MediasrvError) -> Unreadable:
        header = self.index.header
        return Unreadable(header.object_id, self.index.object_key, self.span, error.code, error.sentence)


@dataclass(slots=True)
class Plan:
    """What there is of one stream in a span: sources in the order in which they play."""

    sources: list[Source] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(source.size_bytes for source in self.sources)


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of cuts of one object with their plain parts by number, and the formats by number of their init part."""

    source: Source
    pairs: Sequence[CutPair]
    parts: Mapping[int, bytes]
    formats: Mapping[int, Format]


class Collector:
    """Reads for exports. Raises StorageError where storage is away: then there is no export rather than half of one."""

    def __init__(self, catalogue: Catalogue, footage: Footage) -> None:
        self._catalogue = catalogue
        self._footage = footage

    async def plan(self, ref: StreamRef, within: Span) -> Plan:
        """Footage is widened to whole GOPs, as in playback."""
        # The spool first: an object that is stored in between is then in both, not in neither.
        waiting = self._footage.spooled(ref, within)
        rows = await self._catalogue.read(footage_queries.objects_in_span, ref, within)
        stored = {row.object_id for row in rows}
        plan, at_once = Plan(), asyncio.Semaphore(_PARALLEL)

        async def index(row: StoredObject) -> FootageIndex | Unreadable:
            async with at_once:
                return await self._index(row)

        found = await asyncio.gather(*(index(row) for row in rows))
        plan.unreadable = [one for one in found if isinstance(one, Unreadable)]
        indexes = [one for one in found if isinstance(one, FootageIndex)]
        indexes += [one for one in waiting if one.header.object_id not in stored]
        sources = await asyncio.to_thread(lambda: [_source(one, within) for one in indexes])
        plan.sources = _in_order(one for one in sources if one.pairs)
        return plan

    async def batches(self, plan: Plan) -> AsyncGenerator[Batch, None]:
        """All that was planned, a few batches read ahead. What cannot be opened goes to `plan.unreadable`."""
        jobs = ((source, pairs) for source in plan.sources for pairs in _runs(source.pairs))
        ahead: deque[tuple[Source, asyncio.Task[Batch]]] = deque()
        try:
            while True:
                for source, pairs in islice(jobs, AHEAD - len(ahead)):
                    reading = asyncio.create_task(self._batch(source, pairs), name="export reads ahead")
                    ahead.append((source, reading))
                if not ahead:
                    return
                source, reading = ahead[0]
                try:
                    batch = await reading
                except (FootageRefused, KeyUnavailable) as error:
                    _leave_out(plan, source, error)
                    batch = None
                ahead.popleft()
                if batch is not None:
                    yield batch
        finally:
            for _, reading in ahead:
                reading.cancel()
            await asyncio.gather(*(reading for _, reading in ahead), return_exceptions=True)

    async def _batch(self, source: Source, pairs: Sequence[CutPair]) -> Batch:
        cuts = [cut for pair in pairs for cut in pair if cut is not None]
        first, last = min(cut.first for cut in cuts), max(cut.last for cut in cuts)
        parts = dict(enumerate(await self._parts(source.index, first, last), first))
        formats = {}
        for number in sorted({cut.init for cut in cuts}):
            plain = parts.get(number) or (await self._parts(source.index, number, number))[0]
            formats[number] = read_format(plain)
        return Batch(source, pairs, parts, formats)

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

    async def _index(self, row: StoredObject) -> FootageIndex | Unreadable:
        try:
            return await self._footage.index(row)
        except FootageRefused as error:
            log.error("%s: object %s is left out of an export (%s)", row.ref, row.object_id, error.code)
            return Unreadable(row.object_id, row.object_key, row.span, error.code, error.sentence)


def _leave_out(plan: Plan, source: Source, error: MediasrvError) -> None:
    object_id = source.index.header.object_id
    log.error("object %s is left out of an export (%s)", object_id, error.code)
    if all(one.object_id != object_id for one in plan.unreadable):
        plan.unreadable.append(source.unreadable(error))


def _source(index: FootageIndex, within: Span) -> Source:
    pairs = cut_object((entry.length, entry.descriptor) for entry in index.entries)
    return Source(index, [one for one in pairs if Span(one.video.started_us, one.video.ended_us).overlaps(within)])


def _in_order(sources: Iterator[Source]) -> list[Source]:
    """Session after session in the order in which they begin: sessions that overlap are not interleaved."""
    sessions: dict[str, list[Source]] = {}
    for one in sorted(sources, key=lambda source: source.index.header.seq):
        sessions.setdefault(one.index.header.session, []).append(one)
    runs = sorted(sessions.values(), key=lambda run: run[0].span)
    return [source for run in runs for source in run]


def _runs(pairs: Sequence[CutPair]) -> Iterator[Sequence[CutPair]]:
    """Cuts that are read in one go."""
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
