"""One watched stream, packetised once, and its viewers, who are each handed every picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mediasrv.clock import from_us
from mediasrv.hub import GOP_CACHE_LIMIT, Mountpoint
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AccessUnit, AudioFormat, Codec, Session, StreamRef, VideoFormat
from mediasrv.media.nal import NAL_SPS, iter_avcc, join_avcc, nal_type
from mediasrv.media.rtp import packetize_h264
from mediasrv.media.stream_clock import StreamClock, arrived_monotonic_s
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing
from mediasrv.wire.webrtc_peer import WebRtcPeer

_G711_CLOCK_RATE: Final = 8000


@dataclass(frozen=True, slots=True)
class ViewerInfo:
    """A snapshot. `state` is `connecting`, `waiting_keyframe` or `live`; `lost_fraction` is of its last report."""

    viewer_id: str
    principal_id: str
    ref: StreamRef
    joined_at: datetime
    state: str
    packets_sent: int
    bytes_sent: int
    packets_resent: int
    lost_fraction: float


@dataclass(slots=True, eq=False)
class Viewer:
    viewer_id: str
    principal_id: str
    peer: WebRtcPeer
    fanout: Fanout
    joined_s: float
    joined_us: int

    def info(self) -> ViewerInfo:
        video = self.peer.video
        return ViewerInfo(
            viewer_id=self.viewer_id,
            principal_id=self.principal_id,
            ref=self.fanout.ref,
            joined_at=from_us(self.joined_us),
            state="connecting" if video is None else "waiting_keyframe" if self.peer.waiting else "live",
            packets_sent=video.packets if video else 0,
            bytes_sent=video.octets if video else 0,
            packets_resent=self.peer.packets_resent,
            lost_fraction=self.peer.lost_fraction,
        )


class Fanout:
    """An `AccessUnitSink` of the hub. `joining` holds it open for who is about to be a viewer."""

    def __init__(self, mountpoint: Mountpoint, settings: WebRtcSettings, on_viewer_failed: Callable[[Viewer], None]):
        self.mountpoint = mountpoint
        self.ref = mountpoint.ref
        self.ring = PacketRing(settings.ring_s)
        self.video_clock = StreamClock(VIDEO_CLOCK_RATE)
        self.audio_clock = StreamClock(_G711_CLOCK_RATE)
        self.video_format: VideoFormat | None = None
        self.audio_format: AudioFormat | None = None
        self.viewers: list[Viewer] = []
        self.joining = 0
        self._payload_bytes = settings.payload_bytes
        self._on_viewer_failed = on_viewer_failed
        for unit in mountpoint.gop:
            self._packetize(unit)
        self._subscription = mountpoint.subscribe(self)

    def close(self) -> None:
        self._subscription.close()

    def on_access_unit(self, unit: AccessUnit) -> None:
        if isinstance(unit.format, VideoFormat):
            self._send_video(unit)
        elif isinstance(unit.format, AudioFormat):
            self._send_audio(unit, unit.format)

    def on_session_ended(self, session: Session, reason: str) -> None:
        """Viewers stay: the camera's next session goes on under their SSRC, from its first keyframe."""
        self.ring.end_gop()

    def _send_video(self, unit: AccessUnit) -> None:
        packetized = self._packetize(unit)
        if packetized is None:
            return
        for viewer in self.viewers:
            try:
                viewer.peer.send_video(packetized)
            except Exception:  # one bad viewer never stops another
                self._on_viewer_failed(viewer)

    def _packetize(self, unit: AccessUnit) -> PacketizedUnit | None:
        """Into the ring; None for an access unit that holds nothing to send, or that is not H.264."""
        if isinstance(unit.format, VideoFormat):
            self.video_format = unit.format
        if unit.format.codec is not Codec.H264:
            return None
        if len(self.ring.gop) >= GOP_CACHE_LIMIT:
            self.ring.end_gop()
        payloads = packetize_h264(_decodable(unit), self._payload_bytes)
        if not payloads:
            return None
        return self.ring.push(
            payloads, self.video_clock.place(unit), keyframe=unit.keyframe, arrived_s=arrived_monotonic_s(unit)
        )

    def _send_audio(self, unit: AccessUnit, audio: AudioFormat) -> None:
        """G.711 as it came; anything else stays silent here."""
        self.audio_format = audio
        if not is_narrow_g711(audio):
            return
        timestamp = self.audio_clock.place(unit)
        for start in range(0, len(unit.payload), self._payload_bytes):
            payload = unit.payload[start : start + self._payload_bytes]
            for viewer in self.viewers:
                # One byte a sample, so the offset in bytes is the offset in RTP time.
                viewer.peer.send_audio(audio.codec.value.upper(), payload, timestamp + start)


def _decodable(unit: AccessUnit) -> bytes:
    """The access unit's payload; a keyframe without parameter sets gets those of its format, for who joins there."""
    video = unit.format
    if not unit.keyframe or not isinstance(video, VideoFormat) or _has_sps(unit.payload):
        return unit.payload
    return join_avcc(video.parameter_sets) + unit.payload


def _has_sps(payload: bytes) -> bool:
    return any(nal_type(nal) == NAL_SPS for nal in iter_avcc(payload))


def is_narrow_g711(audio: AudioFormat) -> bool:
    """G.711 as browsers know it: 8 kHz mono (RFC 3551, 4.5.14)."""
    return audio.codec in (Codec.PCMA, Codec.PCMU) and audio.clock_rate == _G711_CLOCK_RATE and audio.channels == 1
