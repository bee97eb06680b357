"""Where a stream is: its URL taken apart, and the addresses that this server may connect to."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mediasrv.errors import CameraError
from mediasrv.settings import PullSettings
from mediasrv.wire.addresses import is_allowed

RTSP_PORT: Final = 554
RTSPS_PORT: Final = 322
_SCHEMES: Final = {"rtsp": RTSP_PORT, "rtsps": RTSPS_PORT}


@dataclass(frozen=True, slots=True)
class Target:
    """`url` is what is asked for. What is connected to is `host` and `port`: another one behind a proxy (305)."""

    url: str
    host: str
    port: int
    tls: bool


def parse_rtsp_url(url: str) -> Target:
    """Raises CameraError (`address_invalid`) for anything but `rtsp://host[:port]/…`, or `rtsps://` the same."""
    try:
        parts = urlsplit(url)
        host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    except ValueError as error:
        raise CameraError("The stream's address is no rtsp:// URL.", code="address_invalid") from error
    if scheme not in _SCHEMES or not host or not all("!" <= letter <= "~" for letter in url):
        raise CameraError("The stream's address is no rtsp:// URL.", code="address_invalid")
    if parts.username is not None or parts.password is not None:
        raise CameraError("User name and password do not belong into the stream's address.", code="address_invalid")
    return Target(url, host, port or _SCHEMES[scheme], scheme == "rtsps")


async def resolve_allowed(host: str, port: int, settings: PullSettings) -> list[str]:
    """The numeric addresses of a host that lie in `allowed_networks`. Raises CameraError where there is none.

    What is connected to is an address from here, never the name again: a name may point elsewhere a moment later.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a timeout is an OSError too
        raise CameraError("The camera's host name has no address.", code="name_unresolved") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    allowed = [address for address in addresses if is_allowed(address, settings.allowed_networks)]
    if not allowed:
        raise CameraError(
            "The camera's address lies outside the networks this server may connect to.", code="address_refused"
        )
    return allowed
