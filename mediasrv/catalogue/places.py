"""Queries of the tree of places: centre > province > district > site.

A place's `path` is the ids from the root, a slash after each, so that "within" is a prefix test
(security/places.py) and an index can answer it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select

from mediasrv.catalogue.tables import camera, place
from mediasrv.clock import to_us
from mediasrv.errors import Conflict, NotFound

ROOT_PLACE_ID: Final = "root"
LEVELS: Final = ("centre", "province", "district", "site")
_PLACES: Final = select(place.c.place_id, place.c.parent_id, place.c.level, place.c.name, place.c.path)


@dataclass(frozen=True, slots=True)
class Place:
    """A node of the tree; `parent_id` is None for the root alone."""

    place_id: str
    parent_id: str | None
    level: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class CameraPlace:
    """Where a camera belongs. `removed_us` is set for one out of service, whose footage may still be seen."""

    place_id: str
    path: str
    removed_us: int | None


def ensure_root(connection: Connection) -> Place:
    """The root place, made at the first start."""
    found = find_place(connection, ROOT_PLACE_ID)
    if found is None:
        found = Place(ROOT_PLACE_ID, None, LEVELS[0], "Trung tâm", f"{ROOT_PLACE_ID}/")
        _insert(connection, found)
    return found


def find_place(connection: Connection, place_id: str) -> Place | None:
    row = connection.execute(_PLACES.where(place.c.place_id == place_id)).one_or_none()
    return None if row is None else Place(*row)


def get_place(connection: Connection, place_id: str) -> Place:
    """Raises NotFound `place_not_found`."""
    found = find_place(connection, place_id)
    if found is None:
        raise NotFound("There is no such place.", code="place_not_found")
    return found


def list_places(connection: Connection) -> list[Place]:
    """All places, parents before children."""
    return [Place(*row) for row in connection.execute(_PLACES.order_by(place.c.path))]


def add_place(connection: Connection, place_id: str, parent_id: str, level: str, name: str) -> Place:
    """Raises NotFound for an unknown parent and Conflict for an id in use."""
    parent = get_place(connection, parent_id)
    if find_place(connection, place_id) is not None:
        raise Conflict("There is a place of this id already.", code="place_exists")
    added = Place(place_id, parent_id, level, name, f"{parent.path}{place_id}/")
    _insert(connection, added)
    return added


def place_of_camera(connection: Connection, camera_id: str) -> CameraPlace | None:
    """None for a camera that this catalogue has never known."""
    query = (
        select(camera.c.place_id, place.c.path, camera.c.removed_at)
        .join(place, place.c.place_id == camera.c.place_id)
        .where(camera.c.camera_id == camera_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return CameraPlace(row.place_id, row.path, None if row.removed_at is None else to_us(row.removed_at))


def paths_of_cameras(connection: Connection, camera_id: str | None = None) -> dict[str, str]:
    """The place path of each camera ever added, those out of service too; or of one."""
    query = select(camera.c.camera_id, place.c.path).join(place, place.c.place_id == camera.c.place_id)
    if camera_id is not None:
        query = query.where(camera.c.camera_id == camera_id)
    return {row.camera_id: row.path for row in connection.execute(query)}


def _insert(connection: Connection, added: Place) -> None:
    connection.execute(
        insert(place).values(
            place_id=added.place_id, parent_id=added.parent_id, level=added.level, name=added.name, path=added.path
        )
    )
