"""One stream, pulled into a mountpoint that nobody else sees, for as long as it is measured."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.survey.findings import ClockOffset, Measured

BEGIN_S: Final = 30.0
"""From the first SYN to the first packet, a change of transport and a few redirects included."""
_LOOK_S: Final = 0.05
_PART_S: Final = 0.48


class PullReport(Protocol):
    """What is read from a pull; counters run over its connection."""

    packets: int
    lost_packets: int
    received_bytes: int
    video_format: VideoFormat | None
    audio_format: AudioFormat | None
    camera_offset_us: int | None
    camera_uncertainty_us: int | None
    transport: str


class Puller(Protocol):
    """One pull. `run` ends by raising CameraError; cancelled, it says goodbye to the camera."""

    @property
    def report(self) -> PullReport: ...

    async def run(self) -> None: ...


MakePuller = Callable[[Mountpoint, Callable[[], Session]], Puller]


class _Pictures:
    """A subscriber that notes when pictures come, and which of them are keyframes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.keyframes = 0
        self._units = 0
        self._first_at = self._last_at = 0.0
        self._keyframe_at: float | None = None
        self._longest_s = 0.0

    def on_access_unit(self, unit: AccessUnit) -> None:
        if unit.format.kind is not TrackKind.VIDEO:
            return
        now = self._clock.monotonic()
        if not self._units:
            self._first_at = now
        self._units, self._last_at = self._units + 1, now
        if unit.keyframe:
            self._longest_s = self.keyframe_interval_s(now) or 0.0
            self._keyframe_at = now
            self.keyframes += 1

    def on_session_ended(self, session: Session, reason: str) -> None:
        """Pictures of the next session count on."""

    @property
    def rate(self) -> float:
        """Pictures a second, from the first to the last."""
        return (self._units - 1) / (self._last_at - self._first_at) if self._last_at > self._first_at else 0.0

    def keyframe_interval_s(self, now: float) -> float | None:
        """The longest run without a keyframe so far; None before the first."""
        return None if self._keyframe_at is None else max(self._longest_s, now - self._keyframe_at)


async def measure(make: MakePuller, seconds: float, clock: Clock) -> Measured:
    """Pulls a stream until it has come for `seconds`, and leaves it with a TEARDOWN, whatever ends this.

    Raises CameraError with the reason code of what kept the stream from coming that long.
    """
    mountpoint = Mountpoint(StreamRef("survey", StreamName.MAIN), _PART_S)
    pictures = _Pictures(clock)
    mountpoint.subscribe(pictures)

    def new_session() -> Session:
        return Session(secrets.token_hex(8), mountpoint.ref, 0, clock.wall_us(), clock.monotonic())

    puller = make(mountpoint, new_session)
    pull = asyncio.create_task(puller.run())
    try:
        return await _watch(puller, pull, pictures, seconds, clock)
    finally:
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)


async def _watch(
    puller: Puller, pull: asyncio.Task[None], pictures: _Pictures, seconds: float, clock: Clock
) -> Measured:
    begin_by = clock.monotonic() + BEGIN_S
    while not puller.report.packets and not pull.done():
        if clock.monotonic() > begin_by:
            raise CameraError("The camera answers but sends no picture.", code="stalled")
        await asyncio.wait({pull}, timeout=_LOOK_S)
    first, began = puller.report, clock.monotonic()
    await asyncio.wait({pull}, timeout=seconds)
    if pull.done():
        pull.result()
    return _measured(first, puller.report, pictures, began, clock.monotonic())


def _measured(first: PullReport, last: PullReport, pictures: _Pictures, began: float, now: float) -> Measured:
    """What came between two reports of one pull. One that was redirected meanwhile counts from there on."""
    before_bytes = first.received_bytes if last.packets >= first.packets else 0
    video, audio = last.video_format, last.audio_format
    interval_s, seconds = pictures.keyframe_interval_s(now), max(0.001, now - began)
    clock = None
    if last.camera_offset_us is not None:
        clock = ClockOffset(last.camera_offset_us / SECOND_US, (last.camera_uncertainty_us or 0) / SECOND_US)
    return Measured(
        seconds=round(seconds, 1),
        packets=last.packets,
        lost_packets=last.lost_packets,
        bitrate_kbps=round((last.received_bytes - before_bytes) * 8 / seconds / 1000),
        rate=round(pictures.rate, 1),
        keyframe_interval_s=None if interval_s is None else round(interval_s, 1),
        codec=video.codec.value if video else "",
        width=video.width if video else 0,
        height=video.height if video else 0,
        audio=audio.codec.value if audio else "",
        transport=last.transport,
        clock=clock,
        keyframes=pictures.keyframes,
    )
