"""SETUP of a stream's tracks (RFC 2326, 10.4): interleaved in the connection, or over UDP beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from mediasrv.clock import Clock
from mediasrv.errors import ProtocolError
from mediasrv.media.rtp import NO_RTP
from mediasrv.pulling.connection import RtspConnection
from mediasrv.pulling.gather import Gatherer
from mediasrv.pulling.refusals import OK, TRANSPORT_REFUSED, TransportRefused, refusal
from mediasrv.pulling.udp import UdpTrack
from mediasrv.settings import PullSettings
from mediasrv.wire.addresses import is_allowed
from mediasrv.wire.rtcp import RtcpPacket, parse_compound
from mediasrv.wire.rtsp import Sink
from mediasrv.wire.rtsp_headers import Transport, parse_rtp_info, parse_transport
from mediasrv.wire.sdp import MediaDescription

OnRtcp = Callable[[Sequence[RtcpPacket], float], None]


class Tracks:
    """The tracks of one connection. `transports` may be used, the preferred one first; all tracks go the way that the
    first one could go. `urls` are their control URLs in the order of their set-up."""

    def __init__(
        self,
        connection: RtspConnection,
        peer_host: str,
        transports: Sequence[str],
        clock: Clock,
        settings: PullSettings,
        *,
        has_credentials: bool,
    ) -> None:
        self.transport = ""
        self.urls: list[str] = []
        self.udp: dict[str, UdpTrack] = {}
        self._connection = connection
        self._peer_host = peer_host
        self._transports = tuple(transports)
        self._clock = clock
        self._settings = settings
        self._has_credentials = has_credentials

    async def set_up(self, url: str, media: MediaDescription, sink: Sink, on_rtcp: OnRtcp) -> None:
        """Hands one track's packets to `sink`, what its reports hold to `on_rtcp`. Raises CameraError."""
        for transport in self._transports:
            offer = self._offer_udp if transport == "udp" else self._offer_tcp
            if await offer(url, media, sink, on_rtcp):
                self.transport = transport
                self._transports = (transport,)
                self.urls.append(url)
                return
        raise TransportRefused(" or ".join(transport.upper() for transport in self._transports))

    def expect(self, rtp_info: str) -> None:
        """The camera told with which packets it begins: over UDP the first of them may come late."""
        for place, (url, sequence) in enumerate(parse_rtp_info(rtp_info)):
            known = url if url in self.udp or place >= len(self.urls) else self.urls[place]
            track = self.udp.get(known)
            if track is not None and sequence is not None:
                track.reordering.expect(sequence)

    def gather(self, gatherer: Gatherer | None) -> None:
        """See `UdpTrack.gather` and `RtspConnection.gather`."""
        self._connection.gather(gatherer)
        for track in self.udp.values():
            track.gather(gatherer)

    def report_when_due(self) -> None:
        for track in self.udp.values():
            track.report_when_due()

    def close(self) -> None:
        """Closes what is beside the connection; twice does no harm."""
        for track in self.udp.values():
            track.close()

    async def _offer_tcp(self, url: str, media: MediaDescription, sink: Sink, on_rtcp: OnRtcp) -> bool:
        """Interleaved, on the channels that the camera gives. False where it does not want that."""
        wanted = 2 * len(self.urls)
        transport = await self._ask(url, f"RTP/AVP/TCP;unicast;interleaved={wanted}-{wanted + 1}")
        if transport is None or not transport.is_tcp:
            return False
        rtp, rtcp = transport.channels or (wanted, wanted + 1)
        self._connection.client.attach(rtp, sink)
        self._connection.client.attach(rtcp, partial(_take_rtcp, on_rtcp))
        return True

    async def _offer_udp(self, url: str, media: MediaDescription, sink: Sink, on_rtcp: OnRtcp) -> bool:
        """A pair of ports of our own. False where the camera does not want that."""
        track = UdpTrack(sink, on_rtcp, self._connection.guard, media.clock_rate, self._clock, self._settings)
        try:
            rtp, rtcp = track.open(self._connection.local_host)
            transport = await self._ask(url, f"RTP/AVP;unicast;client_port={rtp}-{rtcp}")
            if transport is None or transport.is_tcp:
                return False
            track.aim(self._media_hosts(transport), transport.server_ports)
            track.listen()
            self.udp[url] = track
        finally:
            if url not in self.udp:
                track.close()
        return True

    async def _ask(self, url: str, offer: str) -> Transport | None:
        answer = await self._connection.ask("SETUP", url, [("Transport", offer)])
        if answer.status == TRANSPORT_REFUSED:
            return None
        if answer.status != OK:
            raise refusal(answer, self._has_credentials)
        return parse_transport(answer.header("transport"))

    def _media_hosts(self, transport: Transport) -> tuple[str, ...]:
        """Whom media is taken from: who was connected to, and the source that the camera names, where it may be."""
        source = transport.source
        with contextlib.suppress(ValueError):  # what is no address
            if source and source != self._peer_host and is_allowed(source, self._settings.allowed_networks):
                return self._peer_host, source
        return (self._peer_host,)


def _take_rtcp(on_rtcp: OnRtcp, data: bytes, start: int, stop: int, now: float) -> int:
    """A compound on its interleaved channel; see `wire.rtsp.Sink`."""
    try:
        packets = parse_compound(data[start:stop])
    except ProtocolError:
        return stop if stop > start and data[start] >> 6 == 2 else NO_RTP
    on_rtcp(packets, now)
    return stop
