"""One reader's RTSP session as the server keeps it: what is set up over which transport, and what may come next.

Sans-IO (RFC 2326, 10 and 12.39). A session belongs to the connection that it was made on and to one stream, and ends
with either. Media over UDP goes to the address that this connection comes from and to no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mediasrv.wire.rtsp_headers import transport_pair
from mediasrv.wire.rtsp_server import RtspRefused

MOST_CHANNEL: Final = 255
MOST_ALTERNATIVES: Final = 8
_LEAST_PORT: Final = 1024
"""Below are services of the system: no client receives media there."""
_PROFILE: Final = re.compile(r"(?i)RTP/AVP(?:/(TCP|UDP))?")


class SessionState(Enum):
    """RFC 2326, A.2."""

    INIT = "init"
    READY = "ready"
    PLAYING = "playing"


@dataclass(frozen=True, slots=True)
class Interleaved:
    """RTP in `channel` of the RTSP connection, RTCP in the one behind it."""

    channel: int


@dataclass(frozen=True, slots=True)
class UdpPorts:
    """The reader's ports of RTP and RTCP."""

    rtp: int
    rtcp: int


Way = Interleaved | UdpPorts


@dataclass(frozen=True, slots=True)
class ServerPorts:
    """This server's own ports of RTP and RTCP."""

    rtp: int
    rtcp: int


class ReaderSession:
    """`udp` is None where media goes over TCP alone (or the connection is TLS)."""

    def __init__(self, session_id: str, udp: ServerPorts | None) -> None:
        self.session_id = session_id
        self.state = SessionState.INIT
        self.tracks: dict[int, Way] = {}
        self._udp = udp

    @property
    def is_udp(self) -> bool:
        return any(isinstance(way, UdpPorts) for way in self.tracks.values())

    def check(self, session_id: str) -> None:
        """`session_id` is the value of a Session header, empty where there was none; that is no fault.

        Raises RtspRefused (454) where it names another session.
        """
        given = session_id.partition(";")[0].strip()
        if given and given != self.session_id:
            raise RtspRefused(454, "There is no such session on this connection.")

    def set_up(self, track: int, transport: str) -> str:
        """Takes a SETUP of a track of its stream; the Transport header of the answer. Raises RtspRefused."""
        if self.state is SessionState.PLAYING:
            raise RtspRefused(455, "Tracks are set up before PLAY.")
        way = self._choose(track, transport)
        self.tracks[track] = way
        self.state = SessionState.READY
        return self._told(way)

    def play(self) -> None:
        """Raises RtspRefused (455) where nothing is set up."""
        if self.state is SessionState.INIT:
            raise RtspRefused(455, "Nothing is set up yet.")
        self.state = SessionState.PLAYING

    def pause(self) -> None:
        """Raises RtspRefused (455) where nothing is set up."""
        if self.state is SessionState.INIT:
            raise RtspRefused(455, "Nothing is set up yet.")
        self.state = SessionState.READY

    def _choose(self, track: int, transport: str) -> Way:
        """The first alternative that this server can do (RFC 2326, 12.39: they stand in the client's order)."""
        others = {one: way for one, way in self.tracks.items() if one != track}
        for alternative in transport.split(",")[:MOST_ALTERNATIVES]:
            way = self._usable(alternative.strip(), others)
            if way is not None and all(isinstance(way, type(other)) for other in others.values()):
                return way
        raise RtspRefused(461, "RTP/AVP over TCP (interleaved) or over UDP unicast to yourself, one for all tracks.")

    def _usable(self, alternative: str, others: dict[int, Way]) -> Way | None:
        profile, *parameters = (word.strip() for word in alternative.split(";"))
        names = {parameter.partition("=")[0].strip().lower() for parameter in parameters}
        matched = _PROFILE.fullmatch(profile)
        if matched is None or names & {"multicast", "destination"} or _mode(parameters) != "play":
            return None
        if (matched[1] or "UDP").upper() == "TCP":
            return _interleaved(transport_pair(alternative, "interleaved", MOST_CHANNEL), others)
        ports = transport_pair(alternative, "client_port", 65_535)
        if self._udp is None or ports is None or min(ports) < _LEAST_PORT or ports[0] == ports[1]:
            return None
        taken = {port for way in others.values() if isinstance(way, UdpPorts) for port in (way.rtp, way.rtcp)}
        return None if taken & set(ports) else UdpPorts(*ports)

    def _told(self, way: Way) -> str:
        if isinstance(way, Interleaved):
            return f"RTP/AVP/TCP;unicast;interleaved={way.channel}-{way.channel + 1}"
        ports = self._udp
        server = f";server_port={ports.rtp}-{ports.rtcp}" if ports else ""
        return f"RTP/AVP;unicast;client_port={way.rtp}-{way.rtcp}{server}"


def _mode(parameters: list[str]) -> str:
    given = (parameter.partition("=") for parameter in parameters)
    return next(
        (value.strip().strip('"').lower() for name, _, value in given if name.strip().lower() == "mode"), "play"
    )


def _interleaved(wanted: tuple[int, int] | None, others: dict[int, Way]) -> Interleaved | None:
    """The channels asked for, else the first pair that is free."""
    taken = {way.channel for way in others.values() if isinstance(way, Interleaved)}
    used = taken | {channel + 1 for channel in taken}
    if wanted is not None and wanted[1] == wanted[0] + 1 and not used & set(wanted):
        return Interleaved(wanted[0])
    return next((Interleaved(one) for one in range(0, MOST_CHANNEL, 2) if not used & {one, one + 1}), None)
