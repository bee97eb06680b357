"""Reads the streams that nobody watches live together, on one beat, instead of waking for each packet of each.

What a wake of the process costs (a system call to learn what arrived, caches and branch predictors gone cold) is more
than what parsing a picture costs, and a recorder does not mind when a picture is read 0.2 s after it came
(docs/adr/008-one-beat-for-unwatched-streams.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

SLICE: Final = 20
"""Readers that are called in one go. Whoever is watched live is served between two slices: some 5 ms."""

Reader = Callable[[], None]
"""Reads what has arrived; never blocks, never raises."""


class Gatherer:
    """Calls each of its readers once every `interval_s`, then `after`. For the event loop's thread only."""

    def __init__(self, interval_s: float, after: Callable[[], None] | None = None) -> None:
        self.interval_s = interval_s
        self._after = after
        self._readers: dict[Reader, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reader: Reader) -> None:
        """Twice does no harm."""
        self._readers[reader] = None
        if self._timer is None:
            self._schedule()

    def remove(self, reader: Reader) -> None:
        """One that is not here is no error."""
        self._readers.pop(reader, None)
        if not self._readers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def next_beat(self, at: float) -> float:
        """The first beat at or after `at` (the loop's time): what is done then costs no wake of its own."""
        return -(-at // self.interval_s) * self.interval_s

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self.next_beat(loop.time() + self.interval_s / 2), self._beat)

    def _beat(self) -> None:
        self._schedule()
        self._read(tuple(self._readers), 0)

    def _read(self, readers: tuple[Reader, ...], start: int) -> None:
        for reader in readers[start : start + SLICE]:
            if reader in self._readers:
                reader()
        if start + SLICE < len(readers):
            asyncio.get_running_loop().call_soon(self._read, readers, start + SLICE)
        elif self._after is not None:
            self._after()
