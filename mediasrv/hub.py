"""Mountpoints: where each stream enters once and leaves as often as there is demand.

Two kinds of subscription: access units, as they come, and parts, made only while someone subscribes.
The hub knows no user and no protocol. Everything here runs on the event loop's thread; a sink is
called directly, must not block, and is dropped (and told so) when it raises: one bad subscriber
never slows or stops another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Final, Protocol

from mediasrv.errors import NotFound
from mediasrv.media.access_unit import AccessUnit, Format, Part, Rendition, Session, StreamRef, TrackKind
from mediasrv.media.segmenter import Segmenter, parts_before

log = logging.getLogger(__name__)

GOP_CACHE_LIMIT: Final = 600
"""Pictures of one GOP that are kept for joining viewers; a longer GOP is not cached."""

_SOUND_CACHE_LIMIT: Final = 4 * GOP_CACHE_LIMIT


class AccessUnitSink(Protocol):
    """A consumer of access units."""

    def on_access_unit(self, unit: AccessUnit) -> None: ...

    def on_session_ended(self, session: Session, reason: str) -> None: ...


class PartSink(Protocol):
    """A consumer of parts. A session's last parts come before its `on_session_ended`."""

    def on_part(self, part: Part) -> None: ...

    def on_session_ended(self, session: Session, reason: str) -> None: ...


