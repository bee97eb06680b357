"""RTSP for other components (hub -> readers): `rtsp://HOST:8554/{camera}`, `/{camera}/main`, `/{camera}/sub`.

A `StreamFeed` subscribes once per stream that is read and packetises each access unit once; a reader then costs one
write a picture, or one GSO send over UDP. The protocol is a sans-IO core in `wire/`; the parts of this door are in
`serving/`. Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediasrv.clock import Clock
from mediasrv.hub import Hub
from mediasrv.media.access_unit import StreamRef
from mediasrv.serving.connection import ReaderConnection
from mediasrv.serving.doors import accept, open_listener, open_pair, tls_context
from mediasrv.serving.feed import StreamFeed
from mediasrv.serving.identity import Access
from mediasrv.serving.readers import ServeCounters, UdpSockets
from mediasrv.serving.surroundings import Address, Surroundings
from mediasrv.settings import RtspServeSettings
from mediasrv.wire.rtsp_session import ServerPorts
from mediasrv.wire.udp import UdpTransport

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
"""How often every reader's right is asked for again."""
_DATAGRAMS_A_WAKE: Final = 64


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """A snapshot. `way` is `tcp`, `udp` or `tls`, `state` `waiting_keyframe` or `live`."""

    ref: StreamRef
    way: str
    state: str
    waiting_bytes: int
    overruns: int


class RtspServe:
    """The door. `run` owns the ports; `directory` keeps the certificate that is made where none is configured.

    `ensure` starts an on-demand stream and waits until it is there; it raises what keeps it away.
    """

    def __init__(
        self,
        hub: Hub,
        settings: RtspServeSettings,
        clock: Clock,
        access: Access,
        ensure: Callable[[StreamRef], Awaitable[None]],
        directory: Path,
    ) -> None:
        self.counters = ServeCounters()
        self.bound = asyncio.Event()
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._access = access
        self._ensure = ensure
        self._directory = directory
        self._feeds: dict[StreamRef, StreamFeed] = {}
        self._connections: dict[ReaderConnection, None] = {}
        """In the order in which they came."""
        self._addresses: Counter[str] = Counter()

    async def run(self) -> None:
        """Serves until cancelled; with both ports off, it only waits. Raises SettingsError."""
        with contextlib.ExitStack() as held:
            loop = asyncio.get_running_loop()
            wants_udp = self._settings.udp and self._is_on
            udp = held.enter_context(_UdpPair(self._settings, self.counters, loop)) if wants_udp else None
            around = Surroundings(
                *(self._settings, self._clock, self._access, self._ensure, self, udp, self.counters, loop.call_later)
            )
            listeners = [(held.enter_context(sock), tls) for sock, tls in self._listeners()]
            for sock, tls in listeners:
                log.info("RTSP%s on %s port %d", "S" if tls else "", *sock.getsockname()[:2])
            self.bound.set()
            async with asyncio.TaskGroup() as tasks:
                for sock, tls in listeners:
                    tasks.create_task(accept(sock, self._admitting(around, tls, tasks)))
                tasks.create_task(self._end_revoked())
                tasks.create_task(self._report())
                await self._watch()

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._connections)

    def readers(self) -> list[ReaderInfo]:
        """Everybody who is being sent something."""
        return [info for connection in self._connections if (info := _info(connection)) is not None]

    # -- feeds (`serving.surroundings.Feeds`)

    def hold(self, ref: StreamRef) -> StreamFeed:
        """The stream's feed, subscribed from here on, so that an on-demand stream stays up."""
        feed = self._feeds.get(ref)
        if feed is None or feed.is_broken:
            call_later = asyncio.get_running_loop().call_later
            mountpoint, payload_bytes = self._hub.mountpoint(ref), self._settings.payload_bytes
            feed = self._feeds[ref] = StreamFeed(mountpoint, payload_bytes, self._clock, call_later)
        feed.users += 1
        return feed

    def release(self, feed: StreamFeed) -> None:
        feed.users -= 1
        if not feed.users:
            feed.close()
            if self._feeds.get(feed.ref) is feed:
                del self._feeds[feed.ref]

    # -- connections

    @property
    def _is_on(self) -> bool:
        return bool(self._settings.port or self._settings.tls_port)

    def _listeners(self) -> list[tuple[socket.socket, ssl.SSLContext | None]]:
        settings = self._settings
        found: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        if settings.port:
            found.append((open_listener(settings.host, settings.port), None))
        if settings.tls_port:
            context = tls_context(settings, self._directory)
            found.append((open_listener(settings.host, settings.tls_port), context))
        return found

    def _admitting(
        self, around: Surroundings, tls: ssl.SSLContext | None, tasks: asyncio.TaskGroup
    ) -> Callable[[socket.socket, str], None]:
        def accepted(sock: socket.socket, remote: str) -> None:
            if not self._has_room(remote):
                self.counters.refused += 1
                sock.close()
                return
            connection = ReaderConnection(around, sock, remote, tls)
            self.counters.connections += 1
            self._connections[connection] = None
            self._addresses[remote] += 1
            tasks.create_task(self._serve(connection))

        return accepted

    def _has_room(self, remote: str) -> bool:
        """Where all places are taken, the stranger who has been silent for longest makes room."""
        if self._addresses[remote] >= self._settings.most_per_address:
            return False
        if len(self._connections) < self._settings.most_connections:
            return True
        stranger = next((connection for connection in self._connections if connection.visitor is None), None)
        if stranger is None:
            return False
        self.counters.refused += 1
        stranger.end("room_needed")
        self._forget(stranger)
        return True

    async def _serve(self, connection: ReaderConnection) -> None:
        try:
            await connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: ReaderConnection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._addresses[connection.remote] -= 1
            if not self._addresses[connection.remote]:
                del self._addresses[connection.remote]

    # -- what runs beside

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            for connection in list(self._connections):
                try:
                    connection.expire(self._clock.monotonic())
                except Exception:  # one bad reader never ends the door
                    self._failed(connection)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._settings.report_s)
            for feed in list(self._feeds.values()):
                feed.send_reports()

    async def _end_revoked(self) -> None:
        """A catalogue that fails for a moment does not end this."""
        while True:
            await asyncio.sleep(CHECK_S)
            for connection in list(self._connections):
                try:
                    await self._end_if_revoked(connection)
                except Exception:
                    log.exception("the right of an RTSP reader could not be checked")

    def _failed(self, connection: ReaderConnection) -> None:
        self.counters.failures += 1
        log.exception("%s: an RTSP connection failed", connection.remote)
        connection.end("reader_failed")

    async def _end_if_revoked(self, connection: ReaderConnection) -> None:
        visitor, ref = connection.visitor, connection.ref
        if visitor is None or ref is None or await self._access.may_watch(visitor, ref.camera_id):
            return
        self.counters.revoked += 1
        connection.end("revoked")
        await self._access.ended(visitor, ref)


