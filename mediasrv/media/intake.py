"""From depacketized pictures and audio frames to the access units of sessions. Pure; `now` is monotonic seconds.

One intake serves one RTSP connection. A session is published from its first keyframe on, and ends where the stream is
damaged or the server's clock was set; the next one begins at once and waits for its own keyframe, so that whatever
breaks a stream is a session boundary and nothing else (docs/architecture.md, Ends of sessions).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from mediasrv.errors import CameraError, ProtocolError
from mediasrv.media.access_unit import (
    METADATA,
    VIDEO_CLOCK_RATE,
    AccessUnit,
    AudioFormat,
    Codec,
    ParameterSets,
    Session,
    VideoFormat,
)
from mediasrv.media.camera_clock import CameraClock
from mediasrv.media.nal import video_format
from mediasrv.media.nal_h265 import h265_video_format
from mediasrv.media.rtp import (
    Deliver,
    Depacketizer,
    H264Depacketizer,
    H265Depacketizer,
    MetadataDepacketizer,
    PictureDepacketizer,
)
from mediasrv.media.timeline import SETTLE_S, SessionTimeline, TrackTimeline

SECOND_US: Final = 1_000_000
CLOCK_STEP_US: Final = SECOND_US
"""A machine's clock that leaves the session's by more than this was set (docs/time.md, 1)."""
MOST_LATE_S: Final = 0.5
"""So long what arrived may have waited to be read: what is older has another reason."""
PARAMETER_SETS_S: Final = 10.0
PARAMETER_SETS_KEYFRAMES: Final = 3
"""So long after the first keyframe, or so many keyframes, a stream may go without usable parameter sets."""

_LEADING: Final = range(0x1_0000_0000 - 2 * VIDEO_CLOCK_RATE, 0x1_0000_0000)
"""A timestamp behind the keyframe's by no more than 2 s; by more it is a camera that set its clock."""

_DEPACKETIZERS: Final[dict[Codec, type[PictureDepacketizer]]] = {
    Codec.H264: H264Depacketizer,
    Codec.H265: H265Depacketizer,
}
_FORMATS: Final[dict[Codec, Callable[..., VideoFormat]]] = {
    Codec.H264: video_format,
    Codec.H265: h265_video_format,
}


class Publisher(Protocol):
    """Where sessions and access units go: a mountpoint of the hub."""

    def start_session(self, session: Session) -> None: ...

    def publish(self, unit: AccessUnit) -> None: ...

    def end_session(self, reason: str) -> None: ...


@dataclass(slots=True)
class _OnAir:
    """A session from its first keyframe on.

    `leads_to` is that keyframe's timestamp until a picture comes that is shown after it. Those shown before it, which
    some keyframes are followed by (RASL of H.265, open GOPs of H.264), refer to pictures that nobody has.
    """

    session: Session
    video_format: VideoFormat
    video_line: TrackTimeline
    audio_line: TrackTimeline | None
    since: float
    leads_to: int | None


