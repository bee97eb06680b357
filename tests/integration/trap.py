"""Where a server must never go: something that listens there, and a look at all connections and datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

PLACES: Final = ("127.0.0.1", "::1")
_SENDING: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


@dataclass
class Trap:
    """`touched` is by whom and where; nothing that comes is answered."""

    port: int
    touched: list[str] = field(default_factory=list)

    def url(self, scheme: str, host: str, path: str = "/x") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextlib.asynccontextmanager
async def trap_at(port: int = 0) -> AsyncIterator[Trap]:
    """TCP and UDP of one port, on both loopback addresses."""
    loop = asyncio.get_running_loop()
    trap = Trap(port or _free_port())

    def came(kind: str, host: str) -> None:
        trap.touched.append(f"{kind} to {host}")

    class Taker(asyncio.Protocol):
        def __init__(self, host: str) -> None:
            self._host = host

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            came("a connection", self._host)
            transport.close()

    class DatagramTaker(asyncio.DatagramProtocol):
        def __init__(self, host: str) -> None:
            self._host = host

        def datagram_received(self, data: bytes, address: object) -> None:
            came("a datagram", self._host)

    async with contextlib.AsyncExitStack() as stack:
        for host in PLACES:
            server = await loop.create_server(lambda host=host: Taker(host), host, trap.port)  # type: ignore[misc]
            stack.callback(server.close)
            transport, _ = await loop.create_datagram_endpoint(
                lambda host=host: DatagramTaker(host),  # type: ignore[misc]
                local_addr=(host, trap.port),
            )
            stack.callback(transport.close)
        yield trap


def _free_port() -> int:
    """Free on all loopback addresses, for TCP and UDP alike; none of those that another process's viewer may have just
    left (32768 and up), to which its server still sends.
    """
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
            port = int(first.getsockname()[1])
            for family, kind, host in (
                (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
                (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
                (socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
            ):
                stack.enter_context(socket.socket(family, kind)).bind((host, port))
            return port


# --- every destination of this process ----------------------------------------------------------------------

_seen: list[Any] | None = None


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in _SENDING:
        _seen.append(arguments[1])


sys.addaudithook(_look)  # for good: hooks cannot be taken back, and this one does nothing while nobody looks


@contextlib.contextmanager
def destinations() -> Iterator[list[Any]]:
    """Socket addresses of all connections and datagrams of asyncio's own loop while the block runs, sent or not."""
    global _seen
    _seen = found = []
    try:
        yield found
    finally:
        _seen = None


def outside(found: Collection[Any], network: str, but: Collection[tuple[str, int]] = ()) -> set[Any]:
    """Those that are not in this network and not in `but`. What is no address of IP goes nowhere else."""
    inside = ipaddress.ip_network(network)
    named = [one for one in found if isinstance(one, tuple) and one[:2] not in but]
    return {one for one in named if ipaddress.ip_address(str(one[0]).partition("%")[0]) not in inside}
