"""A worker process that is given one task after the other: units and what they are to become, and gives all of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.framing import Consumed, End, Failed, Message, Unit, Wish
from mediasrv.transcoding.process import StartWorker, Worker, WorkerCounts

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of what is made of one task: a worker has decoded what came from a network, and is not believed."""


class TaskWorker:
    """Starts its worker when there is something to do. One that fails or hangs costs the task it was at."""

    def __init__(self, job: str, settings: TranscodeSettings, counts: WorkerCounts, start: StartWorker) -> None:
        self._job = job
        self._settings = settings
        self._counts = counts
        self._start = start
        self._turn = asyncio.Lock()
        self._worker: Worker | None = None
        self._gone = False
        self._used = False
        self._generation = 0
        self._cpu_us = 0
        self._left = 0
        self._made: list[Unit] = []
        self._made_bytes = 0
        self._answer: asyncio.Future[list[Unit] | None] | None = None
        self._patience: asyncio.Timeout | None = None

    async def run(self, document: bytes, units: Sequence[Unit]) -> list[Unit] | None:
        """What became of the units by this wish (`wishes`), in order; None where the worker failed.

        Whoever gives up waiting leaves the worker to end, with what it was at.
        """
        async with self._turn:
            self._used = True
            if self._gone:  # while it had nothing to do
                await self._end()
            done = False
            try:
                worker = self._worker = self._worker or await self._begin()
                made = await self._ask(worker, document, units)
                done = made is not None
            except TimeoutError:
                self._counts.hung += 1
                made = None
            except OSError as error:
                log.warning("a worker (%s) could not be started: %s", self._job, error)
                made = None
            finally:
                if not done:
                    self._counts.failed += 1
                    await self._end()
            return made

    async def end(self) -> None:
        """Ends the worker; waits for the task that it is at."""
        async with self._turn:
            await self._end()

    async def end_if_idle(self) -> None:
        """Ends the worker where nothing was asked of it since this was last called."""
        used, self._used = self._used, False
        if not used and not self._turn.locked():
            await self.end()

    async def _begin(self) -> Worker:
        worker = await self._start(self._job, self._settings.nice, self._on_message)
        self._cpu_us, self._gone = 0, False
        self._counts.started += 1
        self._counts.running += 1
        return worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            await worker.ended()
            self._counts.running -= 1

    async def _ask(self, worker: Worker, document: bytes, units: Sequence[Unit]) -> list[Unit] | None:
        """Raises TimeoutError where nothing was heard of the worker for `hang_s`."""
        self._generation += 1
        self._left, self._made, self._made_bytes = len(units) + 1, [], 0
        answer: asyncio.Future[list[Unit] | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        sent = (replace(unit, generation=self._generation) for unit in units)
        worker.send([Wish(self._generation, document), *sent, End(self._generation)])
        try:
            async with asyncio.timeout(self._settings.hang_s) as self._patience:
                return await answer
        finally:
            self._answer = self._patience = None

    def _on_message(self, message: Message) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + self._settings.hang_s)
        match message:
            case Unit() if message.generation == self._generation:
                self._made.append(message)
                self._made_bytes += len(message.payload)
                if self._made_bytes > _MOST_BYTES:
                    raise ProtocolError("A worker makes too much.", code="worker_broken")
            case Consumed():
                self._cpu_us = self._counts.consumed(message, self._cpu_us)
                self._left -= message.units
                if self._left == 0:
                    self._settle(self._made)
            case Failed():
                self._gone = True
                self._settle(None)

    def _settle(self, made: list[Unit] | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(made)
