"""Whether the wall clock may be acted upon: one that is a year ahead must not empty the archive. Pure."""

from __future__ import annotations

from typing import Final

from mediasrv.clock import SECOND_US

SETTLE_S: Final = 86_400
"""A jump of the clock that nobody took back for so long is taken as the truth (a machine that was suspended)."""


class ClockGuard:
    """Says by how much wall time has jumped against monotonic time. Pure: both are arguments."""

    def __init__(self, jump_s: float, wall_us: int, monotonic: float, settle_s: float = SETTLE_S) -> None:
        self._jump_us = jump_s * SECOND_US
        self._settle_s = settle_s
        self._trusted_us = _offset_us(wall_us, monotonic)
        self._jumped_to_us = 0.0
        self._jumped_at: float | None = None

    def jumped_s(self, wall_us: int, monotonic: float) -> float:
        """Seconds of a jump beyond the bound that has not settled, or 0.0: wall time may be acted upon."""
        offset_us = _offset_us(wall_us, monotonic)
        jump_us = offset_us - self._trusted_us
        if abs(jump_us) <= self._jump_us:
            self._jumped_at = None
            return 0.0
        if self._jumped_at is None or abs(offset_us - self._jumped_to_us) > SECOND_US:
            self._jumped_to_us, self._jumped_at = offset_us, monotonic
        if monotonic - self._jumped_at >= self._settle_s:
            self._trusted_us, self._jumped_at = offset_us, None
            return 0.0
        return jump_us / SECOND_US


def _offset_us(wall_us: int, monotonic: float) -> float:
    return wall_us - monotonic * SECOND_US
