"""When what a worker makes had arrived: it is as old as what it was made of, however long that took."""

from __future__ import annotations

from collections import deque
from typing import Final

from mediasrv.clock import SECOND_US
from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit

_MOST_KEPT: Final = 4096
_MOST_AHEAD_US: Final = 2 * SECOND_US
"""Pictures are shown by so much later than they are decoded, at most."""


class ArrivalTimes:
    """Of one track and session. Media time and arrival run side by side, so one unit tells for those around it."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int]] = deque(maxlen=_MOST_KEPT)
        self._dts = -1
        self._arrived_us = 0

    def sent(self, unit: AccessUnit) -> None:
        self._sent.append((unit.dts * SECOND_US // unit.format.clock_rate, unit.arrived_us))

    def arrived_us(self, dts: int, clock_rate: int) -> int:
        """Of what was made with this time; never falls. Raises ProtocolError for times that cannot be."""
        sent, at_us = self._sent, dts * SECOND_US // clock_rate
        if dts <= self._dts or not sent or at_us > sent[-1][0] + _MOST_AHEAD_US:
            raise ProtocolError("A worker made something of nothing.", code="worker_broken")
        self._dts = dts
        while len(sent) > 1 and sent[1][0] <= at_us:
            sent.popleft()
        self._arrived_us = max(self._arrived_us, sent[0][1] + at_us - sent[0][0])
        return self._arrived_us
