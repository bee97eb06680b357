"""One WebRTC viewer: its path, its keys, and what it is sent. Opens no socket and reads no clock.

Datagrams come in by `on_check`, `on_dtls` and `on_rtcp`; they leave through a `Transport`; timers are set through
`Host.call_later`. So a test drives a whole viewer with simulated time.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp
from mediasrv.wire.dtls import DtlsServer
from mediasrv.wire.ice import IceLite, Path, PathKey, Transport
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing, Run
from mediasrv.wire.rtp_sender import RtpAudioSender, RtpVideoSender
from mediasrv.wire.srtp import SrtcpReceiver, SrtcpSender, SrtpKeys, SrtpSender
from mediasrv.wire.stun import StunMessage
from mediasrv.wire.whep_sdp import Offer

_VIDEO_CLOCK_RATE: Final = 90_000
_QUEUED_RUNS: Final = 256
"""Live runs that may wait behind a cached GOP or a large picture; more is an overrun."""
_RESENDS_A_TICK: Final = 500
_REPLAY_INTERVAL_S: Final = 2.0
_REPLAY_PACKETS: Final = 4000


@dataclass(slots=True)
class Counters:
    """Over all viewers since the start; for metrics."""

    datagrams: int = 0
    strays: int = 0
    malformed: int = 0
    handshakes: int = 0
    handshakes_failed: int = 0
    packets: int = 0
    packets_resent: int = 0
    resends_refused: int = 0
    keyframe_requests: int = 0
    replays: int = 0
    overruns: int = 0
    blocked: int = 0
    send_errors: int = 0
    unsegmented: int = 0
    consent_lost: int = 0
    viewer_failures: int = 0
    floods: int = 0
    """Packets that came faster than they are taken from one address."""
    connections: int = 0
    """TCP connections that were accepted."""
    connections_refused: int = 0


class Timer(Protocol):
    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Host:
    """What a peer is given by its shell. A burst is `burst_packets` in `pace_s` seconds."""

    call_later: Callable[[float, Callable[[], None]], Timer]
    counters: Counters
    burst_packets: int
    pace_s: float


class WebRtcPeer:
    """A viewer from its offer to its end. `ring` holds the packets of the stream it watches."""

    def __init__(self, offer: Offer, ice: IceLite, dtls: DtlsServer, ring: PacketRing, host: Host) -> None:
        self.ice = ice
        self.cname = secrets.token_hex(8)
        self.video_ssrc = secrets.randbits(32)
        # Sources of one transport share their session key: equal SSRCs would share nonces.
        self.audio_ssrc = (self.video_ssrc + 1 + secrets.randbelow(0xFFFFFFFF)) & 0xFFFFFFFF
        self.packets_resent = 0
        self.lost_fraction = 0.0
        self.video: RtpVideoSender | None = None
        self.waiting = True
        """Whether the next picture it is sent must be a keyframe."""
        self._offer = offer
        self._dtls = dtls
        self._ring = ring
        self._host = host
        self._audio: RtpAudioSender | None = None
        self._rtcp_out: SrtcpSender | None = None
        self._rtcp_in: SrtcpReceiver | None = None
        self._path: Path | None = None
        self._dtls_timer: Timer | None = None
        self._pacer: Timer | None = None
        self._queue: deque[tuple[PacketizedUnit, Run]] = deque()
        self._queue_most = _QUEUED_RUNS
        self._replayed_s = float("-inf")
        self._resends_left = _RESENDS_A_TICK

    @property
    def connected(self) -> bool:
        return self.video is not None

    @property
    def said_goodbye(self) -> bool:
        return self._dtls.closed

    # -- what comes from the peer

    def on_check(self, request: StunMessage, key: PathKey, transport: Transport, now_s: float) -> None:
        """Answers a connectivity check that came by `transport`. Raises ProtocolError where no answer is due."""
        response = self.ice.check(request, key, transport, now_s)
        path = self.ice.path(key)
        if path is not None:
            transport.send(response, path)

    def on_dtls(self, datagram: bytes, path: Path) -> None:
        """Raises ProtocolError when the handshake has failed for good."""
        path.received_bytes += len(datagram)
        self._dtls.receive(datagram)
        self._flush_dtls(path)
        local, remote = self._dtls.local_keys, self._dtls.remote_keys
        if local is not None and remote is not None and not self.connected:
            self._connect(path, local, remote)

    def on_rtcp(self, data: bytes, path: Path, now_s: float) -> None:
        """Raises ProtocolError for what is not authentic, a replay, or malformed."""
        if self._rtcp_in is None:
            return
        compound = self._rtcp_in.unprotect(data)
        if self.ice.prove(path):
            self._path = path
        for packet in rtcp.parse_compound(compound):
            self._on_report(packet, now_s)

    # -- what goes to the peer

    def send_video(self, unit: PacketizedUnit) -> None:
        """Hot: once a picture. A picture larger than a burst is paced, so that a small link can follow."""
        video, path = self.video, self._path
        if video is None or path is None:
            return
        if self.waiting:
            if unit.keyframe:
                self._begin([unit])
            return
        video.admit(unit)
        host = self._host
        if self._queue or len(unit.payloads) > host.burst_packets:
            self._enqueue(unit)
            self._start_pacer()
            return
        send_run = path.transport.send_run
        for run in unit.runs:
            send_run(video.protect(unit, run), run[2], path)
        host.counters.packets += len(unit.payloads)

    def send_audio(self, encoding: str, payload: bytes, timestamp: int) -> None:
        """Audio begins with the first picture, so that nobody hears a room before seeing it."""
        if self._audio is None or self._path is None or self.waiting:
            return
        datagram = self._audio.protect(encoding, payload, timestamp)
        if datagram is not None:
            self._path.transport.send(datagram, self._path)
            self._host.counters.packets += 1

    def send_reports(self, video_at: tuple[int, int] | None, audio_at: tuple[int, int] | None) -> None:
        """Sender reports; (wall time in microseconds, stream time) of each track at this moment."""
        if self.video is not None and self.video.packets and video_at is not None:
            self._send_report(self.video_ssrc, self.video, video_at)
        if self._audio is not None and self._audio.packets and audio_at is not None:
            self._send_report(self.audio_ssrc, self._audio, audio_at)

    def tick(self) -> None:
        """To be called now and then: bounds what is sent again, and what is taken, between two calls."""
        self._resends_left = _RESENDS_A_TICK
        self.ice.refill()

    def skip_to_keyframe(self) -> None:
        """What it is sent piles up: nothing more of it is sent before the next keyframe."""
        if not self.waiting:
            self._queue.clear()
            self.waiting = True
            self._host.counters.overruns += 1

    def close(self) -> None:
        """Says goodbye where there is somebody to hear it, and stops all timers."""
        self._send_rtcp(rtcp.build_receiver_report(self.video_ssrc) + rtcp.build_goodbye([self.video_ssrc]))
        if self._path is not None:
            self._dtls.close()
            self._flush_dtls(self._path)
        for timer in (self._dtls_timer, self._pacer):
            if timer is not None:
                timer.cancel()
        self._queue.clear()
        self._path = None

    # -- handshake

    def _flush_dtls(self, path: Path) -> None:
        for datagram in self._dtls.datagrams_to_send():
            # What exceeds the allowance is lost; OpenSSL repeats its flight, and so does the peer.
            if self.ice.may_send(path, len(datagram)):
                path.transport.send(datagram, path)
        if self._dtls_timer is not None:
            self._dtls_timer.cancel()
            self._dtls_timer = None
        timeout_s = self._dtls.timeout_s()
        if timeout_s is not None:
            self._dtls_timer = self._host.call_later(timeout_s, lambda: self._on_dtls_timeout(path))

    def _on_dtls_timeout(self, path: Path) -> None:
        self._dtls_timer = None
        try:
            self._dtls.handle_timeout()
        except ProtocolError:
            return  # the shell's deadline for handshakes ends this viewer
        self._flush_dtls(path)

    def _connect(self, path: Path, local: SrtpKeys, remote: SrtpKeys) -> None:
        self.ice.verified = True
        self.ice.prove(path)
        self._path = path
        self._rtcp_out, self._rtcp_in = SrtcpSender(local), SrtcpReceiver(remote)
        # Below 2^15: a receiver that misses the first packets must not mistake the first wrap (RFC 3711, 3.3.1).
        srtp = SrtpSender(local, self.video_ssrc, self._offer.video.payload_type)
        self.video = RtpVideoSender(srtp, self._ring, secrets.randbits(15), secrets.randbits(32))
        sources = {name: SrtpSender(local, self.audio_ssrc, number) for name, number in self._offer.audio.items()}
        self._audio = RtpAudioSender(sources, secrets.randbits(15), secrets.randbits(32))
        self._host.counters.handshakes += 1
        if self._ring.gop:
            self._begin(self._ring.gop)

    # -- feedback

    def _on_report(self, packet: rtcp.RtcpPacket, now_s: float) -> None:
        match packet:
            case rtcp.Nack(media_ssrc=self.video_ssrc):
                self._resend(packet.sequences)
            case rtcp.KeyframeRequest() if self.video_ssrc in packet.media_ssrcs:
                self._host.counters.keyframe_requests += 1
                self._replay(now_s)
            case rtcp.ReceiverReport() | rtcp.SenderReport():
                for block in packet.blocks:
                    if block.ssrc == self.video_ssrc:
                        self.lost_fraction = block.fraction_lost / 256

    def _resend(self, sequences: tuple[int, ...]) -> None:
        counters = self._host.counters
        for sequence in sequences:
            datagram = self.video.resend(sequence) if self.video and self._resends_left > 0 else None
            if datagram is None or self._path is None:
                counters.resends_refused += 1
                continue
            self._resends_left -= 1
            self.packets_resent += 1
            counters.packets_resent += 1
            self._path.transport.send(datagram, self._path)

    def _replay(self, now_s: float) -> None:
        """Answers a request for a keyframe from the GOP cache, but rarely; else the next keyframe must do."""
        gop = self._ring.gop
        if self.video is None or self.waiting or self._queue or not gop:
            return
        if now_s - self._replayed_s < _REPLAY_INTERVAL_S or gop[-1].end - gop[0].first > _REPLAY_PACKETS:
            return
        self._replayed_s = now_s
        self._host.counters.replays += 1
        self.video.replay(gop, self._ring.interval // 2)
        self._send_all(gop)

    # -- sending

    def _begin(self, units: list[PacketizedUnit]) -> None:
        """Starts, or goes on after an overrun, with these units; the first is a keyframe."""
        if self.video is None:
            return
        if self.video.started:
            self.video.skip_to(units[0])
        else:
            self.video.start(units, self._send_time(units) // len(units))
        self.waiting = False
        self._send_all(units)

    def _send_all(self, units: list[PacketizedUnit]) -> None:
        if self.video is None:
            return
        for unit in units:
            self.video.admit(unit)
            self._enqueue(unit)
        self._queue_most = len(self._queue) + _QUEUED_RUNS
        self._start_pacer()

    def _enqueue(self, unit: PacketizedUnit) -> None:
        burst = self._host.burst_packets
        for start, end, size in unit.runs:
            self._queue.extend((unit, (at, min(at + burst, end), size)) for at in range(start, end, burst))

    def _start_pacer(self) -> None:
        if len(self._queue) > self._queue_most:
            self.skip_to_keyframe()
        elif self._pacer is None:
            self._pace()

    @property
    def _packets_per_s(self) -> float:
        """What the pacer sends. Never less than twice the stream, or the queue would not shrink."""
        return max(self._host.burst_packets / self._host.pace_s, 2 * self._ring.packets_per_s)

    def _send_time(self, units: list[PacketizedUnit]) -> int:
        """How long the pacer takes for these units, in RTP time."""
        return round((units[-1].end - units[0].first) / self._packets_per_s * _VIDEO_CLOCK_RATE)

    def _pace(self) -> None:
        """Sends one burst and comes back for the next."""
        self._pacer = None
        host, video, path = self._host, self.video, self._path
        if video is None or path is None:
            return
        left = round(self._packets_per_s * host.pace_s)
        while self._queue and left > 0:
            unit, run = self._queue.popleft()
            path.transport.send_run(video.protect(unit, run), run[2], path)
            host.counters.packets += run[1] - run[0]
            left -= run[1] - run[0]
        if self._queue:
            self._pacer = host.call_later(host.pace_s, self._pace)

    def _send_report(self, ssrc: int, sender: RtpVideoSender | RtpAudioSender, at: tuple[int, int]) -> None:
        wall_us, timestamp = at
        report = rtcp.SenderReport(
            ssrc, rtcp.ntp_from_us(wall_us), sender.rtp_timestamp(timestamp), sender.packets, sender.octets
        )
        self._send_rtcp(rtcp.build_sender_report(report, self.cname))

    def _send_rtcp(self, compound: bytes) -> None:
        if self._rtcp_out is not None and self._path is not None:
            self._path.transport.send(self._rtcp_out.protect(compound), self._path)
