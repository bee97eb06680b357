"""The recorder: parts from the hub, sealed, into the spool, into storage, into the catalogue.

`StreamRecorder` seals and spools one stream, `Uploader` stores what has ended, `Facts` tells the catalogue of
sessions and gaps. `Recorder` is the door: it starts where the last run was cut off, and switches streams on and off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from mediasrv.catalogue import Catalogue, holds, recordings
from mediasrv.catalogue.spans import Span
from mediasrv.clock import Clock
from mediasrv.errors import Unavailable
from mediasrv.hub import Hub, Subscription
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.media.gaps import CLOCK_WENT_BACK_US, PLANNED_CAUSES, GapLedger, gaps_after_restart
from mediasrv.recording.facts import Facts
from mediasrv.recording.preroll import PrerollMemory
from mediasrv.recording.stream import NodeContext, StreamRecorder
from mediasrv.recording.upload import Uploader, UploadState
from mediasrv.settings import CONTINUOUS, RecordingPlan, RecordingSettings, StorageSettings
from mediasrv.storage.object_store import ObjectStore
from mediasrv.storage.spool import Spool, SpoolListener, SpoolState
from mediasrv.storage.spool_index import SpooledObject

__all__ = ["NodeContext", "Recorder", "RecorderStatus", "RecordingMode", "RecordingState"]

log = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
_OUT_OF_SERVICE: Final = frozenset({"camera_removed", "camera_disabled"})


class RecordingMode(StrEnum):
    """`waiting`: wanted, but the stream gives nothing to record; `failed`: the spool takes nothing."""

    RECORDING = "recording"
    WAITING = "waiting"
    FAILED = "failed"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RecordingState:
    """`reason_code` also says why footage is not stored while it is recorded.

    Times are wall time in microseconds: until when footage was received, is locally durable, stored, and indexed.
    """

    state: RecordingMode
    reason_code: str | None = None
    durable_until_us: int | None = None
    stored_until_us: int | None = None
    received_until_us: int | None = None
    indexed_until_us: int | None = None


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What the node's status page shows."""

    spool: SpoolState
    uploads: UploadState
    facts_lost: int
    preroll_bytes: int
    preroll_shortened: int


