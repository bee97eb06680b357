"""Delays between attempts."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubling delays with full jitter in their upper half, so that cameras of one site do not return in step."""

    def __init__(
        self, first_s: float, most_s: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._uniform = uniform
        self._next_s = first_s

    def next_s(self) -> float:
        current = self._next_s
        self._next_s = min(current * 2, self._most_s)
        return self._uniform(current / 2, current)

    def reset(self) -> None:
        self._next_s = self._first_s
