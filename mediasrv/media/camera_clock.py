"""How far a camera's clock is from the server's, out of many observations that each leave some room."""

from __future__ import annotations

from typing import Final

MOST_DRIFT: Final = 100e-6
"""By how much a camera's clock may run differently; what was known of it grows wider by that."""


class CameraClock:
    """Camera time minus server time, as the range in which all observations agree.

    A report that was on its way for an unknown while says only between which bounds the offset lies. The bounds of
    several reports lie differently, so what they have in common is narrower. Where they have nothing in common, the
    camera's clock was set, and only the newest counts.
    """

    def __init__(self) -> None:
        self._low_us = 0.0
        self._high_us = 0.0
        self._observed_at: float | None = None

    def observe(self, now: float, low_us: float, high_us: float) -> None:
        """The offset lies between `low_us` and `high_us` at `now` (monotonic seconds)."""
        if self._observed_at is not None:
            drift_us = (now - self._observed_at) * MOST_DRIFT * 1e6
            common = max(low_us, self._low_us - drift_us), min(high_us, self._high_us + drift_us)
            if common[0] <= common[1]:
                low_us, high_us = common
        self._low_us, self._high_us, self._observed_at = low_us, high_us, now

    @property
    def offset_us(self) -> int | None:
        """The middle of the range; None before the first observation."""
        return None if self._observed_at is None else round((self._low_us + self._high_us) / 2)

    @property
    def uncertainty_us(self) -> int | None:
        """Half its width."""
        return None if self._observed_at is None else round((self._high_us - self._low_us) / 2)
