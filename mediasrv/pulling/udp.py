"""A track over UDP (RFC 2326, 12.39): a socket for RTP and one for RTCP, the order restored, reports sent.

A datagram counts only if it comes from the camera's own address. Where the kernel grants a buffer that holds what
comes between two beats, an unwatched stream is read on the beat like the others, else always as it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
from collections.abc import Callable
from typing import Final

from mediasrv.clock import Clock
from mediasrv.errors import CameraError, ProtocolError
from mediasrv.pulling.gather import Gatherer
from mediasrv.settings import PullSettings
from mediasrv.wire.reception import Reception
from mediasrv.wire.reorder import HEADER_BYTES, ReorderBuffer
from mediasrv.wire.rtcp import RtcpPacket, SenderReport, build_receiver_report, build_source_description, parse_compound
from mediasrv.wire.rtsp import Sink

DATAGRAM_BYTES: Final = 16_384
"""Some cameras send pieces beyond the MTU and leave the cutting to IP."""
READ_AT_ONCE: Final = 256
BEAT_BUFFER_BYTES: Final = 1024 * 1024
"""Half of it is the kernel's bookkeeping: room for 0.2 s of 20 Mbit/s."""
REPORT_S: Final = 5.0
_ATTEMPTS: Final = 20
_PUNCH: Final = b"\x80" + bytes(HEADER_BYTES - 1)
"""An empty RTP packet, as other clients send it: it opens the way back through a firewall or NAT."""


