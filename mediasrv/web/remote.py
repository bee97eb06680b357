"""Where a request comes from, and by which URL: the peer's address, or what a trusted proxy says."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from aiohttp import web

from mediasrv.settings import ServerSettings

HTTP_VERSION: Final = "X-Forwarded-Http-Version"
"""Which HTTP the client speaks with the proxy: config/Caddyfile sets it."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Remotes:
    """Finds the client behind trusted proxies."""

    def __init__(self, settings: ServerSettings) -> None:
        self._public_url = settings.public_url.rstrip("/")
        self._trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(one, strict=False) for one in settings.trusted_proxies
        )

    def address(self, request: web.Request) -> str:
        """The right-most address of X-Forwarded-For that is no trusted proxy; without one, the peer's own.

        What stands further left was written by the client and proves nothing.
        """
        address = request.remote or ""
        if not self._trusts(address):
            return address
        for forwarded in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            found = _parse(forwarded.strip())
            if found is None:
                return address
            address = str(found)
            if not self._trusts(address):
                return address
        return address

    def is_multiplexed(self, request: web.Request) -> bool:
        """Whether the client speaks HTTP/2 or later, as far as a trusted proxy says so: the server itself does not."""
        version = request.headers.get(HTTP_VERSION, "")
        return version.startswith(("HTTP/2", "HTTP/3")) and self._trusts(request.remote or "")

    def base_url(self, request: web.Request) -> str:
        """What URLs for the client begin with, without a slash at the end: `public_url`, or else scheme and host as the
        client wrote them. A trusted proxy says which scheme that was.
        """
        if self._public_url:
            return self._public_url
        forwarded = request.headers.get("X-Forwarded-Proto", "")
        known = forwarded in ("http", "https") and self._trusts(request.remote or "")
        return f"{forwarded if known else request.scheme}://{request.host}"

    def is_local(self, request: web.Request) -> bool:
        """Whether a process on this machine asks for itself, not a proxy for somebody else."""
        peer = _parse(request.remote or "")
        forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
        return peer is not None and peer.is_loopback and not forwarded

    def _trusts(self, address: str) -> bool:
        if not self._trusted:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
