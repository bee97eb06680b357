"""One stream on its way into the spool: parts are sealed into recording objects, outages become gaps."""

from __future__ import annotations

import logging
import math
import secrets
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from mediasrv.catalogue import recordings
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import SpoolFull
from mediasrv.media.access_unit import Format, Part, Session, StreamRef, TrackKind
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.media.fmp4 import init_segment
from mediasrv.media.gaps import CLOCK_WENT_BACK_US, UNWANTED_CAUSES, GapChange, GapLedger
from mediasrv.recording.facts import Facts
from mediasrv.recording.preroll import Preroll, PrerollMemory, starts_gop
from mediasrv.settings import RecordingPlan, RecordingSettings
from mediasrv.storage.keys import DataKey, NodeKey, create_data_key
from mediasrv.storage.sealing import DISCONTINUITY, Descriptor, Ended, ObjectHeader, ObjectSealer
from mediasrv.storage.spool import Spool

log = logging.getLogger(__name__)

LONGEST_OBJECTS: Final = 4
"""An object ends without a keyframe after so many times object_s: some cameras send one in minutes."""

LARGEST_OBJECT_BYTES: Final = 256 * 1024 * 1024

DRAINED_PARTS: Final = 16
"""So many parts of before an event are sealed with each new one: a storm that moves all cameras at once must not
overrun the spool's queue.
"""


@dataclass(frozen=True, slots=True)
class NodeContext:
    """Who records: ids, the signing key, and the public keys (64 hex digits) that footage is sealed to.

    `recipients` is iterated for each new data key, and may give others each time.
    """

    node_id: str
    incarnation: str
    cell: str
    node_key: NodeKey
    recipients: Iterable[str]


@dataclass(slots=True, eq=False)
class _OpenObject:
    sealer: ObjectSealer
    started_us: int
    formats: dict[TrackKind, Format] = field(default_factory=dict)

    @property
    def object_id(self) -> str:
        return self.sealer.header.object_id

    def is_due(self, part: Part, object_us: int, phase_us: int) -> bool:
        """Whether this part belongs to the next object: cut at a keyframe if there is one in time.

        Objects end at times of the wall clock, at `phase_us` after each whole `object_us`.
        """
        if part.format.kind is not TrackKind.VIDEO:
            return False
        if part.independent and (part.started_us - phase_us) // object_us > (self.started_us - phase_us) // object_us:
            return True
        age_us = part.started_us - self.started_us
        return age_us >= LONGEST_OBJECTS * object_us or self.sealer.size_bytes >= LARGEST_OBJECT_BYTES


def object_phase_us(ref: StreamRef, object_us: int) -> int:
    """When a stream's objects end, after each whole `object_us` of wall time.

    Cameras that came back together after a power cut must not all be stored in the same second of each minute.
    """
    return crc32(str(ref).encode()) % object_us


