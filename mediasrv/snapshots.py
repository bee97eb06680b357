"""Still pictures of live streams, as JPEG: of the last keyframe that the hub has, decoded by a worker process.

One worker makes them one after the other, for as long as pictures are asked for. A picture that was made is shown to
all who ask within `FRESH_S`, and as long as there is no newer keyframe: so a wall of cameras that is asked for by ten
people is decoded once. Pictures lie in memory only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import TooManyRequests, Unavailable
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Codec, Session, StreamRef, TrackKind, VideoFormat
from mediasrv.media.nal import NAL_IDR, iter_avcc, nal_type
from mediasrv.reasons import reason
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.framing import Unit
from mediasrv.transcoding.process import StartWorker, WorkerCounts, start_worker
from mediasrv.transcoding.stills import StillWorker

log = logging.getLogger(__name__)

FRESH_S: Final = 1.0
KEYFRAME_S: Final = 12.0
"""How long a keyframe is waited for, where the last one is not known any more (a GOP too long to be cached)."""

IDLE_S: Final = 30.0
_MOST_KEPT_BYTES: Final = 32 * 1024 * 1024
_RECOVERY_UNITS: Final = 13
"""A recovery point that may begin a stream is whole after at most 12 pictures more."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`etag` is quoted; `taken_us` is when the picture's last byte arrived."""

    jpeg: bytes
    etag: str
    taken_us: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was made of a keyframe; `snapshot` is None where nothing could be, which is not tried again."""

    etag: str
    made_at: float
    snapshot: Snapshot | None

    @property
    def size_bytes(self) -> int:
        return len(self.snapshot.jpeg) if self.snapshot else 0


class Snapshots:
    """The door. `run` owns the worker; without it there are no pictures.

    `ensure` starts an on-demand stream and waits until it is there; it raises what keeps it away.
    """

    def __init__(
        self,
        hub: Hub,
        settings: TranscodeSettings,
        clock: Clock,
        ensure: Callable[[StreamRef], Awaitable[None]],
        start: StartWorker = start_worker,
    ) -> None:
        self.counts = WorkerCounts()
        self._hub = hub
        self._most_waiting = settings.snapshots_waiting
        self._clock = clock
        self._ensure = ensure
        self._still = StillWorker(settings, self.counts, start)
        self._kept: OrderedDict[tuple[StreamRef, int], _Kept] = OrderedDict()
        self._making: dict[tuple[StreamRef, int], asyncio.Task[_Kept]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Runs until cancelled; then no worker is left. Forgets old pictures, and ends the worker while nobody asks."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    await asyncio.sleep(IDLE_S / 2)
                    self._forget(self._clock.monotonic() - IDLE_S)
                    await self._still.end_if_idle()
        finally:
            self._group = None
            await self._still.end()

    async def take(self, ref: StreamRef, width: int = 0) -> Snapshot:
        """The newest picture, at most `width` wide (0: as wide as it is).

        Raises what `ensure` raises, NotFound, Unavailable with a reason code, TooManyRequests `snapshots_full`.
        """
        await self._ensure(ref)
        mountpoint = self._hub.find(ref)
        gop = tuple(mountpoint.gop) or (await _next_keyframe(mountpoint),)
        kept = self._kept.get((ref, width))
        fresh_from = self._clock.monotonic() - FRESH_S
        if kept is None or (kept.etag != _etag(gop[0], width) and kept.made_at < fresh_from):
            kept = await asyncio.shield(self._make((ref, width), gop))
        if kept.snapshot is None:
            raise Unavailable(reason("snapshot_failed").sentence, code="snapshot_failed")
        return kept.snapshot

    def _make(self, key: tuple[StreamRef, int], gop: Sequence[AccessUnit]) -> asyncio.Task[_Kept]:
        """Has the picture made, once for all who ask meanwhile."""
        if key not in self._making:
            if self._group is None:
                raise Unavailable("No still pictures are made at the moment.", code="snapshot_failed")
            if len(self._making) >= self._most_waiting:
                code = "snapshots_full"
                raise TooManyRequests(reason(code).sentence, code=code, retry_after_s=2)
            self._making[key] = self._group.create_task(self._made(key, gop), name=f"snapshot {key[0]}")
        return self._making[key]

    async def _made(self, key: tuple[StreamRef, int], gop: Sequence[AccessUnit]) -> _Kept:
        keyframe, etag, snapshot = gop[0], _etag(gop[0], key[1]), None
        try:
            video = keyframe.format
            assert isinstance(video, VideoFormat)  # noqa: S101 - what a GOP is made of
            units = [Unit(0, one.dts, one.pts, one.keyframe, one.payload) for one in _needed(gop)]
            jpeg = await self._still.make(video, units, key[1])
            if jpeg:
                snapshot = Snapshot(jpeg, etag, keyframe.arrived_us)
        except Exception:
            log.exception("%s: no still picture", key[0])
        finally:
            del self._making[key]
        kept = _Kept(etag, self._clock.monotonic(), snapshot)
        self._keep(key, kept)
        return kept

    def _keep(self, key: tuple[StreamRef, int], made: _Kept) -> None:
        """The oldest make room."""
        self._kept[key] = made
        self._kept.move_to_end(key)
        size = sum(kept.size_bytes for kept in self._kept.values())
        while size > _MOST_KEPT_BYTES and len(self._kept) > 1:
            size -= self._kept.popitem(last=False)[1].size_bytes

    def _forget(self, before: float) -> None:
        for key in [key for key, kept in self._kept.items() if kept.made_at < before]:
            del self._kept[key]


class _KeyframeSink:
    """Waits for a keyframe. An `AccessUnitSink`."""

    def __init__(self) -> None:
        self.found: asyncio.Future[AccessUnit] = asyncio.get_running_loop().create_future()

    def on_access_unit(self, unit: AccessUnit) -> None:
        if unit.keyframe and unit.format.kind is TrackKind.VIDEO and not self.found.done():
            self.found.set_result(unit)

    def on_session_ended(self, session: Session, reason: str) -> None:
        if not self.found.done():
            self.found.set_exception(Unavailable(_reason_sentence(reason), code=reason))


async def _next_keyframe(mountpoint: Mountpoint) -> AccessUnit:
    """Raises Unavailable where it does not come in time, or the session ends."""
    sink = _KeyframeSink()
    subscription = mountpoint.subscribe(sink)
    try:
        async with asyncio.timeout(KEYFRAME_S):
            return await sink.found
    except TimeoutError as late:
        raise Unavailable(_reason_sentence("waiting_keyframe"), code="waiting_keyframe") from late
    finally:
        subscription.close()


def _reason_sentence(code: str) -> str:
    return reason(code).sentence


def _needed(gop: Sequence[AccessUnit]) -> Sequence[AccessUnit]:
    """The keyframe, and what follows where that is not a whole picture by itself."""
    keyframe = gop[0]
    if keyframe.format.codec is Codec.H264 and not any(nal_type(nal) == NAL_IDR for nal in iter_avcc(keyframe.payload)):
        return gop[:_RECOVERY_UNITS]
    return gop[:1]


def _etag(keyframe: AccessUnit, width: int) -> str:
    return f'"{keyframe.session.session_id}-{keyframe.dts}-{width}"'
