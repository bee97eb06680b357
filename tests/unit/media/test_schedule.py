"""A schedule by the clock on the wall, against an oracle that looks at each span of each day anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediasrv.clock import from_us, to_us
from mediasrv.media.schedule import Schedule
from mediasrv.settings.plans import DAY_MINUTES, DAYS, PlanSpan, RecordingPlan

ZONES = ("Asia/Ho_Chi_Minh", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "UTC")
_FIRST_US, _LAST_US = to_us(datetime(2010, 1, 1, tzinfo=UTC)), to_us(datetime(2040, 1, 1, tzinfo=UTC))


@st.composite
def spans(draw: st.DrawFn) -> PlanSpan:
    days = draw(st.sets(st.sampled_from(DAYS), min_size=1))
    start = draw(st.integers(0, DAY_MINUTES - 1))
    end = draw(st.integers(0, DAY_MINUTES).filter(lambda minute: minute != start))
    return PlanSpan(tuple(day for day in DAYS if day in days), start, end)


def naive(plan: RecordingPlan, at_us: int) -> bool:
    """By the wall's clock as a naive time: whether a span that began today or yesterday has not ended."""
    wall = from_us(at_us).astimezone(ZoneInfo(plan.time_zone)).replace(tzinfo=None)
    for back in (0, 1):
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=back)
        for span in plan.spans:
            start = midnight + timedelta(minutes=span.start_minute)
            end = midnight + timedelta(minutes=span.end_minute)
            if span.end_minute <= span.start_minute:
                end += timedelta(days=1)
            if DAYS[midnight.weekday()] in span.days and start <= wall < end:
                return True
    return False


@given(
    st.sampled_from(ZONES),
    st.lists(spans(), min_size=1, max_size=4),
    st.integers(_FIRST_US, _LAST_US),
)
@example("Europe/Berlin", [PlanSpan(("sun",), 150, 180)], to_us(datetime(2026, 10, 25, 0, 45, tzinfo=UTC)))
@example("UTC", [PlanSpan(("sun",), 22 * 60, 6 * 60)], to_us(datetime(2026, 3, 2, 5, 59, 59, tzinfo=UTC)))
@example("UTC", [PlanSpan(("mon",), 0, 1440)], to_us(datetime(2026, 3, 3, tzinfo=UTC)))
def test_each_instant_is_on_or_off_as_the_wall_clock_says(zone: str, chosen: list[PlanSpan], at_us: int) -> None:
    plan = RecordingPlan("schedule", zone, tuple(chosen))
    assert Schedule(plan).is_on(at_us) == naive(plan, at_us)


@pytest.mark.parametrize(
    ("span", "day", "on_minutes"),
    [
        # In Berlin the clock goes from 2:00 to 3:00 on that day, and from 3:00 back to 2:00 on the other.
        (PlanSpan(("sun",), 120, 180), datetime(2026, 3, 29, tzinfo=UTC), 0),
        (PlanSpan(("sun",), 90, 210), datetime(2026, 3, 29, tzinfo=UTC), 60),
        (PlanSpan(("sun",), 120, 180), datetime(2026, 10, 25, tzinfo=UTC), 120),
        (PlanSpan(("sun",), 120, 180), datetime(2026, 11, 1, tzinfo=UTC), 60),
        (PlanSpan(DAYS, 0, 1440), datetime(2026, 10, 25, tzinfo=UTC), 24 * 60),
    ],
)
def test_an_hour_that_is_skipped_is_in_no_span_and_one_that_comes_twice_counts_twice(
    span: PlanSpan, day: datetime, on_minutes: int
) -> None:
    schedule = Schedule(RecordingPlan("schedule", "Europe/Berlin", (span,)))
    minutes = (to_us(day + timedelta(minutes=minute)) for minute in range(DAY_MINUTES))
    assert sum(map(schedule.is_on, minutes)) == on_minutes
