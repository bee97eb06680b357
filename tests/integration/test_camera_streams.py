"""Which streams of a camera are pulled and recorded, as the camera itself counts its sessions and storage has it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from load_tests.consistency import check_all_stored
from load_tests.readback import account_for, played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError, CameraAddress
from load_tests.stack import Stack, wait_for
from load_tests.timeline import TimeLine, time_line
from tests.integration.empty_site import empty_site

GATE = "gate"
ONE_GATE = "/api/v1/cameras/gate"
FARM = {"cameras": 1, "mode": "load", "audio": "pcma", "width": 960, "height": 540, "rate": 25, "gop": 1}
OVERRIDES: dict[str, dict[str, Any]] = {
    "recording": {"object_s": 5.0},
    "pull": {"allowed_networks": ["127.0.0.0/8"], "linger_s": 1.0},
    "hls": {"linger_s": 1.0},
    "transcode": {"linger_s": 1.0},
}
SLACK = timedelta(milliseconds=60)


@pytest.fixture
def site(tmp_path: Path, s3: SeaweedServer) -> Iterator[Stack]:
    with empty_site(tmp_path, s3, FARM, OVERRIDES) as stack:
        yield stack


def _add(site: Stack, **choices: object) -> Any:
    address: CameraAddress = site.farm.addresses()[0]
    body = {"id": GATE, "name": "Gate", "address": address.address, "username": address.username, "attested": 1}
    return site.client.call("POST", "/api/v1/cameras", body | {"password": address.password} | choices)


def _change(site: Stack, **changes: object) -> Any:
    return site.client.call("PATCH", ONE_GATE, changes)


def _sessions(site: Stack, stream: str) -> tuple[int, int]:
    """Now and altogether, as the camera counts them."""
    counted = site.farm.camera(site.farm.cameras[0]["id"])["streams"][stream]
    return counted["sessions_now"], counted["sessions_total"]


def _state(site: Stack, stream: str) -> Any:
    return site.client.cameras()[GATE]["streams"][stream]


def _recorded(site: Stack, stream: str, seconds: float) -> TimeLine | None:
    found = time_line(site.client, GATE, stream=stream)
    total = sum(((end - start) for start, end in found.coverage), timedelta())
    return found if total >= timedelta(seconds=seconds) else None


@contextmanager
def _watching(site: Stack, stream: str) -> Iterator[None]:
    """An LL-HLS viewer that asks for the playlist again and again."""
    done = Event()

    def watch() -> None:
        while not done.wait(0.2):
            site.client.fetch(f"/hls/{GATE}/{stream}/video.m3u8")

    site.client.fetch(f"/hls/{GATE}/index.m3u8?stream={stream}")
    with ThreadPoolExecutor(1) as pool:
        viewer = pool.submit(watch)
        try:
            yield
        finally:
            done.set()
        viewer.result(timeout=10)


def test_first_viewers_of_a_camera_that_is_not_recorded_share_one_session_that_lingers(site: Stack) -> None:
    _add(site, recording={"mode": "off"})
    assert _state(site, "main")["state"] == "idle"
    assert (_sessions(site, "main"), _sessions(site, "sub")) == ((0, 0), (0, 0)), "reading it over ONVIF pulls nothing"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(site.client.fetch, [f"/hls/{GATE}/index.m3u8"] * 8))
    assert _sessions(site, "main") == (1, 1)
    assert (_state(site, "main")["state"], _state(site, "main")["transport"]) == ("live", "tcp")
    wait_for(lambda: _sessions(site, "main") == (0, 1), 10, lambda: str(_state(site, "main")))
    assert _state(site, "main")["state"] == "idle"
    assert _sessions(site, "sub") == (0, 0)


@pytest.mark.timeout(120)
def test_a_recorded_substream_is_pulled_once_stored_and_played_back_and_the_main_one_only_while_watched(
    site: Stack,
) -> None:
    camera = _add(site, record_stream="sub")
    assert (camera["record_stream"], camera["grid_stream"]) == ("sub", "sub")
    wait_for(lambda: _state(site, "sub")["recording"]["state"] == "recording", 15)
    with _watching(site, "sub"), _watching(site, "main"):
        assert (_sessions(site, "sub"), _sessions(site, "main")) == ((1, 1), (1, 1))
        wait_for(lambda: _recorded(site, "sub", 5.0), 20)
    wait_for(lambda: _sessions(site, "main") == (0, 1), 10)
    assert _sessions(site, "sub") == (1, 1), "recorded and watched over one session"
    end = datetime.now(UTC)
    units = played_units(site.client, GATE, end - timedelta(minutes=1), end, "sub")
    account = account_for(units, site.farm.sessions(site.farm.cameras[0]["id"], "sub"), site.farm.key)
    assert account.ok, account
    assert account.kept >= 5 * 25 * 0.9
    assert time_line(site.client, GATE).coverage == []
    with pytest.raises(ApiError, match="no_footage"):
        list(played_units(site.client, GATE, end - timedelta(minutes=1), end))
    check_all_stored(site)
    listed = site.s3.client().list_objects(site.server.files.overrides["storage"]["bucket"], recursive=True)
    stored = [item.object_name or "" for item in listed if not (item.object_name or "").startswith("_access_log/")]
    assert stored
    assert all(f"/{GATE}/sub/" in name for name in stored)


@pytest.mark.timeout(120)
def test_a_change_of_what_is_recorded_leaves_the_viewer_and_explains_what_is_missing(site: Stack) -> None:
    _add(site)
    wait_for(lambda: _recorded(site, "main", 2.0), 20)
    with _watching(site, "main"):
        _change(site, record_stream="sub")
        wait_for(lambda: _recorded(site, "sub", 2.0), 20)
        assert (_sessions(site, "main"), _sessions(site, "sub")) == ((1, 1), (1, 1)), "the viewer keeps its session"
        assert _state(site, "main")["recording"]["state"] == "off"
        _change(site, record_stream="main")
        wait_for(lambda: _recorded(site, "main", 4.0), 20)
    assert _sessions(site, "main") == (1, 1)
    wait_for(lambda: _sessions(site, "sub") == (0, 1), 10)
    main, sub = time_line(site.client, GATE), time_line(site.client, GATE, stream="sub")
    for found in (main, sub):
        found.check_whole(SLACK)
    assert (main.causes[-1], main.gaps[-1].is_open) == ("other_stream_recorded", False)
    assert (sub.causes[-1], sub.gaps[-1].is_open) == ("other_stream_recorded", True)
    _change(site, transport="tcp")
    wait_for(lambda: "settings_changed" in time_line(site.client, GATE).causes, 10)
    wait_for(lambda: _state(site, "main")["recording"]["state"] == "recording", 15)
    assert _sessions(site, "main") == (1, 2)
    time_line(site.client, GATE).check_whole(SLACK)
    check_all_stored(site)


def test_a_policy_that_names_a_substream_that_is_not_there_is_refused_in_both_languages(site: Stack) -> None:
    address = site.farm.addresses()[0]
    body = {"id": GATE, "address": site.farm.cameras[0]["urls"]["main"], "username": address.username}
    body |= {"password": address.password, "recording": {"mode": "off"}}
    with pytest.raises(ApiError) as refused:
        site.client.call("POST", "/api/v1/cameras", body | {"record_stream": "sub"})
    assert (refused.value.status, refused.value.code) == (422, "no_substream")
    assert refused.value.problem["detail_vi"].startswith("Camera không có luồng phụ")
    assert site.client.call("POST", "/api/v1/cameras", body)["grid_stream"] == "main"
    for choice in ({"record_stream": "both"}, {"grid_stream": "sub"}):
        with pytest.raises(ApiError) as refused:
            _change(site, **choice)
        assert refused.value.code == "no_substream"