class Recorder(SpoolListener):
    """Runs on the event loop's thread. `open`, then `run` beside everything else, `flush` at the end."""

    def __init__(
        self,
        hub: Hub,
        spool: Spool,
        object_store: ObjectStore,
        catalogue: Catalogue,
        node: NodeContext,
        clock: Clock,
        settings: RecordingSettings,
        storage_settings: StorageSettings,
    ) -> None:
        self._hub = hub
        self._spool = spool
        self._catalogue = catalogue
        self._node = node
        self._clock = clock
        self._settings = settings
        self._facts = Facts(spool, catalogue)
        self._uploader = Uploader(node, spool, object_store, catalogue, clock, storage_settings)
        self._streams: dict[StreamRef, StreamRecorder] = {}
        self._subscriptions: dict[StreamRef, Subscription] = {}
        self._wanted: dict[StreamRef, tuple[RecordingPlan, bool]] = {}
        self._memory = PrerollMemory(settings.preroll_bytes, settings.preroll_stream_bytes)
        self._active: dict[str, set[tuple[EventKind, str]]] = {}
        self._ledgers: dict[StreamRef, GapLedger] = {}
        self._opened = False
        spool.listener = self

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Goes on where the last run was cut off; streams that were started before begin now.

        Objects that were open get a `recovered` end, what the catalogue has already is released, and the time
        the server was down becomes a gap. Raises OSError when the spool cannot be read.
        """
        recovered = await self._spool.open()
        if recovered.open_objects or recovered.torn_bytes:
            log.warning(
                "the last run was cut off: %d objects were open, %d bytes of torn tail",
                recovered.open_objects,
                recovered.torn_bytes,
            )
        waiting = self._spool.objects()
        await self._release_stored(waiting)
        self._ledgers = await self._catalogue.write(
            _settle_last_run, self._node, _spans_by_stream(waiting), self._clock.wall_us()
        )
        for item in self._spool.objects():
            if item.ended is not None:
                self._uploader.offer(item)
        self._opened = True
        for ref in self._wanted:
            self._follow(ref)
            self._begin(ref)

    async def run(self) -> None:
        """Syncs, stores and catalogues until cancelled."""
        if not self._opened:
            await self.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._spool.run())
            group.create_task(self._facts.run())
            group.create_task(self._uploader.run())

    async def flush(self) -> None:
        """The orderly end, before `run` is cancelled: ends all objects, makes all durable; at most 5 s.

        What is not stored by then waits in the spool for the next start.
        """
        for ref in list(self._wanted):
            self.stop(ref, "server_down")
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._spool.flush()
                await self._facts.drained()
        except TimeoutError:
            log.warning("not all could be made durable within %.0f s", FLUSH_S)

    # --- streams ---------------------------------------------------------------------------------

    def start(self, ref: StreamRef, epoch: int, plan: RecordingPlan = CONTINUOUS, sound: bool = True) -> None:
        """Records this stream from now on, around events only where the plan says so; with or without its sound.

        Twice does no harm, and another plan takes effect at once. The epoch of its footage is that of its sessions.
        """
        begun, self._wanted[ref] = ref in self._wanted, (plan, sound)
        if not self._opened:
            return
        self._follow(ref)
        if not begun:
            self._begin(ref)

    def stop(self, ref: StreamRef, cause: str = "not_recording") -> None:
        """Records it no longer; `cause` is the reason code of the gap that begins.

        Where it was not recorded anyway, an outage that an earlier cause explains goes on with this one.
        """
        self._wanted.pop(ref, None)
        if cause in _OUT_OF_SERVICE:
            self._active.pop(ref.camera_id, None)
        subscription = self._subscriptions.pop(ref, None)
        if subscription is not None:
            subscription.close()
            self._streams[ref].end(cause)
        elif ref in self._streams or ref in self._ledgers or cause in PLANNED_CAUSES:
            self._stream(ref).outage(self._clock.wall_us(), cause)

    def note_outage(self, ref: StreamRef, at_us: int, cause: str) -> None:
        """The supervisor knows better why there is no footage from `at_us` on. Ignored where there is."""
        stream = self._streams.get(ref)
        if stream is not None and ref in self._wanted and not stream.recording:
            stream.outage(at_us, cause)

    def on_events(self, events: Sequence[CameraEvent]) -> None:
        """What cameras tell begins and ends what is recorded around events."""
        for event in events:
            active = self._active.setdefault(event.camera_id, set())
            (active.add if event.active else active.discard)((event.kind, event.source))
            for stream in self._streams_of(event.camera_id):
                stream.on_event(event, self._kinds(event.camera_id))

    def on_recalled(self, camera_id: str, active: Collection[tuple[EventKind, str]]) -> None:
        """What lasted when the camera was heard the last time, before this run: taken to last until it tells."""
        now_us = self._clock.wall_us()
        self.on_events([CameraEvent(camera_id, kind, source, True, None, now_us) for kind, source in active])

    def state(self, ref: StreamRef) -> RecordingState:
        stream, uploader = self._streams.get(ref), self._uploader
        mode, cause = self._mode(ref, stream)
        indexed_us = self._in_the_past(uploader.indexed_until_us.get(ref))
        stored_us = self._in_the_past(uploader.stored_until_us.get(ref))
        # What this process recorded is durable before it is stored; what it only stored is of an earlier one.
        durable_us = self._in_the_past(stream.durable_until_us if stream is not None else None) or stored_us
        received_us = self._in_the_past(stream.received_until_us if stream is not None else None)
        return RecordingState(mode, cause, durable_us, stored_us, received_us, indexed_us)

    def _mode(self, ref: StreamRef, stream: StreamRecorder | None) -> tuple[RecordingMode, str | None]:
        """What a stream is doing, and the reason code."""
        cause = stream.ledger.gap.cause if stream is not None and stream.ledger.gap is not None else None
        if stream is None or ref not in self._wanted:
            return RecordingMode.OFF, cause if cause in PLANNED_CAUSES else None
        if stream.failure is not None:
            return RecordingMode.FAILED, stream.failure
        if not stream.recording:
            return RecordingMode.WAITING, cause
        return RecordingMode.RECORDING, self._uploader.state.reason_code

    def _in_the_past(self, until_us: int | None) -> int | None:
        """None for what lies in the future: it was said by a clock that was set back since, and means nothing now."""
        is_past = until_us is not None and until_us <= self._clock.wall_us() + CLOCK_WENT_BACK_US
        return until_us if is_past else None

    @property
    def status(self) -> RecorderStatus:
        memory = self._memory
        return RecorderStatus(
            self._spool.state, self._uploader.state, self._facts.lost, memory.used_bytes, memory.shortened
        )

    # --- what the spool says ---------------------------------------------------------------------

    def on_ended(self, item: SpooledObject) -> None:
        self._uploader.offer(item)

    async def held(self, items: Sequence[SpooledObject]) -> Collection[str]:
        spans = [(item.object_id, item.header.ref.camera_id, Span(*item.span_us)) for item in items if item.span_us]
        try:
            return await self._catalogue.read(holds.held_among, spans, self._clock.wall_us())
        except SQLAlchemyError as error:
            raise Unavailable("The catalogue does not tell holds now.", code="catalogue_failed") from error

    async def before_drop(self, item: SpooledObject) -> None:
        ref, span_us = item.header.ref, item.span_us
        stream = self._streams.get(ref)
        covered_until_us = stream.abandon(item.object_id) if stream is not None else None
        log.error("object %s is given up under the spool's budget", item.header.object_key)
        if span_us is None:
            return
        ended_us, now_us = max(span_us[1], covered_until_us or 0), self._clock.wall_us()
        try:
            await self._catalogue.write(recordings.note_dropped, ref, span_us[0], ended_us, "footage_dropped", now_us)
        except SQLAlchemyError as error:
            raise Unavailable("The catalogue does not take a gap now.", code="catalogue_failed") from error

    # --- inside ----------------------------------------------------------------------------------

    def _stream(self, ref: StreamRef) -> StreamRecorder:
        stream = self._streams.get(ref)
        if stream is None:
            ledger = self._ledgers.pop(ref, None) or GapLedger()
            stream = StreamRecorder(
                ref, self._node, self._spool, self._facts, ledger, self._clock, self._settings, self._memory
            )
            self._streams[ref] = stream
        return stream

    def _streams_of(self, camera_id: str) -> list[StreamRecorder]:
        refs = (StreamRef(camera_id, name) for name in StreamName)
        return [self._streams[ref] for ref in refs if ref in self._streams]

    def _kinds(self, camera_id: str) -> set[EventKind]:
        """Of events that last."""
        return {kind for kind, _ in self._active.get(camera_id, ())}

    def _follow(self, ref: StreamRef) -> None:
        plan, sound = self._wanted[ref]
        stream = self._stream(ref)
        stream.sound = sound
        stream.follow(plan, self._kinds(ref.camera_id))

    def _begin(self, ref: StreamRef) -> None:
        stream, mountpoint = self._stream(ref), self._hub.mountpoint(ref)
        stream.begin(mountpoint.session)
        self._subscriptions[ref] = mountpoint.subscribe_parts(stream)

    async def _release_stored(self, waiting: list[SpooledObject]) -> None:
        """The last run may have been cut off between the catalogue row and the spool's release."""
        ended = [item.object_id for item in waiting if item.ended is not None]
        for object_id in await self._catalogue.read(recordings.stored_objects, ended):
            self._spool.release(object_id)


