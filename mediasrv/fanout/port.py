"""The UDP and the TCP port of WebRTC: their sockets, and which viewer a datagram belongs to.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import ProtocolError, SettingsError
from mediasrv.fanout.addresses import find_candidates
from mediasrv.fanout.stream import Viewer
from mediasrv.fanout.tcp import TcpDoor, listen
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.ice import Credentials, Path, PathKey, Transport
from mediasrv.wire.stun import BINDING_SUCCESS, parse_message
from mediasrv.wire.udp import UdpTransport, open_socket
from mediasrv.wire.webrtc_peer import Counters, Host
from mediasrv.wire.whep_sdp import Candidate

log = logging.getLogger(__name__)

_DATAGRAMS_A_WAKE: Final = 64
_LEFT_S: Final = 12.0
"""Who is there checks its address each 4 to 6 seconds (RFC 7675, 5.1): two checks are missing."""
_HANDSHAKES_A_WAKE: Final = 4
"""A storm of joins must not hold back pictures: a handshake step costs as much as a dozen sends."""
_TRIES: Final = 20
"""Where the system chooses the port: how often a number is tried that UDP and TCP must both have free."""


class WebRtcPort:
    """`drop` ends a viewer that said goodbye or whose handshake failed, and calls `remove`."""

    def __init__(self, settings: WebRtcSettings, clock: Clock, counters: Counters, drop: Callable[[Viewer], None]):
        self.port = 0
        """The bound UDP port, 0 while there is none."""
        self.tcp_port = 0
        self.bound = asyncio.Event()
        self.host: Host | None = None
        """What peers are given; None while the port is closed."""
        self.candidates: list[Candidate] = []
        """For answers, best first."""
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._drop = drop
        self._tcp = TcpDoor(settings.tcp_connections, self, clock, counters)
        self._by_fragment: dict[str, Viewer] = {}
        self._by_path: dict[PathKey, Viewer] = {}

    @property
    def connections(self) -> int:
        """TCP connections at this moment."""
        return self._tcp.connections

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serves the ports for the time of the block. Raises SettingsError."""
        loop, settings = asyncio.get_running_loop(), self._settings
        async with AsyncExitStack() as stack:
            udp, tcp = self._bind(stack)
            ports = {kind: kept[0].getsockname()[1] for kind, kept in (("udp", udp), ("tcp", tcp)) if kept}
            self.candidates = await find_candidates(settings.hosts, settings.advertised, ports)
            await stack.enter_async_context(self._tcp.open(tcp))
            for sock in udp:
                loop.add_reader(sock.fileno(), self._on_readable, UdpTransport(sock, self._counters))
                stack.callback(loop.remove_reader, sock.fileno())
            stack.callback(self._stop)
            self._start(ports)
            yield

    def add(self, viewer: Viewer) -> None:
        """From now on its checks are answered."""
        self._by_fragment[viewer.peer.ice.credentials.fragment] = viewer

    def restart(self, viewer: Viewer, credentials: Credentials) -> None:
        """An ICE restart: the new credentials hold beside those before, until they are used."""
        for fragment in viewer.peer.ice.restart(credentials):
            self._by_fragment.pop(fragment, None)
        self.add(viewer)

    def remove(self, viewer: Viewer) -> None:
        """Forgets it, and ends its connections once what it was sent last has left."""
        for fragment in viewer.peer.ice.fragments:
            self._by_fragment.pop(fragment, None)
        for path in viewer.peer.ice.paths:
            if self._by_path.get(path.key) is viewer:
                del self._by_path[path.key]
                self._tcp.close(path.key)

    def forget_paths(self, viewer: Viewer, before_s: float) -> None:
        """Addresses that the viewer has left since then (monotonic)."""
        for key in viewer.peer.ice.forget_paths(before_s):
            self._by_path.pop(key, None)
            self._tcp.close(key)

    # -- sockets

    def _bind(self, stack: AsyncExitStack) -> tuple[list[socket.socket], list[socket.socket]]:
        """A UDP and a TCP socket an address, without what is off. One number for both unless the settings say else."""
        chosen = self._settings.port
        for tries_left in reversed(range(_TRIES if chosen == 0 else 1)):
            with ExitStack() as opened:
                try:
                    sockets = self._bind_once(opened)
                except SettingsError:
                    if not tries_left:
                        raise
                    continue
                stack.push(opened.pop_all())
                return sockets
        raise AssertionError("the last try returns or raises")

    def _bind_once(self, opened: ExitStack) -> tuple[list[socket.socket], list[socket.socket]]:
        settings, number = self._settings, self._settings.port
        udp: list[socket.socket] = []
        tcp: list[socket.socket] = []
        for host in settings.hosts if "udp" in settings.transports else ():
            udp.append(opened.enter_context(open_socket(host, number)))
            number = udp[0].getsockname()[1]
        number = settings.tcp_port or number
        for host in settings.hosts if "tcp" in settings.transports else ():
            tcp.append(opened.enter_context(listen(host, number)))
            number = tcp[0].getsockname()[1]
        return udp, tcp

    def _start(self, ports: dict[str, int]) -> None:
        settings = self._settings
        self.port, self.tcp_port = ports.get("udp", 0), ports.get("tcp", 0)
        burst = max(1, settings.burst_packets)
        self.host = Host(
            asyncio.get_running_loop().call_later,
            self._clock.monotonic,
            self._counters,
            burst,
            max(0.001, settings.pace_s),
            (settings.playout_delay_least_s, settings.playout_delay_most_s),
            settings.playout_delay_lossy_s,
        )
        self.bound.set()

    def _stop(self) -> None:
        self.host = None
        self.port = self.tcp_port = 0
        self.bound.clear()

    def _on_readable(self, transport: UdpTransport) -> None:
        """Takes what waits, but not so much at once that pictures would be late; the loop comes back for the rest."""
        handshakes = 0
        for _ in range(_DATAGRAMS_A_WAKE):
            received = transport.receive()
            if received is None:
                return
            handshakes += self.on_datagram(*received, transport)
            if handshakes >= _HANDSHAKES_A_WAKE:
                return

    # -- whose a datagram is

    def on_datagram(self, data: bytes, key: PathKey, transport: Transport) -> bool:
        """Sorts by the first byte (RFC 7983, 7). True for DTLS. What is malformed is counted and forgotten."""
        self._counters.datagrams += 1
        first = data[0] if data else 0xFF
        try:
            if first <= 3:
                self._on_stun(data, key, transport)
            elif 20 <= first <= 63:
                return self._on_dtls(data, key)
            elif 128 <= first <= 191:
                self._on_rtcp(data, key)
            else:
                self._counters.strays += 1
        except ProtocolError as error:
            self._counters.malformed += 1
            log.debug("a datagram from %s was refused: %s", key[0][0], error.sentence)
        return False

    def owns(self, key: PathKey) -> bool:
        return key in self._by_path

    def on_overrun(self, key: PathKey) -> None:
        """A connection takes no more: its viewer, and nobody else, loses up to the next keyframe."""
        viewer = self._by_path.get(key)
        if viewer is not None:
            viewer.peer.skip_to_keyframe()

    def on_lost(self, key: PathKey) -> None:
        """A connection is gone. Its viewer may come by another; else the loss of consent ends it."""
        viewer = self._by_path.pop(key, None)
        if viewer is not None:
            viewer.peer.ice.forget_path(key)

    def _on_stun(self, data: bytes, key: PathKey, transport: Transport) -> None:
        known = self._by_path.get(key)
        if known is not None and not self._take(known.peer.ice.path(key)):
            return
        message = parse_message(data)
        answers = message.kind == BINDING_SUCCESS
        viewer = known if answers else self._by_fragment.get(message.username.partition(":")[0])
        now_s = self._clock.monotonic()
        if viewer is None or (known not in (None, viewer) and not _is_left(known, key, now_s)):
            # Unknown, or an address that is another viewer's: what else comes from there could not be told apart.
            self._counters.strays += 1
            return
        if answers:
            viewer.peer.on_answer(message, key, now_s)
            return
        viewer.peer.on_check(message, key, transport, now_s)
        if known not in (None, viewer):
            self._drop(known)  # it went without goodbye, and its port is another's now
        if viewer.peer.ice.path(key) is not None:
            self._by_path[key] = viewer

    def _on_dtls(self, data: bytes, key: PathKey) -> bool:
        viewer, path = self._known(key)
        if viewer is None or path is None:
            return False
        try:
            viewer.peer.on_dtls(data, path)
        except ProtocolError as error:
            self._counters.handshakes_failed += 1
            log.warning("%s: a viewer's handshake failed (%s): %s", viewer.fanout.ref, error.code, error.sentence)
            self._drop(viewer)
        if viewer.peer.said_goodbye:
            self._drop(viewer)
        return True

    def _on_rtcp(self, data: bytes, key: PathKey) -> None:
        viewer, path = self._known(key)
        if viewer is not None and path is not None:
            viewer.peer.on_rtcp(data, path, self._clock.monotonic())

    def _known(self, key: PathKey) -> tuple[Viewer | None, Path | None]:
        """Whose path it is; nobody's where too much came by it."""
        viewer = self._by_path.get(key)
        path = viewer.peer.ice.path(key) if viewer else None
        if path is None:
            self._counters.strays += 1
        return viewer, path if self._take(path) else None

    def _take(self, path: Path | None) -> bool:
        """Whether one more packet is taken from there before the next tick."""
        if path is not None and path.packets_left <= 0:
            self._counters.floods += 1
            return False
        if path is not None:
            path.packets_left -= 1
        return True


def _is_left(viewer: Viewer | None, key: PathKey, now_s: float) -> bool:
    """Whether a viewer has checked an address for so long no more that another may have it by now."""
    path = viewer.peer.ice.path(key) if viewer is not None else None
    return path is None or now_s - path.checked_s > _LEFT_S