class UdpTrack:
    """`sink` takes RTP packets in order; `on_rtcp(packets, now)` what each RTCP compound holds; `guard` runs what may
    raise something, see `RtspConnection.guard`. For the loop's thread.

    The owner calls `open`, `aim`, `listen`, then `report_when_due` about once a second, and `close` at the end.
    """

    def __init__(
        self,
        sink: Sink,
        on_rtcp: Callable[[list[RtcpPacket], float], None],
        guard: Callable[[Callable[[], None]], None],
        clock_rate: int,
        clock: Clock,
        settings: PullSettings,
    ) -> None:
        self.reads = 0
        self.received_bytes = 0
        self.foreign_packets = 0
        """Came from another address than the camera's."""
        self.reordering = ReorderBuffer(sink, most_packets=settings.reorder_packets, wait_s=settings.reorder_wait_s)
        self._reception = Reception(clock_rate)
        self._on_rtcp = on_rtcp
        self._guard = guard
        self._clock = clock
        self._settings = settings
        self._sockets: tuple[socket.socket, ...] = ()
        self._hosts: tuple[str, ...] = ()
        self._ports: tuple[int, int] | None = None
        self._readable = False
        self._gatherer: Gatherer | None = None
        self._listening = False
        self._timer: asyncio.TimerHandle | None = None
        self._ssrc = secrets.randbits(32)
        self._report_at = 0.0

    def open(self, host: str) -> tuple[int, int]:
        """Binds a pair of ports of this local address. Raises CameraError where there is none left."""
        self._sockets = _bind_pair(host, self._settings.udp_first_port, self._settings.udp_last_port)
        for one in self._sockets:
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.udp_buffer_bytes)
        granted = self._sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._readable = granted >= BEAT_BUFFER_BYTES
        rtp, rtcp = (int(one.getsockname()[1]) for one in self._sockets)
        return rtp, rtcp

    def aim(self, hosts: tuple[str, ...], ports: tuple[int, int] | None) -> None:
        """From now on what these send counts (numeric); a first packet to the ports, where known, opens the way."""
        self._hosts, self._ports = hosts, ports
        self._send(0, _PUNCH)
        self._send(1, build_receiver_report(self._ssrc))

    def listen(self) -> None:
        """Reads as datagrams come, until `gather` says otherwise."""
        self._listening = True
        self._report_at = self._clock.monotonic() + REPORT_S * random.uniform(0.5, 1.5)  # noqa: S311 - RFC 3550, 6.2
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sockets[0], self._read_rtp)
        loop.add_reader(self._sockets[1], self._read_rtcp)

    @property
    def gathered(self) -> bool:
        """Whether what arrives waits for a beat."""
        return self._gatherer is not None

    def gather(self, gatherer: Gatherer | None) -> None:
        """From now on RTP is read in the turns of `gatherer`; None: as it comes."""
        if gatherer is self._gatherer or not self._readable or not self._listening:
            return
        loop = asyncio.get_running_loop()
        if self._gatherer is not None:
            self._gatherer.remove(self._read_rtp)
        if gatherer is None:
            loop.add_reader(self._sockets[0], self._read_rtp)
        else:
            loop.remove_reader(self._sockets[0])
            gatherer.add(self._read_rtp)
        self._gatherer = gatherer

    def report_when_due(self) -> None:
        """Sends a receiver report about every 5 s (RFC 3550, 6.2); it keeps the way open, too."""
        now = self._clock.monotonic()
        if now >= self._report_at:
            self._report_at = now + REPORT_S * random.uniform(0.5, 1.5)  # noqa: S311
            block = self._reception.report(now)
            report = build_receiver_report(self._ssrc, [block] if block else [])
            self._send(1, report + build_source_description(self._ssrc, "mediasrv"))

    def close(self) -> None:
        """Twice does no harm."""
        if self._listening:
            self.gather(None)
            for one in self._sockets:
                asyncio.get_running_loop().remove_reader(one)
        self._listening = False
        if self._timer is not None:
            self._timer.cancel()
        for one in self._sockets:
            one.close()

    def _read_rtp(self) -> None:
        """All that waits, up to a bound: others wait, too."""
        self.reads += 1
        self._guard(self._drain)
        if self.reordering.waiting and self._timer is None:
            self._release_later()

    def _drain(self) -> None:
        """Hot: a system call and some microseconds for each datagram."""
        now = self._clock.monotonic()
        hosts, receive, take, note = self._hosts, self._sockets[0].recvfrom, self.reordering.receive, self._reception
        for _ in range(READ_AT_ONCE):
            try:
                data, source = receive(DATAGRAM_BYTES)
            except OSError:  # nothing waits, or the network's complaint about something we sent
                return
            if source[0] not in hosts:
                self.foreign_packets += 1
                continue
            self.received_bytes += len(data)
            if len(data) >= HEADER_BYTES:
                note.receive(data, now)
            take(data, now)

    def _release_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._settings.reorder_wait_s, self._release)

    def _release(self) -> None:
        self._timer = None
        self._guard(lambda: self.reordering.release(self._clock.monotonic()))
        if self.reordering.waiting:
            self._release_later()

    def _read_rtcp(self) -> None:
        try:
            data, source = self._sockets[1].recvfrom(DATAGRAM_BYTES)
            if source[0] not in self._hosts:
                return
            packets = parse_compound(data)
        except (OSError, ProtocolError):
            return
        now = self._clock.monotonic()
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._reception.receive_sender_report(packet, now)
        self._on_rtcp(packets, now)

    def _send(self, which: int, data: bytes) -> None:
        if self._ports is None:
            return
        for host in self._hosts:
            with contextlib.suppress(OSError):  # a full buffer or no route: the next report tells as much
                self._sockets[which].sendto(data, (host, self._ports[which]))


def _bind_pair(host: str, first_port: int, last_port: int) -> tuple[socket.socket, socket.socket]:
    """An even port and the odd one above it (RFC 3550, 11), of the configured range or, with 0, of the system's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    evens = range(first_port + first_port % 2, last_port, 2) if first_port else None
    for _ in range(_ATTEMPTS):
        wanted = 0 if evens is None else random.choice(evens)  # noqa: S311 - no secret
        rtp, rtcp = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            rtp.bind((host, wanted))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((host, port + 1))
                return rtp, rtcp
        except OSError:
            pass  # one of the two is taken: another pair
        rtp.close()
        rtcp.close()
    raise CameraError("No pair of UDP ports is free for the camera's media.", code="udp_ports_used")
