"""Waiting: for an event or a time, and for one's turn at something narrow, such as a camera's host or a site's line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


async def wait_for_event(event: asyncio.Event, most_s: float | None) -> None:
    """Returns once the event is set, or `most_s` have passed; None waits for the event alone.

    Not asyncio.wait_for: in Python 3.11 that swallows a cancellation that comes in the turn of the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()


class Turns:
    """At most `most` at once, `most_a_key` of them under one key. A key that nobody waits for is forgotten."""

    def __init__(self, most: int, most_a_key: int) -> None:
        self.under_way = 0
        self.most_under_way = 0
        self._all = asyncio.Semaphore(most)
        self._most_a_key = most_a_key
        self._keys: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Waits for its turn, without bound: those before it end by themselves."""
        one_key = self._keys.setdefault(key, asyncio.Semaphore(self._most_a_key))
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with one_key, self._all:
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    yield
                finally:
                    self.under_way -= 1
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._keys[key]
