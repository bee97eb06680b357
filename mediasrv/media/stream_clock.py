"""One RTP time line for a stream that outlives its sessions: viewers stay while a camera reconnects."""

from __future__ import annotations

from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import AccessUnit, Session


class StreamClock:
    """Places access units of one track on a strictly rising time line, in units of `clock_rate`.

    Inside a session media time rules. A new session is anchored where it arrived, by monotonic time, so a step
    of the wall clock cannot throw viewers hours ahead. Audio and video of a stream have a clock each; both are
    anchored to the same arrival times, and `at` ties both to the same wall time, which is what keeps lips in step.
    """

    def __init__(self, clock_rate: int) -> None:
        self._rate = clock_rate
        self._session: Session | None = None
        self._anchor = 0
        self._last: int | None = None
        self._last_arrived_us = 0
        self._last_arrived_s = 0.0

    def place(self, unit: AccessUnit) -> int:
        """The unit's time on the line. Decode time, not presentation time: WebRTC knows no B-frames."""
        arrived_s = arrived_monotonic_s(unit)
        if unit.session is not self._session:
            self._session = unit.session
            self._anchor = round(arrived_s * self._rate) - unit.dts
        timestamp = self._anchor + unit.dts
        if self._last is not None and timestamp <= self._last:
            # The new session arrived faster than its media time says: it goes on right behind the old one.
            self._anchor += self._last + 1 - timestamp
            timestamp = self._last + 1
        self._last, self._last_arrived_us, self._last_arrived_s = timestamp, unit.arrived_us, arrived_s
        return timestamp

    def at(self, now_s: float) -> tuple[int, int] | None:
        """(wall time in microseconds, time on the line) at monotonic `now_s`, for a sender report."""
        if self._last is None:
            return None
        elapsed_s = now_s - self._last_arrived_s
        return self._last_arrived_us + round(elapsed_s * SECOND_US), self._last + round(elapsed_s * self._rate)


def arrived_monotonic_s(unit: AccessUnit) -> float:
    """When the unit's last byte arrived, smoothed, on the monotonic clock."""
    session = unit.session
    return session.started_monotonic + (unit.arrived_us - session.started_us) / SECOND_US
