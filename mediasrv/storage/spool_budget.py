"""How much the spool may take, how long that lasts, and when it is time to say so. Pure: what is measured is told."""

from __future__ import annotations

from collections import deque
from typing import Final

from mediasrv.settings import SpoolSettings

RATE_WINDOW_S: Final = 60.0
BACKLOG_S: Final = 600.0
"""Footage that waits for longer than this is not just on its way: storage does not take it."""
HOUR_S: Final = 3600.0


class SpoolBudget:
    """Of one spool. `note` is called about once a second."""

    def __init__(self, settings: SpoolSettings) -> None:
        self._settings = settings
        self._free_bytes: int | None = None
        self._taken: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, taken_bytes: int, free_bytes: int | None) -> None:
        """`taken_bytes` is what came in since the start, `free_bytes` what is free on the spool's disk; None where it
        does not tell.
        """
        self._free_bytes = free_bytes
        self._taken.append((now_s, taken_bytes))
        while now_s - self._taken[0][0] > RATE_WINDOW_S:
            self._taken.popleft()

    def budget_bytes(self, used_bytes: int) -> int:
        """The smaller one of what is set and its share of the disk, as far as that is known; 0: nothing is."""
        bounds = [self._settings.budget_bytes] if self._settings.budget_bytes else []
        if self._free_bytes is not None:
            bounds.append(round(self._settings.disk_share * (used_bytes + self._free_bytes)))
        return min(bounds, default=0)

    @property
    def bytes_per_s(self) -> float:
        """At which footage comes in, over the last minute; 0 before that is known."""
        if len(self._taken) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._taken[0], self._taken[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def lasts_s(self, size_bytes: int) -> float | None:
        """How long so many bytes are enough at the present rate; None where nothing comes in."""
        rate = self.bytes_per_s
        return max(0, size_bytes) / rate if rate > 0 else None

    def is_alarming(self, used_bytes: int, backlog_s: float) -> bool:
        """Whether a person must look: much of it is spent, or storage takes nothing and the rest lasts few hours."""
        budget = self.budget_bytes(used_bytes)
        if budget and used_bytes > self._settings.alarm_share * budget:
            return True
        left_s = self.lasts_s(budget - used_bytes) if budget else None
        return backlog_s > BACKLOG_S and left_s is not None and left_s < self._settings.alarm_hours * HOUR_S
