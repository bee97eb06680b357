"""Viewers that mean ill, or are broken: each does one thing for a while, as fast as a test lets it."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from OpenSSL import SSL

from load_tests.ports import OWN_PORTS
from load_tests.signalling import Whep
from load_tests.webrtc_client import WebRtcClient
from mediasrv.wire import rtcp, stun

_PAUSE_S = 0.005


class Hostile(WebRtcClient):
    """A viewer with a handle on what it sends."""

    def __init__(self, url: str) -> None:
        super().__init__(sample=0)
        Whep(url).join(self, False)

    def check_from(self, sock: socket.socket) -> bytes:
        """A fresh, authentic check from another address; what was sent."""
        request = self.build_check()
        sock.send(request)
        return request

    def build_check(self) -> bytes:
        name = f"{self._remote['a=ice-ufrag']}:{self._fragment}"
        key = self._remote["a=ice-pwd"].encode()
        number = random.randbytes(12)
        return stun.build_binding_request(number, name, key, use_candidate=True, priority=1, tie_breaker=1)

    def first_flight(self) -> bytes:
        """Its ClientHello; unsent."""
        with contextlib.suppress(SSL.WantReadError):
            self._ssl.do_handshake()
        return self._ssl.bio_read(65536)

    def report(self, *packets: bytes) -> None:
        """Sends a compound of RTCP, authentic but not true."""
        assert self._rtcp is not None
        self._send(self._rtcp.protect(rtcp.build_receiver_report(self._ssrc) + b"".join(packets)))

    def report_loss(self, highest: int) -> None:
        assert self._rtcp is not None
        block = rtcp.ReportBlock(self._video_ssrc, 255, 0x7FFFFF, highest, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        self._send(self._rtcp.protect(rtcp.build_receiver_report(self._ssrc, [block])))

    def nack(self, first: int, pairs: int) -> bytes:
        """Asks for 17 packets a pair, from a sequence number on (RFC 4585, 6.2.1)."""
        body = b"".join((first + 17 * n & 0xFFFF).to_bytes(2, "big") + b"\xff\xff" for n in range(pairs))
        head = bytes((0x81, 205)) + (2 + pairs).to_bytes(2, "big")
        return head + self._ssrc.to_bytes(4, "big") + self._video_ssrc.to_bytes(4, "big") + body

    def remb(self, exponent: int, mantissa: int) -> bytes:
        """An estimate of mantissa * 2^exponent bit/s (draft-alvestrand-rmcat-remb-03, 2.2)."""
        number = (1 << 24 | exponent << 18 | mantissa).to_bytes(4, "big")
        sources = self._ssrc.to_bytes(4, "big") + bytes(4)
        return bytes((0x8F, 206, 0, 5)) + sources + b"REMB" + number + self._video_ssrc.to_bytes(4, "big")

    def keyframe(self) -> bytes:
        return rtcp.build_picture_loss(self._ssrc, self._video_ssrc)


@contextmanager
def connected(url: str, count: int, timeout_s: float = 20.0) -> Iterator[list[Hostile]]:
    """Viewers that have a picture; they say goodbye at the end."""
    with ExitStack() as ends:
        clients = [ends.enter_context(hostile(url)) for _ in range(count)]
        deadline = time.monotonic() + timeout_s
        while not all(client.first_picture_s for client in clients):
            assert time.monotonic() < deadline, "a hostile viewer does not even get in"
            serve(clients, 0.05)
        yield clients


@contextmanager
def hostile(url: str) -> Iterator[Hostile]:
    """One that says goodbye at the end, if it has not left before."""
    client = Hostile(url)
    try:
        yield client
    finally:
        if not client.closed:
            client.leave()


def serve(clients: Sequence[WebRtcClient], seconds: float, act: Callable[[], None] = lambda: None) -> None:
    """Reads for clients and lets them check, as they should; `act` comes between, again and again."""
    end_s = time.monotonic() + seconds
    by_number = {client.sock.fileno(): client for client in clients}
    while (now_s := time.monotonic()) < end_s:
        act()
        for client in clients:
            client.on_time(now_s)
        for number in select.select(list(by_number), [], [], _PAUSE_S)[0]:
            by_number[number].on_readable(time.monotonic())


def received_bytes(sock: socket.socket, quiet_s: float) -> int:
    """What comes to a socket until it is quiet for so long."""
    sock.settimeout(quiet_s)
    total = 0
    while True:
        try:
            total += len(sock.recv(4096))
        except TimeoutError:
            return total
        except ConnectionError:
            continue


def a_stranger(address: Any) -> socket.socket:
    """A third party: a socket that asked for nothing. What is sent from it counts as sent under its forged address.

    Its port is none that the system gives out: one that a viewer had a moment ago may still be sent pictures.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    while True:
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", random.choice(OWN_PORTS)))
            break
    sock.connect(address)
    return sock
