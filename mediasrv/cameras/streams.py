"""Which streams of a camera are recorded, and why another one is not: policy per camera. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mediasrv.errors import CameraError
from mediasrv.media.access_unit import StreamName
from mediasrv.reasons import reason

_RECORDED: Final = {
    "main": frozenset({StreamName.MAIN}),
    "sub": frozenset({StreamName.SUB}),
    "both": frozenset(StreamName),
}


def recorded_streams(row: Mapping[str, Any]) -> frozenset[StreamName]:
    """Those that are recorded, and so pulled always, of the camera with this row of the catalogue."""
    return _RECORDED[row["record_stream"]] if row["record"] else frozenset()


def not_recorded_cause(row: Mapping[str, Any]) -> str:
    """The cause of the gap of a stream that is not among them: a reason code."""
    return "other_stream_recorded" if row["record"] else "not_recording"


def check_streams(has_sub: bool, record_stream: str | None, grid_stream: str | None) -> None:
    """Raises CameraError (`no_substream`) where a choice names a stream that the camera does not have."""
    if not has_sub and (record_stream in ("sub", "both") or grid_stream == "sub"):
        raise CameraError(reason("no_substream").sentence, code="no_substream")
