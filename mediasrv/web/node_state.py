"""How the node is doing, gathered from its parts: readiness, status and metrics."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from mediasrv import __version__
from mediasrv.cameras.views import CameraView
from mediasrv.clock import Clock, from_us
from mediasrv.reasons import Reason, reason
from mediasrv.retention import RetentionState
from mediasrv.security.head_witness import WitnessState
from mediasrv.serving.readers import ServeCounters
from mediasrv.storage.spool import SpoolCondition, SpoolState
from mediasrv.transcoding.process import WorkerCounts
from mediasrv.web.camera_json import reason_json
from mediasrv.web.live_metrics import rtsp_metrics, webrtc_metrics, worker_metrics
from mediasrv.web.metrics import Metric, counter, gauge
from mediasrv.wire.webrtc_peer import Counters as WebRtcCounters

_STEP_S: Final = 0.1
_WINDOW: Final = 1200
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Upload(Protocol):
    """What the recorder says of its way to storage."""

    @property
    def waiting(self) -> int: ...

    @property
    def stored(self) -> int: ...

    @property
    def reason_code(self) -> str | None: ...


class PrerollState(Protocol):
    """What the recorder keeps in memory for events."""

    @property
    def preroll_bytes(self) -> int: ...

    @property
    def preroll_shortened(self) -> int: ...


class EventCounts(Protocol):
    """What became of the events that cameras told."""

    @property
    def kept(self) -> int: ...

    @property
    def dropped(self) -> int: ...


@dataclass(frozen=True, slots=True)
class NodeParts:
    """Where the facts come from. A part that this process does not run is None."""

    name: str
    incarnation: str
    cameras: Callable[[], Sequence[CameraView]]
    viewers: Callable[[], int] | None
    spool: Callable[[], SpoolState] | None
    upload: Callable[[], Upload] | None
    retention: Callable[[], RetentionState] | None
    witness: Callable[[], WitnessState]
    events: Callable[[], EventCounts]
    workers: Callable[[], Mapping[str, WorkerCounts]]
    transcodes_refused: Callable[[], int]
    preroll: Callable[[], PrerollState] | None = None
    spool_hours: float = 24.0
    rtsp: Callable[[], ServeCounters] | None = None
    webrtc: Callable[[], WebRtcCounters] | None = None


class LoopWatch:
    """How late the event loop runs what is due: the p99 of the last minute, in ms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late_s: deque[float] = deque([0.0], maxlen=_WINDOW)

    async def run(self) -> None:
        while True:
            due = self._clock.monotonic() + _STEP_S
            await asyncio.sleep(_STEP_S)
            self._late_s.append(self._clock.monotonic() - due)

    def p99_ms(self) -> float:
        ordered = sorted(self._late_s)
        return max(0.0, ordered[int(len(ordered) * 0.99) - 1] * 1000)


