"""Still pictures by one worker process, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from mediasrv.media.access_unit import VideoFormat
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.framing import Unit
from mediasrv.transcoding.process import StartWorker, WorkerCounts
from mediasrv.transcoding.task import TaskWorker
from mediasrv.transcoding.wishes import build_wish, picture_wish


class StillWorker:
    """Starts its worker when there is something to do. One that fails or hangs costs the picture it was at."""

    def __init__(self, settings: TranscodeSettings, counts: WorkerCounts, start: StartWorker) -> None:
        worker = TaskWorker("jpeg", settings, counts, start)
        self._run = worker.run
        self.end = worker.end
        self.end_if_idle = worker.end_if_idle

    async def make(self, video: VideoFormat, units: Sequence[Unit], width: int) -> bytes:
        """The last picture of these units, at most `width` wide; empty where nothing can be made of them."""
        made = await self._run(build_wish(picture_wish(video, width)), units)
        return made[-1].payload if made else b""
