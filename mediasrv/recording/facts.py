"""What the recorder tells the catalogue: sessions and gaps, in the order in which they happened."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mediasrv.catalogue import Catalogue
from mediasrv.storage.spool import Spool

log = logging.getLogger(__name__)

P = ParamSpec("P")

QUEUE_LIMIT: Final = 20_000
BATCH_LIMIT: Final = 500
RETRY_MOST_S: Final = 10.0

Query = Callable[[Connection], None]


class _Fact(NamedTuple):
    mark: int
    query: Query


class Facts:
    """An ordered queue into the catalogue.

    Each fact waits until the footage that came before it is durable: a gap that says where footage ends must
    not outlive the footage. A catalogue that fails is tried again for as long as it takes.
    """

    def __init__(self, spool: Spool, catalogue: Catalogue) -> None:
        self.lost = 0
        self._spool = spool
        self._catalogue = catalogue
        self._queue: asyncio.Queue[_Fact] = asyncio.Queue(QUEUE_LIMIT)

    def note(self, query: Callable[Concatenate[Connection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Queues a write; never blocks. A full queue loses the fact, counted: the catalogue is gone for hours."""
        try:
            self._queue.put_nowait(_Fact(self._spool.mark, lambda connection: query(connection, *args, **kwargs)))
        except asyncio.QueueFull:
            self.lost += 1
            log.error("the catalogue is behind: a fact about sessions or gaps is lost")

    async def run(self) -> None:
        """Writes facts until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_LIMIT and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._spool.synced(batch[-1].mark)
            await self._write(batch)
            for _ in batch:
                self._queue.task_done()

    async def drained(self) -> None:
        """Waits until all that was noted is written; needs `run` and a spool that syncs."""
        await self._queue.join()

    async def _write(self, batch: Sequence[_Fact]) -> None:
        delay_s = 0.1
        while True:
            try:
                await self._catalogue.write(_apply, batch)
                return
            except OperationalError as error:
                log.warning("the catalogue does not take facts now: %s", error.orig)
            except SQLAlchemyError:
                await self._write_singly(batch)
                return
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay_s = min(RETRY_MOST_S, delay_s * 2)

    async def _write_singly(self, batch: Sequence[_Fact]) -> None:
        """One fact that the catalogue will never take must not hold up the others."""
        for fact in batch:
            try:
                await self._catalogue.write(_apply, [fact])
            except SQLAlchemyError:
                self.lost += 1
                log.exception("the catalogue refuses a fact about sessions or gaps")


def _apply(connection: Connection, batch: Sequence[_Fact]) -> Any:
    for fact in batch:
        fact.query(connection)
