"""What must be true of footage after any fault, whoever made it.

What is played back is held against what the simulated cameras say they sent, against what the server had said was
locally durable, and against the gaps of the timeline.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from load_tests.camera_farm.counters import Counter, verify
from load_tests.camera_farm.process import expected_counters
from load_tests.readback import PlayedUnit
from load_tests.timeline import Gap, TimeLine
from mediasrv.clock import from_us

READ: Final = timedelta(seconds=0.15)
"""An arrival lies up to so much after the sending: `pull.gather_s`, and a machine that is busy."""

REFUSED: Final = frozenset({"spool_full", "spool_failed"})
"""Causes of gaps in the middle of a session: what came meanwhile was never called durable, and was not taken."""

NOT_PROMISED: Final = REFUSED | {"clock_step", "waiting_keyframe", "stream_damaged"}
"""With those that come between footage and footage of one RTSP session: a promise about what came later is none
about them.
"""

LOST_MOST_S: Final = 1.0

STEPPED_BACK: Final = timedelta(seconds=2)
"""What comes between a clock that was set back and the next keyframe is of a time that has footage already, as a rule:
it has no gap of its own (docs/limits.md).
"""

Clocks = Callable[[datetime], timedelta]


@dataclass(frozen=True, slots=True)
class Promise:
    """The server once said that a camera's footage was locally durable until then, by the cameras' clock."""

    camera_id: str
    until: datetime


@dataclass(slots=True)
class Reckoning:
    """What became of the access units of some cameras. `ok` when nothing is wrong."""

    sent: int = 0
    kept: int = 0
    broken_promises: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    out_of_order: int = 0
    badly_signed: int = 0
    unexplained: list[str] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)
    causes: Counted[str] = field(default_factory=Counted)
    """Access units that are not there, by the cause of their gap."""
    worst_lost_s: float = 0.0
    """Sent to the server and not kept, the worst of all sessions; without what the spool had refused."""

    @property
    def ok(self) -> bool:
        wrong = (self.broken_promises, self.doubled, self.out_of_order, self.badly_signed)
        return not (any(wrong) or self.unexplained or self.holes) and self.kept > 0

    def __add__(self, other: Reckoning) -> Reckoning:
        total = Reckoning(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))
        total.worst_lost_s = max(self.worst_lost_s, other.worst_lost_s)
        return total

    def as_json(self) -> dict[str, Any]:
        return {
            "access_units_sent": self.sent,
            "access_units_kept": self.kept,
            "lost": self.sent - self.kept,
            "lost_by_cause": dict(self.causes),
            "broken_promises": self.broken_promises,
            "doubled": self.doubled,
            "out_of_order": self.out_of_order,
            "badly_signed": self.badly_signed,
            "unexplained": self.unexplained,
            "holes": self.holes,
            "worst_lost_s": self.worst_lost_s,
        }


def reckon(
    camera_id: str,
    units: Iterable[PlayedUnit],
    sessions: Sequence[dict[str, Any]],
    key: bytes,
    line: TimeLine,
    promises: Sequence[Promise],
    rate: float,
    ahead: Clocks,
) -> Reckoning:
    """Holds one camera's main stream against all that is known of it.

    `sessions` is the farm's log, whose last entries must have become durable since it was read. `ahead` is by how much
    the server's clock was ahead of the cameras' at a time of theirs.
    """
    result, played = Reckoning(), dict[str, list[Counter]]()
    for unit in units:
        if unit.counter is None or not verify(unit.counter, key):
            result.badly_signed += 1
        else:
            played.setdefault(unit.counter.run, []).append(unit.counter)
    slack = timedelta(seconds=1 / rate) + READ
    untils = [one.until for one in promises if one.camera_id == camera_id]
    for number, log in enumerate(sessions):
        until = _promised(log, sessions[number + 1 :], untils)
        _reckon_session(result, camera_id, log, played.get(log["run"], []), line, until, rate, slack, ahead)
    result.holes += _holes(camera_id, line, 1.5 * slack)
    return result


def _promised(log: dict[str, Any], later: Sequence[dict[str, Any]], untils: Sequence[datetime]) -> datetime | None:
    """The latest promise about this session: after its start, before that of the next."""
    start = from_us(log["started_us"])
    end = from_us(later[0]["started_us"]) if later else None
    return max((one for one in untils if one > start and (end is None or one < end)), default=None)


def _reckon_session(
    result: Reckoning,
    camera_id: str,
    log: dict[str, Any],
    of_run: Sequence[Counter],
    line: TimeLine,
    promised: datetime | None,
    rate: float,
    slack: timedelta,
    ahead: Clocks,
) -> None:
    first, last = log["first"], log["last"]
    mine = [one for one in of_run if first is not None and first <= one.counter <= last]
    kept = sorted({one.counter: one for one in mine}.values(), key=lambda one: one.counter)
    there = {one.counter for one in kept}
    expected = expected_counters(log)
    result.sent += len(expected)
    result.kept += len(there.intersection(expected))
    # Playback is in the order of the server's clock: where that was set, in another one than pictures were taken in.
    if not any(ahead(_at(one)) for one in of_run):
        result.out_of_order += sum(later.counter < earlier.counter for earlier, later in pairwise(mine))
    result.doubled += [
        f"{camera_id} {number} {times} times"
        for number, times in Counted(one.counter for one in mine).items()
        if times > 1
    ]
    lost = 0
    for number in (number for number in expected if number not in there):
        at = _when(number, kept, log, rate)
        stepped_back = ahead(at + slack) < ahead(at - STEPPED_BACK)
        cause = "clock_step" if stepped_back else _cause(at + ahead(at), line.gaps, slack)
        result.causes[cause or "none"] += 1
        lost += cause not in REFUSED
        what = f"{camera_id} {number} of {at:%H:%M:%S.%f}"
        if cause is None:
            result.unexplained.append(what)
        if promised is not None and at < promised - slack and cause not in NOT_PROMISED:
            result.broken_promises.append(f"{what}, promised until {promised:%H:%M:%S.%f}")
    result.worst_lost_s = max(result.worst_lost_s, lost / rate)


def _at(one: Counter) -> datetime:
    return from_us(one.wall_us)


def _when(number: int, kept: Sequence[Counter], log: dict[str, Any], rate: float) -> datetime:
    """When the camera sent an access unit that is lost: reckoned from the nearest one before it that is kept."""
    if not kept:
        return from_us(log["started_us"]) + timedelta(seconds=(number - log["first"]) / rate)
    at = max(0, bisect_left(kept, number, key=lambda one: one.counter) - 1)
    return from_us(kept[at].wall_us) + timedelta(seconds=(number - kept[at].counter) / rate)


def _cause(at: datetime, gaps: Sequence[Gap], slack: timedelta) -> str | None:
    return next((gap.cause for gap in gaps if gap.start - slack <= at <= gap.end + slack), None)


def _holes(camera_id: str, line: TimeLine, tolerance: timedelta) -> list[str]:
    holes: list[str] = []
    until: datetime | None = None
    for started, ended in sorted([*line.coverage, *((gap.start, gap.end) for gap in line.gaps)]):
        if until is not None and started - until > tolerance:
            holes.append(f"{camera_id} {until:%H:%M:%S.%f} to {started:%H:%M:%S.%f}")
        until = ended if until is None else max(until, ended)
    return holes
