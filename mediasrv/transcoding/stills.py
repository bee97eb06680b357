"""Still pictures by one worker process, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from mediasrv.media.access_unit import AccessUnit, VideoFormat
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.framing import Consumed, End, Failed, Message, Unit, Wish
from mediasrv.transcoding.process import StartWorker, Worker, WorkerCounts
from mediasrv.transcoding.wishes import build_wish, picture_wish

log = logging.getLogger(__name__)


class StillWorker:
    """Starts its worker when there is something to do. One that fails or hangs costs the picture it was at."""

    def __init__(self, settings: TranscodeSettings, counts: WorkerCounts, start: StartWorker) -> None:
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
        self._jpeg = b""
        self._answer: asyncio.Future[bytes | None] | None = None

    async def make(self, units: Sequence[AccessUnit], width: int) -> bytes:
        """The last picture of these access units, at most `width` wide; empty where nothing can be made of them."""
        async with self._turn:
            self._used = True
            if self._gone:  # while it had nothing to do
                await self._end()
            try:
                worker = self._worker = self._worker or await self._begin()
                async with asyncio.timeout(self._settings.hang_s):
                    jpeg = await self._ask(worker, units, width)
            except TimeoutError:
                self._counts.hung += 1
            except OSError as error:
                log.warning("a worker for still pictures could not be started: %s", error)
            else:
                if jpeg is not None:
                    return jpeg
            self._counts.failed += 1
            await self._end()
            return b""

    async def end(self) -> None:
        """Ends the worker; waits for the picture that is being made."""
        async with self._turn:
            await self._end()

    async def end_if_idle(self) -> None:
        """Ends the worker where nothing was asked of it since this was last called."""
        used, self._used = self._used, False
        if not used and not self._turn.locked():
            await self.end()

    async def _begin(self) -> Worker:
        worker = await self._start("jpeg", self._settings.nice, self._on_message)
        self._cpu_us, self._gone = 0, False
        self._counts.started += 1
        self._counts.running = 1
        return worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            await worker.ended()
            self._counts.running = 0

    async def _ask(self, worker: Worker, units: Sequence[AccessUnit], width: int) -> bytes | None:
        """None where the worker failed."""
        video = units[-1].format
        assert isinstance(video, VideoFormat)  # noqa: S101 - what a GOP is made of
        self._generation += 1
        self._left, self._jpeg = len(units) + 1, b""
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        sent = (Unit(self._generation, unit.dts, unit.pts, unit.keyframe, unit.payload) for unit in units)
        wish = Wish(self._generation, build_wish(picture_wish(video, width)))
        worker.send([wish, *sent, End(self._generation)])
        try:
            return await answer
        finally:
            self._answer = None

    def _on_message(self, message: Message) -> None:
        match message:
            case Unit() if message.generation == self._generation:
                self._jpeg = message.payload
            case Consumed():
                self._cpu_us = self._counts.consumed(message, self._cpu_us)
                self._left -= message.units
                if self._left == 0:
                    self._settle(self._jpeg)
            case Failed():
                self._gone = True
                self._settle(None)

    def _settle(self, jpeg: bytes | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(jpeg)
