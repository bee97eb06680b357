"""The cameras file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mediasrv.errors import SettingsError
from mediasrv.reasons import reason
from mediasrv.settings.checks import TRANSPORTS
from mediasrv.settings.plans import CONTINUOUS, RecordingPlan, parse_plan
from mediasrv.settings.reading import parse_slice

RECORD_STREAMS: Final = ("main", "sub", "both")
"""What may be recorded of a camera."""
GRID_STREAMS: Final = ("main", "sub")
"""Which of its streams may stand for a camera in grids."""
RECORD_AUDIO: Final = ("policy", "on", "off")
"""Whether a camera's sound is recorded; `policy`: as its place and the settings say."""


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """One camera of config/cameras.toml. Credentials are references (`env:NAME`, `file:PATH`). An empty `grid_stream`
    is the substream where there is one. `attested_by` names who attests that the camera looks into no private room."""

    id: str
    address: str
    name: str = ""
    sub_address: str = ""
    username: str = ""
    password: str = ""
    place: str = ""
    recording: RecordingPlan = CONTINUOUS
    enabled: bool = True
    transport: str = ""
    tls_fingerprint: str = ""
    record_stream: str = "main"
    grid_stream: str = ""
    record_audio: str = "policy"
    attested_by: str = ""


def load_cameras(path: Path) -> tuple[CameraEntry, ...]:
    """The `[[camera]]` tables of a cameras file. Raises SettingsError that names the camera at fault."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The cameras file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise SettingsError(f"{path} is not valid TOML: {broken}.") from broken
    tables = document.get("camera", [])
    if set(document) - {"camera"} or not isinstance(tables, list):
        raise SettingsError(f"{path} may hold [[camera]] tables only.")
    entries = tuple(_camera_entry(table, f"camera {number}") for number, table in enumerate(tables, 1))
    ids = [entry.id for entry in entries]
    doubled = {one for one in ids if ids.count(one) > 1}
    if doubled:
        raise SettingsError(f"{path} has the camera {doubled.pop()} twice.")
    return entries


def _camera_entry(table: Any, where: str) -> CameraEntry:
    if not isinstance(table, Mapping) or "id" not in table or "address" not in table:
        raise SettingsError(f"{where} needs at least an id and an address.")
    plain = {name: value for name, value in table.items() if name != "recording"}
    entry = parse_slice(CameraEntry, plain, f"{where}: ")
    if "recording" in table:
        entry = dataclasses.replace(entry, recording=parse_plan(table["recording"], f"{where}: recording"))
    if entry.password and entry.password.partition(":")[0] not in ("env", "file"):
        raise SettingsError(
            f"{where}: password must be a reference: env:NAME or file:PATH.", code="settings_secret_plain"
        )
    if entry.transport and entry.transport not in TRANSPORTS:
        raise SettingsError(f"{where}: transport must be auto, tcp or udp.")
    _check_streams(entry, where)
    if entry.tls_fingerprint:
        entry = dataclasses.replace(entry, tls_fingerprint=parse_fingerprint(entry.tls_fingerprint))
    return entry


def _check_streams(entry: CameraEntry, where: str) -> None:
    if entry.record_stream not in RECORD_STREAMS:
        raise SettingsError(f"{where}: record_stream must be main, sub or both.")
    if entry.grid_stream and entry.grid_stream not in GRID_STREAMS:
        raise SettingsError(f"{where}: grid_stream must be main or sub.")
    if entry.record_audio not in RECORD_AUDIO:
        raise SettingsError(f"{where}: record_audio must be policy, on or off.")
    if len(entry.attested_by) > 200:
        raise SettingsError(f"{where}: attested_by must be a text of at most 200 characters.")
    is_plain = entry.address.startswith(("rtsp://", "rtsps://"))
    if is_plain and entry.recording.mode == "event":
        raise SettingsError(f"{where}: {reason('events_unsupported').sentence}", code="events_unsupported")
    if is_plain and not entry.sub_address and (entry.record_stream != "main" or entry.grid_stream == "sub"):
        raise SettingsError(
            f"{where}: its streams name the substream, and there is no sub_address.", code="no_substream"
        )


def parse_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as 64 small hex digits; colons and blanks between are no matter. Raises SettingsError."""
    digits = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise SettingsError("A SHA-256 fingerprint has 64 hex digits.")
    return digits
