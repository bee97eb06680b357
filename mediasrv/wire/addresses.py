"""Numeric addresses that this server may connect to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence


def is_allowed(address: str, networks: Sequence[str]) -> bool:
    """Whether a numeric address lies in one of these networks; an IPv4 address inside IPv6 is judged as IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)
