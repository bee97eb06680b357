"""Which cameras there are: WS-Discovery (OASIS WS-Discovery 2005/04, ONVIF Core 7.3) of the local network, and probes
of single addresses and ranges.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree

from mediasrv.errors import ProtocolError
from mediasrv.onvif.address import DEVICE_PATH, HTTP_PORT, authority, parse_address, split_reported
from mediasrv.onvif.session import tells_the_time
from mediasrv.onvif.soap import SoapHttp
from mediasrv.onvif.values import Discovered, clean_text
from mediasrv.onvif.xml_guard import check_xml
from mediasrv.settings import OnvifSettings
from mediasrv.wire.addresses import is_allowed

log = logging.getLogger(__name__)

PORT: Final = 3702
MOST_DEVICES: Final = 1024
ANSWER_BYTES: Final = 16 * 1024
_REPEAT_S: Final = 0.5
"""UDP loses datagrams: each probe is sent once more (SOAP-over-UDP, MULTICAST_UDP_REPEAT)."""
_BURST_S: Final = 0.02
_PROBE_S: Final = 3.0
_ADDRESSING: Final = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_DISCOVERY: Final = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_SCOPE: Final = "onvif://www.onvif.org/"


async def discover(settings: OnvifSettings) -> list[Discovered]:
    """The devices that answer within `discovery_s`, sorted by address; at most MOST_DEVICES.

    A network without multicast gives an empty list, not an error. Nothing that a device says has been checked.
    """
    collector = _Collector()
    async with _probing(collector, settings.discovery_interfaces) as transports:
        for _ in range(2):
            for transport in transports:
                _send_probe(transport, collector.message_id, settings.discovery_targets)
            await asyncio.sleep(min(_REPEAT_S, settings.discovery_s / 2))
        await asyncio.sleep(max(0.0, settings.discovery_s - 2 * _REPEAT_S))
    return sorted(collector.found.values(), key=lambda device: device.address)


async def probe_addresses(
    addresses: Sequence[str], settings: OnvifSettings, networks: tuple[str, ...], discovery_port: int = PORT
) -> list[Discovered]:
    """Which of these addresses (as `parse_targets` gives them) are ONVIF devices, in the order of the question.

    Each is asked by a WS-Discovery probe of its own, which most cameras answer with name and model, and by HTTP where
    nothing came. Only addresses in allowed networks are asked, `parallel` of them at once.
    """
    named = await _probe_by_unicast(addresses, settings, networks, discovery_port)
    at_once = asyncio.Semaphore(settings.parallel)

    async def look(http: SoapHttp, address: str) -> Discovered | None:
        async with at_once:
            tells = await tells_the_time(http, address, min(settings.timeout_s, _PROBE_S))
        return Discovered(address, address, "", ()) if tells else None

    async with SoapHttp(networks) as http:
        silent = [address for address in addresses if address not in named]
        found = await asyncio.gather(*(look(http, address) for address in silent))
    named |= {device.address: device for device in found if device is not None}
    return [named[address] for address in addresses if address in named]


async def _probe_by_unicast(
    addresses: Sequence[str], settings: OnvifSettings, networks: tuple[str, ...], port: int
) -> dict[str, Discovered]:
    """What answered, by the address that was asked. A device counts only at the address its answer came from."""
    asked: dict[str, list[str]] = {}
    for address in addresses:
        host = parse_address(address).host
        with contextlib.suppress(ValueError):  # a name is asked by HTTP
            if isinstance(ipaddress.ip_address(host), ipaddress.IPv4Address) and is_allowed(host, networks):
                asked.setdefault(host, []).append(address)
    collector = _Collector()
    async with _probing(collector, ()) as transports:
        for number, host in enumerate(list(asked) * 2 if transports else ()):
            _send_probe(transports[0], collector.message_id, (f"{host}:{port}",))
            if number % settings.parallel == settings.parallel - 1:
                await asyncio.sleep(_BURST_S)  # a router's table of neighbours takes only so many unknown ones at once
        if asked:
            await asyncio.sleep(settings.discovery_s)
    found: dict[str, Discovered] = {}
    for sender, device in collector.by_sender:
        for address in asked.get(sender, ()):
            endpoint, told = parse_address(address), parse_address(device.address)
            if (endpoint.host, endpoint.port) == (told.host, told.port):
                found[address] = device
    return found


@contextlib.asynccontextmanager
async def _probing(
    collector: _Collector, interfaces: tuple[str, ...]
) -> AsyncIterator[list[asyncio.DatagramTransport]]:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        transports = []
        for interface in interfaces or ("",):
            with _skip_unusable(interface):
                transport, _ = await loop.create_datagram_endpoint(lambda: collector, sock=_probe_socket(interface))
                stack.callback(transport.close)
                transports.append(transport)
        yield transports


class _Collector(asyncio.DatagramProtocol):
    """Gathers what answers our probe; a device that answers twice counts once."""

    def __init__(self) -> None:
        self.message_id = f"urn:uuid:{uuid.uuid4()}"
        self.found: dict[str, Discovered] = {}
        self.by_sender: list[tuple[str, Discovered]] = []

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        if len(data) > ANSWER_BYTES or len(self.found) >= MOST_DEVICES:
            return
        try:
            for device in parse_probe_matches(data, self.message_id, str(address[0])):
                if device.address not in self.found:
                    self.by_sender.append((str(address[0]), device))
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