class Intake:
    """Counters run over the connection, `units_before_keyframe` and `first_keyframe_us` over the current session."""

    def __init__(self, publisher: Publisher, new_session: Callable[[], Session], most_unit_bytes: int) -> None:
        self.video: PictureDepacketizer | None = None
        self.audio: Depacketizer | None = None
        self.metadata: Depacketizer | None = None
        self.video_format: VideoFormat | None = None
        self.audio_format: AudioFormat | None = None
        self.video_units = 0
        self.audio_units = 0
        self.metadata_units = 0
        self.leading_units = 0
        """Pictures that were left out at a session's start, since what they refer to was before it."""
        self.units_before_keyframe = 0
        self.first_keyframe_us: int | None = None
        self.last_picture_at: float | None = None
        self._publisher = publisher
        self._new_session = new_session
        self._most_unit_bytes = most_unit_bytes
        self._session: Session | None = None
        self._on_air: _OnAir | None = None
        self._codec = Codec.H264
        self._damaged_line: TrackTimeline | None = None
        self._sets_in_use: ParameterSets | None = None
        self._metadata_dts = -1
        self._first_keyframe_at: float | None = None
        self._keyframes_without_sets = 0

    def add_video(self, codec: Codec, payload_type: int, parameter_sets: ParameterSets | None) -> PictureDepacketizer:
        """The depacketizer of the video track, H.264 or H.265; the sets are those of the session description."""
        self._codec = codec
        self.video = _DEPACKETIZERS[codec](
            payload_type,
            self._on_picture,
            self._on_damage,
            most_bytes=self._most_unit_bytes,
            parameter_sets=parameter_sets,
        )
        return self.video

    def add_audio(self, audio_format: AudioFormat, make: Callable[[Deliver], Depacketizer]) -> Depacketizer:
        """The depacketizer of the audio track, made by `make` with where its access units go."""
        self.audio_format = audio_format
        self.audio = make(self._on_audio)
        return self.audio

    def add_metadata(self, payload_type: int) -> Depacketizer:
        """The depacketizer of the metadata track."""
        self.metadata = MetadataDepacketizer(payload_type, self._on_metadata)
        return self.metadata

    def begin(self) -> None:
        """PLAY was answered, or a picture came before the answer did. Twice does no harm."""
        if self._session is None:
            self._damaged_line = None
            self._start(self._new_session())

    def end(self, reason: str) -> None:
        """`reason` is a reason code of docs/reasons.md. Without a session nothing happens."""
        if self._session is not None:
            self._session = self._on_air = None
            self._publisher.end_session(reason)

    def disturb(self, now: float) -> None:
        """Junk stood between the packets: a picture in progress is not trusted."""
        if self.video is not None:
            self.video.disturb(now)

    def note_camera_clock(self, clock: CameraClock) -> None:
        """The camera's clock against the server's, by a sender report."""
        if self._session is not None:
            self._session.counts.camera_offset_us = clock.offset_us
            self._session.counts.camera_uncertainty_us = clock.uncertainty_us

    def wall_us(self, now: float) -> int | None:
        """Server wall time at `now` by the session's own pair of clocks; None outside a session."""
        session = self._session
        return session.started_us + round((now - session.started_monotonic) * SECOND_US) if session else None

    def check_clock(self, wall_us: int, now: float) -> None:
        """Begins a new session where the machine's clock was set."""
        expected_us = self.wall_us(now)
        if expected_us is not None and abs(wall_us - expected_us) > CLOCK_STEP_US:
            self._restart("clock_step")

    def is_settling(self, now: float) -> bool:
        """Whether the session's clock is still being set by what arrives: nothing should be read late now."""
        return self._on_air is None or now - self._on_air.since < SETTLE_S

    def _restart(self, reason: str) -> None:
        self.end(reason)
        self.begin()

    def _on_damage(self, now: float) -> None:
        """The RTP stream goes on, and the next session with it: it begins behind the picture that is lost, which would
        have come one interval after the last good one and have lasted for another, even if it is read later.
        """
        air = self._on_air
        if air is None:
            return  # before its first keyframe a session has nothing that damage could reach
        line = air.video_line
        late_s = min(max(0.0, now - line.arrived_s - 2 * line.interval_s), MOST_LATE_S)
        self.end("stream_damaged")
        self._damaged_line = line
        session = self._new_session()
        self._start(
            replace(
                session,
                started_us=session.started_us - round(late_s * SECOND_US),
                started_monotonic=session.started_monotonic - late_s,
            )
        )

    def _start(self, session: Session) -> None:
        self._session = session
        self.units_before_keyframe = 0
        self.first_keyframe_us = None
        self._metadata_dts = -1
        self._publisher.start_session(session)

    def _on_picture(self, timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        self.last_picture_at = now
        if keyframe:
            self._adopt_parameter_sets(now)
        air, at = self._on_air, now
        if air is None:
            air = self._go_on_air(timestamp, keyframe, now)
            at = self._first_arrival(timestamp, now)
        if air is None:
            self.units_before_keyframe += 1
            if self._session is not None:
                self._session.counts.units_before_keyframe += 1
            return
        if air.leads_to is not None and self._leads(air, timestamp):
            return
        dts, pts, arrived_us = air.video_line.place(timestamp, at)
        if self.first_keyframe_us is None:
            self.first_keyframe_us = arrived_us
        self.video_units += 1
        self._publisher.publish(AccessUnit(air.session, air.video_format, dts, pts, arrived_us, keyframe, payload))

    def _leads(self, air: _OnAir, timestamp: int) -> bool:
        """Whether this picture of a session's start is shown before the session's first keyframe."""
        step = (timestamp - (air.leads_to or 0)) & 0xFFFF_FFFF
        if step in _LEADING:
            self.leading_units += 1
            return True
        if step:
            air.leads_to = None
        return False

    def _on_audio(self, timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        air, audio_format = self._on_air, self.audio_format
        if air is None or air.audio_line is None or audio_format is None:
            return  # audio before the first keyframe has nothing to go with
        dts, pts, arrived_us = air.audio_line.place(timestamp, now)
        self.audio_units += 1
        self._publisher.publish(AccessUnit(air.session, audio_format, dts, pts, arrived_us, True, payload))

    def _on_metadata(self, timestamp: int, keyframe: bool, payload: bytes, now: float) -> None:
        """A document is placed where it arrived: cameras' timestamps of metadata are of no use, and it says its own
        time. It does not wait for a keyframe, since the first ones tell in which state everything is.
        """
        session = self._session
        if session is None:
            return
        since_s = max(0.0, now - session.started_monotonic)
        dts = self._metadata_dts = max(self._metadata_dts + 1, round(since_s * METADATA.clock_rate))
        self.metadata_units += 1
        arrived_us = session.started_us + round(since_s * SECOND_US)
        self._publisher.publish(AccessUnit(session, METADATA, dts, dts, arrived_us, True, payload))

    def _first_arrival(self, timestamp: int, now: float) -> float:
        """When a session's first picture arrived: behind damage the session before knows it better than the clock."""
        expected_s = self._damaged_line.expected_s(timestamp) if self._damaged_line is not None else None
        if expected_s is None or self._session is None or not 0 <= now - expected_s <= MOST_LATE_S:
            return now
        return max(expected_s, self._session.started_monotonic)

    def _go_on_air(self, timestamp: int, keyframe: bool, now: float) -> _OnAir | None:
        self.begin()
        if not keyframe or self._session is None or self.video_format is None:
            return None
        line = SessionTimeline(self._session.started_us, self._session.started_monotonic)
        audio = self.audio_format
        self._on_air = _OnAir(
            self._session,
            self.video_format,
            line.track(VIDEO_CLOCK_RATE, self.video_format.reorder),
            line.track(audio.clock_rate) if audio else None,
            now,
            timestamp,
        )
        return self._on_air

    def _adopt_parameter_sets(self, now: float) -> None:
        """A new VideoFormat where the parameter sets changed. Raises CameraError where usable ones never come."""
        sets = self.video.parameter_sets if self.video else None
        if sets is not None and sets is not self._sets_in_use:
            self._sets_in_use = sets
            with contextlib.suppress(ProtocolError):  # nonsense counts as if nothing had come
                self.video_format = _FORMATS[self._codec](*sets)
                if self._on_air is not None:
                    self._on_air.video_format = self.video_format
        if self.video_format is None:
            self._miss_parameter_sets(now)

    def _miss_parameter_sets(self, now: float) -> None:
        if self._first_keyframe_at is None:
            self._first_keyframe_at = now
        self._keyframes_without_sets += 1
        waited_s = now - self._first_keyframe_at
        if self._keyframes_without_sets >= PARAMETER_SETS_KEYFRAMES or waited_s > PARAMETER_SETS_S:
            raise CameraError(
                "The camera sends pictures, but neither its description nor its stream holds usable parameter sets.",
                code="no_parameter_sets",
            )
