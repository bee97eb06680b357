"""The addresses that answers name: those of the settings, else those that are bound."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Final

import ifaddr

from mediasrv.errors import SettingsError
from mediasrv.wire.addresses import IPAddress
from mediasrv.wire.whep_sdp import Candidate

_RESOLVE_S: Final = 5.0
_MOST_AUTOMATIC: Final = 8
"""Each address costs every viewer checks: more are named by the settings, or not at all."""
_ADVERTISED: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/\s]+)|(?P<bare>[0-9A-Fa-f:.]+:[0-9A-Fa-f:.]*))"
    r"(?::(?P<port>\d{1,5}))?(?:/(?P<transport>udp|tcp))?"
)


async def find_candidates(bound: Sequence[str], advertised: Sequence[str], ports: dict[str, int]) -> list[Candidate]:
    """For `ports` ({"udp": 8189, "tcp": 8189}, without what is off), best first: UDP before TCP, else in the order
    of the settings. Raises SettingsError."""
    named = [await _resolve(text) for text in advertised]
    found = [each for group in named for each in group] or [(host, 0, "") for host in automatic_hosts(bound)]
    return [
        Candidate(host, port or own_port, transport)
        for transport, own_port in ports.items()
        for host, port, only in found
        if only in ("", transport)
    ]


def automatic_hosts(bound: Sequence[str]) -> list[str]:
    """The bound addresses; in place of a wildcard this machine's own, without loopback and link-local ones."""
    hosts: list[str] = []
    for host in bound:
        address = ipaddress.ip_address(host)
        hosts += _interface_hosts(address) if address.is_unspecified else [host.partition("%")[0]]
    return list(dict.fromkeys(hosts))


def _interface_hosts(wildcard: IPAddress) -> list[str]:
    """What can be reached from outside, the address that leads out first; loopback where there is nothing else."""
    versions = (4,) if wildcard.version == 4 else (6, 4)
    own = [ipaddress.ip_address(host) for adapter in ifaddr.get_adapters() for host in _hosts(adapter)]
    usable = [address for address in own if address.version in versions and is_reachable(address)]
    outward = [address for version in versions if (address := _outward_address(version)) in usable]
    best = list(dict.fromkeys([*outward, *usable]))[:_MOST_AUTOMATIC]
    return [str(address) for address in best] or [("127.0.0.1" if wildcard.version == 4 else "::1")]


def is_reachable(address: IPAddress) -> bool:
    """Whether others may reach it: no loopback, link-local, multicast or unspecified address."""
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _hosts(adapter: ifaddr.Adapter) -> Iterable[str]:
    return (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips)


def _outward_address(version: int) -> IPAddress | None:
    """The address this machine would send from; connecting a UDP socket sends nothing (RFC 5737, RFC 3849)."""
    family, target = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])


async def _resolve(text: str) -> list[tuple[str, int, str]]:
    """An entry of `webrtc.advertised` as (address, port or 0, `udp`, `tcp` or empty for both)."""
    match = _ADVERTISED.fullmatch(text)
    port = int(match["port"] or 0) if match else 0
    if match is None or port > 65_535:
        raise SettingsError(f"webrtc.advertised: {text} is no address such as 203.0.113.7 or media.example.org:31000.")
    name = match["v6"] or match["host"] or match["bare"]
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # a timeout is an OSError
        raise SettingsError(f"webrtc.advertised: the name {name} cannot be resolved.") from error
    return [(str(host), port, match["transport"] or "") for host in dict.fromkeys(item[4][0] for item in found)]