class NodeState:
    """`SystemState` of `web.services`."""

    def __init__(self, parts: NodeParts, clock: Clock) -> None:
        self.loop = LoopWatch(clock)
        self._parts = parts
        self._clock = clock
        self._started_us = clock.wall_us()
        self._started = clock.monotonic()

    async def readiness(self) -> Sequence[Reason]:
        return list(self._troubles())

    async def status(self) -> Mapping[str, Any]:
        sections = {
            "node": self._node(),
            "capacity": self._capacity(),
            "streams": self._streams(),
            "spool": self._spool(),
            "storage": self._storage(),
            "retention": self._retention(),
            "access_log": self._access_log(),
        }
        return {name: section for name, section in sections.items() if section is not None}

    def metrics(self) -> Iterable[Metric]:
        yield gauge("mediasrv_loop_late_seconds", "p99 of how late the loop runs.", self.loop.p99_ms() / 1000)
        yield counter("mediasrv_cpu_seconds_total", "CPU of this process.", _cpu_s())
        yield gauge("mediasrv_resident_bytes", "Resident memory of this process.", _rss_bytes())
        if self._parts.spool is not None:
            spool = self._parts.spool()
            yield gauge("mediasrv_spool_used_bytes", "What the spool takes on its disk.", spool.used_bytes)
            yield gauge("mediasrv_spool_budget_bytes", "What the spool may take.", spool.budget_bytes)
            alarm = spool.condition is SpoolCondition.ALARM
            yield gauge("mediasrv_spool_alarm", "1 where the spool's budget will be spent soon.", alarm)
            if spool.left_s is not None:
                yield gauge("mediasrv_spool_full_in_seconds", "Until it is full at this rate.", spool.left_s)
        if self._parts.preroll is not None:
            memory = self._parts.preroll()
            yield gauge("mediasrv_preroll_bytes", "Footage in memory that waits for events.", memory.preroll_bytes)
            yield counter("mediasrv_preroll_shortened_total", "Pasts cut for memory.", memory.preroll_shortened)
        if self._parts.upload is not None:
            upload = self._parts.upload()
            yield gauge("mediasrv_uploads_waiting", "Recording objects not yet stored.", upload.waiting)
            yield counter("mediasrv_objects_stored_total", "Recording objects stored and catalogued.", upload.stored)
        broken = self._parts.witness().broken is not None
        yield gauge("mediasrv_access_log_broken", "1 where the access log was tampered with.", broken)

        yield gauge("mediasrv_clock_alarms", "Cameras whose clock is off.", self._clock_alarms())
        events = self._parts.events()
        yield counter("mediasrv_camera_events_total", "Events of cameras that were kept.", events.kept)
        yield counter("mediasrv_camera_events_dropped_total", "Events beyond all bounds.", events.dropped)
        refused = self._parts.transcodes_refused()
        yield counter("mediasrv_transcodes_refused_total", "Renditions refused: enough were made.", refused)
        yield from worker_metrics(self._parts.workers())
        if self._parts.rtsp is not None:
            yield from rtsp_metrics(self._parts.rtsp())
        if self._parts.webrtc is not None:
            yield from webrtc_metrics(self._parts.webrtc())

    def _clock_alarms(self) -> int:
        devices = [camera.device for camera in self._parts.cameras()]
        return sum(device is not None and device.clock.state == "alarm" for device in devices)

    def _troubles(self) -> Iterable[Reason]:
        if self._parts.spool is not None:
            spool = self._parts.spool()
            if spool.condition is SpoolCondition.FAILING:
                yield reason(spool.reason_code or "spool_full")
        if self._parts.upload is not None:
            failing = self._parts.upload().reason_code
            if failing is not None:
                yield reason(failing)

    def _node(self) -> dict[str, Any]:
        running_s = self._clock.monotonic() - self._started
        return {
            "name": self._parts.name,
            "version": __version__,
            "incarnation": self._parts.incarnation,
            "started_at": _iso(self._started_us),
            "running_s": round(running_s),
            "loop_late_ms_p99": round(self.loop.p99_ms(), 2),
        }

    def _capacity(self) -> dict[str, Any]:
        running_s = max(1.0, self._clock.monotonic() - self._started)
        return {
            "cpu_cores_used": round(_cpu_s() / running_s, 3),
            "cpu_cores": os.cpu_count(),
            "resident_bytes": _rss_bytes(),
        }

    def _streams(self) -> dict[str, Any]:
        streams = [stream for camera in self._parts.cameras() for stream in camera.streams.values()]
        states = Counter(stream.state for stream in streams)
        recording = sum(stream.recording.state == "recording" for stream in streams)
        viewers = self._parts.viewers() if self._parts.viewers is not None else 0
        return {**states, "recording": recording, "viewers": viewers}

    def _spool(self) -> dict[str, Any] | None:
        if self._parts.spool is None:
            return None
        spool = self._parts.spool()
        wanted_s = self._parts.spool_hours * 3600
        is_short = spool.lasts_s is not None and spool.lasts_s < wanted_s
        return {
            "condition": str(spool.condition),
            "reason": _why(spool.reason_code or ("spool_short" if is_short else None)),
            "used_bytes": spool.used_bytes,
            "budget_bytes": spool.budget_bytes,
            "per_hour_bytes": round(spool.bytes_per_s * 3600),
            "full_in_s": _rounded(spool.left_s),
            "lasts_s": _rounded(spool.lasts_s),
            "wanted_s": round(wanted_s),
            "waits_since_at": _iso(spool.oldest_us) if spool.oldest_us is not None else None,
            **self._preroll(),
        }

    def _preroll(self) -> dict[str, Any]:
        if self._parts.preroll is None:
            return {}
        memory = self._parts.preroll()
        return {"preroll_bytes": memory.preroll_bytes, "preroll_shortened": memory.preroll_shortened}

    def _storage(self) -> dict[str, Any] | None:
        if self._parts.upload is None:
            return None
        upload = self._parts.upload()
        return {
            "condition": "failing" if upload.reason_code else "ok",
            "reason": _why(upload.reason_code),
            "uploads_waiting": upload.waiting,
            "objects_stored": upload.stored,
        }

    def _retention(self) -> dict[str, Any] | None:
        if self._parts.retention is None:
            return None
        state = self._parts.retention()
        last = _iso(state.last_round_us) if state.last_round_us else None
        return {"condition": str(state.condition), "reason": _why(state.code), "last_round_at": last}

    def _access_log(self) -> dict[str, Any]:
        state = self._parts.witness()
        code = "access_log_broken" if state.broken else state.reason_code
        return {
            "condition": "broken" if state.broken else "failing" if code else "ok",
            "reason": _why(code),
            "copied_entry": state.copied.entry if state.copied else None,
            "copied_at": _iso(state.copied_us) if state.copied else None,
        }


def _why(code: str | None) -> dict[str, str] | None:
    return reason_json(reason(code)) if code else None


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _iso(wall_us: int) -> str:
    return from_us(wall_us).isoformat().replace("+00:00", "Z")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