class _UdpPair:
    """The pair of UDP sockets that all readers share, open for a `with` block (`serving.surroundings.UdpDoor`).

    What comes to the RTP socket is thrown away: some clients open a way through their router by it.
    """

    def __init__(self, settings: RtspServeSettings, counters: ServeCounters, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._counters = counters
        self._loop = loop
        self._listening: dict[Address, Callable[[bytes], None]] = {}

    def __enter__(self) -> _UdpPair:
        self._socks = open_pair(self._settings.host, self._settings.udp_port)
        rtp, rtcp = self._socks
        self.ports = ServerPorts(rtp.getsockname()[1], rtcp.getsockname()[1])
        self.sockets = UdpSockets(UdpTransport(rtp, self._counters), UdpTransport(rtcp, self._counters))
        self._loop.add_reader(rtp.fileno(), self._drop, self.sockets.rtp)
        self._loop.add_reader(rtcp.fileno(), self._take, self.sockets.rtcp)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._socks:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def listen(self, address: Address, on_rtcp: Callable[[bytes], None]) -> None:
        self._listening[address] = on_rtcp

    def unlisten(self, address: Address) -> None:
        self._listening.pop(address, None)

    def _drop(self, transport: UdpTransport) -> None:
        for _ in range(_DATAGRAMS_A_WAKE):
            if transport.receive() is None:
                return

    def _take(self, transport: UdpTransport) -> None:
        for _ in range(_DATAGRAMS_A_WAKE):
            received = transport.receive()
            if received is None:
                return
            data, (address, _) = received
            on_rtcp = self._listening.get(address[:2])
            if on_rtcp is not None:
                on_rtcp(data)


def _info(connection: ReaderConnection) -> ReaderInfo | None:
    playing = connection.playing
    if playing is None:
        return None
    return ReaderInfo(
        ref=playing.feed.ref,
        way=connection.way,
        state="waiting_keyframe" if playing.reader.waiting_keyframe else "live",
        waiting_bytes=playing.reader.waiting_bytes(),
        overruns=playing.reader.overruns,
    )
