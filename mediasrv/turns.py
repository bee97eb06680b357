"""Turns of tasks that share something narrow: a camera's host, a site's line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


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