def _spans_by_stream(items: list[SpooledObject]) -> dict[StreamRef, list[tuple[int, int]]]:
    spans: dict[StreamRef, list[tuple[int, int]]] = {}
    for item in items:
        if item.span_us is not None:
            spans.setdefault(item.header.ref, []).append(item.span_us)
    return spans


def _settle_last_run(
    connection: Connection, node: NodeContext, spooled: dict[StreamRef, list[tuple[int, int]]], now_us: int
) -> dict[StreamRef, GapLedger]:
    """Ends the sessions that the last run left open, turns its outages into `server_down`, in one transaction.

    Returns the state of the gaps of each stream with a past.
    """
    last = recordings.last_run(connection, node.node_id, node.incarnation)
    ledgers: dict[StreamRef, GapLedger] = {}
    unfinished = {ref for _, ref, _ in last.unfinished}
    for ref in sorted(unfinished | set(last.open_gaps)):
        gap = last.open_gaps.get(ref)
        since_us = min((started for _, of, started in last.unfinished if of == ref), default=0)
        since_us = gap.started_us if gap is not None else since_us
        spans = [span for span in spooled.get(ref, []) if span[0] >= since_us]
        stored = recordings.footage_since(connection, ref, since_us)
        spans += [stored] if stored is not None else []
        footage = (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
        alive_us = last.alive_until_us or now_us
        ledger, changes = gaps_after_restart(gap, footage, alive_us)
        recordings.change_gaps(connection, ref, changes, now_us)
        ledgers[ref] = ledger
    for session_id, ref, started_us in last.unfinished:
        ended_us = max(started_us, ledgers[ref].covered_until_us or 0)
        recordings.end_session(connection, session_id, ended_us, "server_down")
    return ledgers
