"""Access units on their way to a worker: a few under way, some waiting, and a bound to both.

A worker that falls behind loses pictures up to the next keyframe, or the oldest sound; never does anybody wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit, TrackKind

MOST_BEHIND_S: Final = 1.0
MOST_BEHIND_AT_FIRST_S: Final = 3.0
"""A decoder that joins a long GOP is given as long to catch up."""

MOST_WAITING: Final = 1000
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
        self._waiting: deque[AccessUnit] = deque()
        self._needs_keyframe = self._is_video
        self._is_dropping = False
        self._most_behind_s = MOST_BEHIND_AT_FIRST_S

    def restart(self) -> None:
        """Another session: nothing of the one before is wanted any more."""
        self._priming.clear()
        self._waiting.clear()
        self._needs_keyframe, self._is_dropping = self._is_video, False

    def prime(self, cached: Sequence[AccessUnit]) -> None:
        """Begins with what the source has cached. Of pictures all but the newest are needed for decoding only."""
        if not cached:
            return
        self._needs_keyframe = False
        self._priming.extend(cached[:-1] if self._is_video else ())
        self._waiting.extend(cached[-1:] if self._is_video else cached)

    def push(self, unit: AccessUnit) -> None:
        if self._is_video and not self._begins_or_follows(unit):
            return
        while self._is_behind(unit):
            if not self._is_video:
                self._waiting.popleft()
                self.dropped += 1
                continue
            self.dropped += len(self._waiting)
            self.restart()
            self._is_dropping = True
            if not self._begins_or_follows(unit):
                return
        self._waiting.append(unit)

    @property
    def waiting_s(self) -> float:
        """From the first that waits to the newest."""
        if len(self._waiting) < 2:
            return 0.0
        first, last = self._waiting[0], self._waiting[-1]
        return (last.dts - first.dts) / last.format.clock_rate

    def take(self) -> tuple[AccessUnit, bool] | None:
        """The next one and whether it is for decoding only; None while enough are under way, or none waits."""
        if self.under_way >= self._most_under_way or not (self._priming or self._waiting):
            return None
        self.under_way += 1
        if self._priming:
            return self._priming.popleft(), True
        if len(self._waiting) == 1:
            self._most_behind_s = MOST_BEHIND_S
        return self._waiting.popleft(), False

    def consumed(self, units: int) -> None:
        """Raises ProtocolError for more than are under way."""
        if not 0 < units <= self.under_way:
            raise ProtocolError("A worker has done what it was not given.", code="worker_broken")
        self.under_way -= units

    def _begins_or_follows(self, unit: AccessUnit) -> bool:
        if unit.keyframe:
            self._needs_keyframe = self._is_dropping = False
        elif self._needs_keyframe:
            self.dropped += self._is_dropping
        return not self._needs_keyframe

    def _is_behind(self, unit: AccessUnit) -> bool:
        if not self._waiting:
            return False
        behind_s = (unit.dts - self._waiting[0].dts) / unit.format.clock_rate
        return behind_s > self._most_behind_s or len(self._waiting) >= MOST_WAITING
