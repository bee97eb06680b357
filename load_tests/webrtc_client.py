"""A cheap WebRTC viewer of our own: real ICE, DTLS and SRTP, no decoder. It checks what it receives.

Sans-IO but for its socket: the owner waits for readability and calls `on_readable`, and `on_time` now and then.
It is always the DTLS client, and answers checks of servers that are no ICE-lite, so that it can watch other servers.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import secrets
import socket
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from load_tests.clip_on_air import read_stamp
from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp, stun
from mediasrv.wire.dtls import DtlsIdentity
from mediasrv.wire.srtp import SrtcpSender, SrtpKeys, derive

CHECK_S: Final = 2.5
REPORT_S: Final = 1.0
HANDSHAKE_CHECK_S: Final = 0.1
H264_PAYLOAD_TYPE: Final = 102
PCMA_PAYLOAD_TYPE: Final = 8

_IDENTITY: Final = DtlsIdentity(datetime.datetime.now(datetime.UTC))
# Other servers' certificates are RSA.
_IDENTITY.context.set_cipher_list(b"ECDHE+AESGCM")
_SO_TIMESTAMPNS: Final = 35
"""asm-generic/socket.h; also the type of the control message that brings the time."""
_CONTROL_BYTES: Final = socket.CMSG_SPACE(16)


@dataclass(slots=True)
class Received:
    """Counts since the last `WebRtcClient.restart_counts`. `pictures` counts video packets with the marker bit.

    `late_ms` is, for each picture that tells (see `clip_on_air`), when its last packet came after it was due;
    `behind_ms` the same after it was published.
    """

    packets: int = 0
    octets: int = 0
    pictures: int = 0
    audio_packets: int = 0
    repeated: int = 0
    opened: int = 0
    not_authentic: int = 0
    first_index: int | None = None
    last_index: int | None = None
    late_ms: array[float] = field(default_factory=lambda: array("f"))
    behind_ms: array[float] = field(default_factory=lambda: array("f"))
    faults: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Video packets missing between the first and the last that came."""
        if self.first_index is None or self.last_index is None:
            return 0
        return self.last_index - self.first_index + 1 - (self.packets - self.repeated)


