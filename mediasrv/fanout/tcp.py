"""The TCP port of WebRTC (RFC 6544, passive): for viewers whose network lets no UDP through.

Each connection is a `Transport` and a path of its own. What it cannot take is lost and never kept: a connection that
does not drain loses up to the next keyframe. Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Final, Protocol, cast

from mediasrv.clock import Clock
from mediasrv.errors import ProtocolError
from mediasrv.wire.ice import Path, PathKey, Transport
from mediasrv.wire.ports import opening
from mediasrv.wire.tcp import Deframer, frame_run
from mediasrv.wire.webrtc_peer import Counters

FIRST_CHECK_S: Final = 5.0
"""A connection that has shown no valid check by then is closed."""
STALL_S: Final = 2.0
"""A connection that has not been drained for so long takes no more until it is: pictures must not come late instead."""
MOST_WAITING_BYTES: Final = 2 * 1024 * 1024
_GOODBYE_S: Final = 1.0
_PAUSE_BYTES: Final = 64 * 1024
_SEND_BUFFER_BYTES: Final = 256 * 1024
_UNSENT_BYTES: Final = 64 * 1024
"""What the kernel may hold that it has not sent yet: what waits there cannot be given up any more."""
_READ_BYTES: Final = 4096
_MOST_UNPROVEN: Final = 256
_MOST_UNPROVEN_A_SITE: Final = 32


class Receiver(Protocol):
    """Whoever sorts datagrams by viewer."""

    def on_datagram(self, data: bytes, key: PathKey, transport: Transport) -> object: ...

    def owns(self, key: PathKey) -> bool:
        """Whether a viewer has proved that this path is its own."""

    def on_overrun(self, key: PathKey) -> None: ...

    def on_lost(self, key: PathKey) -> None: ...


class TcpConnection(asyncio.BufferedProtocol):
    """One connection. It must begin with a valid check; a datagram that makes it nobody's path ends it."""

    def __init__(self, door: TcpDoor, number: int) -> None:
        self.key: PathKey = (("", 0), b"tcp%d" % number)
        self.proven = False
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(_READ_BYTES)
        self._deframer = Deframer()
        self._socket: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._paused_s: float | None = None
        self._overrun = False

    @property
    def site(self) -> str:
        return _site(self.key[0][0])

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104 - gone already
        self.key = (tuple(peer), self.key[1])
        self._socket.set_write_buffer_limits(_PAUSE_BYTES, 0)
        if self._door.admit(self):
            self._deadline = self._loop.call_later(FIRST_CHECK_S, self.abort)
        else:
            self._socket.abort()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for datagram in self._deframer.receive(bytes(self._buffer[:nbytes])):
                self._door.receiver.on_datagram(datagram, self.key, self)
                if not self.proven and not self._prove():
                    return
        except ProtocolError:
            self._door.counters.malformed += 1
            self.abort()

    def pause_writing(self) -> None:
        self._paused_s = self._door.clock.monotonic()

    def resume_writing(self) -> None:
        self._paused_s, self._overrun = None, False

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket = None
        self._cancel_deadline()
        self._door.forget(self)

    # -- a Transport

    def send(self, datagram: bytes, path: Path) -> None:
        self.send_run(datagram, len(datagram), path)

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        if self._socket is None:
            self._door.counters.send_errors += 1
        elif self._paused_s is not None and self._is_full(self._socket, self._paused_s):
            self._lose()
        else:
            self._socket.write(frame_run(joined, size))

    def close(self) -> None:
        """Ends it once what waits has been sent, or after a moment."""
        if self._socket is not None:
            self._cancel_deadline()
            self._deadline = self._loop.call_later(_GOODBYE_S, self.abort)
            self._socket.close()

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.abort()

    def _prove(self) -> bool:
        self.proven = self._door.receiver.owns(self.key)
        if self.proven:
            self._cancel_deadline()
            self._door.prove(self)
        else:
            self.abort()
        return self.proven

    def _is_full(self, waiting: asyncio.Transport, since_s: float) -> bool:
        late = self._door.clock.monotonic() - since_s > STALL_S
        return self._overrun or late or waiting.get_write_buffer_size() > MOST_WAITING_BYTES

    def _lose(self) -> None:
        """In a turn of its own: the peer is in the middle of sending."""
        self._overrun = True
        self._door.counters.blocked += 1
        self._loop.call_soon(self._door.receiver.on_overrun, self.key)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class TcpDoor:
    """Accepts connections, few at a time of those that have not shown a valid check."""

    def __init__(self, most: int, receiver: Receiver, clock: Clock, counters: Counters) -> None:
        self.receiver = receiver
        self.clock = clock
        self.counters = counters
        self._most = most
        self._numbers = itertools.count()
        self._connections: dict[PathKey, TcpConnection] = {}
        self._unproven: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @contextlib.asynccontextmanager
    async def open(self, sockets: Iterable[socket.socket]) -> AsyncIterator[None]:
        """Serves bound sockets for the time of the block."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for sock in sockets:
                server = await loop.create_server(lambda: TcpConnection(self, next(self._numbers)), sock=sock)
                stack.callback(server.close)
            try:
                yield
            finally:
                for connection in list(self._connections.values()):
                    connection.abort()

    def close(self, key: PathKey) -> None:
        """Ends the connection of a path that nobody uses any more; others are not touched."""
        connection = self._connections.get(key)
        if connection is not None:
            connection.close()

    def admit(self, connection: TcpConnection) -> bool:
        unproven = self._unproven
        full = len(self._connections) >= self._most or unproven.total() >= _MOST_UNPROVEN
        if full or unproven[connection.site] >= _MOST_UNPROVEN_A_SITE:
            self.counters.connections_refused += 1
            return False
        self.counters.connections += 1
        self._connections[connection.key] = connection
        unproven[connection.site] += 1
        return True

    def prove(self, connection: TcpConnection) -> None:
        self._unproven[connection.site] -= 1
        if not self._unproven[connection.site]:
            del self._unproven[connection.site]

    def forget(self, connection: TcpConnection) -> None:
        if self._connections.pop(connection.key, None) is None:
            return
        if not connection.proven:
            self.prove(connection)
        self.receiver.on_lost(connection.key)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; the caller closes it. `::` takes IPv4 too. Raises SettingsError where it cannot be had."""
    with opening(socket.SOCK_STREAM, host, port, "TCP") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    return sock


def _site(host: str) -> str:
    """What one subscriber is given: an address, or the /64 of an IPv6 address."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
