"""Which gap rows follow from what happens to a stream. Pure: times are arguments, changes are returned.

An outage begins where footage ends and lasts until footage begins again. It has one cause after the
other (`camera_lost`, then `waiting_keyframe`, …), each a gap row; together they leave neither hole nor overlap.
A whole outage shorter than one and a half access units is none: that is how pictures follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLOCK_WENT_BACK_US: Final = 1_000_000
"""Footage that begins so long before the last one ended was recorded by a clock that was set back since."""

STAYING_CAUSES: Final = frozenset(
    {"not_recording", "other_stream_recorded", "camera_removed", "camera_disabled", "attestation_missing"}
)
"""Causes that do not become `server_down` while the server is: nobody wanted footage then."""

PLANNED_CAUSES: Final = frozenset({"outside_schedule", "no_event", "attestation_missing"})
"""Causes of a stream that is meant to be recorded, though not at this moment. Of the first two nobody knows how they
would have gone on while the server was down: the schedule may have begun, an event may have come.
"""

UNWANTED_CAUSES: Final = STAYING_CAUSES | PLANNED_CAUSES
"""Causes that end where recording is switched on, whether footage comes then or not."""


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap that has not ended; `outage_us` is where its outage began, with this or another cause."""

    started_us: int
    cause: str
    outage_us: int


@dataclass(frozen=True, slots=True)
class GapOpened:
    started_us: int
    cause: str


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """The rows of the outage that began at `since_us` end at `at_us`; those that would begin later, or then, go."""

    since_us: int
    at_us: int


GapChange = GapOpened | OutageEnded


class GapLedger:
    """The gaps of one stream that is meant to be recorded."""

    def __init__(self, covered_until_us: int | None = None, gap: OpenGap | None = None) -> None:
        self.covered_until_us = covered_until_us
        self.gap = gap

    def outage(self, at_us: int, cause: str) -> list[GapChange]:
        """There is no footage from the last one on, because of `cause`; or from `at_us` on because of another one."""
        if self.gap is None:
            started_us = at_us if self.covered_until_us is None else self.covered_until_us
            self.gap = OpenGap(started_us, cause, started_us)
            return [GapOpened(started_us, cause)]
        if self.gap.cause == cause:
            return []
        started_us, since_us = max(at_us, self.gap.started_us), self.gap.outage_us
        self.gap = OpenGap(started_us, cause, since_us)
        return [OutageEnded(since_us, started_us), GapOpened(started_us, cause)]

    def covered(self, started_us: int, ended_us: int, unit_us: int) -> list[GapChange]:
        """Footage from `started_us` to `ended_us` came, in access units of about `unit_us`."""
        changes: list[GapChange] = []
        if self.gap is None and self._leaves_hole(started_us, unit_us):
            changes += self.outage(started_us, "stream_damaged")
        if self.gap is not None:
            since_us, self.gap = self.gap.outage_us, None
            changes.append(OutageEnded(since_us, since_us if started_us - since_us < 1.5 * unit_us else started_us))
        self._advance(started_us, ended_us)
        return changes

    def _leaves_hole(self, started_us: int, unit_us: int) -> bool:
        return self.covered_until_us is not None and started_us - self.covered_until_us > 1.5 * unit_us

    def _advance(self, started_us: int, ended_us: int) -> None:
        until_us = self.covered_until_us
        clock_went_back = until_us is not None and started_us < until_us - CLOCK_WENT_BACK_US
        self.covered_until_us = ended_us if until_us is None or clock_went_back else max(until_us, ended_us)


def gaps_after_restart(
    gap: OpenGap | None, footage_us: tuple[int, int] | None, alive_until_us: int
) -> tuple[GapLedger, list[GapChange]]:
    """What becomes of a stream that was to be recorded when the server went down.

    `gap` is the row it left open; `footage_us` the span of durable footage after that gap began, or of all
    that is known where there is none; `alive_until_us` when the server was last seen alive. The time since
    belongs to `server_down`, unless nobody wanted footage.
    """
    ledger = GapLedger(None, gap)
    changes: list[GapChange] = []
    if gap is not None and footage_us is not None and footage_us[1] > gap.started_us:
        # Footage came, but the row could not be ended any more.
        changes += ledger.covered(*footage_us, unit_us=0)
    elif footage_us is not None:
        ledger.covered_until_us = footage_us[1]
    if ledger.gap is None or ledger.gap.cause not in STAYING_CAUSES:
        changes += ledger.outage(alive_until_us, "server_down")
    return ledger, changes
