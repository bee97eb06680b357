"""The three clocks, never mixed: media time lives in `media/`, monotonic and wall time come from here.

Wall time in the media path is an `int` of microseconds since 1970-01-01 UTC (names end in `_us`);
in the catalogue and the API it is an aware UTC `datetime` (names end in `_at`).
Pure code takes times as arguments; a shell is handed a `Clock`, so that tests can hold time still.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Source of monotonic and wall time."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never steps."""

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC; may step when the machine's clock is set."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def wall_us() -> int:
        return time.time_ns() // 1000


def from_us(wall_us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC datetime, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=wall_us)


def to_us(at: datetime) -> int:
    """An aware datetime as microseconds since 1970; raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a datetime without a zone has no place on the time line")
    return (at - _EPOCH) // timedelta(microseconds=1)
