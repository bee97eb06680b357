"""One track of one stream made into another codec by a worker process, once for all who want it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, Protocol

from mediasrv.backoff import Backoff
from mediasrv.clock import Clock
from mediasrv.errors import ProtocolError
from mediasrv.hub import GOP_CACHE_LIMIT, Mountpoint, Subscription
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Format, Session, TrackKind, VideoFormat
from mediasrv.media.nal import NAL_IDR, iter_avcc, nal_type, parameter_sets, video_format
from mediasrv.settings import TranscodeSettings
from mediasrv.transcoding.arrival_times import ArrivalTimes
from mediasrv.transcoding.framing import Consumed, Message, Ready, Unit, Wish
from mediasrv.transcoding.process import StartWorker, Worker, WorkerCounts
from mediasrv.transcoding.unit_queue import UnitQueue
from mediasrv.transcoding.wishes import USUAL_RATE, audio_made, audio_wish, build_wish, video_wish

log = logging.getLogger(__name__)

SETTLED_S: Final = 60.0
"""A worker that lasted so long begins anew at once when it fails."""

_BATCH_S: Final = {Codec.OPUS: 0.06, Codec.AAC: 0.1}
"""Sound is sent when so much of it waits: a worker that wakes for each access unit spends most of its time on that."""

_SOUND_KEPT: Final = 512
_FEWEST_TO_TELL_RATE: Final = 8


class TrackListener(Protocol):
    """Who wants what a transcode makes."""

    def on_transcoded(self, unit: AccessUnit) -> None: ...

    def on_transcode_failed(self, kind: TrackKind, reason: str) -> None: ...


def kind_of(codec: Codec) -> TrackKind:
    return TrackKind.VIDEO if codec in (Codec.H264, Codec.H265) else TrackKind.AUDIO


class TrackTranscode:
    """An `AccessUnitSink` of the source while it has a worker. `run` has one, and another when that fails.

    What it makes keeps the session of the source, and the arrival: a unit is as old as what it was made of. `recent` is
    what it made since its last keyframe, or of sound the newest seconds, for who comes later.
    """

    def __init__(
        self,
        source: Mountpoint,
        target: Codec,
        settings: TranscodeSettings,
        clock: Clock,
        counts: WorkerCounts,
        start: StartWorker,
    ) -> None:
        self.kind = kind_of(target)
        self.source = source
        self.target = target
        self.listeners: list[TrackListener] = []
        self.recent: deque[AccessUnit] = deque(maxlen=_SOUND_KEPT if self.kind is TrackKind.AUDIO else None)
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._start = start
        self._worker: Worker | None = None
        self._heard_at = 0.0
        self._format: Format | None = None
        self._forget()

    async def run(self) -> None:
        """Until cancelled; then there is no worker any more."""
        backoff = Backoff(self._settings.backoff_first_s, self._settings.backoff_most_s)
        while True:
            began = self._clock.monotonic()
            try:
                await self._work()
            except Exception:
                log.exception("%s: a worker could not be started", self.source.ref)
            self._counts.failed += 1
            for listener in tuple(self.listeners):
                listener.on_transcode_failed(self.kind, "transcoder_failed")
            if self._clock.monotonic() - began > SETTLED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def check(self, now_s: float) -> None:
        """Ends a worker that has not answered for too long. Call about once a second."""
        busy = self._subscription is None or self._queue.under_way
        if self._worker is not None and busy and now_s - self._heard_at > self._settings.hang_s:
            log.warning("%s: a worker hangs and is ended", self.source.ref)
            self._counts.hung += 1
            self._worker.kill()
            self._worker = None

    # -- from the source

    def on_access_unit(self, unit: AccessUnit) -> None:
        if unit.format.kind is not self.kind or unit.format.codec is self.target or self._subscription is None:
            return
        if unit.session is not self._session or (self.kind is TrackKind.AUDIO and unit.format is not self._format):
            self._begin(unit.session)
        self._format = unit.format
        self._queue.push(unit, self._clock.monotonic())
        self._pump()

    def on_session_ended(self, session: Session, reason: str) -> None:
        """What is on its way is of nobody's session any more."""
        self._begin(None)

    # -- life of a worker

    async def _work(self) -> None:
        """Starts a worker and returns when it is gone."""
        worker = await self._start(self.kind.name.lower(), self._settings.nice, self._on_message)
        self._worker, self._heard_at = worker, self._clock.monotonic()
        self._counts.started += 1
        self._counts.running += 1
        try:
            await worker.ended()
        finally:
            worker.kill()
            await worker.ended()
            self._counts.running -= 1
            if self._subscription is not None:
                self._subscription.close()
            self._forget()

    def _forget(self) -> None:
        """As before the first worker."""
        self._worker = None
        self._subscription: Subscription | None = None
        self._generation = 0
        self._cpu_us = 0
        self._queue = UnitQueue(self.kind)
        self._begin(None)

    def _begin(self, session: Session | None) -> None:
        self._session = session
        self._generation += 1
        self._counts.dropped += self._queue.dropped
        self._queue.dropped = 0
        self._queue.restart()
        self._arrivals = ArrivalTimes()
        self._format = None
        self._sent_format: Format | None = None
        self._made: Format | None = None
        self.recent.clear()

    def _on_message(self, message: Message) -> None:
        self._heard_at = self._clock.monotonic()
        match message:
            case Ready():
                self._prime()
            case Consumed():
                self._cpu_us = self._counts.consumed(message, self._cpu_us)
                self._queue.consumed(message.units)
            case Unit():
                self._publish(message)
            case _:
                return
        self._pump()

    # -- to the worker

    def _prime(self) -> None:
        source = self.source
        cached = source.gop if self.kind is TrackKind.VIDEO else source.sound
        if cached and cached[-1].format.codec is not self.target:
            self._begin(source.session)
            self._format = cached[-1].format
            self._queue.prime(cached, self._clock.monotonic())
        self._subscription = source.subscribe(self)

    def _pump(self) -> None:
        """Sends what there is room for; sound in batches."""
        if self._worker is None or self._queue.waiting_s < _BATCH_S.get(self.target, 0.0):
            return
        if not self._queue.under_way:
            self._heard_at = self._clock.monotonic()  # it was idle, and need not have said anything
        messages: list[Message] = []
        while (taken := self._queue.take()) is not None:
            unit, priming = taken
            if unit.format is not self._sent_format:
                self._sent_format = unit.format
                messages.append(Wish(self._generation, self._wish(unit.format)))
            self._arrivals.sent(unit)
            messages.append(Unit(self._generation, unit.dts, unit.pts, unit.keyframe, unit.payload, priming))
        if messages:
            self._worker.send(messages)

    def _wish(self, source: Format) -> bytes:
        if isinstance(source, VideoFormat):
            rate = rate_of(self.source.gop)
            return build_wish(video_wish(source, rate, self._settings.video_height, self._settings.video_kbps))
        assert isinstance(source, AudioFormat)  # noqa: S101 - `kind` is one of the two
        kbps = self._settings.opus_kbps if self.target is Codec.OPUS else self._settings.aac_kbps
        return build_wish(audio_wish(source, self.target, kbps))

    # -- from the worker

    def _publish(self, made: Unit) -> None:
        """Hands on what a worker made. Raises ProtocolError where that is not what it was asked for."""
        if self._session is None or made.generation != self._generation:
            return
        if self.kind is TrackKind.VIDEO:
            self._made = h264_format(made, self._made)
        elif self._made is None and isinstance(self._sent_format, AudioFormat):
            self._made = audio_made(self._sent_format, self.target)
        if self._made is None:
            raise ProtocolError("A worker does not say what it makes.", code="worker_broken")
        arrived_us = self._arrivals.arrived_us(made.dts, self._made.clock_rate)
        unit = AccessUnit(self._session, self._made, made.dts, made.dts, arrived_us, made.keyframe, made.payload)
        self._keep(unit)
        for listener in tuple(self.listeners):
            listener.on_transcoded(unit)

    def _keep(self, unit: AccessUnit) -> None:
        if self.kind is TrackKind.VIDEO and (unit.keyframe or len(self.recent) >= GOP_CACHE_LIMIT):
            self.recent.clear()
            if not unit.keyframe:
                return
        if self.recent or unit.keyframe:
            self.recent.append(unit)


def rate_of(gop: list[AccessUnit]) -> float:
    """How many pictures a second come; a usual number where there are too few to tell."""
    if len(gop) < _FEWEST_TO_TELL_RATE:
        return USUAL_RATE
    span = max(1, gop[-1].dts - gop[0].dts)
    return min(120.0, max(1.0, (len(gop) - 1) * gop[0].format.clock_rate / span))


def h264_format(made: Unit, before: Format | None) -> Format | None:
    """The format that this access unit begins or goes on in. Raises ProtocolError where it is no access unit."""
    nals = list(iter_avcc(made.payload))
    if not nals or made.keyframe is not any(nal_type(nal) == NAL_IDR for nal in nals):
        raise ProtocolError("A worker made no picture.", code="worker_broken")
    sets = parameter_sets(nals) if made.keyframe else None
    if sets is None or (isinstance(before, VideoFormat) and before.parameter_sets == sets):
        return before
    return video_format(*sets)