class StreamRecorder:
    """Takes the parts of one stream (a `PartSink`). Lives as long as the process, whether recording is on or off."""

    def __init__(
        self,
        ref: StreamRef,
        node: NodeContext,
        spool: Spool,
        facts: Facts,
        ledger: GapLedger,
        clock: Clock,
        settings: RecordingSettings,
        memory: PrerollMemory | None = None,
    ) -> None:
        self.ref = ref
        self.ledger = ledger
        self.sound = True
        """Whether sound is kept; where not it gets no further than this."""
        self.received_until_us: int | None = None
        self.failure: str | None = None
        """Why the last part was not taken: `spool_full` or `spool_failed`."""
        self._node = node
        self._spool = spool
        self._facts = facts
        self._clock = clock
        self._object_us = round(settings.object_s * SECOND_US)
        self._phase_us = object_phase_us(ref, self._object_us)
        self._key_period_s = settings.key_period_s
        self._key: DataKey | None = None
        self._session: Session | None = None
        self._seq = 0
        self._object: _OpenObject | None = None
        self._awaits_keyframe = False
        self._discontinuity = False
        self._recent: deque[str] = deque(maxlen=2)
        self._durable_until_us: int | None = None
        self._plan: RecordingPlan | None = None
        self._preroll = Preroll(memory or PrerollMemory(settings.preroll_bytes, settings.preroll_stream_bytes))
        self._until_us: float | None = None

    # --- what happens to the stream --------------------------------------------------------------

    def begin(self, session: Session | None) -> None:
        """Recording is switched on, in the middle of this session where there is one."""
        self._awaits_keyframe = session is not None
        if session is not None and session is self._session:
            self._note_session(session, None)
        if self.ledger.gap is None or self.ledger.gap.cause in UNWANTED_CAUSES:
            self.outage(self._clock.wall_us(), "connecting" if session is None else "waiting_keyframe")

    def follow(self, plan: RecordingPlan, active: Collection[EventKind]) -> None:
        """Records by this plan from now on; `active` are the kinds of events that last at the moment."""
        event_plan = plan if plan.mode == "event" else None
        if event_plan == self._plan:
            return
        now_us, before, self._plan = self._clock.wall_us(), self._plan, event_plan
        if event_plan is None:
            self._follow_no_events(now_us)
        elif any(kind in event_plan.kinds for kind in active):
            self._wake(now_us)
        elif before is None and self.recording:
            self._until_us = now_us
        elif self._until_us == math.inf:
            self._until_us = now_us + event_plan.after_s * SECOND_US

    def on_event(self, event: CameraEvent, active: Collection[EventKind]) -> None:
        """`active` are the kinds of events that last, after this one."""
        if self._plan is None or event.kind not in self._plan.kinds:
            return
        if event.active:
            self._wake(event.arrived_us)
        elif self._until_us is not None and not any(kind in self._plan.kinds for kind in active):
            self._until_us = event.arrived_us + self._plan.after_s * SECOND_US

    def on_part(self, part: Part) -> None:
        if part.format.kind is TrackKind.AUDIO and not self.sound:
            return
        self.received_until_us = part.started_us + part.duration * SECOND_US // part.format.clock_rate
        if part.session is not self._session:
            self._begin_session(part)
        if self._plan is None:
            self._try_to_record(part)
        else:
            self._record_around_events(part, self._plan)

    def on_session_ended(self, session: Session, reason: str) -> None:
        ended_us = self._now_in(session)
        if session is not self._session:
            self._note_session(session, None)
        self._finish_events()
        self._close()
        self._facts.note(recordings.end_session, session.session_id, ended_us, reason)
        self._facts.note(recordings.note_counts, session)
        self.outage(ended_us, reason)
        self._awaits_keyframe = False

    def end(self, cause: str) -> None:
        """Recording is switched off, or the server goes down: `cause` is a reason code."""
        self._finish_events()
        self._until_us = self._plan = None
        self._close()
        if self._session is not None:
            now_us = self._now_in(self._session)
            self._facts.note(recordings.end_session, self._session.session_id, now_us, cause)
            self._facts.note(recordings.note_counts, self._session)
        self.outage(self._clock.wall_us(), cause)
        self.failure = None

    def outage(self, at_us: int, cause: str) -> None:
        """The cause of there being no footage, from the last one on or, where another was known, from `at_us` on."""
        self._note_gaps(self.ledger.outage(at_us, cause))

    def abandon(self, object_id: str) -> int | None:
        """The spool gives this object up. Where it is being recorded, recording goes on at the next keyframe;
        returns then until when the object would have covered the stream.
        """
        if self._object is None or self._object.object_id != object_id:
            return None
        self._object = None
        self._awaits_keyframe = self._discontinuity = True
        return self.ledger.covered_until_us

    # --- what it says of itself ------------------------------------------------------------------

    @property
    def recording(self) -> bool:
        return self._object is not None

    @property
    def durable_until_us(self) -> int | None:
        """Footage up to here survives the loss of power."""
        for object_id in self._recent:
            item = self._spool.get(object_id)
            if item is not None and item.span_us is not None:
                self._durable_until_us = max(self._durable_until_us or 0, item.span_us[1])
        return self._durable_until_us

    # --- around events ---------------------------------------------------------------------------

    def _record_around_events(self, part: Part, plan: RecordingPlan) -> None:
        self._preroll.push(part)
        if self._until_us is None:
            self._stand_by(part, plan)
        else:
            self._drain(DRAINED_PARTS)

    def _stand_by(self, part: Part, plan: RecordingPlan) -> None:
        self._preroll.trim(part.started_us - round(plan.before_s * SECOND_US))
        self._preroll.bound()
        self.outage(part.started_us, "no_event")

    def _wake(self, event_us: int) -> None:
        """An event has begun: what came before it is recorded, and what comes until it has ended."""
        was_standing_by, self._until_us = self._until_us is None, math.inf
        if was_standing_by and self._plan is not None:
            self._begin_in_memory(event_us - round(self._plan.before_s * SECOND_US))
            self._drain(DRAINED_PARTS)

    def _follow_no_events(self, now_us: int) -> None:
        """As if recording had just been switched on: from the last keyframe."""
        if self._until_us is None:
            self._begin_in_memory(now_us)
        self._until_us = None
        self._drain(len(self._preroll))

    def _begin_in_memory(self, before_us: int) -> None:
        """What is in memory begins with the last keyframe before this moment; without any the next one is awaited."""
        self._preroll.trim(before_us)
        if not self._preroll and self.ledger.gap is not None and self.ledger.gap.cause == "no_event":
            self._awaits_keyframe = True
            self.outage(self._clock.wall_us(), "waiting_keyframe")

    def _drain(self, most: int) -> None:
        """Seals what waits in memory, as far as it is to be recorded, `most` parts at once."""
        while self._preroll and most > 0:
            first = self._preroll.first
            if self._until_us is not None and starts_gop(first) and first.started_us >= self._until_us:
                self._until_us = None
                self._close()
                self.outage(first.started_us, "no_event")
                return
            most -= 1
            self._try_to_record(self._preroll.pop())

    def _finish_events(self) -> None:
        """There will be no more parts for a while: what belongs to an event is recorded, the rest forgotten."""
        if self._until_us is not None:
            self._drain(len(self._preroll))
        self._preroll.clear()

    # --- inside ----------------------------------------------------------------------------------

    def _begin_session(self, part: Part) -> None:
        self._close()
        self._session, self._seq = part.session, 0
        self._note_session(part.session, part.started_us)
        self.outage(part.session.started_us, "waiting_keyframe")

    def _try_to_record(self, part: Part) -> None:
        try:
            self._record(part)
        except SpoolFull as full:
            self._refused(part, full.code)
        except Exception:
            # A supervisor: the hub drops a subscriber that raises, and recording would end without a word.
            log.exception("%s: a part could not be recorded", self.ref)
            self._refused(part, "spool_failed")

    def _record(self, part: Part) -> None:
        if self._object is not None and self._object.is_due(part, self._object_us, self._phase_us):
            self._close()
        if self._object is None:
            if self._awaits_keyframe and not self._resumes(part):
                return
            self._object = self._begin_object(part)
        self._append(self._object, part)
        self.failure = None
        if part.format.kind is TrackKind.VIDEO:
            unit_us = (part.duration * SECOND_US // part.format.clock_rate) // max(1, part.access_units)
            ended_us = part.started_us + part.duration * SECOND_US // part.format.clock_rate
            self._note_gaps(self.ledger.covered(part.started_us, ended_us, unit_us))

    def _resumes(self, part: Part) -> bool:
        """Whether recording can go on in the middle of a session: at a keyframe that is not recorded yet."""
        covered_us = self.ledger.covered_until_us or 0
        # A part's end is computed, its successor's start is measured: half a picture says they are the same place.
        slack_us = part.duration * SECOND_US // part.format.clock_rate // max(1, part.access_units) // 2
        return part.format.kind is TrackKind.VIDEO and part.independent and part.started_us + slack_us >= covered_us

    def _begin_object(self, part: Part) -> _OpenObject:
        if part.started_us < (self.ledger.covered_until_us or 0) - CLOCK_WENT_BACK_US:
            # The clock was set back: what was said before speaks of times that are yet to come.
            self._recent.clear()
            self._durable_until_us = part.started_us
        key = self._key_for(part.started_us)
        header = ObjectHeader(
            object_id=secrets.token_hex(32),
            cell=self._node.cell,
            camera=self.ref.camera_id,
            stream=str(self.ref.stream),
            session=part.session.session_id,
            epoch=part.session.epoch,
            seq=self._seq,
            node_id=self._node.node_id,
            incarnation=self._node.incarnation,
            key_id=key.key_id,
            started_us=part.started_us,
        )
        self._spool.begin(header, key.record)
        self._recent.append(header.object_id)
        self._seq += 1
        self._awaits_keyframe = False
        return _OpenObject(ObjectSealer(header, key.secret), part.started_us)

    def _append(self, target: _OpenObject, part: Part) -> None:
        kind = part.format.kind
        if target.formats.get(kind) is not part.format:
            self._seal(target, Descriptor.of_init(part), init_segment(part.format))
            target.formats[kind] = part.format
        self._seal(target, Descriptor.of_part(part, DISCONTINUITY if self._discontinuity else 0), b"".join(part.pieces))
        self._discontinuity = False

    def _seal(self, target: _OpenObject, descriptor: Descriptor, plain: bytes) -> None:
        self._spool.append(target.object_id, *target.sealer.seal(descriptor, plain))

    def _key_for(self, started_us: int) -> DataKey:
        """The data key of the period; a new process and a new period have new ones."""
        period_s = self._key_period_s
        period_us = started_us - started_us % (period_s * SECOND_US)
        if self._key is None or self._key.record.period_us != period_us:
            node = self._node
            self._key = create_data_key(
                node.cell,
                self.ref.camera_id,
                str(self.ref.stream),
                period_us,
                period_s,
                node.node_id,
                node.node_key,
                node.recipients,
            )
        return self._key

    def _close(self) -> None:
        closing, self._object = self._object, None
        if closing is not None:
            self._spool.end(closing.object_id, Ended.CLOSED)

    def _refused(self, part: Part, code: str) -> None:
        # Parts of an object have no holes: it ends here, the next one begins at a keyframe.
        self._close()
        self.failure = code
        self._awaits_keyframe = self._discontinuity = True
        self.outage(part.started_us, code)

    def _note_gaps(self, changes: Sequence[GapChange]) -> None:
        if changes:
            self._facts.note(recordings.change_gaps, self.ref, changes, self._clock.wall_us())

    def _note_session(self, session: Session, first_keyframe_us: int | None) -> None:
        node = self._node
        self._facts.note(recordings.start_session, session, node.node_id, node.incarnation, first_keyframe_us)
        self._facts.note(recordings.note_counts, session)

    def _now_in(self, session: Session) -> int:
        """Wall time inside a session: a step of the clock does not reach into it."""
        return session.started_us + round((self._clock.monotonic() - session.started_monotonic) * SECOND_US)
