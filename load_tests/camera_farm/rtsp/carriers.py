"""How framed packets leave: inside the RTSP connection (RFC 2326, 10.12), or each as a datagram of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, Protocol

from load_tests.camera_farm.tracks.rtp_unit import FRAME_BYTES

_SEND_BUFFER_BYTES: Final = 1 << 20
_ATTEMPTS: Final = 50
_DATAGRAM_BYTES: Final = 2048


class Carrier(Protocol):
    """Takes framed packets, several in one call. Never waits."""

    def send(self, framed: bytes) -> None: ...

    def send_report(self, framed: bytes) -> None: ...

    def backlog_bytes(self) -> int:
        """What is held back for a slow client."""

    def close(self) -> None: ...


class InterleavedCarrier:
    """The RTSP connection itself, with TLS or without."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.send = self.send_report = transport.write
        self.backlog_bytes = transport.get_write_buffer_size

    def close(self) -> None:
        """Nothing: the connection outlives what it carries."""


class UdpCarrier:
    """Two sockets of one track: RTP on an even port, RTCP on the next (RFC 3550, 11), connected to the client's.

    `on_heard` is called for each datagram of the client. What the client's host refuses or its own does not take is
    lost, as it would be on the way.
    """

    def __init__(self, host: str, client: str, client_ports: tuple[int, int], on_heard: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_heard = on_heard
        self._rtp, self._rtcp = _socket_pair(host)
        for one, port in zip((self._rtp, self._rtcp), client_ports, strict=True):
            one.connect((client, port))
            self._loop.add_reader(one, self._read, one)
        self.ports = (self._rtp.getsockname()[1], self._rtcp.getsockname()[1])

    def send(self, framed: bytes) -> None:
        view, send, at, size = memoryview(framed), self._rtp.send, 0, len(framed)
        while at < size:
            start = at + FRAME_BYTES
            at = start + (framed[at + 2] << 8 | framed[at + 3])
            try:
                send(view[start:at])
            except OSError:
                continue

    def send_report(self, framed: bytes) -> None:
        with contextlib.suppress(OSError):
            self._rtcp.send(framed[FRAME_BYTES:])

    def backlog_bytes(self) -> int:
        return 0

    def close(self) -> None:
        for one in (self._rtp, self._rtcp):
            self._loop.remove_reader(one)
            one.close()

    def _read(self, one: socket.socket) -> None:
        # An empty datagram opens a way through NAT, a receiver report is RTCP: both say that the client is there.
        with contextlib.suppress(OSError):
            one.recv(_DATAGRAM_BYTES)
            self._on_heard()


def _socket_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Raises OSError where the host has no pair of ports left."""
    for _ in range(_ATTEMPTS):
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        try:
            rtp.bind((host, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((host, port + 1))
                for one in (rtp, rtcp):
                    one.setblocking(False)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
                return rtp, rtcp
        except OSError:
            pass  # the odd port is taken: another pair
        rtp.close()
        rtcp.close()
    raise OSError("no pair of UDP ports")
