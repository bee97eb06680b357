"""Which devices share a line."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from typing import Final

from mediasrv.survey.findings import Target
from mediasrv.wire.addresses import host_of

_RESOLVE_S: Final = 5.0
_V4_PREFIX: Final = 24
_V6_PREFIX: Final = 64


def network_of(numeric: str) -> str:
    """The /24 (IPv4) or /64 (IPv6) that a numeric address lies in."""
    ip = ipaddress.ip_address(numeric.partition("%")[0])
    prefix = _V4_PREFIX if ip.version == 4 else _V6_PREFIX
    return str(ipaddress.ip_network((ip, prefix), strict=False))


async def site_of(target: Target) -> str:
    """The target's place, else the network that its address lies in, else the name that leads nowhere."""
    if target.place:
        return target.place
    host = host_of(target.address)
    with contextlib.suppress(ValueError):
        return network_of(host)
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a timeout is an OSError too
        return host
    return network_of(str(found[0][4][0]))
