"""Which streams of a camera are recorded at a moment, and why another one is not: policy per camera. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mediasrv.clock import SECOND_US
from mediasrv.errors import CameraError
from mediasrv.media.access_unit import StreamName
from mediasrv.media.schedule import schedule_of
from mediasrv.reasons import reason
from mediasrv.settings import CONTINUOUS, RecordingPlan, RecordingSettings

AHEAD_US: Final = 60 * SECOND_US
"""A stream is pulled so long before its schedule begins, so that there is footage from the first second on. Schedules
are looked at once a minute.
"""

_CHOSEN: Final = {
    "main": frozenset({StreamName.MAIN}),
    "sub": frozenset({StreamName.SUB}),
    "both": frozenset(StreamName),
}
_NONE: Final[frozenset[StreamName]] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Streams that are `pulled` whether somebody watches or not, those that are `recorded`, and the `cause` of the gap
    of one that is `chosen` and not recorded. `plan` is what the recorder follows; `audio`: with their sound.
    """

    chosen: frozenset[StreamName] = _NONE
    pulled: frozenset[StreamName] = _NONE
    recorded: frozenset[StreamName] = _NONE
    cause: str = "not_recording"
    audio: bool = True
    plan: RecordingPlan = CONTINUOUS

    def cause_of(self, stream: StreamName) -> str:
        """Of the gap of a stream that is not recorded: a reason code."""
        if stream in self.chosen or not self.chosen:
            return self.cause
        return "other_stream_recorded"


def wanted(
    row: Mapping[str, Any], plan: RecordingPlan, hears: bool, place_path: str, now_us: int, settings: RecordingSettings
) -> Wanted:
    """Of the camera with this row of the catalogue, at this moment. One that waits for events which it is known not to
    hear (`hears`) is recorded all the time: nobody could say that there were none.
    """
    chosen = chosen_streams(row["record_stream"], plan)
    audio = records_audio(row["record_audio"], place_path, settings)
    if chosen and settings.attestation == "required" and row["attestation"] is None:
        return Wanted(chosen, cause="attestation_missing", audio=audio)
    if plan.mode == "schedule":
        schedule = schedule_of(plan)
        if not schedule.is_on(now_us):
            pulled = chosen if schedule.is_on(now_us + AHEAD_US) else _NONE
            return Wanted(chosen, pulled, cause="outside_schedule", audio=audio)
    followed = plan if plan.mode == "event" and hears else CONTINUOUS
    return Wanted(chosen, chosen, chosen, audio=audio, plan=followed)


def chosen_streams(record_stream: str, plan: RecordingPlan) -> frozenset[StreamName]:
    """Those that the camera is recorded by, when it is."""
    return _NONE if plan.mode == "off" else _CHOSEN[record_stream]


def records_audio(record_audio: str, place_path: str, settings: RecordingSettings) -> bool:
    """`policy`: as the nearest place says that the settings name, or else the settings themselves."""
    if record_audio != "policy":
        return record_audio == "on"
    for place_id in reversed(place_path.split("/")):
        if place_id in settings.audio_off_places:
            return False
        if place_id in settings.audio_on_places:
            return True
    return settings.audio


def check_streams(has_sub: bool, record_stream: str | None, grid_stream: str | None) -> None:
    """Raises CameraError (`no_substream`) where a choice names a stream that the camera does not have."""
    if not has_sub and (record_stream in ("sub", "both") or grid_stream == "sub"):
        raise CameraError(reason("no_substream").sentence, code="no_substream")


def check_plan(kind: str, plan: RecordingPlan | None) -> None:
    """Raises CameraError (`events_unsupported`) where a plan waits for events that the camera cannot tell."""
    if kind == "rtsp" and plan is not None and plan.mode == "event":
        raise CameraError(reason("events_unsupported").sentence, code="events_unsupported")
