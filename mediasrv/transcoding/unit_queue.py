"""Access units on their way to a worker: a few under way, some waiting, and a bound to both.

A worker that falls behind loses pictures up to the next keyframe, or the oldest sound; never does anybody wait for it.
What counts is how long an access unit has waited: a network that catches up sends seconds at once, and no worker is
behind for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit, TrackKind

MOST_WAIT_S: Final = 1.0
MOST_WAIT_AT_FIRST_S: Final = 3.0
"""A decoder that joins a long GOP is given as long to catch up."""

MOST_WAITING: Final = 1000
MOST_WAITING_BYTES: Final = 32 * 1024 * 1024
_UNDER_WAY: Final = {TrackKind.VIDEO: 4, TrackKind.AUDIO: 32}
"""As many as keep a worker busy while its answers are read."""


class UnitQueue:
    """Of one track."""

    def __init__(self, kind: TrackKind) -> None:
        self.under_way = 0
        self.dropped = 0
        self._is_video = kind is TrackKind.VIDEO
        self._most_under_way = _UNDER_WAY[kind]
        self._priming: deque[AccessUnit] = deque()
        self._waiting: deque[tuple[AccessUnit, float]] = deque()
        self._waiting_bytes = 0
        self._needs_keyframe = self._is_video
        self._is_dropping = False
        self._most_wait_s = MOST_WAIT_AT_FIRST_S

    @property
    def waiting_s(self) -> float:
        """From the first that waits to the newest, by their own times."""
        if len(self._waiting) < 2:
            return 0.0
        first, last = self._waiting[0][0], self._waiting[-1][0]
        return (last.dts - first.dts) / last.format.clock_rate

    def restart(self) -> None:
        """Another session: nothing of the one before is wanted any more."""
        self._priming.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._needs_keyframe, self._is_dropping = self._is_video, False

    def prime(self, cached: Sequence[AccessUnit], now_s: float) -> None:
        """Begins with what the source has cached. Of pictures all but the newest are needed for decoding only."""
        if self._is_video:
            self._priming.extend(cached[:-1])
            cached = cached[-1:]
        for unit in cached:
            self._needs_keyframe = False
            self._append(unit, now_s)

    def push(self, unit: AccessUnit, now_s: float) -> None:
        if not self._begins_or_follows(unit):
            return
        while self._is_behind(now_s):
            self._drop()
        if self._begins_or_follows(unit):
            self._append(unit, now_s)

    def take(self) -> tuple[AccessUnit, bool] | None:
        """The next one and whether it is for decoding only; None while enough are under way, or none waits."""
        if self.under_way >= self._most_under_way or not (self._priming or self._waiting):
            return None
        self.under_way += 1
        if self._priming:
            return self._priming.popleft(), True
        unit, _ = self._waiting.popleft()
        self._waiting_bytes -= len(unit.payload)
        if not self._waiting:
            self._most_wait_s = MOST_WAIT_S
        return unit, False

    def consumed(self, units: int) -> None:
        """Raises ProtocolError for more than are under way."""
        if not 0 < units <= self.under_way:
            raise ProtocolError("A worker has done what it was not given.", code="worker_broken")
        self.under_way -= units

    def _append(self, unit: AccessUnit, now_s: float) -> None:
        self._waiting.append((unit, now_s))
        self._waiting_bytes += len(unit.payload)

    def _begins_or_follows(self, unit: AccessUnit) -> bool:
        """Whether it can be decoded behind what went before. Counted where that is for a drop."""
        if unit.keyframe:
            self._needs_keyframe = self._is_dropping = False
        elif self._needs_keyframe:
            self.dropped += self._is_dropping
        return not self._needs_keyframe

    def _is_behind(self, now_s: float) -> bool:
        if not self._waiting:
            return False
        late = now_s - self._waiting[0][1] > self._most_wait_s
        return late or len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES

    def _drop(self) -> None:
        """The oldest sound; of pictures all, and what follows up to a keyframe."""
        if not self._is_video:
            self._waiting_bytes -= len(self._waiting.popleft()[0].payload)
            self.dropped += 1
            return
        self.dropped += len(self._waiting)
        self.restart()
        self._is_dropping = True
