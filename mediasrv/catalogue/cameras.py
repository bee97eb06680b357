"""Queries of cameras in service and out of it. A row is a dict with the columns of `tables.camera`,
except that times are wall time in microseconds (`created_us`).

A camera's row outlives its service (`removed_at`), as long as its footage may be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, select, update

from mediasrv.catalogue import places
from mediasrv.catalogue.tables import camera
from mediasrv.clock import from_us
from mediasrv.errors import Conflict
from mediasrv.settings import CameraEntry

ATTESTATION_VERSION: Final = 1
"""Of the text that `attested_by` of the cameras file stands for (`cameras.attestation`)."""
_COLUMNS: Final = [column for column in camera.columns if column.name not in ("created_at", "removed_at")]
_CHANGEABLE: Final = frozenset(column.name for column in _COLUMNS) - {"camera_id", "cell", "origin"}


class FileChange(NamedTuple):
    """What `sync_file_cameras` did to a camera, as the access log says it."""

    action: str
    camera_id: str
    detail: Mapping[str, Any]


def list_cameras(connection: Connection) -> list[dict[str, Any]]:
    """Cameras in service, by id."""
    query = select(*_COLUMNS).where(camera.c.removed_at.is_(None)).order_by(camera.c.camera_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def insert_camera(connection: Connection, row: Mapping[str, Any]) -> places.Place:
    """Puts a camera into service; where, is returned. An empty place means the root; columns that may be null may be
    left out.

    Raises Conflict where the id is in use, or was used at another place: who may see the old footage
    there must not see the new camera's, nor the other way round. Raises NotFound for an unknown place.
    """
    place = places.get_place(connection, row["place_id"] or places.ROOT_PLACE_ID)
    values = {column.name: row.get(column.name) if column.nullable else row[column.name] for column in _COLUMNS}
    values |= {"place_id": place.place_id, "created_at": from_us(row["created_us"]), "removed_at": None}
    former = connection.execute(
        select(camera.c.place_id, camera.c.removed_at).where(camera.c.camera_id == row["camera_id"])
    ).one_or_none()
    if former is None:
        connection.execute(insert(camera).values(values))
        return place
    if former.removed_at is None or former.place_id != place.place_id:
        raise Conflict("This camera id is in use, or was at another place.", code="camera_exists")
    connection.execute(update(camera).where(camera.c.camera_id == row["camera_id"]).values(values))
    return place


def update_camera(connection: Connection, camera_id: str, values: Mapping[str, Any]) -> None:
    """Changes columns of a camera; an unknown or lasting column is a programming error."""
    unknown = values.keys() - _CHANGEABLE
    if unknown:
        raise ValueError(f"not to be changed: {', '.join(sorted(unknown))}")
    connection.execute(update(camera).where(camera.c.camera_id == camera_id).values(**values))


def remove_camera(connection: Connection, camera_id: str, removed_us: int) -> None:
    """Takes a camera out of service and forgets how to log in to it; the row and its footage stay."""
    values = {"removed_at": from_us(removed_us), "credentials": None, "credentials_ref": None}
    connection.execute(update(camera).where(camera.c.camera_id == camera_id).values(**values))


def sync_file_cameras(
    connection: Connection, entries: Sequence[CameraEntry], cell: str, default_place: str, now_us: int
) -> list[FileChange]:
    """Makes the cameras of origin `file` equal to `entries`: adds, changes, and takes out what is in them no more.

    A place that is not known yet becomes a site below the root. Raises Conflict where an id belongs to a
    camera that was added through the API, or to another place.
    """
    present = {row["camera_id"]: row for row in list_cameras(connection)}
    synced = [_sync_entry(connection, one, present.get(one.id), cell, default_place, now_us) for one in entries]
    changes = [change for change in synced if change is not None]
    wanted = {entry.id for entry in entries}
    for camera_id, row in present.items():
        if row["origin"] == "file" and camera_id not in wanted:
            remove_camera(connection, camera_id, now_us)
            changes.append(FileChange("camera.removed", camera_id, {}))
    return changes


def _sync_entry(
    connection: Connection,
    entry: CameraEntry,
    present: dict[str, Any] | None,
    cell: str,
    default_place: str,
    now_us: int,
) -> FileChange | None:
    values = _file_values(connection, entry, default_place) | _attested(entry, present, now_us)
    if present is None:
        fresh = {"profile": None, "credentials": None}
        row = fresh | values | {"camera_id": entry.id, "cell": cell, "origin": "file", "created_us": now_us}
        insert_camera(connection, row)
        detail = {"address": entry.address, "place": values["place_id"]}
        attested = {"attested_by": entry.attested_by} if entry.attested_by else {}
        return FileChange("camera.added", entry.id, detail | attested)
    if present["origin"] != "file":
        raise Conflict(f"The camera {entry.id} of the cameras file was added by hand already.", code="camera_exists")
    if values["place_id"] != present["place_id"]:
        raise Conflict(f"The camera {entry.id} cannot move to another place: use another id.", code="camera_exists")
    changed = {name: value for name, value in values.items() if value != present[name]}
    if not changed:
        return None
    forgotten = {"profile": None} if changed.keys() & {"address", "sub_address"} else {}
    update_camera(connection, entry.id, changed | forgotten)
    names = sorted(name.removesuffix("_ref") for name in changed)
    return FileChange("camera.changed", entry.id, {"changed": names})


def _file_values(connection: Connection, entry: CameraEntry, default_place: str) -> dict[str, Any]:
    has_login = bool(entry.username or entry.password)
    return {
        "place_id": _place_for(connection, entry.place or default_place),
        "name": entry.name or entry.id,
        "kind": "rtsp" if entry.address.startswith(("rtsp://", "rtsps://")) else "onvif",
        "address": entry.address,
        "sub_address": entry.sub_address or None,
        "credentials_ref": f"{entry.username}\n{entry.password}" if has_login else None,
        "enabled": entry.enabled,
        "recording": entry.recording.to_json(),
        "record_audio": entry.record_audio,
        "transport": entry.transport or None,
        "tls_fingerprint": entry.tls_fingerprint or None,
        "record_stream": entry.record_stream,
        "grid_stream": entry.grid_stream or "sub",
    }


def _attested(entry: CameraEntry, present: Mapping[str, Any] | None, now_us: int) -> dict[str, Any]:
    """What the file attests, from when it does first. A file that says nothing leaves what was attested on the page."""
    before = present["attestation"] if present is not None else None
    said = {"version": ATTESTATION_VERSION, "by": entry.attested_by}
    if not entry.attested_by or (before is not None and said.items() <= before.items()):
        return {}
    return {"attestation": said | {"at_us": now_us}}


def _place_for(connection: Connection, place_id: str) -> str:
    if not place_id:
        return places.ROOT_PLACE_ID
    if places.find_place(connection, place_id) is None:
        places.add_place(connection, place_id, places.ROOT_PLACE_ID, "site", place_id)
    return place_id
