"""What goes: the plan of retention. Pure, in one pass over a camera's objects, memory does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from mediasrv.catalogue.footage_queries import PlannedRow
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of a camera is kept. 0 means no bound, for age and size.

    Footage within `before_s` before and `after_s` after an event of a kind in `keep_events` (seconds by kind) is kept
    for so long, where that is longer than `max_age_s`; size does not ask for events. Nothing is deleted that is
    younger than `locked_s`: storage would not let it go.
    """

    max_age_s: float
    max_size_bytes: int
    keep_events: tuple[tuple[str, float], ...] = ()
    before_s: float = 0.0
    after_s: float = 0.0
    locked_s: float = 0.0

    def expired_before_us(self, now_us: int) -> int | None:
        """What ended by then is older than the policy allows, events apart; None where age has no bound."""
        return None if not self.max_age_s else now_us - round(max(self.max_age_s, self.locked_s) * SECOND_US)

    def longer_kinds(self) -> tuple[tuple[str, float], ...]:
        """The kinds of events around which footage outlives `max_age_s`."""
        return tuple(one for one in self.keep_events if self.max_age_s and one[1] > self.max_age_s)

    def events_until_s(self) -> float:
        """How long events are kept: as long as footage for their sake. 0: no bound."""
        return max([self.max_age_s, *(seconds for _, seconds in self.longer_kinds())])


class Reason(StrEnum):
    AGE = "age"
    SIZE = "size"
    HELD = "held"
    """It would go, were it not under a hold."""


class Planned(NamedTuple):
    row: PlannedRow
    reason: Reason


def plan(
    rows: Iterable[PlannedRow],
    policy: Policy,
    holds: Sequence[Span],
    now_us: int,
    stored_bytes: int = 0,
    newest: Collection[str] = (),
    events: Mapping[str, Sequence[Span]] | None = None,
) -> Iterator[Planned]:
    """What of a camera's `rows` goes, oldest first: by age, then by size until the rest of `stored_bytes` fits.

    `rows` must come oldest first, and are read no further than something can be due. An object that touches a hold
    never goes, though it counts as stored. Size never takes an object of `newest`, the last of each stream: a bound
    too small for one object must not stop recording from leaving anything. `events` are spans by kind.
    """
    expired_before_us = policy.expired_before_us(now_us)
    free_before_us = now_us - policy.locked_s * SECOND_US if policy.locked_s else math.inf
    excess_bytes = stored_bytes - policy.max_size_bytes if policy.max_size_bytes else 0
    held, keeping = _Sweep(holds), _keeping(policy, events or {}, now_us)
    for row in rows:
        started_us, object_id, ended_us, size_bytes = row
        if expired_before_us is not None and ended_us <= expired_before_us and not _kept(row, keeping):
            reason = Reason.AGE
        elif excess_bytes > 0 and ended_us <= free_before_us and object_id not in newest:
            reason = Reason.SIZE
        elif excess_bytes <= 0 and (expired_before_us is None or started_us > expired_before_us):
            return
        else:
            continue
        if held.touches(started_us, ended_us):
            yield Planned(row, Reason.HELD)
            continue
        excess_bytes -= size_bytes
        yield Planned(row, reason)


class _Sweep:
    """Whether spans touch a set of spans, closed at both ends, for questions whose starts never go back.

    Closed, unlike coverage: a hold that begins where an object ends keeps it.
    """

    __slots__ = ("_at", "_ends", "_starts")

    def __init__(self, spans: Iterable[Span], before_us: int = 0, after_us: int = 0) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._at = 0
        for start_us, end_us in sorted((start - before_us, end + after_us) for start, end in spans):
            if self._ends and start_us <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end_us)
            else:
                self._starts.append(start_us)
                self._ends.append(end_us)

    def touches(self, start_us: int, end_us: int) -> bool:
        at, ends = self._at, self._ends
        while at < len(ends) and ends[at] < start_us:
            at += 1
        self._at = at
        return at < len(ends) and self._starts[at] <= end_us


def _keeping(policy: Policy, events: Mapping[str, Sequence[Span]], now_us: int) -> list[tuple[int, _Sweep]]:
    """For each kind that counts: what ended by when it no longer keeps, and the spans that it keeps."""
    before_us, after_us = round(policy.before_s * SECOND_US), round(policy.after_s * SECOND_US)
    return [
        (now_us - round(seconds * SECOND_US), _Sweep(events.get(kind, ()), before_us, after_us))
        for kind, seconds in policy.longer_kinds()
    ]


def _kept(row: PlannedRow, keeping: Sequence[tuple[int, _Sweep]]) -> bool:
    return any(row.ended_us > bound_us and sweep.touches(row.started_us, row.ended_us) for bound_us, sweep in keeping)
