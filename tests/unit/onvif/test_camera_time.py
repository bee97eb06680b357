"""How far a camera's clock is off: what its whole seconds tell, and what setting it sends."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.clock import SECOND_US, to_us
from mediasrv.onvif.camera_time import (
    READINGS,
    SPACING_S,
    ClockOffset,
    Reading,
    build_date_and_time,
    estimate,
    parse_date_and_time,
)

NOON_US = to_us(datetime(2026, 5, 1, 12, tzinfo=UTC))


def reading(asked_us: int, offset_us: int, there_us: int, back_us: int) -> Reading:
    """As a camera answers that cuts off its fractions of a second."""
    told_us = (asked_us + there_us + offset_us) // SECOND_US * SECOND_US
    return Reading(asked_us, asked_us + there_us + back_us, told_us)


delays = st.integers(0, 400_000)


@given(
    st.integers(-10 * 365 * 86_400, 10 * 365 * 86_400).map(lambda s: s * SECOND_US)
    | st.integers(-5_000_000, 5_000_000),
    st.integers(0, SECOND_US),
    st.lists(st.tuples(delays, delays), min_size=1, max_size=6),
)
def test_the_true_offset_lies_within_the_uncertainty(
    offset_us: int, phase_us: int, ways: list[tuple[int, int]]
) -> None:
    at_us = NOON_US + phase_us
    readings = []
    for there_us, back_us in ways:
        readings.append(reading(at_us, offset_us, there_us, back_us))
        at_us += there_us + back_us + round(SPACING_S * SECOND_US)
    found = estimate(readings)
    assert found is not None
    assert abs(found.offset_s - offset_us / SECOND_US) <= found.uncertainty_s + 0.002


@given(st.integers(0, SECOND_US), st.integers(-5_000_000, 5_000_000))
def test_four_readings_tell_a_quarter_of_a_second(phase_us: int, offset_us: int) -> None:
    step_us = round(SPACING_S * SECOND_US) + 20_000
    found = estimate(reading(NOON_US + phase_us + n * step_us, offset_us, 10_000, 10_000) for n in range(READINGS))
    assert found is not None
    assert found.uncertainty_s < 0.17


def test_one_reading_tells_half_a_second() -> None:
    found = estimate([Reading(NOON_US, NOON_US, NOON_US - 3 * SECOND_US)])
    assert found == ClockOffset(-2.5, 0.5)
    assert estimate([]) is None


def test_a_clock_that_was_set_between_readings_counts_from_then() -> None:
    hour_us = 3600 * SECOND_US
    found = estimate([Reading(NOON_US, NOON_US, NOON_US - hour_us), Reading(NOON_US + 1, NOON_US + 1, NOON_US)])
    assert found is not None
    assert abs(found.offset_s) < 1


@pytest.mark.parametrize(
    ("offset_s", "uncertainty_s", "exceeds"),
    [(1.4, 0.5, False), (-1.4, 0.5, False), (1.6, 0.5, True), (-1.6, 0.5, True), (0.0, 5.0, False)],
)
def test_an_alarm_needs_certainty(offset_s: float, uncertainty_s: float, exceeds: bool) -> None:
    assert ClockOffset(offset_s, uncertainty_s).exceeds(1.0) is exceeds


def told(date: str, time: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        f"<R><SystemDateAndTime><DaylightSavings>true</DaylightSavings><TimeZone><TZ>ICT-7</TZ></TimeZone>"
        f"<UTCDateTime><Date>{date}</Date><Time>{time}</Time></UTCDateTime></SystemDateAndTime></R>"
    )


def test_what_a_camera_tells() -> None:
    date, time = "<Year>2000</Year><Month>1</Month><Day>1</Day>", "<Hour>0</Hour><Minute>0</Minute><Second>60</Second>"
    assert parse_date_and_time(told(date, time)) == to_us(datetime(2000, 1, 1, 0, 0, 59, tzinfo=UTC))
    assert parse_date_and_time(told("", time)) is None
    assert parse_date_and_time(told(date.replace("2000", "999999999"), time)) is None
    assert parse_date_and_time(ElementTree.fromstring("<R/>")) is None


def test_setting_the_clock_keeps_the_time_zone() -> None:
    found = build_date_and_time(told("", ""), NOON_US, ntp=False)
    assert found == {
        "DateTimeType": "Manual",
        "DaylightSavings": True,
        "TimeZone": {"TZ": "ICT-7"},
        "UTCDateTime": {"Time": {"Hour": 12, "Minute": 0, "Second": 0}, "Date": {"Year": 2026, "Month": 5, "Day": 1}},
    }
    assert build_date_and_time(ElementTree.fromstring("<R/>"), NOON_US, ntp=True) == {
        "DateTimeType": "NTP",
        "DaylightSavings": False,
    }
