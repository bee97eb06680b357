"""When a camera is recorded: its plan, as the cameras file, the API and the catalogue write it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from mediasrv.errors import SettingsError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60
EVENT_KINDS: Final = ("motion", "tamper", "digital_input", "storage")
"""What a camera may tell; the values of `media.camera_event.EventKind`."""
MOST_BEFORE_S: Final = 60.0
MOST_AFTER_S: Final = 3600.0
_MOST_SPANS: Final = 100
_MEMBERS: Final[dict[str, frozenset[str]]] = {
    "continuous": frozenset(),
    "schedule": frozenset({"time_zone", "spans"}),
    "event": frozenset({"kinds", "before_s", "after_s"}),
    "off": frozenset(),
}
MODES: Final = tuple(_MEMBERS)
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)


@dataclass(frozen=True, slots=True)
class PlanSpan:
    """A span of some days of the week, in minutes of the local day. One that ends where it starts, or before, ends on
    the next day; `end_minute` is at most 1440, midnight.
    """

    days: tuple[str, ...]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """`continuous`; `schedule`: in `spans` of the week by the clocks of `time_zone` (IANA); `event`: from `before_s`
    before an event of `kinds` until `after_s` after its end; `off`.
    """

    mode: str = "continuous"
    time_zone: str = ""
    spans: tuple[PlanSpan, ...] = ()
    kinds: tuple[str, ...] = ()
    before_s: float = 0.0
    after_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """What `parse_plan` reads: the mode, and what belongs to it."""
        document: dict[str, Any] = {"mode": self.mode}
        if self.mode == "schedule":
            document |= {"time_zone": self.time_zone, "spans": [_span_json(span) for span in self.spans]}
        elif self.mode == "event":
            document |= {"kinds": list(self.kinds), "before_s": self.before_s, "after_s": self.after_s}
        return document


CONTINUOUS: Final = RecordingPlan()


def parse_plan(document: Any, where: str = "recording") -> RecordingPlan:
    """`where` begins the sentences of SettingsError."""
    if not isinstance(document, Mapping):
        raise SettingsError(f"{where} must be a table with a mode.")
    mode = document.get("mode")
    if mode not in MODES:
        raise SettingsError(f"{where}.mode must be continuous, schedule, event or off.")
    for name in document:
        if name != "mode" and name not in _MEMBERS[mode]:
            raise SettingsError(f"{where}.{str(name)[:40]} does not belong to the mode {mode}.")
    if mode == "schedule":
        return RecordingPlan(mode, _zone(document, where), _spans(document.get("spans"), where))
    if mode == "event":
        before_s = _seconds(document, "before_s", 10.0, MOST_BEFORE_S, where)
        after_s = _seconds(document, "after_s", 30.0, MOST_AFTER_S, where)
        kinds = _chosen(document.get("kinds", ["motion"]), EVENT_KINDS, f"{where}.kinds")
        return RecordingPlan(mode, kinds=kinds, before_s=before_s, after_s=after_s)
    return RecordingPlan(mode)


def _zone(document: Mapping[str, Any], where: str) -> str:
    name = document.get("time_zone")
    try:
        if not isinstance(name, str):
            raise ValueError("no text")
        ZoneInfo(name)
    # KeyError: ZoneInfoNotFoundError; OSError: a folder of the database.
    except (ValueError, KeyError, OSError) as error:
        raise SettingsError(f"{where}.time_zone must be a zone such as Asia/Ho_Chi_Minh.") from error
    return name


def _spans(value: Any, where: str) -> tuple[PlanSpan, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= _MOST_SPANS:
        raise SettingsError(f"{where}.spans must be a list of 1 to {_MOST_SPANS} spans.")
    return tuple(_span(one, f"{where}.spans") for one in value)


def _span(value: Any, where: str) -> PlanSpan:
    if not isinstance(value, Mapping) or set(value) != {"days", "from", "to"}:
        raise SettingsError(f"{where}: each has days, from and to.")
    days = _chosen(value["days"], DAYS, f"{where}: days")
    start, end = _minute(value["from"], where), _minute(value["to"], where)
    if start in (end, DAY_MINUTES):
        raise SettingsError(f"{where}: a span must last some time; a whole day is 00:00 to 24:00.")
    return PlanSpan(days, start, end)


def _minute(value: Any, where: str) -> int:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise SettingsError(f"{where}: times are written 00:00 to 24:00.")
    return int(value[:2]) * 60 + int(value[3:])


def _chosen(value: Any, known: Sequence[str], where: str) -> tuple[str, ...]:
    """Some of `known`, in their order."""
    chosen = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not chosen or any(one not in known for one in chosen):
        raise SettingsError(f"{where} must be a list of some of {', '.join(known)}.")
    return tuple(one for one in known if one in chosen)


def _seconds(document: Mapping[str, Any], name: str, default: float, most: float, where: str) -> float:
    value = document.get(name, default)
    # What is no number is in no range: not even NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise SettingsError(f"{where}.{name} must be a number of seconds from 0 to {most:g}.")
    return float(value)


def _span_json(span: PlanSpan) -> dict[str, Any]:
    return {"days": list(span.days), "from": _clock(span.start_minute), "to": _clock(span.end_minute)}


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
