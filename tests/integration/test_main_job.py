"""The whole chain on real parts: ONVIF camera -> server -> S3 -> playback, through the public doors only."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from load_tests.camera_farm.tracks.shapes import AudioKind
from load_tests.camera_farm.tracks.sound import AudioSource
from load_tests.consistency import check_all_stored
from load_tests.readback import account_for, played_payloads, played_units
from load_tests.server import ApiClient, ApiError
from load_tests.stack import Stack, wait_for
from load_tests.timeline import Gap, time_line
from mediasrv.media.nal import NAL_IDR, NAL_PPS, NAL_SLICE, NAL_SPS, iter_avcc, nal_type
from tests.integration.s3 import find_plain

WATCHED_S = 180.0
OBJECT_MAGIC = b"MSRVOBJ1"


def test_access_units_before_the_first_keyframe_are_a_gap_with_its_cause(server: Stack) -> None:
    camera_id = server.cameras[0]
    server.farm.fault(camera_id, "drop")
    before = datetime.now(UTC)

    def gaps() -> list[Gap]:
        return [gap for gap in time_line(server.client, camera_id, before).gaps if not gap.is_open]

    wait_for(lambda: "waiting_keyframe" in [gap.cause for gap in gaps()], 30)
    assert {gap.cause for gap in gaps()} == {"camera_lost", "waiting_keyframe"}
    session = server.farm.sessions(camera_id)[-1]
    wait_for(lambda: _counted_before_keyframe(server, camera_id) == session["first_keyframe"] - session["first"], 10)


def _counted_before_keyframe(stack: Stack, camera_id: str) -> int:
    """Of the newest session: what the catalogue keeps of the access units that came too early."""
    catalogue = stack.directory / "server" / "data" / "catalogue.db"
    with closing(sqlite3.connect(catalogue)) as connection:
        query = "SELECT units_before_keyframe FROM session WHERE camera_id = ? ORDER BY started_at DESC LIMIT 1"
        return int(connection.execute(query, (camera_id,)).fetchone()[0])


def _add(stack: Stack, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    try:
        return 201, stack.client.call("POST", "/api/v1/cameras", body)
    except ApiError as error:
        return error.status, error.problem


def test_a_wrong_password_and_a_closed_port_each_give_a_code_and_a_sentence(server: Stack) -> None:
    address = server.farm.addresses()[0]
    status, problem = _add(server, {"name": "x", "address": address.address, "username": "admin", "password": "wrong"})
    assert (status, problem["code"]) == (422, "credentials_wrong")
    assert problem["detail"].endswith(".")
    status, problem = _add(server, {"name": "x", "address": "rtsp://127.0.0.1:1/stream"})
    assert (status, problem["code"]) == (422, "port_closed")
    status, problem = _add(server, {"name": "x", "address": "rtsp://192.0.2.7/stream"})
    assert (status, problem["code"]) == (422, "address_refused")


def test_a_camera_is_added_by_onvif_address_explained_and_removed(server: Stack) -> None:
    address = server.farm.addresses()[1]
    body = {"id": "twin", "name": "Twin", "address": address.address, "username": "admin", "recording": {"mode": "off"}}
    status, camera = _add(server, body | {"password": address.password})
    try:
        assert status == 201
        profile = camera["profile"]
        assert profile["main"]["width"] > profile["sub"]["width"]
        assert profile["explanation"]
        assert profile["explanation_vi"]
        assert address.password not in json.dumps(camera)
        assert camera["streams"]["main"]["state"] == "idle", "nobody watches, and nothing is recorded"
        server.client.fetch("/hls/twin/index.m3u8")
        assert server.client.cameras()["twin"]["streams"]["main"]["state"] == "live"
    finally:
        server.client.call("DELETE", "/api/v1/cameras/twin")
    assert "twin" not in server.client.cameras()


def test_nothing_is_served_without_an_account(server: Stack) -> None:
    stranger = ApiClient(server.url, "not-a-token")
    camera_id = server.cameras[0]
    for path in (
        "/api/v1/cameras",
        f"/hls/{camera_id}/index.m3u8",
        f"/playback/{camera_id}/index.m3u8?start=2026-01-01T00:00:00Z&end=2026-01-01T00:01:00Z",
        "/api/v1/access-log",
        "/api/v1/status",
    ):
        with pytest.raises(ApiError) as caught:
            stranger.fetch(path)
        assert caught.value.status == 401, path


def test_the_access_log_names_who_watched_what(server: Stack) -> None:
    camera_id = server.cameras[0]
    server.client.fetch(f"/hls/{camera_id}/index.m3u8")
    entries = server.client.get("/api/v1/access-log?limit=200")["entries"]
    assert any(entry["username"] == "demo" and camera_id in entry["subject"] for entry in entries)


# --- three minutes of footage: recorded while the tests above ran, and looked at by those below -------


@pytest.mark.timeout(300)
def test_every_access_unit_of_three_minutes_comes_back_once_in_order_and_signed(server: Stack) -> None:
    camera_id = server.cameras[-1]
    covered_from = wait_for(lambda: _recorded_since(server, camera_id, WATCHED_S), 240, lambda: "3 minutes of footage")
    end = datetime.now(UTC)
    units = played_units(server.client, camera_id, covered_from - timedelta(seconds=5), end)
    # Other tests may have cut the camera off before: this one is about the session that goes on.
    account = account_for(units, server.farm.sessions(camera_id)[-1:], server.farm.key)
    assert account.ok, account
    assert account.kept >= WATCHED_S * 25 * 0.98
    # Nothing at the end is missing either: what playback ends with is at most the open part and one tick old.
    assert account.tail <= 25 * 1.5


def _recorded_since(stack: Stack, camera_id: str, seconds: float) -> datetime | None:
    spans = time_line(stack.client, camera_id).coverage
    long_enough = [start for start, end in spans if end - start >= timedelta(seconds=seconds)]
    return long_enough[-1] if long_enough else None


def test_coverage_and_gaps_leave_no_hole_and_do_not_overlap(server: Stack) -> None:
    found = time_line(server.client, server.cameras[0])
    assert len(found.coverage) >= 2
    assert found.gaps
    found.check_whole(timedelta(milliseconds=60))


def test_nothing_of_the_stream_lies_plain_on_any_disk(server: Stack) -> None:
    wait_for(lambda: server.client.get("/api/v1/status")["storage"]["objects_stored"] >= 3, 90, server.server.log_tail)
    spool, bucket = server.directory / "server" / "data" / "spool", server.s3.data_dir
    # The search finds what lies there plain by design: nothing is packed or hidden from it.
    assert find_plain([OBJECT_MAGIC], spool)
    assert find_plain([OBJECT_MAGIC], bucket)
    needles = [needle for camera_id in server.cameras for needle in _needles(server, camera_id)]
    assert find_plain(needles, server.directory / "server", bucket) == []


def _needles(stack: Stack, camera_id: str) -> list[bytes]:
    """Parameter sets, and 32-byte samples out of the middle of slices and sound, as the stream really carried them."""
    end = datetime.now(UTC)
    nals = [
        nal
        for payload in played_payloads(stack.client, camera_id, end - timedelta(seconds=100), end)
        for nal in iter_avcc(payload)
    ]
    sets = {bytes(nal) for nal in nals if nal_type(nal) in (NAL_SPS, NAL_PPS)}
    slices = [bytes(nal[100:132]) for nal in nals if nal_type(nal) in (NAL_SLICE, NAL_IDR) and len(nal) > 200]
    camera = stack.farm.camera(camera_id)
    sound = AudioSource(AudioKind(camera["streams"]["main"]["audio"]), camera["number"], counted=False)
    frames = {sound.frame(index)[16:48] for index in range(10)}
    assert len(sets) >= 2
    assert len(slices) > 50
    assert len(frames) == 10
    # Fifty of them all along: what they are searched in is a hundred megabytes.
    return [*sets, *slices[:: len(slices) // 50], *frames]


def test_the_catalogue_has_every_object_that_is_in_the_bucket(server: Stack) -> None:
    check_all_stored(server)


def test_secrets_are_in_no_log(server: Stack) -> None:
    text = server.server.log_path.read_text(encoding="utf-8", errors="replace")
    for secret in (server.password, server.client.token, server.s3.secret_key, server.farm.addresses()[0].password):
        assert secret not in text
