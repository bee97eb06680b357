"""Whether a moment lies in the spans of a week. Pure.

A schedule is by the clock on the wall of its zone: an hour that a change to summer time skips is in no span, one that
comes twice is in its span both times.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from mediasrv.clock import from_us
from mediasrv.settings.plans import DAY_MINUTES, DAYS, RecordingPlan

_WEEK_MINUTES: Final = len(DAYS) * DAY_MINUTES


class Schedule:
    """Of a plan of the mode `schedule`."""

    def __init__(self, plan: RecordingPlan) -> None:
        self._zone = ZoneInfo(plan.time_zone)
        self._minutes = bytearray(_WEEK_MINUTES)
        for span in plan.spans:
            lasts = (span.end_minute - span.start_minute) % DAY_MINUTES or DAY_MINUTES
            for day in span.days:
                start = DAYS.index(day) * DAY_MINUTES + span.start_minute
                for minute in range(start, start + lasts):
                    self._minutes[minute % _WEEK_MINUTES] = 1

    def is_on(self, at_us: int) -> bool:
        """At this wall time, in microseconds since 1970."""
        local = from_us(at_us).astimezone(self._zone)
        return bool(self._minutes[local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute])


@lru_cache(maxsize=4096)
def schedule_of(plan: RecordingPlan) -> Schedule:
    """Many cameras share a plan; none of them wants it counted out anew."""
    return Schedule(plan)
