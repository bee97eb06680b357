"""Which devices share a line, and whose turn it is on it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from mediasrv.survey.findings import Target

_RESOLVE_S: Final = 5.0
_V4_PREFIX: Final = 24
_V6_PREFIX: Final = 64


def host_of(address: str) -> str:
    """The host of a target's address; empty where there is none."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(address))
    with contextlib.suppress(ValueError):
        return urlsplit(address if "://" in address else f"//{address}").hostname or ""
    return ""


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


class SiteTurns:
    """One stream at a time on each site's line, whatever the number of surveys; `most` streams at once in all."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._sites: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, site: str) -> AsyncIterator[None]:
        """Waits for its turn, without bound: each before it takes its measuring time."""
        lock = self._sites.setdefault(site, asyncio.Lock())
        self._users[site] = self._users.get(site, 0) + 1
        try:
            async with lock, self._all:
                yield
        finally:
            self._users[site] -= 1
            if not self._users[site]:
                del self._users[site], self._sites[site]
