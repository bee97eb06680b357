"""A rendition: a mountpoint of its own that carries what a stream is made into, beside what it is as it comes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import merge
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import TooManyRequests
from mediasrv.hub import Mountpoint, Subscription
from mediasrv.media.access_unit import AccessUnit, Codec, Rendition, Session, TrackKind
from mediasrv.media.stream_clock import arrived_monotonic_s
from mediasrv.transcoding.track import TrackListener, TrackTranscode

Acquire = Callable[[Mountpoint, Codec, TrackListener], TrackTranscode]
"""Raises TooManyRequests, Unavailable."""
Release = Callable[[TrackTranscode, TrackListener], None]

LATE_S: Final = 0.5
"""Sound that is older when it is made is kept, but not handed to who takes it as it comes: it would be heard late."""


class RenditionFeed:
    """Fills `mountpoint` from the source while it is started. Pictures and sound; metadata stays with the source.

    Whether a track must be transcoded shows by its access units, so a camera may change its codecs meanwhile.
    """

    def __init__(
        self, source: Mountpoint, rendition: Rendition, clock: Clock, acquire: Acquire, release: Release
    ) -> None:
        self.source = source
        self.rendition = rendition
        self.mountpoint = Mountpoint(source.ref, source.part_s)
        self._targets = {TrackKind.VIDEO: rendition.video, TrackKind.AUDIO: rendition.audio}
        self._clock = clock
        self._acquire = acquire
        self._release = release
        self._held: dict[TrackKind, TrackTranscode] = {}
        self._subscription: Subscription | None = None
        self._first_us = 0

    @property
    def started(self) -> bool:
        return self._subscription is not None

    def holds(self, transcode: TrackTranscode) -> bool:
        return self._held.get(transcode.kind) is transcode

    def start(self) -> None:
        """Raises what `acquire` raises where the source's tracks are known to need it; then nothing is held."""
        try:
            for unit in (*self.source.gop[-1:], *self.source.sound[-1:]):
                self._hold_what_it_needs(unit)
        except BaseException:
            self._let_go()
            raise
        self.resume()

    def resume(self) -> None:
        """Takes what the source has cached, and from now on what it gets. Tracks that find no worker stay out."""
        self._subscription = self.source.subscribe(self)
        for unit in merge(self.source.gop, self.source.sound, key=lambda unit: unit.arrived_us):
            self.on_access_unit(unit)

    def stop(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
        self._let_go()
        self.mountpoint.end_session("not_watched")

    # -- AccessUnitSink of the source

    def on_access_unit(self, unit: AccessUnit) -> None:
        kind = unit.format.kind
        if kind is TrackKind.METADATA or not self.started:
            return
        try:
            made_elsewhere = self._hold_what_it_needs(unit)
        except TooManyRequests as full:
            if kind is TrackKind.VIDEO:
                self.mountpoint.end_session(full.code)
            return
        if not made_elsewhere:
            self._publish(unit)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.mountpoint.end_session(reason)

    # -- TrackListener

    def on_transcoded(self, unit: AccessUnit) -> None:
        self._publish(unit)

    def on_transcode_failed(self, kind: TrackKind, reason: str) -> None:
        """Without pictures there is no session; sound pauses, as when a camera's does."""
        if kind is TrackKind.VIDEO:
            self.mountpoint.end_session(reason)

    # -- inside

    def _hold_what_it_needs(self, unit: AccessUnit) -> bool:
        """Whether a transcode makes what is wanted of this unit; it is held from now on, or let go where none is."""
        kind, target = unit.format.kind, self._targets[unit.format.kind]
        needed = target is not None and unit.format.codec is not target
        if needed and target is not None and kind not in self._held:
            held = self._held[kind] = self._acquire(self.source, target, self)
            for made in tuple(held.recent):
                self._publish(made)
        elif not needed and kind in self._held:
            self._release(self._held.pop(kind), self)
        return needed

    def _let_go(self) -> None:
        while self._held:
            self._release(self._held.popitem()[1], self)

    def _publish(self, unit: AccessUnit) -> None:
        """Begins a session of the source with its first keyframe here, and drops what comes before that."""
        mountpoint, is_audio = self.mountpoint, unit.format.kind is TrackKind.AUDIO
        if unit.session is not mountpoint.session:
            if is_audio or not unit.keyframe:
                return
            self._first_us = unit.arrived_us
            mountpoint.start_session(unit.session)
        elif is_audio and unit.arrived_us < self._first_us:
            return
        if is_audio and self._clock.monotonic() - arrived_monotonic_s(unit) > LATE_S:
            mountpoint.publish_late(unit)
        else:
            mountpoint.publish(unit)
