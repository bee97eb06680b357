"""How far a camera's clock is off, from answers to GetSystemDateAndTime. Pure.

An answer tells whole seconds, cut off: at some moment between question and answer the camera's time lay between
what it told and a second more. Each answer so bounds the offset (camera minus server) from both sides; several of
them, asked at different parts of the second, bound it to a fraction of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree.ElementTree import Element

from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.onvif.envelope import find, number_of, parse_flag, text_of

READINGS: Final = 4
SPACING_S: Final = 0.27
"""Between readings: four of them fall into each quarter of a second, whatever the part it began with."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer. `asked_us` and `answered_us` are server time, `told_us` camera time."""

    asked_us: int
    answered_us: int
    told_us: int


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Camera time minus server time, true to `uncertainty_s` to either side."""

    offset_s: float
    uncertainty_s: float

    def exceeds(self, limit_s: float) -> bool:
        """Whether the camera's clock is off by more than that for certain."""
        return abs(self.offset_s) - self.uncertainty_s > limit_s


def estimate(readings: Iterable[Reading]) -> ClockOffset | None:
    """What all readings agree on; where they do not (the clock was set in between) what the last ones agree on."""
    least, most = 0, 0
    found = False
    for reading in readings:
        low, high = reading.told_us - reading.answered_us, reading.told_us + SECOND_US - reading.asked_us
        both = (max(least, low), min(most, high)) if found else (low, high)
        least, most = both if both[0] <= both[1] else (low, high)
        found = True
    if not found:
        return None
    return ClockOffset(round((least + most) / 2 / SECOND_US, 3), round((most - least) / 2 / SECOND_US, 3))


def parse_date_and_time(answer: Element) -> int | None:
    """The UTC time of a GetSystemDateAndTime answer in microseconds since 1970; None where it tells none."""
    told = find(answer, "SystemDateAndTime", "UTCDateTime")
    if told is None:
        return None
    year, month, day = (int(number_of(told, "Date", name)) for name in ("Year", "Month", "Day"))
    hour, minute, second = (int(number_of(told, "Time", name)) for name in ("Hour", "Minute", "Second"))
    try:
        # A leap second, and cameras that count to 60 without one.
        return to_us(datetime(year, month, day, hour, minute, min(59, second), tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def build_date_and_time(told: Element, wall_us: int, *, ntp: bool) -> Mapping[str, Any]:
    """Parameters of SetSystemDateAndTime: our time, or that the camera takes it by NTP; time zone as it `told`."""
    settings = find(told, "SystemDateAndTime")
    zone = text_of(settings, "TimeZone", "TZ")
    parameters: dict[str, Any] = {
        "DateTimeType": "NTP" if ntp else "Manual",
        "DaylightSavings": bool(parse_flag(text_of(settings, "DaylightSavings"))),
    }
    if zone:
        parameters["TimeZone"] = {"TZ": zone}
    if not ntp:
        now = from_us(wall_us)
        parameters["UTCDateTime"] = {
            "Time": {"Hour": now.hour, "Minute": now.minute, "Second": now.second},
            "Date": {"Year": now.year, "Month": now.month, "Day": now.day},
        }
    return parameters
