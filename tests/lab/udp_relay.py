"""A UDP relay that delays and reorders: what netem would do, where a kernel has none.

`python tests/lab/udp_relay.py LISTEN_HOST SERVER_HOST PORT DELAY_MS JITTER_MS`: what comes to LISTEN_HOST:PORT goes to
SERVER_HOST:PORT and back, each datagram after its own delay, so that some overtake others. Seeded. Prints `{}` once it
listens.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

Address = tuple[Any, ...]
_MOST_CLIENTS = 1000


class Leg(asyncio.DatagramProtocol):
    """The relay's own port towards the server, one for each client."""

    def __init__(self, relay: Relay, client: Address) -> None:
        self.relay, self.client = relay, client
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, _: Address) -> None:
        self.relay.later(lambda: self.relay.transport.sendto(data, self.client))

    def error_received(self, error: Exception) -> None:
        """A server that is gone: as on a real network, nobody is told."""


class Relay(asyncio.DatagramProtocol):
    def __init__(self, server: Address, delay_s: float, jitter_s: float) -> None:
        self.server, self.delay_s, self.jitter_s = server, delay_s, jitter_s
        self.chance = random.Random(1)
        self.legs: dict[Address, asyncio.Task[Leg]] = {}

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, client: Address) -> None:
        if client not in self.legs and len(self.legs) < _MOST_CLIENTS:
            self.legs[client] = asyncio.get_running_loop().create_task(self.open_leg(client))
        self.legs[client].add_done_callback(lambda leg: self.later(lambda: leg.result().transport.sendto(data)))

    async def open_leg(self, client: Address) -> Leg:
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: Leg(self, client), remote_addr=self.server))[1]

    def later(self, send: Any) -> None:
        asyncio.get_running_loop().call_later(self.delay_s + self.chance.uniform(0, self.jitter_s), send)


async def main(listen: str, server: str, port: str, delay_ms: str, jitter_ms: str) -> None:
    relay = Relay((server, int(port)), float(delay_ms) / 1000, float(jitter_ms) / 1000)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=(listen, int(port)))
    print("{}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
