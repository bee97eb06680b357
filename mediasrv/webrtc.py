"""WebRTC fan-out (WHEP): hub -> viewers, over one UDP port.

A `_Fanout` subscribes once per watched stream and packetises each access unit once. Each viewer then costs a
header, one AES-GCM call a packet and one GSO send a picture (`wire.webrtc_peer`). The protocols are sans-IO cores
in `wire/`; what is here is the socket, the timers and the lives of viewers, all on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mediasrv.clock import Clock, from_us
from mediasrv.errors import InvalidRequest, NotAcceptable, NotFound, ProtocolError, TooManyRequests, Unavailable
from mediasrv.hub import GOP_CACHE_LIMIT, Hub, Mountpoint
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AccessUnit, AudioFormat, Codec, Session, StreamRef, VideoFormat
from mediasrv.media.nal import NAL_SPS, iter_avcc, join_avcc, nal_type
from mediasrv.media.rtp import packetize_h264
from mediasrv.media.stream_clock import StreamClock, arrived_monotonic_s
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.dtls import DtlsIdentity, DtlsServer
from mediasrv.wire.ice import IceLite, Path, PathKey
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing
from mediasrv.wire.stun import parse_message
from mediasrv.wire.udp import UdpTransport, advertised_hosts, open_socket
from mediasrv.wire.webrtc_peer import Counters, Host, WebRtcPeer
from mediasrv.wire.whep_sdp import LocalTransport, Offer, build_answer, parse_offer

log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_REPORT_TICKS: Final = 4
_DATAGRAMS_A_WAKE: Final = 64
_HANDSHAKES_A_WAKE: Final = 4
"""A storm of joins must not hold back pictures: a handshake step costs as much as a dozen sends."""
_G711_CLOCK_RATE: Final = 8000


@dataclass(frozen=True, slots=True)
class Joined:
    """What the HTTP side needs for its 201. `etag` is quoted, as the header wants it (RFC 9725, 4.3.1)."""

    viewer_id: str
    answer_sdp: str
    etag: str


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
class _Viewer:
    viewer_id: str
    principal_id: str
    peer: WebRtcPeer
    fanout: _Fanout
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


class _Fanout:
    """One watched stream: packetised once, handed to each viewer. An `AccessUnitSink` of the hub."""

    def __init__(self, mountpoint: Mountpoint, settings: WebRtcSettings, on_viewer_failed: Callable[[_Viewer], None]):
        self.mountpoint = mountpoint
        self.ref = mountpoint.ref
        self.ring = PacketRing(settings.ring_s)
        self.video_clock = StreamClock(VIDEO_CLOCK_RATE)
        self.audio_clock = StreamClock(_G711_CLOCK_RATE)
        self.video_format: VideoFormat | None = None
        self.audio_format: AudioFormat | None = None
        self.viewers: list[_Viewer] = []
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
        if not _is_narrow_g711(audio):
            return
        timestamp = self.audio_clock.place(unit)
        for start in range(0, len(unit.payload), self._payload_bytes):
            payload = unit.payload[start : start + self._payload_bytes]
            for viewer in self.viewers:
                # One byte a sample, so the offset in bytes is the offset in RTP time.
                viewer.peer.send_audio(audio.codec.value.upper(), payload, timestamp + start)


class WebRtcService:
    """The door. `run` owns the port; `join` and `leave` are called by the HTTP side.

    `ensure` starts an on-demand stream and waits until it is there; it raises what keeps it away.
    """

    def __init__(
        self,
        hub: Hub,
        settings: WebRtcSettings,
        clock: Clock,
        ensure: Callable[[StreamRef], Awaitable[None]] | None = None,
    ) -> None:
        self.counters = Counters()
        self.port = 0
        """The bound port, 0 while there is none."""
        self.bound = asyncio.Event()
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._ensure = ensure
        self._identity = DtlsIdentity(from_us(clock.wall_us()))
        self._host: Host | None = None
        self._transport: UdpTransport | None = None
        self._addresses: list[tuple[str, int]] = []
        self._fanouts: dict[StreamRef, _Fanout] = {}
        self._viewers: dict[str, _Viewer] = {}
        self._by_fragment: dict[str, _Viewer] = {}
        self._by_path: dict[PathKey, _Viewer] = {}
        self._ticks = 0

    async def run(self) -> None:
        """Binds the UDP port and serves it until cancelled; all viewers leave at the end. Raises SettingsError."""
        loop = asyncio.get_running_loop()
        with open_socket(self._settings.host, self._settings.port) as sock:
            self._start(sock, loop)
            loop.add_reader(sock.fileno(), self._on_readable)
            try:
                while True:
                    await asyncio.sleep(_TICK_S)
                    self._tick()
            finally:
                self.leave_where(lambda _: True)
                loop.remove_reader(sock.fileno())
                self._stop()

    async def join(self, ref: StreamRef, offer_sdp: str, principal_id: str) -> Joined:
        """Takes a WHEP offer. The stream is subscribed from here on, so that an on-demand one stays up.

        Raises InvalidRequest or NotAcceptable for the offer, TooManyRequests, Unavailable, or what `ensure` raises.
        """
        joining = sum(fanout.joining for fanout in self._fanouts.values())
        if len(self._viewers) + joining >= self._settings.most_viewers:
            raise TooManyRequests("As many viewers as this server serves are watching.", code="viewers_full")
        parse_offer(offer_sdp)
        with self._hold(ref) as fanout:
            if self._ensure is not None:
                await self._ensure(ref)
            if self._host is None:
                raise Unavailable("WebRTC is not running.", code="webrtc_down")
            return self._admit(fanout, offer_sdp, principal_id, self._host)

    def trickle(self, viewer_id: str, fragment: str) -> None:
        """Takes trickled candidates and needs none: ICE-lite answers whoever checks.

        Raises NotFound, and InvalidRequest for an ICE restart.
        """
        viewer = self._viewer(viewer_id)
        offered = viewer.peer.ice.remote_fragment
        for line in fragment.splitlines():
            name, _, value = line.strip().partition(":")
            if name == "a=ice-ufrag" and not hmac.compare_digest(value.encode(), offered.encode()):
                raise InvalidRequest("ICE cannot be restarted here: join again.", code="ice_restart_unsupported")

    def leave(self, viewer_id: str) -> None:
        """Raises NotFound for a viewer that is not (or no longer) there."""
        self._drop(self._viewer(viewer_id))

    def leave_principal(self, principal_id: str) -> int:
        """Ends all viewers of a principal, as when a grant is revoked; their number."""
        return self.leave_where(lambda info: info.principal_id == principal_id)

    def leave_where(self, predicate: Callable[[ViewerInfo], bool]) -> int:
        """Ends all viewers for whom `predicate` holds; their number."""
        leaving = [viewer for viewer in self._viewers.values() if predicate(viewer.info())]
        for viewer in leaving:
            self._drop(viewer)
        return len(leaving)

    def viewers(self) -> list[ViewerInfo]:
        return [viewer.info() for viewer in self._viewers.values()]

    # -- lives of viewers

    def _admit(self, fanout: _Fanout, offer_sdp: str, principal_id: str, host: Host) -> Joined:
        # Read again: by now the stream may have said what it is.
        video = fanout.video_format
        if video is not None and video.codec is not Codec.H264:
            raise NotAcceptable("WebRTC carries H.264 here, and this stream is H.265.", code="webrtc_codec_unsupported")
        profile = video.rfc6381.partition(".")[2] if video else ""
        audible = fanout.audio_format is None or _is_narrow_g711(fanout.audio_format)
        offer = parse_offer(offer_sdp, profile, audio=audible)
        ice = IceLite(secrets.token_hex(4), secrets.token_hex(16), offer.ice_fragment)
        peer = WebRtcPeer(offer, ice, DtlsServer(self._identity, offer.fingerprints), fanout.ring, host)
        viewer = _Viewer(
            secrets.token_urlsafe(16), principal_id, peer, fanout, self._clock.monotonic(), self._clock.wall_us()
        )
        self._viewers[viewer.viewer_id] = viewer
        self._by_fragment[ice.fragment] = viewer
        fanout.viewers.append(viewer)
        return Joined(viewer.viewer_id, self._answer(offer, peer), f'"{secrets.token_hex(8)}"')

    def _answer(self, offer: Offer, peer: WebRtcPeer) -> str:
        return build_answer(
            offer,
            LocalTransport(
                ice_fragment=peer.ice.fragment,
                ice_password=peer.ice.password,
                fingerprint=self._identity.fingerprint,
                addresses=self._addresses,
                video_ssrc=peer.video_ssrc,
                audio_ssrc=peer.audio_ssrc,
                cname=peer.cname,
            ),
        )

    def _viewer(self, viewer_id: str) -> _Viewer:
        viewer = self._viewers.get(viewer_id)
        if viewer is None:
            raise NotFound("There is no such viewer; it may have ended.", code="viewer_not_found")
        return viewer

    def _drop(self, viewer: _Viewer) -> None:
        if self._viewers.pop(viewer.viewer_id, None) is None:
            return
        del self._by_fragment[viewer.peer.ice.fragment]
        for path in viewer.peer.ice.paths:
            if self._by_path.get(path.key) is viewer:
                del self._by_path[path.key]
        viewer.peer.close()
        # A new list: the fan-out may be walking the old one.
        viewer.fanout.viewers = [other for other in viewer.fanout.viewers if other is not viewer]
        self._close_if_idle(viewer.fanout)

    def _on_viewer_failed(self, viewer: _Viewer) -> None:
        log.exception("%s: viewer %s failed and is dropped", viewer.fanout.ref, viewer.principal_id)
        self.counters.viewer_failures += 1
        self._drop(viewer)

    @contextmanager
    def _hold(self, ref: StreamRef) -> Iterator[_Fanout]:
        """The stream's fan-out, subscribed, kept at least until the end of the block."""
        fanout = self._fanouts.get(ref)
        if fanout is None:
            fanout = _Fanout(self._hub.mountpoint(ref), self._settings, self._on_viewer_failed)
            self._fanouts[ref] = fanout
        fanout.joining += 1
        try:
            yield fanout
        finally:
            fanout.joining -= 1
            self._close_if_idle(fanout)

    def _close_if_idle(self, fanout: _Fanout) -> None:
        if not fanout.viewers and not fanout.joining:
            fanout.close()
            del self._fanouts[fanout.ref]

    # -- the port

    def _start(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        settings = self._settings
        self.port = sock.getsockname()[1]
        self._addresses = [(host, self.port) for host in advertised_hosts(settings.host, settings.advertised)]
        self._transport = UdpTransport(sock, self.counters)
        burst = max(1, settings.burst_packets)
        self._host = Host(self._transport, loop.call_later, self.counters, burst, max(0.001, settings.pace_s))
        self.bound.set()

    def _stop(self) -> None:
        self._host = self._transport = None
        self.port = 0
        self.bound.clear()

    def _on_readable(self) -> None:
        """Takes what waits, but not so much at once that pictures would be late; the loop comes back for the rest."""
        handshakes = 0
        for _ in range(_DATAGRAMS_A_WAKE):
            received = self._transport.receive() if self._transport else None
            if received is None:
                return
            handshakes += self._on_datagram(*received)
            if handshakes >= _HANDSHAKES_A_WAKE:
                return

    def _on_datagram(self, data: bytes, key: PathKey) -> bool:
        """Sorts by the first byte (RFC 7983, 7). True for DTLS. What is malformed is counted and forgotten."""
        self.counters.datagrams += 1
        first = data[0] if data else 0xFF
        try:
            if first <= 3:
                self._on_stun(data, key)
            elif 20 <= first <= 63:
                return self._on_dtls(data, key)
            elif 128 <= first <= 191:
                self._on_rtcp(data, key)
            else:
                self.counters.strays += 1
        except ProtocolError as error:
            self.counters.malformed += 1
            log.debug("a datagram from %s was refused: %s", key[0][0], error.sentence)
        return False

    def _on_stun(self, data: bytes, key: PathKey) -> None:
        request = parse_message(data)
        viewer = self._by_fragment.get(request.username.partition(":")[0])
        if viewer is None or self._by_path.get(key, viewer) is not viewer:
            # Unknown, or an address that is another viewer's: what else comes from there could not be told apart.
            self.counters.strays += 1
            return
        viewer.peer.on_check(request, key, self._clock.monotonic())
        if viewer.peer.ice.path(key) is not None:
            self._by_path[key] = viewer

    def _on_dtls(self, data: bytes, key: PathKey) -> bool:
        viewer, path = self._known(key)
        if viewer is None or path is None:
            return False
        try:
            viewer.peer.on_dtls(data, path)
        except ProtocolError as error:
            self.counters.handshakes_failed += 1
            log.warning("%s: a viewer's handshake failed (%s): %s", viewer.fanout.ref, error.code, error.sentence)
            self._drop(viewer)
        if viewer.peer.said_goodbye:
            self._drop(viewer)
        return True

    def _on_rtcp(self, data: bytes, key: PathKey) -> None:
        viewer, path = self._known(key)
        if viewer is not None and path is not None:
            viewer.peer.on_rtcp(data, path, self._clock.monotonic())

    def _known(self, key: PathKey) -> tuple[_Viewer | None, Path | None]:
        viewer = self._by_path.get(key)
        path = viewer.peer.ice.path(key) if viewer else None
        if path is None:
            self.counters.strays += 1
        return viewer, path

    # -- what time brings

    def _tick(self) -> None:
        self._ticks += 1
        now_s = self._clock.monotonic()
        removed = {ref for ref, fanout in self._fanouts.items() if self._hub.get(ref) is not fanout.mountpoint}
        if removed:
            self.leave_where(lambda info: info.ref in removed)
        for number, viewer in enumerate(list(self._viewers.values())):
            try:
                self._keep(viewer, now_s)
                # A quarter of them each tick, so that reports do not come in one lump.
                if (number + self._ticks) % _REPORT_TICKS == 0:
                    self._report(viewer, now_s)
            except Exception:  # one bad viewer never stops another
                self._on_viewer_failed(viewer)

    def _report(self, viewer: _Viewer, now_s: float) -> None:
        fanout = viewer.fanout
        viewer.peer.send_reports(fanout.video_clock.at(now_s), fanout.audio_clock.at(now_s))

    def _keep(self, viewer: _Viewer, now_s: float) -> None:
        """Ends a viewer that did not finish its handshake or lost consent; else forgets addresses it has left."""
        peer, settings = viewer.peer, self._settings
        if not peer.connected and now_s - viewer.joined_s > settings.handshake_s:
            self.counters.handshakes_failed += 1
            self._drop(viewer)
        elif peer.ice.consent_lost(now_s, settings.consent_s):
            self.counters.consent_lost += 1
            self._drop(viewer)
        else:
            peer.tick()
            for key in peer.ice.forget_paths(now_s - settings.consent_s):
                self._by_path.pop(key, None)


def _decodable(unit: AccessUnit) -> bytes:
    """The access unit's payload; a keyframe without parameter sets gets those of its format, for who joins there."""
    video = unit.format
    if not unit.keyframe or not isinstance(video, VideoFormat) or _has_sps(unit.payload):
        return unit.payload
    return join_avcc(video.parameter_sets) + unit.payload


def _has_sps(payload: bytes) -> bool:
    return any(nal_type(nal) == NAL_SPS for nal in iter_avcc(payload))


def _is_narrow_g711(audio: AudioFormat) -> bool:
    """G.711 as browsers know it: 8 kHz mono (RFC 3551, 4.5.14)."""
    return audio.codec in (Codec.PCMA, Codec.PCMU) and audio.clock_rate == _G711_CLOCK_RATE and audio.channels == 1
