"""A camera's time: a crystal that may drift, and a wall clock that may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime


class CameraClock:
    """Seconds since the camera started, by its own crystal, and what its wall clock shows.

    Loop times are those of the event loop (true, monotonic); `offset_s` is the camera's wall clock minus the true time.
    """

    def __init__(self, loop_time: float, wall_s: float, offset_s: float) -> None:
        self.offset_s = offset_s
        self._anchor_time, self._anchor_s = loop_time, 0.0
        self._rate = 1.0
        self._started_time, self._started_wall_s = loop_time, wall_s

    @property
    def drift_ppm(self) -> float:
        return (self._rate - 1) * 1e6

    def set_drift(self, ppm: float, loop_time: float) -> None:
        """From now on a true second counts as one and so many millionths; more is faster. Above -1,000,000."""
        self._anchor_s, self._anchor_time = self.elapsed_s(loop_time), loop_time
        self._rate = 1 + ppm / 1e6

    def elapsed_s(self, loop_time: float) -> float:
        return self._anchor_s + (loop_time - self._anchor_time) * self._rate

    def due(self, elapsed_s: float) -> float:
        """The loop time at which the crystal counts `elapsed_s`."""
        return self._anchor_time + (elapsed_s - self._anchor_s) / self._rate

    def true_wall_s(self, elapsed_s: float) -> float:
        return self._started_wall_s + self.due(elapsed_s) - self._started_time

    def shown_wall_s(self, elapsed_s: float) -> float:
        """What the camera's wall clock, which runs by the same crystal, shows then."""
        return self._started_wall_s + elapsed_s + self.offset_s

    def show(self, wall_s: float, loop_time: float) -> None:
        """Sets the camera's wall clock."""
        self.offset_s += wall_s - self.shown_wall_s(self.elapsed_s(loop_time))

    def now(self, loop_time: float) -> datetime:
        return datetime.fromtimestamp(self.shown_wall_s(self.elapsed_s(loop_time)), UTC)
