"""Bounds the handshakes under way: a server that starts 200 cameras at once answers each in time or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class HandshakeGate:
    """At most `most` handshakes at once, `most_per_host` of them with one host: recorders are slow and have many
    channels. A handshake begins once the connection stands, so that dead hosts hold no place, and ends with PLAY."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self.under_way = 0
        self.most_under_way = 0
        self._all = asyncio.Semaphore(most)
        self._most_per_host = most_per_host
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Waits for its turn, without bound: those before it have their time-outs."""
        one_host = self._hosts.setdefault(host, asyncio.Semaphore(self._most_per_host))
        self._users[host] = self._users.get(host, 0) + 1
        try:
            async with one_host, self._all:
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    yield
                finally:
                    self.under_way -= 1
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._users[host], self._hosts[host]
