"""What all RTSP connections have in common, and how a reader is made of what a session has set up."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mediasrv.clock import Clock
from mediasrv.media.access_unit import StreamRef, TrackKind
from mediasrv.serving.batch import Layout
from mediasrv.serving.feed import StreamFeed
from mediasrv.serving.identity import Access
from mediasrv.serving.readers import Bounds, End, Reader, ServeCounters, TcpReader, UdpReader, UdpSockets, UdpWay
from mediasrv.settings import RtspServeSettings
from mediasrv.wire.ice import Path
from mediasrv.wire.rtsp_session import Interleaved, ReaderSession, ServerPorts, UdpPorts

Address = tuple[str, int]


class Feeds(Protocol):
    """The feeds of the streams that somebody reads."""

    def hold(self, ref: StreamRef) -> StreamFeed: ...

    def release(self, feed: StreamFeed) -> None: ...


class UdpDoor(Protocol):
    """This server's pair of UDP sockets; reports of a reader come by its address and port of RTCP."""

    @property
    def ports(self) -> ServerPorts: ...

    @property
    def sockets(self) -> UdpSockets: ...

    def listen(self, address: Address, on_rtcp: Callable[[bytes], None]) -> None: ...

    def unlisten(self, address: Address) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections have in common. `udp` is None where nothing is sent over UDP."""

    settings: RtspServeSettings
    clock: Clock
    access: Access
    ensure: Callable[[StreamRef], Awaitable[None]]
    feeds: Feeds
    udp: UdpDoor | None
    counters: ServeCounters
    call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle]


def make_reader(
    around: Surroundings,
    session: ReaderSession,
    writer: asyncio.StreamWriter,
    on_rtcp: Callable[[bytes], None],
    end: End,
) -> tuple[Reader, Address | None]:
    """A reader over the session's transport; over UDP also the address that its reports will come from.

    UDP goes to the peer of this connection, whatever it asked for, from the address that it connected to.
    """
    bounds = Bounds(around.settings.most_waiting_bytes, around.settings.behind_s)
    ports = {TrackKind(track): way for track, way in session.tracks.items() if isinstance(way, UdpPorts)}
    if around.udp is None or not ports:
        channels = {TrackKind(track): way for track, way in session.tracks.items() if isinstance(way, Interleaved)}
        layout = Layout(*(channels[kind].channel if kind in channels else None for kind in TrackKind))
        return TcpReader(writer.transport, layout, bounds, around.counters, end), None
    peer = str(writer.get_extra_info("peername")[0])
    wildcard = ipaddress.ip_address(around.settings.host).is_unspecified
    local = ipaddress.ip_address(writer.get_extra_info("sockname")[0]).packed if wildcard else b""
    sockets = around.udp.sockets
    ways = {
        kind: UdpWay(
            Path((peer, way.rtp), local, sockets.rtp, 0.0),
            Path((peer, way.rtcp), local, sockets.rtcp, 0.0),
        )
        for kind, way in ports.items()
    }
    address = (peer, next(iter(ports.values())).rtcp)
    around.udp.listen(address, on_rtcp)
    return UdpReader(sockets, ways, bounds, around.counters, end, around.call_later), address
