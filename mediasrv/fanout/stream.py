"""One watched stream, packetised once, and its viewers, who are each handed every picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mediasrv.clock import from_us
from mediasrv.fanout.choice import StreamChoice
from mediasrv.hub import GOP_CACHE_LIMIT, Mountpoint
from mediasrv.media.access_unit import (
    VIDEO_CLOCK_RATE,
    AccessUnit,
    AudioFormat,
    Codec,
    Rendition,
    Session,
    StreamRef,
    VideoFormat,
)
from mediasrv.media.rtp import packetize_h264, packetize_h265
from mediasrv.media.rtp.outgoing import with_parameter_sets
from mediasrv.media.stream_clock import StreamClock, arrived_monotonic_s
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing
from mediasrv.wire.webrtc_peer import WebRtcPeer

_G711_CLOCK_RATE: Final = 8000
_OPUS: Final = "OPUS"
_VIDEO_NAMES: Final = {Codec.H264: "H264", Codec.H265: "H265"}
_PACKETIZERS: Final = {Codec.H264: packetize_h264, Codec.H265: packetize_h265}


@dataclass(frozen=True, slots=True)
class ViewerInfo:
    """A snapshot. `state` is `connecting`, `waiting_keyframe` or `live`; `lost_fraction` is of the last second."""

    viewer_id: str
    principal_id: str
    ref: StreamRef
    joined_at: datetime
    state: str
    packets_sent: int
    bytes_sent: int
    packets_resent: int
    lost_fraction: float


FanoutKey = tuple[StreamRef, Rendition | None]


@dataclass(slots=True)
class AutoViewing:
    """What a viewer that may be moved between two streams has besides. `moving`: it is on its way to the other one."""

    sub: StreamRef
    main: StreamRef
    choice: StreamChoice
    moving: bool = False


@dataclass(slots=True, eq=False)
class Viewer:
    """`fanout` is what it sees and `sound` what it hears: the same, unless it has moved to a stream without sound, or
    what sound there is showed only after it had come.
    `bound_for` is the stream whose next keyframe it waits for, to be moved there.
    """

    viewer_id: str
    principal_id: str
    peer: WebRtcPeer
    fanout: Fanout
    sound: Fanout
    joined_s: float
    joined_us: int
    auto: AutoViewing | None = None
    bound_for: Fanout | None = None

    @property
    def fanouts(self) -> list[Fanout]:
        """Those that know of it."""
        return [each for each in (self.fanout, self.sound, self.bound_for) if each is not None]

    def stay(self) -> None:
        """It waits for no other stream any more."""
        if self.bound_for is not None:
            self.bound_for.arriving = _without(self.bound_for.arriving, self)
            self.bound_for = None

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
            lost_fraction=self.peer.line.loss,
        )


class Fanout:
    """An `AccessUnitSink` of a mountpoint: that of the `source`, or of a rendition of it. `joining` holds it open for
    who is about to be a viewer.

    `viewers` are shown it, `listeners` hear it, and those `arriving` watch another stream until the next keyframe here.
    """

    def __init__(
        self,
        key: FanoutKey,
        mountpoint: Mountpoint,
        source: Mountpoint,
        settings: WebRtcSettings,
        on_viewer_failed: Callable[[Viewer], None],
        drop: Callable[[Viewer], None],
        on_sound: Callable[[Fanout], None],
    ) -> None:
        self.key = key
        self.ref = key[0]
        self.mountpoint = mountpoint
        self.source = source
        self.ring = PacketRing(settings.ring_s, "")
        self.video_clock = StreamClock(VIDEO_CLOCK_RATE)
        self.audio_clock = StreamClock(_G711_CLOCK_RATE)
        self.video_format: VideoFormat | None = None
        self.viewers: list[Viewer] = []
        self.listeners: list[Viewer] = []
        self.arriving: list[Viewer] = []
        self.joining = 0
        self._ring_s = settings.ring_s
        self._payload_bytes = settings.payload_bytes
        self._on_viewer_failed = on_viewer_failed
        self._drop = drop
        self._on_sound = on_sound
        self._sound: AudioFormat | None = None
        self._sound_encoding: str | None = None
        self._sound_bytes = round(settings.sound_packet_s * _G711_CLOCK_RATE)
        self._gathered: tuple[bytes, int] | None = None
        """G.711 that waits for more, and the time of its first sample."""
        for unit in mountpoint.gop:
            self._packetize(unit)
        self._subscription = mountpoint.subscribe(self)

    @property
    def idle(self) -> bool:
        return not (self.viewers or self.listeners or self.arriving or self.joining)

    def close(self) -> None:
        self._subscription.close()
        self.ring.close()

    def add(self, viewer: Viewer) -> None:
        """Shown and heard from now on. New lists, here and below: the fan-out may be walking the old ones."""
        viewer.fanout = viewer.sound = self
        self.viewers = [*self.viewers, viewer]
        self.listeners = [*self.listeners, viewer]

    def remove(self, viewer: Viewer) -> None:
        self.viewers = _without(self.viewers, viewer)
        self.listeners = _without(self.listeners, viewer)
        self.arriving = _without(self.arriving, viewer)

    def expect(self, viewer: Viewer) -> None:
        """The viewer comes with the next keyframe; at once where its line would carry the cached GOP before that."""
        gop, through_bps = self.ring.gop, viewer.peer.through_bps
        if gop and viewer.peer.line.congested and through_bps:
            elapsed_s = (gop[-1].timestamp - gop[0].timestamp) / VIDEO_CLOCK_RATE
            left_s = (self.mountpoint.gop_duration_s or 0.0) - elapsed_s
            if 8 * sum(unit.octets for unit in gop) / through_bps < left_s:
                self.take_over(viewer, gop)
                return
        viewer.bound_for = self
        self.arriving = [*self.arriving, viewer]

    def take_over(self, viewer: Viewer, units: list[PacketizedUnit]) -> None:
        """The viewer is shown this stream from its keyframe on, the first of `units`. Where there is no sound here it
        goes on hearing what it heard before.
        """
        left, heard = viewer.fanout, viewer.sound
        viewer.peer.move_to(self.ring, units)
        for fanout in (left, heard, self):
            fanout.remove(viewer)
        silent = self.mountpoint.audio_format is None and heard.mountpoint.audio_format is not None
        viewer.fanout, viewer.sound, viewer.bound_for = self, heard if silent else self, None
        self.viewers = [*self.viewers, viewer]
        viewer.sound.listeners = [*viewer.sound.listeners, viewer]

    def sound_for(self, viewer: Viewer) -> None:
        """The viewer hears this from now on; what it is shown stays as it is."""
        viewer.sound.listeners = _without(viewer.sound.listeners, viewer)
        viewer.sound = self
        self.listeners = [*self.listeners, viewer]

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
        if packetized.keyframe:
            for viewer in self.arriving:
                try:
                    self.take_over(viewer, [packetized])
                except Exception:
                    self._on_viewer_failed(viewer)

    def _packetize(self, unit: AccessUnit) -> PacketizedUnit | None:
        """Into the ring; None for an access unit that holds nothing to send, or whose encoding WebRTC does not know."""
        if unit.format is not self.video_format and isinstance(unit.format, VideoFormat):
            self._change_format(unit.format)
        packetize = _PACKETIZERS.get(unit.format.codec)
        if packetize is None:
            return None
        if len(self.ring.gop) >= GOP_CACHE_LIMIT:
            self.ring.end_gop()
        payloads = packetize(with_parameter_sets(unit), self._payload_bytes)
        if not payloads:
            return None
        return self.ring.push(
            payloads, self.video_clock.place(unit), keyframe=unit.keyframe, arrived_s=arrived_monotonic_s(unit)
        )

    def _change_format(self, video: VideoFormat) -> None:
        """Another encoding is another stream of packets. Viewers that do not take it are at an end; those on the way
        here stay where they are.
        """
        self.video_format = video
        encoding = video_encoding(video)
        if encoding == self.ring.encoding:
            return
        self.ring.close()
        self.ring = PacketRing(self._ring_s, encoding)
        for viewer in self.viewers:
            if viewer.peer.takes(encoding):
                viewer.peer.follow(self.ring)
            else:
                self._drop(viewer)
        for viewer in self.arriving:
            if not viewer.peer.takes(encoding):
                viewer.stay()

    def _send_audio(self, unit: AccessUnit, audio: AudioFormat) -> None:
        """What WebRTC carries, as it came; anything else stays silent here."""
        if audio is not self._sound:
            self._sound, self._sound_encoding = audio, audio_encoding(audio)
            self.audio_clock, self._gathered = StreamClock(audio.clock_rate), None
            self._on_sound(self)
        if self._sound_encoding is None:
            return
        timestamp = self.audio_clock.place(unit)
        if self._sound_encoding == _OPUS:
            self._send_sound(_OPUS, unit.payload, timestamp)
        else:
            self._gather(self._sound_encoding, unit.payload, timestamp)

    def _gather(self, encoding: str, payload: bytes, timestamp: int) -> None:
        """G.711 is one byte a sample, so cameras' packets of 20 ms make larger ones: each costs every viewer as much as
        half a picture. Packets that are not next to each other are not joined.
        """
        before = self._gathered
        if before is not None and before[1] + len(before[0]) == timestamp:
            payload, timestamp = before[0] + payload, before[1]
        elif before is not None:
            self._send_sound(encoding, *before)
        if len(payload) < self._sound_bytes:
            self._gathered = payload, timestamp
            return
        self._gathered = None
        for start in range(0, len(payload), self._payload_bytes):
            self._send_sound(encoding, payload[start : start + self._payload_bytes], timestamp + start)

    def _send_sound(self, encoding: str, payload: bytes, timestamp: int) -> None:
        for viewer in self.listeners:
            try:
                viewer.peer.send_audio(encoding, payload, timestamp)
            except Exception:
                self._on_viewer_failed(viewer)


def _without(viewers: list[Viewer], viewer: Viewer) -> list[Viewer]:
    return [other for other in viewers if other is not viewer]


def video_encoding(video: VideoFormat) -> str:
    """The name of its payload format; other H.265 than the Main profile has one that nobody offers."""
    if video.codec is Codec.H265 and not video.rfc6381.startswith("hvc1.1."):
        return "H265 beyond Main"
    return _VIDEO_NAMES.get(video.codec, "")


def audio_encoding(audio: AudioFormat) -> str | None:
    """The name of its payload format, None where WebRTC does not carry it. G.711 as browsers know it: 8 kHz mono
    (RFC 3551, 4.5.14).
    """
    if audio.codec in (Codec.PCMA, Codec.PCMU):
        narrow = audio.clock_rate == _G711_CLOCK_RATE and audio.channels == 1
        return audio.codec.value.upper() if narrow else None
    return _OPUS if audio.codec is Codec.OPUS else None
