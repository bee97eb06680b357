"""WS-Discovery (OASIS 1.1, ONVIF Core 7): answers probes for every camera of the farm, by multicast and unicast."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import quote

log = logging.getLogger(__name__)

GROUP: Final = "239.255.255.250"
PORT: Final = 3702
_MESSAGE_ID: Final = re.compile(rb"<(?:\w+:)?MessageID[^>]*>\s*([^<\s]{1,200})\s*</")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one camera answers to a probe."""

    camera_id: str
    name: str
    model: str
    xaddr: str
    profiles: tuple[str, ...] = ("Streaming",)


class DiscoveryResponder(asyncio.DatagramProtocol):
    """Answers each Probe with one ProbeMatches message a camera.

    Answers leave from the first socket that was opened: one bound to the group has no address to send from.
    """

    def __init__(self, cameras: Callable[[], Iterable[Announcement]]) -> None:
        self._cameras = cameras
        self._transports: list[asyncio.DatagramTransport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transports.append(cast(asyncio.DatagramTransport, transport))

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        found = _MESSAGE_ID.search(data)
        if found is None or b"Probe" not in data or b"ProbeMatches" in data:
            return
        for camera in self._cameras():
            self._transports[0].sendto(build_probe_match(camera, found[1].decode("ascii", "replace")), address)

    def error_received(self, error: Exception) -> None:
        log.debug("a discovery answer was not delivered: %s", error)

    def close(self) -> None:
        for transport in self._transports:
            transport.close()


async def start_discovery(
    host: str, port: int, cameras: Callable[[], Iterable[Announcement]]
) -> tuple[DiscoveryResponder, int] | None:
    """Listens on `host`, UDP `port` (0: any), and for multicast on that port where the machine lets us.

    Returns the responder and its port, or None where the port is taken: discovery is a convenience.
    """
    responder = DiscoveryResponder(cameras)
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: responder, local_addr=(host, port))
    except OSError as error:
        log.warning("no discovery: UDP port %s cannot be had: %s", port, error.strerror)
        return None
    actual_port = int(transport.get_extra_info("sockname")[1])
    try:
        await loop.create_datagram_endpoint(lambda: responder, sock=_group_listener(host, actual_port))
    except OSError as error:
        log.warning("no multicast discovery on %s: %s", host, error.strerror)
    return responder, actual_port


def _group_listener(host: str, port: int) -> socket.socket:
    """A socket bound to the group itself, so that it hears nothing else; the group is joined on one interface."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((GROUP, port))
        membership = struct.pack("!4s4s", socket.inet_aton(GROUP), socket.inet_aton(host))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def build_probe_match(camera: Announcement, relates_to: str) -> bytes:
    """A ProbeMatches message with one match. The address of a camera is the same UUID at every start."""
    endpoint = uuid.uuid5(uuid.NAMESPACE_URL, f"camera-farm/{camera.camera_id}")
    names = [f"name/{quote(camera.name)}", f"hardware/{quote(camera.model)}"]
    names += [f"Profile/{profile}" for profile in camera.profiles]
    scopes = " ".join(f"onvif://www.onvif.org/{name}" for name in names)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header>'
        f"<a:MessageID>urn:uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{relates_to}</a:RelatesTo>"
        "<a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To>"
        "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></s:Header><s:Body>"
        f"<d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:{endpoint}</a:Address>"
        "</a:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types>"
        f"<d:Scopes>{scopes}</d:Scopes><d:XAddrs>{camera.xaddr}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        "</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    ).encode()
