"""Queries of what an export says beside the footage: whose camera it is, and how its clock stood."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from mediasrv.catalogue.footage_queries import in_span
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import camera, node, place, recording, session
from mediasrv.media.access_unit import StreamRef


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """`places` are names from the centre down to the camera's own place."""

    camera_id: str
    name: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CameraClock:
    """Camera time minus server time in a session, true to within `uncertainty_us`; None where it was never told."""

    offset_us: int | None
    uncertainty_us: int | None


def camera_facts(connection: Connection, camera_id: str) -> CameraFacts | None:
    query = select(camera.c.name, place.c.path).join(place).where(camera.c.camera_id == camera_id)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    ids = found.path.strip("/").split("/")
    rows = connection.execute(select(place.c.place_id, place.c.name).where(place.c.place_id.in_(ids)))
    names = {row.place_id: row.name for row in rows}
    return CameraFacts(camera_id, found.name, tuple(names.get(one, one) for one in ids))


def places_in_sessions(connection: Connection, ref: StreamRef, within: Span) -> dict[str, tuple[str, int]]:
    """Session id and number in it of each stored object of the stream with footage in `within`, by object id."""
    columns = (recording.c.object_id, recording.c.session_id, recording.c.seq)
    rows = connection.execute(select(*columns).where(in_span(ref, within)))
    return {row.object_id: (row.session_id, row.seq) for row in rows}


def camera_clocks(connection: Connection, session_ids: Collection[str]) -> dict[str, CameraClock]:
    """By session id; a session that the catalogue does not know is not among them."""
    columns = (session.c.session_id, session.c.camera_offset_us, session.c.camera_uncertainty_us)
    rows = connection.execute(select(*columns).where(session.c.session_id.in_(session_ids)))
    return {row.session_id: CameraClock(row.camera_offset_us, row.camera_uncertainty_us) for row in rows}


def node_keys(connection: Connection) -> dict[str, bytes]:
    """The registered Ed25519 public key of each node."""
    return {row.node_id: row.public_key for row in connection.execute(select(node.c.node_id, node.c.public_key))}
