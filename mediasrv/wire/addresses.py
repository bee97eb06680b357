"""The host that an address names, and the numeric addresses that this server may connect to."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # tasks and pods of AWS
        "169.254.170.23",
        "fd00:ec2::254",  # AWS over IPv6, within the networks that cameras use
        "fd00:ec2::23",
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
    )
)
"""Where clouds tell a machine its own secrets. No camera is there."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def host_of(address: str) -> str:
    """The host of an address of any form: a host, `host:port` or a URL; empty where there is none."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(address))
    with contextlib.suppress(ValueError):
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    return ""


def is_allowed(address: str, networks: Sequence[str]) -> bool:
    """Whether a numeric address lies in one of these networks; an IPv4 address inside IPv6 is judged as IPv4.

    A metadata service of a cloud must be named by itself, as a network of one address.
    """
    ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
    allowed = [network for network in (ipaddress.ip_network(one, strict=False) for one in networks) if ip in network]
    return any(network.num_addresses == 1 for network in allowed) if ip in _METADATA else bool(allowed)


def _innermost(ip: IPAddress) -> IPAddress:
    """What a packet to `ip` reaches in the end: mapped (RFC 4291), by NAT64 (RFC 6052) and by 6to4 (RFC 3056)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
