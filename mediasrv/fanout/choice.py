"""Which of a camera's two streams an `auto` viewer is sent: pure, asked twice a second.

It begins with the substream, which any line carries, and goes up as soon as the line has shown that it carries the main
stream: beside the substream ever more is sent (`wire.probe`), half a second at a time, and each time a round trip must
tell that it does not queue. What is tried is never much more than what was carried, so even a line that is too small
has a short queue from it, and nobody's picture freezes for a trial. Down it goes where the main stream is lost or
queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mediasrv.wire.congestion import Line

_FIRST_HOLD_S: Final = 1.5
_HOLD_S: Final = 8.0
_MOST_HOLD_S: Final = 30.0
_MOST_BLIND_HOLD_S: Final = 240.0
"""How long the substream stays before the next trial: doubled by each that failed. One that cannot go step by step
costs the viewer its picture for a moment, and so comes more seldom.
"""
_PROVED_S: Final = 30.0
"""A main stream that stood so long was no failed trial."""
_SHORT_TIMES: Final = 2
_HOPELESS_LOSS: Final = 0.3

_FIRST_STEP: Final = 2.0
_STEP: Final = 1.4
_FEWEST_ROUND_TRIPS: Final = 2
"""Before, the least of them may itself have a queue in it."""
_ROOM: Final = 1.2
"""What a line must carry of the main stream's rate: keyframes are above the mean."""
_NO_QUEUE_S: Final = 0.05
_TELLING_S: Final = 0.3
"""A round trip tells of a step that had lasted so long when it began: by then a queue is there to be seen."""
_MOST_STEP_S: Final = 3.5
"""A step that no round trip has told of by then is refused."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Bit rates are 0 while unknown. `can_probe`: the viewer takes repair packets; `sent_bps` is what it was sent."""

    on_main: bool
    sent_bps: float
    main_bps: float
    sub_bps: float
    can_probe: bool
    now_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """`probe_bps` is what to send beside the stream of now."""

    main: bool
    probe_bps: float = 0.0


class StreamChoice:
    """One viewer's."""

    def __init__(self, now_s: float) -> None:
        self._hold_s = _HOLD_S
        self._not_before_s = now_s + _FIRST_HOLD_S
        self._moved_s = now_s
        self._short = 0
        self._step = _FIRST_STEP
        self._total_bps = 0.0
        self._began_s = 0.0
        self._on_main = False

    def decide(self, line: Line, at: Situation) -> Choice:
        if at.on_main is not self._on_main:
            self._on_main, self._moved_s = at.on_main, at.now_s
            self._short, self._total_bps = 0, 0.0
        return self._stay_or_fall(line, at) if at.on_main else self._stay_or_rise(line, at)

    def failed(self, now_s: float) -> None:
        """The other stream was not to be had."""
        self._total_bps = 0.0
        self._not_before_s = now_s + self._hold_s

    def _stay_or_fall(self, line: Line, at: Situation) -> Choice:
        self._short = self._short + 1 if line.is_short_of(at.sent_bps) else 0
        if self._short < _SHORT_TIMES and line.loss < _HOPELESS_LOSS:
            return Choice(main=True)
        if at.now_s >= self._not_before_s:  # asked again until the viewer is there, but one fall all the same
            stood_s = at.now_s - self._moved_s
            self._hold_s = _HOLD_S if stood_s > _PROVED_S else self._longer(at.can_probe)
            self._not_before_s = at.now_s + self._hold_s
        return Choice(main=False)

    def _stay_or_rise(self, line: Line, at: Situation) -> Choice:
        if not line.clear:
            self._fail(line, at.now_s)
            return Choice(main=False)
        if at.now_s < self._not_before_s or not at.sub_bps or not at.main_bps or line.round_trips < _FEWEST_ROUND_TRIPS:
            return Choice(main=False)
        return self._try(line, at) if at.can_probe else Choice(main=True)

    def _try(self, line: Line, at: Situation) -> Choice:
        """A step lasts from one asking to the next, and counts when a round trip from within it, or after, is known."""
        if not self._total_bps:
            return self._send_more(at.sub_bps, at)
        if line.answered_at_s < self._began_s + _TELLING_S:
            if at.now_s - self._began_s > _MOST_STEP_S:
                self._fail(line, at.now_s)
            return Choice(main=False)
        if line.queue_s > _NO_QUEUE_S:
            self._fail(line, at.now_s)
            return Choice(main=False)
        if self._total_bps >= _ROOM * at.main_bps:
            return Choice(main=True)
        return self._send_more(self._total_bps, at)

    def _send_more(self, than_bps: float, at: Situation) -> Choice:
        self._total_bps = min(_ROOM * at.main_bps, self._step * than_bps)
        self._began_s = at.now_s
        return Choice(main=False, probe_bps=max(0.0, self._total_bps - at.sub_bps))

    def _fail(self, line: Line, now_s: float) -> None:
        """The line is full: with a trial, the next one comes later and goes more carefully."""
        if self._total_bps:
            self._hold_s = self._longer(can_probe=True)
            line.restart()  # what the trial cost is not the stream's fault
        self._step, self._total_bps = _STEP, 0.0
        self._not_before_s = max(self._not_before_s, now_s + self._hold_s)

    def _longer(self, can_probe: bool) -> float:
        return min(_MOST_HOLD_S if can_probe else _MOST_BLIND_HOLD_S, 2 * self._hold_s)
