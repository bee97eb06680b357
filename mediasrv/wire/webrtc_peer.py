"""One WebRTC viewer: its path, its keys, and what it is sent. Opens no socket and reads no clock.

Datagrams come in by `on_check`, `on_dtls` and `on_rtcp`; they leave through a `Transport`; timers are set through
`Host.call_later`, and time is the host's. So a test drives a whole viewer with simulated time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp
from mediasrv.wire.congestion import Allowance, Line
from mediasrv.wire.dtls import DtlsServer
from mediasrv.wire.ice import IceLite, Path, PathKey, Transport
from mediasrv.wire.pacer import Pacer, Timer
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing, Run
from mediasrv.wire.probe import Probe
from mediasrv.wire.resends import Resends
from mediasrv.wire.rtp_sender import RtpAudioSender, RtpVideoSender
from mediasrv.wire.rtp_sources import PeerSources, distinct_ssrcs, rtcp_sides
from mediasrv.wire.srtp import SrtcpReceiver, SrtcpSender, SrtpKeys
from mediasrv.wire.srtp_cm import CmSrtcpReceiver, CmSrtcpSender
from mediasrv.wire.stun import StunMessage
from mediasrv.wire.whep_sdp import Offer

_REPLAY_INTERVAL_S: Final = 2.0
_REPLAY_PACKETS: Final = 4000
_PACKET_BITS: Final = 8 * 1200.0
_LOSSY: Final = 0.01
_LOSSY_S: Final = 30.0
"""A viewer that loses one packet in 100 is asked to hold pictures back, and so long after: as much as it takes to ask
twice for what is missing. Else each packet that is lost with its answer is a picture that stands still.
"""
_ASK_S: Final = 0.09
"""So often a line is asked while it is filled: what is too much is seen before it has queued for long."""
_UNREVIEWED_TICKS: Final = 8
"""So long what a trial, or a cached GOP, has left in the line's queue is not held against the stream."""


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
    thinned: int = 0
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


@dataclass(frozen=True, slots=True)
class Host:
    """What a peer is given by its shell. A burst is `burst_packets` in `pace_s` seconds; `playout_delay_s` is the least
    and the most by which viewers may hold pictures back, `lossy_delay_s` the least of those that lose packets.
    """

    call_later: Callable[[float, Callable[[], None]], Timer]
    now_s: Callable[[], float]
    counters: Counters
    burst_packets: int
    pace_s: float
    playout_delay_s: tuple[float, float] = (0.0, 1.0)
    lossy_delay_s: float = 0.2


