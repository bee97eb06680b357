"""A WebRtcPeer without network: simulated time, a transport that keeps what was sent, and keys known beforehand."""

from __future__ import annotations

import heapq
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mediasrv.wire import rtcp, stun
from mediasrv.wire.dtls import Fingerprint
from mediasrv.wire.ice import Address, Credentials, IceLite, Path
from mediasrv.wire.packet_ring import PacketRing
from mediasrv.wire.srtp import SrtcpReceiver, SrtcpSender, SrtpKeys
from mediasrv.wire.webrtc_peer import Counters, Host, WebRtcPeer
from mediasrv.wire.whep_sdp import Offer, OfferedMedia, VideoPayload

ADDRESS: Address = ("192.0.2.7", 5000)
VIDEO = {
    "H264": VideoPayload(102, "packetization-mode=1", ()),
    "H265": VideoPayload(104, "profile-id=1", ()),
}
REPAIRED = {name: replace(payload, repair_type=payload.payload_type + 1) for name, payload in VIDEO.items()}
OFFER = Offer(
    media=(
        OfferedMedia("video", "UDP/TLS/RTP/SAVPF", "102", "0", video=VIDEO),
        OfferedMedia("audio", "UDP/TLS/RTP/SAVPF", "8 0", "1", audio={"PCMA": 8, "PCMU": 0}),
    ),
    ice_fragment="theirs",
    ice_password="their-password",
    fingerprints=(Fingerprint("sha-256", bytes(32)),),
)
REPAIRED_OFFER = replace(OFFER, media=(replace(OFFER.media[0], video=REPAIRED, playout_delay=6), OFFER.media[1]))
"""With sources of repair (RTX) and the header extension."""
EXTENDED_OFFER = replace(OFFER, media=(replace(OFFER.media[0], playout_delay=6), OFFER.media[1]))
"""With the header extension, and what is asked for again comes as it was."""


@dataclass(slots=True)
class Timer:
    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """A loop's `call_later` on simulated time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._waiting: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def call_later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._waiting, (self.now_s + delay_s, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._waiting and self._waiting[0][0] <= until_s:
            self.now_s, _, timer = heapq.heappop(self._waiting)
            if not timer.cancelled:
                timer.action()
        self.now_s = until_s


@dataclass(slots=True)
class Outbox:
    """A Transport that keeps (datagram, remote address)."""

    sent: list[tuple[bytes, Address]] = field(default_factory=list)

    def send(self, datagram: bytes, path: Path) -> None:
        self.sent.append((datagram, path.address))

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        for start in range(0, len(joined), size):
            self.send(joined[start : start + size], path)

    def take(self) -> list[bytes]:
        datagrams = [datagram for datagram, _ in self.sent]
        self.sent.clear()
        return datagrams


class KnownDtls:
    """Stands for a DtlsServer: the first datagram completes the handshake."""

    def __init__(self) -> None:
        self.agreed = [SrtpKeys(secrets.token_bytes(16), secrets.token_bytes(12)) for _ in range(2)]
        self.local_keys: SrtpKeys | None = None
        self.remote_keys: SrtpKeys | None = None
        self.closed = False
        self.answer: list[bytes] = []

    def receive(self, datagram: bytes) -> None:
        if datagram == b"finished":
            self.local_keys, self.remote_keys = self.agreed

    def datagrams_to_send(self) -> list[bytes]:
        answer, self.answer = self.answer, []
        return answer

    def timeout_s(self) -> float | None:
        return None

    def close(self) -> None:
        self.answer = [b"\x15goodbye"]


class Rig:
    """A peer and the far end of it."""

    def __init__(
        self,
        ring: PacketRing | None = None,
        timers: Timers | None = None,
        burst_packets: int = 30,
        offer: Offer = OFFER,
    ) -> None:
        self.ring = ring or PacketRing(4.0)
        self.timers = timers or Timers()
        self.outbox = Outbox()
        self.counters = Counters()
        self.dtls = KnownDtls()
        self.ice = IceLite(Credentials("ours", "our-password", "theirs", "their-password"))
        host = Host(self.timers.call_later, lambda: self.timers.now_s, self.counters, burst_packets, 0.03)
        self.peer = WebRtcPeer(offer, self.ice, self.dtls, self.ring, host)  # type: ignore[arg-type]
        local, remote = self.dtls.agreed
        self._rtcp = SrtcpSender(remote)
        self._opener = SrtcpReceiver(local)

    def check(self, address: Address = ADDRESS, *, use_candidate: bool = True) -> Path:
        request = stun.build_binding_request(
            secrets.token_bytes(12),
            "ours:theirs",
            b"our-password",
            use_candidate=use_candidate,
            priority=1,
            tie_breaker=1,
        )
        self.peer.on_check(stun.parse_message(request), (address, b""), self.outbox, self.timers.now_s)
        path = self.ice.path((address, b""))
        assert path is not None
        return path

    def connect(self) -> Path:
        path = self.check()
        self.peer.on_dtls(b"finished", path)
        return path

    def report(self, compound: bytes, address: Address = ADDRESS) -> None:
        path = self.ice.path((address, b""))
        assert path is not None
        self.peer.on_rtcp(self._rtcp.protect(compound), path, self.timers.now_s)

    def nack(self, *sequences: int) -> None:
        self.report(rtcp.build_receiver_report(1) + rtcp.build_nack(1, self.peer.video_ssrc, sequences))

    def request_keyframe(self) -> None:
        self.report(rtcp.build_receiver_report(1) + rtcp.build_picture_loss(1, self.peer.video_ssrc))

    def push(self, sizes: list[int], *, keyframe: bool, timestamp: int | None = None) -> None:
        """One picture into the ring and to the peer, now."""
        when = round(self.timers.now_s * 90_000) if timestamp is None else timestamp
        payloads = [bytes([number & 0xFF]) * size for number, size in enumerate(sizes)]
        self.peer.send_video(self.ring.push(payloads, when, keyframe=keyframe, arrived_s=self.timers.now_s))

    def media(self) -> list[bytes]:
        """Video datagrams sent since the last call."""
        return [data for data in self.outbox.take() if data[0] >> 6 == 2 and data[1] & 0x7F in (102, 104)]

    def media_and_repairs(self) -> tuple[list[bytes], list[bytes]]:
        """Video datagrams sent since the last call, and those of repair (RTX)."""
        sent = [data for data in self.outbox.take() if data[0] >> 6 == 2]
        return tuple([data for data in sent if data[1] & 0x7F in kinds] for kinds in ((102, 104), (103, 105)))  # type: ignore[return-value]

    def rtcp(self) -> list[rtcp.RtcpPacket]:
        """RTCP sent since the last call, opened."""
        sealed = [data for data in self.outbox.take() if data[0] >> 6 == 2 and 192 <= data[1] <= 223]
        return [packet for data in sealed for packet in rtcp.parse_compound(self._opener.unprotect(data))]


def sequence(datagram: bytes) -> int:
    return int.from_bytes(datagram[2:4], "big")


def timestamp(datagram: bytes) -> int:
    return int.from_bytes(datagram[4:8], "big")