class Subscription:
    """What a subscriber holds; `close()` ends it, twice does no harm."""

    __slots__ = ("_cancel",)

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel: Callable[[], None] | None = cancel

    def close(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()


class Mountpoint:
    """One stream. Its puller calls `start_session`, `publish`, `end_session`; nobody else does."""

    def __init__(self, ref: StreamRef, part_s: float) -> None:
        self.ref = ref
        self.session: Session | None = None
        self.live = False
        """From the first keyframe of a session to its end."""
        self.gop: list[AccessUnit] = []
        """Video since the last keyframe, that keyframe first; empty while there is none."""
        self.gop_duration_s: float | None = None
        """From the last keyframe but one to the last; None before that is known."""
        self.bits_per_s = 0.0
        """Of video over the last whole GOP; 0 before there is one."""
        self.audio_format: Format | None = None
        """Of the audio of this session; None without any."""
        self.has_metadata = False
        """Whether a document has come in this session."""
        self.sound: list[AccessUnit] = []
        """Audio since the last keyframe, and the newest before it."""
        self.dropped_sinks = 0
        self.part_s = part_s
        self._segmenter: Segmenter | None = None
        self._unit_sinks: tuple[AccessUnitSink, ...] = ()
        self._part_sinks: tuple[PartSink, ...] = ()
        self._demand_listeners: list[Callable[[], None]] = []

    @property
    def subscribers(self) -> int:
        return len(self._unit_sinks) + len(self._part_sinks)

    @property
    def watched(self) -> bool:
        """Whether somebody takes access units as they come, and so would notice any delay."""
        return bool(self._unit_sinks)

    def on_demand_change(self, listener: Callable[[], None]) -> Subscription:
        """`listener` is called whenever the number of subscribers changed (on-demand streams)."""
        self._demand_listeners.append(listener)
        return Subscription(lambda: self._demand_listeners.remove(listener))

    def subscribe(self, sink: AccessUnitSink) -> Subscription:
        self._unit_sinks += (sink,)
        self._demand_changed()
        return Subscription(lambda: self._drop_unit_sink(sink))

    def subscribe_parts(self, sink: PartSink) -> Subscription:
        """Parts begin at the cached keyframe, the missed ones before this returns, or else at the next keyframe."""
        self._part_sinks += (sink,)
        for part in self._missed_parts():
            self._deliver_part(part, sink)
        self._demand_changed()
        return Subscription(lambda: self._drop_part_sink(sink))

    def start_session(self, session: Session) -> None:
        if self.session is not None:
            self.end_session("replaced")
        self.session = session

    def publish(self, unit: AccessUnit) -> None:
        """Hands one access unit to everybody. Hot: once a picture and once an audio frame.

        Metadata may come from the start of a session, the rest begins with the first keyframe.
        """
        self._remember(unit)
        for sink in self._unit_sinks:
            try:
                sink.on_access_unit(unit)
            except Exception:
                self._sink_failed(sink)
                self._drop_unit_sink(sink)
        if self._segmenter is not None:
            self._deliver_parts(self._segmenter.push(unit))

    def publish_late(self, unit: AccessUnit) -> None:
        """The same for one that comes too late for who takes access units as they come: for parts and caches only."""
        self._remember(unit)
        if self._segmenter is not None:
            self._deliver_parts(self._segmenter.push(unit))

    def end_session(self, reason: str) -> None:
        """`reason` is a reason code of docs/reasons.md, such as `camera_lost`."""
        session, self.session = self.session, None
        if session is None:
            return
        self.gop, self.sound, self.live, self.audio_format, self.has_metadata = [], [], False, None, False
        if self._segmenter is not None:
            self._deliver_parts(self._segmenter.finish())
        sinks: tuple[PartSink | AccessUnitSink, ...] = (*self._part_sinks, *self._unit_sinks)
        for sink in sinks:
            try:
                sink.on_session_ended(session, reason)
            except Exception:
                self._sink_failed(sink)

    def _remember(self, unit: AccessUnit) -> None:
        kind = unit.format.kind
        if kind is TrackKind.VIDEO:
            self._cache(unit)
        elif kind is TrackKind.AUDIO:
            self.audio_format = unit.format
            if len(self.sound) < _SOUND_CACHE_LIMIT:
                self.sound.append(unit)
        else:
            self.has_metadata = True

    def _cache(self, unit: AccessUnit) -> None:
        if unit.keyframe:
            if self.gop:
                self.gop_duration_s = (unit.dts - self.gop[0].dts) / unit.format.clock_rate
                octets = sum(len(each.payload) for each in self.gop)
                self.bits_per_s = 8 * octets / self.gop_duration_s if self.gop_duration_s > 0 else 0.0
            # The newest sound before the keyframe still waits for its successor in the segmenter.
            self.gop, self.sound = [unit], self.sound[-1:]
            self.live = True
        elif self.gop:
            if len(self.gop) < GOP_CACHE_LIMIT:
                self.gop.append(unit)
            else:
                self.gop = []

    def _missed_parts(self) -> list[Part]:
        """The complete parts since the cached keyframe, for a subscriber that has just come."""
        if self._segmenter is None:
            segmenter = self._segmenter = Segmenter(self.part_s)
            units = merge(self.gop, self.sound, key=lambda unit: unit.arrived_us)
            return [part for unit in units for part in segmenter.push(unit)]
        parts: list[Part] = []
        for kind, cached in ((TrackKind.VIDEO, self.gop), (TrackKind.AUDIO, self.sound)):
            open_from = self._segmenter.open_from(kind)
            if open_from is not None:
                parts += parts_before(cached, open_from, self.part_s)
        return sorted(parts, key=lambda part: part.started_us)

    def _deliver_parts(self, parts: list[Part]) -> None:
        for part in parts:
            for sink in self._part_sinks:
                self._deliver_part(part, sink)

    def _deliver_part(self, part: Part, sink: PartSink) -> None:
        if sink not in self._part_sinks:
            return
        try:
            sink.on_part(part)
        except Exception:
            self._sink_failed(sink)
            self._drop_part_sink(sink)

    def _sink_failed(self, sink: object) -> None:
        self.dropped_sinks += 1
        log.exception("%s: a subscriber of type %s failed", self.ref, type(sink).__name__)

    def _drop_unit_sink(self, sink: AccessUnitSink) -> None:
        self._unit_sinks = tuple(other for other in self._unit_sinks if other is not sink)
        self._demand_changed()

    def _drop_part_sink(self, sink: PartSink) -> None:
        self._part_sinks = tuple(other for other in self._part_sinks if other is not sink)
        if not self._part_sinks:
            self._segmenter = None
        self._demand_changed()

    def _demand_changed(self) -> None:
        for listener in tuple(self._demand_listeners):
            listener()


Renditions = Callable[[StreamRef, Rendition], Mountpoint]
"""The mountpoint of what a stream is made into. It is in no hub; it works while somebody is subscribed to it, and a
while longer. Its access units are of the stream's own sessions: what is not transcoded comes as it is.

Raises NotFound for a stream that is not there, TooManyRequests `transcoders_full` where no more can be made.
"""


class Hub:
    """All mountpoints of this node, by stream. A mountpoint is made at first mention and then stays."""

    def __init__(self, part_s: float = 0.48) -> None:
        self._part_s = part_s
        self._mountpoints: dict[StreamRef, Mountpoint] = {}

    def mountpoint(self, ref: StreamRef) -> Mountpoint:
        found = self._mountpoints.get(ref)
        if found is None:
            found = self._mountpoints[ref] = Mountpoint(ref, self._part_s)
        return found

    def get(self, ref: StreamRef) -> Mountpoint | None:
        return self._mountpoints.get(ref)

    def find(self, ref: StreamRef) -> Mountpoint:
        """The same for who cannot do without. Raises NotFound `stream_not_found`."""
        found = self._mountpoints.get(ref)
        if found is None:
            raise NotFound("There is no such stream.", code="stream_not_found")
        return found

    def remove(self, ref: StreamRef) -> None:
        """Forgets a stream whose camera is gone; its session ends first."""
        found = self._mountpoints.pop(ref, None)
        if found is not None:
            found.end_session("camera_removed")

    def __iter__(self) -> Iterator[Mountpoint]:
        return iter(list(self._mountpoints.values()))
