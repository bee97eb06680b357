"""WS-Discovery (OASIS WS-Discovery 2005/04, ONVIF Core 7.3): asks the local network which cameras there are."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import uuid
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree

from mediasrv.errors import ProtocolError
from mediasrv.onvif.address import DEVICE_PATH, HTTP_PORT, authority, split_reported
from mediasrv.onvif.values import Discovered, clean_text
from mediasrv.onvif.xml_guard import check_xml
from mediasrv.settings import OnvifSettings

log = logging.getLogger(__name__)

MOST_DEVICES: Final = 500
ANSWER_BYTES: Final = 16 * 1024
_REPEAT_S: Final = 0.5
"""UDP loses datagrams: each probe is sent once more (SOAP-over-UDP, MULTICAST_UDP_REPEAT)."""
_ADDRESSING: Final = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_DISCOVERY: Final = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_SCOPE: Final = "onvif://www.onvif.org/"


async def discover(settings: OnvifSettings) -> list[Discovered]:
    """The devices that answer within `discovery_s`, sorted by address; at most MOST_DEVICES.

    A network without multicast gives an empty list, not an error. Nothing that a device says has been checked.
    """
    message_id = f"urn:uuid:{uuid.uuid4()}"
    collector = _Collector(message_id)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        transports = []
        for interface in settings.discovery_interfaces or ("",):
            with _skip_unusable(interface):
                transport, _ = await loop.create_datagram_endpoint(lambda: collector, sock=_probe_socket(interface))
                stack.callback(transport.close)
                transports.append(transport)
        for _ in range(2):
            for transport in transports:
                _send_probe(transport, message_id, settings.discovery_targets)
            await asyncio.sleep(min(_REPEAT_S, settings.discovery_s / 2))
        await asyncio.sleep(max(0.0, settings.discovery_s - 2 * _REPEAT_S))
    return sorted(collector.found.values(), key=lambda device: device.address)


class _Collector(asyncio.DatagramProtocol):
    """Gathers what answers our probe; a device that answers twice counts once."""

    def __init__(self, message_id: str) -> None:
        self.found: dict[str, Discovered] = {}
        self._message_id = message_id

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        if len(data) > ANSWER_BYTES or len(self.found) >= MOST_DEVICES:
            return
        try:
            for device in parse_probe_matches(data, self._message_id, str(address[0])):
                self.found[device.address] = device
        except ProtocolError as error:
            log.debug("a discovery answer from %s was refused: %s", address[0], error)

    def error_received(self, error: Exception) -> None:
        log.debug("a discovery probe was not delivered: %s", error)


def parse_probe_matches(data: bytes, message_id: str, sender: str) -> Iterator[Discovered]:
    """The devices in a ProbeMatches message that answers `message_id`; `sender` is the numeric address it came from.

    Raises ProtocolError for what is no such message.
    """
    try:
        envelope = ElementTree.fromstring(check_xml(data))  # noqa: S314 - checked to carry no DTD
    except (ElementTree.ParseError, ValueError) as error:
        raise ProtocolError("The discovery answer is not XML.", code="xml_refused") from error
    if (envelope.findtext(f".//{_ADDRESSING}RelatesTo") or "").strip() != message_id:
        raise ProtocolError("The discovery answer belongs to no probe of ours.", code="xml_refused")
    for match in envelope.iter(f"{_DISCOVERY}ProbeMatch"):
        xaddrs = (match.findtext(f"{_DISCOVERY}XAddrs") or "").split()[:8]
        scopes = (match.findtext(f"{_DISCOVERY}Scopes") or "").split()[:64]
        address = _address_of(xaddrs, sender)
        if address:
            name, model = _scope(scopes, "name/"), _scope(scopes, "hardware/")
            yield Discovered(address, name or address, model, tuple(clean_text(xaddr) for xaddr in xaddrs))


def _address_of(xaddrs: list[str], sender: str) -> str:
    """The shortest address for `read_device`: of the XAddr at the sender's own address, else of the first."""
    usable = [split for xaddr in xaddrs if (split := split_reported(xaddr, "http")) is not None]
    own = [split for split in usable if split[1] == sender]
    for parts, host, port in own or usable:
        if parts.path != DEVICE_PATH:
            return f"http://{authority(host, port)}{parts.path}"
        return authority(host, port) if port != HTTP_PORT else host
    return ""


def _scope(scopes: list[str], kind: str) -> str:
    for scope in scopes:
        if scope.startswith(_SCOPE + kind):
            return clean_text(unquote(scope[len(_SCOPE + kind) :]))
    return ""


def build_probe(message_id: str) -> bytes:
    """A Probe for network video transmitters."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header>'
        "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>"
        f"<a:MessageID>{message_id}</a:MessageID><a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>"
        "<s:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"
    ).encode()


def _probe_socket(interface: str) -> socket.socket:
    """A socket that sends from `interface`, a local IPv4 address; empty: the system's choice. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        # One hop: discovery is for the local network (WS-Discovery, 2.4).
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        if interface:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        made.bind((interface, 0))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _send_probe(transport: asyncio.DatagramTransport, message_id: str, targets: tuple[str, ...]) -> None:
    for target in targets:
        host, _, port = target.rpartition(":")
        with _skip_unusable(target):
            transport.sendto(build_probe(message_id), (str(ipaddress.IPv4Address(host)), int(port)))


@contextlib.contextmanager
def _skip_unusable(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        log.warning("no discovery by %s: %s", what or "the default interface", error)