class WebRtcClient:
    """One viewer. `offer()` first, then `accept(answer)`; or `answer(offer)` of a server that offers itself.

    Every `sample`th video packet is decrypted and checked, with `timed` the last one of each picture.
    """

    def __init__(self, sample: int = 50, *, timed: bool = False, family: int = socket.AF_INET) -> None:
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if timed:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.received = Received()
        self.connected = False
        self.first_picture_s: float | None = None
        self.first_payload = b""
        """The first payload that was decrypted."""
        self.closed = False
        self._sample = sample
        self._timed = timed
        self._video_type = H264_PAYLOAD_TYPE
        self._fragment, self._password = secrets.token_hex(4), secrets.token_hex(16)
        self._ssl = SSL.Connection(_IDENTITY.context, None)
        self._ssl.set_connect_state()
        self._ssl.set_ciphertext_mtu(1200)
        self._remote: dict[str, str] = {}
        self._cipher: AESGCM | None = None
        self._salt = 0
        self._rtcp: SrtcpSender | None = None
        self._ssrc = secrets.randbits(32)
        self._video_ssrc = 0
        self._index: int | None = None
        self._timestamp: int | None = None
        self._next_check_s = 0.0
        self._next_report_s = 0.0

    def offer(self, *, audio: bool = False) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE 0{' 1' if audio else ''}"]
        lines += self._section("video", H264_PAYLOAD_TYPE, 0)
        lines += [
            f"a=rtpmap:{H264_PAYLOAD_TYPE} H264/90000",
            f"a=fmtp:{H264_PAYLOAD_TYPE} packetization-mode=1;profile-level-id=42e01f",
            f"a=rtcp-fb:{H264_PAYLOAD_TYPE} nack",
            f"a=rtcp-fb:{H264_PAYLOAD_TYPE} nack pli",
        ]
        if audio:
            lines += [*self._section("audio", PCMA_PAYLOAD_TYPE, 1), f"a=rtpmap:{PCMA_PAYLOAD_TYPE} PCMA/8000"]
        return "\r\n".join(lines) + "\r\n"

    def accept(self, answer: str) -> None:
        """Takes the answer, and connects to its first candidate that this socket can reach."""
        self.learn(answer)
        self.sock.connect(next(self._reachable(answer)))

    def learn(self, answer: str) -> None:
        """Takes the first section of a description: its ICE credentials and SSRC."""
        for line in answer.splitlines():
            name, _, value = line.partition(":")
            self._remote.setdefault(name, value)
        self._video_ssrc = int(self._remote["a=ssrc"].split()[0])

    def _reachable(self, answer: str) -> Iterator[tuple[str, int]]:
        version = 4 if self.sock.family == socket.AF_INET else 6
        for line in answer.splitlines():
            name, _, value = line.partition(":")
            fields = value.split()
            if name != "a=candidate" or fields[2].lower() != "udp":
                continue
            if ipaddress.ip_address(fields[4]).version == version:
                yield fields[4], int(fields[5])

    def answer(self, offer: str) -> str:
        """The answer to a server's offer, whose first section is H.264 and whose second, if any, is A-law."""
        sections = offer.split("m=")[1:]
        mids = [_value(section, "mid") for section in sections]
        numbers = [int(section.split()[3]) for section in sections]
        self._video_type = numbers[0]
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(mids)}"]
        for section, mid, number in zip(sections, mids, numbers, strict=True):
            kind = section.split()[0]
            lines += self._section(kind, number, mid)
            lines += [f"a=rtpmap:{number} {'H264/90000' if kind == 'video' else 'PCMA/8000'}"]
        self.accept(offer)
        return "\r\n".join(lines) + "\r\n"

    def restart_counts(self) -> None:
        self.received = Received()

    def on_time(self, now_s: float) -> None:
        """Sends the checks and reports that are due."""
        if self.closed:
            return
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + (CHECK_S if self.connected else HANDSHAKE_CHECK_S)
            self.check()
        if self._rtcp is not None and now_s >= self._next_report_s:
            self._next_report_s = now_s + REPORT_S
            block = rtcp.ReportBlock(self._video_ssrc, 0, 0, (self._index or 0) & 0xFFFFFFFF, 0, 0, 0)
            self._send(self._rtcp.protect(rtcp.build_receiver_report(self._ssrc, [block])))
        if not self.connected and (self._ssl.DTLSv1_get_timeout() or 1.0) <= 0.001:
            self._ssl.DTLSv1_handle_timeout()
            self._flush_dtls()

    def request_packets(self, sequences: list[int]) -> None:
        """Sends a NACK."""
        if self._rtcp is not None:
            self._send(self._rtcp.protect(self._reported(rtcp.build_nack(self._ssrc, self._video_ssrc, sequences))))

    def request_keyframe(self) -> None:
        """Sends a PLI."""
        if self._rtcp is not None:
            self._send(self._rtcp.protect(self._reported(rtcp.build_picture_loss(self._ssrc, self._video_ssrc))))

    def on_readable(self, now_s: float) -> None:
        """Reads all that waits."""
        sock, timed = self.sock, self._timed
        control: list[tuple[int, int, bytes]] = []
        while True:
            try:
                if timed:
                    data, control, _, _ = sock.recvmsg(2048, _CONTROL_BYTES)
                else:
                    data = sock.recv(2048)
            except OSError:  # nothing more, or the network's complaint about something we sent
                return
            first = data[0]
            if first >= 128:
                if 192 <= data[1] <= 223:
                    continue
                self._on_media(data, now_s, control)
            elif 20 <= first <= 63:
                self._on_dtls(data)
            else:
                self._on_stun(data)

    def leave(self) -> None:
        """Says goodbye (DTLS close_notify) and closes."""
        with contextlib.suppress(SSL.Error):
            self._ssl.shutdown()
        self._flush_dtls()
        self.close()

    def close(self) -> None:
        """Leaves without a word: what a viewer whose machine dies does."""
        self.closed = True
        self.sock.close()

    def _section(self, kind: str, payload_type: int, mid: int | str) -> list[str]:
        return [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{mid}",
            "a=recvonly",
            "a=rtcp-mux",
            f"a=ice-ufrag:{self._fragment}",
            f"a=ice-pwd:{self._password}",
            f"a=fingerprint:{_IDENTITY.fingerprint}",
            "a=setup:active",
        ]

    def _send(self, datagram: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.sock.send(datagram)

    def check(self) -> None:
        """Sends a connectivity check now."""
        request = stun.build_binding_request(
            secrets.token_bytes(12),
            f"{self._remote['a=ice-ufrag']}:{self._fragment}",
            self._remote["a=ice-pwd"].encode(),
            use_candidate=True,
            priority=1,
            tie_breaker=1,
        )
        self._send(request)

    def _on_stun(self, data: bytes) -> None:
        """The answer to a check begins the handshake; a server that is no ICE-lite checks us, too."""
        try:
            message = stun.parse_message(data)
        except ProtocolError:
            return
        if message.kind == stun.BINDING_REQUEST:
            host, port = self.sock.getpeername()[:2]
            self._send(stun.build_success(message, (host, port), self._password.encode()))
        elif not self.connected and message.is_authentic(self._remote["a=ice-pwd"].encode()):
            self._handshake()

    def _on_dtls(self, data: bytes) -> None:
        self._ssl.bio_write(data)
        if not self.connected:
            self._handshake()
            return
        try:
            self._ssl.recv(2048)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.closed = True
        self._flush_dtls()

    def _handshake(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self._ssl.do_handshake()
            self._on_connected()
        self._flush_dtls()

    def _on_connected(self) -> None:
        if self._ssl.get_selected_srtp_profile() != b"SRTP_AEAD_AES_128_GCM":
            raise RuntimeError("the server did not negotiate AEAD_AES_128_GCM")
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 56, None)
        local, remote = SrtpKeys(material[:16], material[32:44]), SrtpKeys(material[16:32], material[44:])
        self._cipher = AESGCM(derive(remote, 0, 16))
        self._salt = int.from_bytes(derive(remote, 2, 12), "big")
        self._rtcp = SrtcpSender(local)
        self.connected = True

    def _flush_dtls(self) -> None:
        with contextlib.suppress(SSL.Error):
            flight = self._ssl.bio_read(65536)
            while flight:
                size = 13 + int.from_bytes(flight[11:13], "big")
                self._send(flight[:size])
                flight = flight[size:]

    def _reported(self, feedback: bytes) -> bytes:
        return rtcp.build_receiver_report(self._ssrc) + feedback

    def _on_media(self, data: bytes, now_s: float, control: list[tuple[int, int, bytes]]) -> None:
        received = self.received
        if data[1] & 0x7F != self._video_type:
            received.audio_packets += 1
            return
        if int.from_bytes(data[8:12], "big") != self._video_ssrc:
            return  # on its way to a viewer that had this port before
        sequence = data[2] << 8 | data[3]
        index = self._index
        if index is None:
            index = sequence
        else:  # the index nearest to the newest one (RFC 3711, 3.3.1)
            index += (sequence - index + 0x8000 & 0xFFFF) - 0x8000
        if self._index is not None and index <= self._index:
            received.repeated += 1
        else:
            self._index = index
            received.last_index = index
            if received.first_index is None:
                received.first_index = index
        received.packets += 1
        received.octets += len(data)
        if data[1] & 0x80:
            received.pictures += 1
            if self.first_picture_s is None:
                self.first_picture_s = now_s
            if control:
                self._time(self._open(data, index), control)
                return
        if self._sample and received.packets % self._sample == 0:
            self._open(data, index)

    def _time(self, payload: bytes, control: list[tuple[int, int, bytes]]) -> None:
        """Notes how late a picture is, by its last packet."""
        stamp = read_stamp(payload)
        if stamp is None:
            return
        seconds, nanoseconds = struct.unpack("=qq", control[0][2])
        arrived_ns = seconds * 1_000_000_000 + nanoseconds
        self.received.late_ms.append((arrived_ns - stamp[0]) / 1e6)
        self.received.behind_ms.append((arrived_ns - stamp[1]) / 1e6)

    def _open(self, data: bytes, index: int) -> bytes:
        """Decrypts one packet and looks at the H.264 payload header (RFC 6184, 5.2); the payload, b"" where broken."""
        nonce = (self._salt ^ self._video_ssrc << 48 ^ index).to_bytes(12, "big")
        try:
            payload = self._cipher.decrypt(nonce, data[12:], data[:12]) if self._cipher else b""
        except InvalidTag:
            self.received.not_authentic += 1
            return b""
        self.received.opened += 1
        self.first_payload = self.first_payload or payload
        if not payload or payload[0] & 31 not in (1, 5, 6, 7, 8, 24, 28):
            self.received.faults.append(f"packet {index} is no H.264 of this stream")
        return payload


def _value(section: str, name: str) -> str:
    """The value of an attribute of a section of SDP."""
    return section.split(f"a={name}:", 1)[1].split("\r\n", 1)[0]
