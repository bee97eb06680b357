"""Time as tests have it go."""

from __future__ import annotations

from mediasrv.clock import SECOND_US

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class SimulatedClock:
    """Stands still until it is told to go on. `now_s` is monotonic time and `at_us` wall time: either may be set."""

    def __init__(self, wall_us: int = START_US, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self.at_us = wall_us

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.at_us += round(seconds * SECOND_US)

    def monotonic(self) -> float:
        return self.now_s

    def wall_us(self) -> int:
        return self.at_us
