"""The UDP port of WebRTC: its socket, and which viewer a datagram belongs to.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import ProtocolError
from mediasrv.fanout.stream import Viewer
from mediasrv.settings import WebRtcSettings
from mediasrv.wire.ice import Path, PathKey
from mediasrv.wire.stun import parse_message
from mediasrv.wire.udp import UdpTransport, advertised_hosts, open_socket
from mediasrv.wire.webrtc_peer import Counters, Host

log = logging.getLogger(__name__)

_DATAGRAMS_A_WAKE: Final = 64
_HANDSHAKES_A_WAKE: Final = 4
"""A storm of joins must not hold back pictures: a handshake step costs as much as a dozen sends."""


class WebRtcPort:
    """`drop` ends a viewer that said goodbye or whose handshake failed, and calls `remove`."""

    def __init__(self, settings: WebRtcSettings, clock: Clock, counters: Counters, drop: Callable[[Viewer], None]):
        self.port = 0
        """The bound port, 0 while there is none."""
        self.bound = asyncio.Event()
        self.host: Host | None = None
        """What peers are given; None while the port is closed."""
        self.addresses: list[tuple[str, int]] = []
        """(host, port) for answers, best first."""
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._drop = drop
        self._transport: UdpTransport | None = None
        self._by_fragment: dict[str, Viewer] = {}
        self._by_path: dict[PathKey, Viewer] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Serves the port for the time of the block. Raises SettingsError."""
        loop = asyncio.get_running_loop()
        with open_socket(self._settings.host, self._settings.port) as sock:
            self._start(sock, loop)
            loop.add_reader(sock.fileno(), self._on_readable)
            try:
                yield
            finally:
                loop.remove_reader(sock.fileno())
                self._stop()

    def add(self, viewer: Viewer) -> None:
        """From now on its checks are answered."""
        self._by_fragment[viewer.peer.ice.fragment] = viewer

    def remove(self, viewer: Viewer) -> None:
        del self._by_fragment[viewer.peer.ice.fragment]
        for path in viewer.peer.ice.paths:
            if self._by_path.get(path.key) is viewer:
                del self._by_path[path.key]

    def forget_paths(self, viewer: Viewer, before_s: float) -> None:
        """Addresses that the viewer has left since then (monotonic)."""
        for key in viewer.peer.ice.forget_paths(before_s):
            self._by_path.pop(key, None)

    def _start(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        settings = self._settings
        self.port = sock.getsockname()[1]
        self.addresses = [(host, self.port) for host in advertised_hosts(settings.host, settings.advertised)]
        self._transport = UdpTransport(sock, self._counters)
        burst = max(1, settings.burst_packets)
        self.host = Host(
            self._transport,
            loop.call_later,
            self._counters,
            burst,
            max(0.001, settings.pace_s),
            (settings.playout_delay_least_s, settings.playout_delay_most_s),
        )
        self.bound.set()

    def _stop(self) -> None:
        self.host = self._transport = None
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
        self._counters.datagrams += 1
        first = data[0] if data else 0xFF
        try:
            if first <= 3:
                self._on_stun(data, key)
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

    def _on_stun(self, data: bytes, key: PathKey) -> None:
        request = parse_message(data)
        viewer = self._by_fragment.get(request.username.partition(":")[0])
        if viewer is None or self._by_path.get(key, viewer) is not viewer:
            # Unknown, or an address that is another viewer's: what else comes from there could not be told apart.
            self._counters.strays += 1
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
        viewer = self._by_path.get(key)
        path = viewer.peer.ice.path(key) if viewer else None
        if path is None:
            self._counters.strays += 1
        return viewer, path
