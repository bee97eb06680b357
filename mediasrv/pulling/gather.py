"""Reads the streams that nobody watches live many at a time, on a timer, instead of waking for each of them.

What a wake of the process costs (leaving the idle state, caches gone cold, a system call to learn what arrived) is
more than what parsing a picture costs, and a recorder does not mind if a picture is read 50 ms after it came. So each
reader has a turn once an interval, and the turns of many share one wake (docs/adr/007-read-many-streams-at-once.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TURNS: Final = 4
"""Wakes an interval at most: reading hundreds of streams in one go would keep viewers waiting."""

A_TURN: Final = 20
"""Readers that share a turn before another one is opened."""

Reader = Callable[[], None]
"""Reads what has arrived, never blocks, never raises."""


class Gatherer:
    """Calls each of its readers once every `interval_s`. For the event loop's thread only."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._turns = [_Turn(number * interval_s / TURNS, interval_s) for number in range(TURNS)]

    def add(self, reader: Reader) -> None:
        """`reader` must not be here already."""
        turn = next((turn for turn in self._turns if len(turn.readers) < A_TURN), None)
        (turn or min(self._turns, key=lambda turn: len(turn.readers))).add(reader)

    def remove(self, reader: Reader) -> None:
        """One that is not here is no error."""
        for turn in self._turns:
            turn.remove(reader)


class _Turn:
    """Readers that are called at the same moment: `offset_s` after each whole interval of the loop's clock."""

    __slots__ = ("_interval_s", "_loop", "_offset_s", "_timer", "readers")

    def __init__(self, offset_s: float, interval_s: float) -> None:
        self.readers: tuple[Reader, ...] = ()
        self._offset_s = offset_s
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reader: Reader) -> None:
        self.readers += (reader,)
        if self._timer is None:
            self._schedule()

    def remove(self, reader: Reader) -> None:
        self.readers = tuple(other for other in self.readers if other != reader)
        if not self.readers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        passed = (loop.time() - self._offset_s) // self._interval_s
        self._timer = loop.call_at((passed + 1) * self._interval_s + self._offset_s, self._read)

    def _read(self) -> None:
        for reader in self.readers:
            reader()
        if self.readers:
            self._schedule()
