"""Where on a session's time line a sample lies, when samples come in access units and leave in others."""

from __future__ import annotations

from collections import deque


class SampleTimes:
    """Times by the number of a sample. Both count at the same rate, though they need not run in step.

    An access unit says when its first sample is; what lies inside follows by counting. So whatever the camera's clock
    does, and whatever is missing, an error lives no longer than an access unit.
    """

    def __init__(self) -> None:
        self._begins: deque[tuple[int, int]] = deque()
        self._last = -1

    def begin(self, sample: int, time: int) -> None:
        """An access unit whose first sample has this number begins at this time. Numbers never fall."""
        self._begins.append((sample, time))

    def take(self, sample: int, least_step: int = 1) -> int:
        """The time of a sample not before the last that was taken; rises by `least_step` at least from call to call."""
        begins = self._begins
        while len(begins) > 1 and begins[1][0] <= sample:
            begins.popleft()
        first, time = begins[0]
        self._last = max(self._last + least_step, time + sample - first)
        return self._last