class WebRtcPeer:
    """A viewer from its offer to its end. `ring` holds the packets of the stream it watches."""

    def __init__(self, offer: Offer, ice: IceLite, dtls: DtlsServer, ring: PacketRing, host: Host) -> None:
        self.ice = ice
        self.cname = secrets.token_hex(8)
        # Sources of one transport share their session key: equal SSRCs would share nonces.
        self.video_ssrc, self.repair_ssrc, self.audio_ssrc = distinct_ssrcs()
        self.packets_resent = 0
        self.line = Line()
        self.video: RtpVideoSender | None = None
        self.waiting = True
        """Whether the next picture it is sent must be a keyframe."""
        self.offer = offer
        self._dtls = dtls
        self._ring = ring
        self._host = host
        self._audio: RtpAudioSender | None = None
        self._rtcp_out: SrtcpSender | CmSrtcpSender | None = None
        self._rtcp_in: SrtcpReceiver | CmSrtcpReceiver | None = None
        self._path: Path | None = None
        self._dtls_timer: Timer | None = None
        self._pacer = Pacer(host.call_later, host.burst_packets, host.pace_s, self._send_run, self.skip_to_keyframe)
        self._replayed_s = float("-inf")
        self._allowance = Allowance()
        self._resends = Resends()
        self._lossy_until_s = float("-inf")
        self._at_tick = (0.0, 0, 0)
        self.sent_bps = 0.0
        """Payload of the stream, over the time between the last two ticks."""
        self._unreviewed_ticks = 0
        self._probing = False
        self._asked_s = 0.0
        self._probe = Probe(host.call_later, self._fill)

    @property
    def connected(self) -> bool:
        return self.video is not None

    @property
    def through_bps(self) -> float:
        """Of the stream, what arrived by the last reports; 0 before they tell."""
        return self.line.received_per_s * self._packet_bits

    @property
    def _packet_bits(self) -> float:
        """Mean size of the stream's packets."""
        packets_per_s = self._ring.packets_per_s
        return self._ring.bits_per_s / packets_per_s if packets_per_s else _PACKET_BITS

    @property
    def can_probe(self) -> bool:
        """Whether there is a source of repair, whose packets can fill the line."""
        return any(payload.repair_type is not None for payload in self.offer.video.values())

    def takes(self, encoding: str) -> bool:
        """Whether streams of this encoding can be sent here."""
        return encoding in self.offer.video

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

    def on_answer(self, answer: StunMessage, key: PathKey, now_s: float) -> None:
        """Takes what answers a question of `ask`. Raises ProtocolError where nothing was asked."""
        self.line.on_round_trip(self.ice.take_answer(answer, key), now_s)
        self._stop_probe_if_full()

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
        if self.waiting and not unit.keyframe:
            return
        if self._allowance.bits_per_s is not None and not self._allowance.admit(unit.octets, unit.arrived_s):
            self._thin()
            return
        if self.waiting:
            self._begin([unit])
            return
        if unit.keyframe and not self._pacer.busy:
            video.renew(unit)
        video.admit(unit)
        host = self._host
        if self._pacer.busy or len(unit.payloads) > self._pacer.burst_packets:
            self._pacer.put(unit)
            return
        send_run = path.transport.send_run
        for run in unit.runs:
            send_run(video.protect(unit, run), video.size(unit, run), path)
        host.counters.packets += len(unit.payloads)

    def follow(self, ring: PacketRing) -> None:
        """From its next keyframe on, another stream is sent. What is queued of the old one is left out: it would only
        come too late.
        """
        self._ring = ring
        self._pacer.clear()
        self.waiting = True
        self.line.restart()
        self._allowance = Allowance()  # it was for a stream that was too large
        if self.video is not None:
            self.video.move_to(ring)

    def move_to(self, ring: PacketRing, units: list[PacketizedUnit]) -> None:
        """From now on another stream is sent, beginning with these units of it; the first is a keyframe."""
        self.follow(ring)
        self._begin(units)

    def send_audio(self, encoding: str, payload: bytes, timestamp: int) -> None:
        """Audio begins with the first picture, so that nobody hears a room before seeing it."""
        if self._audio is None or self._path is None or self.video is None or not self.video.started:
            return
        datagram = self._audio.protect(encoding, payload, timestamp)
        if datagram is not None:
            self._path.transport.send(datagram, self._path)
            self._host.counters.packets += 1

    def send_reports(self, video_at: tuple[int, int] | None, audio_at: tuple[int, int] | None, now_s: float) -> None:
        """Sender reports; (wall time in microseconds, stream time) of each track at this moment."""
        if self.video is not None and self.video.packets and video_at is not None:
            self.line.note_sender_report(self._send_report(self.video_ssrc, self.video, video_at), now_s)
        if self._audio is not None and self._audio.packets and audio_at is not None:
            self._send_report(self.audio_ssrc, self._audio, audio_at)

    def tick(self, now_s: float) -> None:
        """To be called twice a second: looks at the line, and bounds what is taken and resent until the next call."""
        self.ice.refill()
        if self.video is None:
            return
        last, self._at_tick = self._at_tick, (now_s, self.video.packets, self.video.octets)
        line = self.line
        self._resends.tick(self.video.packets - last[1], now_s, line.round_trip_s, congested=line.congested)
        self.sent_bps = 8 * (self.video.octets - last[2]) / max(0.1, now_s - last[0])
        self._unreviewed_ticks = _UNREVIEWED_TICKS if self._probing else max(0, self._unreviewed_ticks - 1)
        if not self._unreviewed_ticks:
            self._allowance.review(self.line, self._ring.bits_per_s, self.through_bps)
        self._pacer.adapt(self._ring, self.line, self._allowance.bits_per_s)
        if line.steady_loss > _LOSSY:
            self._lossy_until_s = now_s + _LOSSY_S
        self.video.patient = now_s < self._lossy_until_s

    def ask(self, now_s: float) -> None:
        """Asks how long a round trip takes."""
        self._asked_s = now_s
        request = self.ice.ask(now_s)
        if request is not None and self._path is not None:
            self._path.transport.send(request, self._path)

    def probe(self, bits_per_s: float) -> None:
        """Sends so much beside the stream until told otherwise (0), to see whether the line carries it."""
        self._probing = bits_per_s > 0
        self._probe.run(bits_per_s)

    def skip_to_keyframe(self) -> None:
        """What it is sent piles up: nothing more of it is sent before the next keyframe."""
        if not self.waiting:
            self._pacer.clear()
            self.waiting = True
            self._host.counters.overruns += 1

    def close(self) -> None:
        """Says goodbye where there is somebody to hear it, and stops all timers."""
        self._send_rtcp(rtcp.build_receiver_report(self.video_ssrc) + rtcp.build_goodbye([self.video_ssrc]))
        if self._path is not None:
            self._dtls.close()
            self._flush_dtls(self._path)
        self._probe.run(0.0)
        self._pacer.close()
        if self._dtls_timer is not None:
            self._dtls_timer.cancel()
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
        self._rtcp_out, self._rtcp_in = rtcp_sides(local, remote)
        ssrcs = self.video_ssrc, self.repair_ssrc, self.audio_ssrc
        sources = PeerSources(local, self.offer, ssrcs, self._host.playout_delay_s, self._host.lossy_delay_s)
        # Below 2^15: a receiver that misses the first packets must not mistake the first wrap (RFC 3711, 3.3.1).
        first, first_repair, first_audio = (secrets.randbits(15) for _ in range(3))
        self.video = RtpVideoSender(sources.video, self._ring, first, secrets.randbits(32), first_repair)
        self._audio = RtpAudioSender(sources.audio, first_audio, secrets.randbits(32))
        self._host.counters.handshakes += 1
        if self._ring.gop:
            self._begin(self._ring.gop)

    # -- feedback

    def _on_report(self, packet: rtcp.RtcpPacket, now_s: float) -> None:
        match packet:
            case rtcp.Nack(media_ssrc=self.video_ssrc):
                self._resend(packet.sequences, now_s)
            case rtcp.KeyframeRequest() if self.video_ssrc in packet.media_ssrcs:
                self._host.counters.keyframe_requests += 1
                self._replay(now_s)
            case rtcp.ReceiverReport() | rtcp.SenderReport():
                for block in packet.blocks:
                    if block.ssrc == self.video_ssrc:
                        self._on_block(block, now_s)
            case rtcp.BandwidthEstimate():
                self.line.on_estimate(packet.bits_per_s)

    def _on_block(self, block: rtcp.ReportBlock, now_s: float) -> None:
        self.line.on_block(block, now_s)
        self._stop_probe_if_full()

    def _stop_probe_if_full(self) -> None:
        """At once: each packet more queues before a picture."""
        if self._probing and not self.line.clear:
            self._probe.run(0.0)

    def _resend(self, sequences: tuple[int, ...], now_s: float) -> None:
        counters, resends = self._host.counters, self._resends
        for sequence in sequences:
            if resends.is_under_way(sequence, now_s, self.line.round_trip_s):
                continue
            datagram = self.video.resend(sequence) if self.video and not resends.spent else None
            if datagram is None or self._path is None:
                counters.resends_refused += 1
                continue
            resends.note(sequence, now_s)
            self.packets_resent += 1
            counters.packets_resent += 1
            self._path.transport.send(datagram, self._path)

    def _replay(self, now_s: float) -> None:
        """Answers a request for a keyframe from the GOP cache, but rarely; else the next keyframe must do."""
        gop = self._ring.gop
        if self.video is None or self.waiting or self._pacer.busy or not gop:
            return
        if self.line.congested:
            self.waiting = True  # a GOP more would only make it worse
            return
        if now_s - self._replayed_s < _REPLAY_INTERVAL_S or gop[-1].end - gop[0].first > _REPLAY_PACKETS:
            return
        self._replayed_s = now_s
        self._host.counters.replays += 1
        self.video.replay(gop, self._ring.interval // 2)
        self._send_all(gop)

    def _fill(self, bits: float) -> float:
        """Sends about so many bits of repair; how many it were."""
        video, path = self.video, self._path
        if video is None or path is None:
            return bits
        now_s = self._host.now_s()
        if now_s - self._asked_s > _ASK_S:
            self.ask(now_s)
        datagrams = video.repair_newest(round(bits / self._packet_bits))
        for datagram in datagrams:
            path.transport.send(datagram, path)
        return 8.0 * sum(map(len, datagrams))

    # -- sending

    def _thin(self) -> None:
        """This picture, and all up to the next keyframe, are more than the line carries."""
        if not self.waiting:
            self.waiting = True
            self._host.counters.thinned += 1

    def _begin(self, units: list[PacketizedUnit]) -> None:
        """Starts, or goes on after an overrun, with these units; the first is a keyframe."""
        if self.video is None:
            return
        self._pacer.adapt(self._ring, self.line, self._allowance.bits_per_s)
        self.video.start(units, self._pacer.time_for(units) // len(units))
        self.waiting = False
        self._unreviewed_ticks = _UNREVIEWED_TICKS if len(units) > 1 else self._unreviewed_ticks
        self._send_all(units)

    def _send_all(self, units: list[PacketizedUnit]) -> None:
        if self.video is None:
            return
        for unit in units:
            self.video.admit(unit)
        self._pacer.put_all(units)

    def _send_run(self, unit: PacketizedUnit, run: Run) -> None:
        video, path = self.video, self._path
        if video is not None and path is not None:
            path.transport.send_run(video.protect(unit, run), video.size(unit, run), path)
            self._host.counters.packets += run[1] - run[0]

    def _send_report(self, ssrc: int, sender: RtpVideoSender | RtpAudioSender, at: tuple[int, int]) -> int:
        """The report's NTP time."""
        wall_us, timestamp = at
        ntp = rtcp.ntp_from_us(wall_us)
        report = rtcp.SenderReport(ssrc, ntp, sender.rtp_timestamp(timestamp), sender.packets, sender.octets)
        self._send_rtcp(rtcp.build_sender_report(report, self.cname))
        return ntp

    def _send_rtcp(self, compound: bytes) -> None:
        if self._rtcp_out is not None and self._path is not None:
            self._path.transport.send(self._rtcp_out.protect(compound), self._path)
