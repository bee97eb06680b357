"""Cameras and places in the catalogue: lasting ids, the cameras file, places."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from mediasrv.catalogue import Catalogue, cameras, places
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.tables import camera
from mediasrv.errors import Conflict, NotFound
from mediasrv.settings import CameraEntry, RecordingPlan
from tests.databases import url_for

NOW = 1_767_225_600_000_000


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = url_for(tmp_path)
    upgrade(url)
    catalogue = Catalogue(url)
    with catalogue.engine.begin() as made:
        places.add_place(made, "north", "root", "province", "Bắc")
        yield made
    catalogue.close()


def row(camera_id: str = "gate-1", **values: Any) -> dict[str, Any]:
    made = {column.name: None for column in cameras._COLUMNS} | {
        "camera_id": camera_id,
        "cell": "cell-1",
        "place_id": "",
        "name": "Cổng",
        "kind": "rtsp",
        "address": "rtsp://192.0.2.1/a",
        "origin": "api",
        "enabled": True,
        "recording": {"mode": "continuous"},
        "record_audio": "policy",
        "record_stream": "main",
        "grid_stream": "sub",
        "created_us": NOW,
    }
    return made | values


def sync(connection: Connection, *entries: CameraEntry, now_us: int = NOW) -> list[dict[str, Any]]:
    cameras.sync_file_cameras(connection, entries, "cell-1", "", now_us)
    return cameras.list_cameras(connection)


# --- cameras -------------------------------------------------------------------------------------


def test_a_camera_is_kept_as_it_was_given(connection: Connection) -> None:
    profile = {"main": {"url": "rtsp://192.0.2.1/a"}, "explanation_vi": "Địa chỉ"}
    cameras.insert_camera(connection, row(profile=profile, credentials=b"\x00sealed", place_id="north"))
    (found,) = cameras.list_cameras(connection)
    assert found["profile"] == profile
    assert (found["credentials"], found["place_id"], found["enabled"]) == (b"\x00sealed", "north", True)


def test_an_id_in_use_or_an_unknown_place_is_refused(connection: Connection) -> None:
    cameras.insert_camera(connection, row())
    with pytest.raises(Conflict):
        cameras.insert_camera(connection, row())
    with pytest.raises(NotFound):
        cameras.insert_camera(connection, row("gate-2", place_id="nowhere"))


def test_changes_reach_only_what_may_change(connection: Connection) -> None:
    cameras.insert_camera(connection, row())
    cameras.update_camera(connection, "gate-1", {"name": "Sân", "enabled": False, "transport": "udp"})
    (found,) = cameras.list_cameras(connection)
    assert (found["name"], found["enabled"], found["transport"]) == ("Sân", False, "udp")
    for lasting in ("camera_id", "cell", "origin", "created_at", "nonsense"):
        with pytest.raises(ValueError, match=lasting):
            cameras.update_camera(connection, "gate-1", {lasting: "x"})


def test_a_removed_camera_keeps_its_place_and_loses_its_credentials(connection: Connection) -> None:
    cameras.insert_camera(connection, row(place_id="north", credentials=b"x", credentials_ref="a\nenv:B"))
    cameras.remove_camera(connection, "gate-1", NOW + 5)
    assert cameras.list_cameras(connection) == []
    assert places.place_of_camera(connection, "gate-1") == places.CameraPlace("north", "root/north/", NOW + 5)
    kept = connection.execute(select(camera.c.credentials, camera.c.credentials_ref)).one()
    assert tuple(kept) == (None, None)


def test_an_id_comes_back_at_its_place_only(connection: Connection) -> None:
    """Its old footage is under the same id: who may see the one must not get the other."""
    cameras.insert_camera(connection, row(place_id="north"))
    cameras.remove_camera(connection, "gate-1", NOW)
    with pytest.raises(Conflict):
        cameras.insert_camera(connection, row(place_id="root"))
    cameras.insert_camera(connection, row(place_id="north", name="wieder da"))
    assert [found["name"] for found in cameras.list_cameras(connection)] == ["wieder da"]


def test_a_camera_that_never_was_has_no_place(connection: Connection) -> None:
    assert places.place_of_camera(connection, "nowhere") is None


# --- the cameras file ----------------------------------------------------------------------------


def test_the_file_adds_changes_and_takes_out(connection: Connection) -> None:
    one = CameraEntry("one", "192.0.2.1", "Một", username="u", password="env:P", place="site-1")
    two = CameraEntry("two", "rtsp://192.0.2.2/a", sub_address="rtsp://192.0.2.2/b", recording=RecordingPlan("off"))
    first, second = sync(connection, one, two)
    assert (first["kind"], first["origin"], first["credentials_ref"]) == ("onvif", "file", "u\nenv:P")
    assert (first["place_id"], places.get_place(connection, "site-1").path) == ("site-1", "root/site-1/")
    assert (second["kind"], second["recording"]["mode"], second["place_id"], second["credentials_ref"]) == (
        *("rtsp", "off", "root", None),
    )
    cameras.update_camera(connection, "one", {"profile": {"x": 1}, "learnt_transport": "tcp"})
    (changed,) = sync(connection, CameraEntry("one", "192.0.2.9", "Một", place="site-1"))
    assert (changed["address"], changed["profile"], changed["credentials_ref"]) == ("192.0.2.9", None, None)
    assert changed["learnt_transport"] == "tcp"
    assert sync(connection) == []


def test_an_unchanged_file_changes_nothing(connection: Connection) -> None:
    entry = CameraEntry("one", "192.0.2.1", username="u", password="env:P")
    before = sync(connection, entry)
    cameras.update_camera(connection, "one", {"profile": {"x": 1}})
    assert sync(connection, entry, now_us=NOW + 9) == [before[0] | {"profile": {"x": 1}}]


def test_the_file_leaves_cameras_of_the_api_alone(connection: Connection) -> None:
    cameras.insert_camera(connection, row())
    assert [found["camera_id"] for found in sync(connection, CameraEntry("one", "192.0.2.1"))] == ["gate-1", "one"]
    with pytest.raises(Conflict):
        sync(connection, CameraEntry("gate-1", "192.0.2.1"))
    assert [found["camera_id"] for found in sync(connection)] == ["gate-1"]


def test_a_camera_of_the_file_cannot_move(connection: Connection) -> None:
    sync(connection, CameraEntry("one", "192.0.2.1", place="north"))
    with pytest.raises(Conflict):
        sync(connection, CameraEntry("one", "192.0.2.1"))


# --- places --------------------------------------------------------------------------------------


def test_places_are_listed_parents_first(connection: Connection) -> None:
    places.add_place(connection, "site-1", "north", "site", "Trạm 1")
    assert [place.path for place in places.list_places(connection)] == ["root/", "root/north/", "root/north/site-1/"]
    with pytest.raises(Conflict):
        places.add_place(connection, "site-1", "root", "site", "x")
    with pytest.raises(NotFound):
        places.add_place(connection, "site-2", "nowhere", "site", "x")
