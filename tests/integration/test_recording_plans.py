"""Recording around events, as the counters in the pictures prove it; one RTSP session whatever the plan; sound."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from load_tests.camera_farm.counters import Counter, verify
from load_tests.consistency import check_all_stored
from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer
from load_tests.server import ApiError
from load_tests.stack import Stack, wait_for
from load_tests.timeline import time_line
from tests.integration.empty_site import empty_site

GATE = "gate"
ONE_GATE = "/api/v1/cameras/gate"
BEFORE_S, AFTER_S, GOP_S = 5.0, 3.0, 1.0
EVENTS = {"mode": "event", "kinds": ["motion"], "before_s": BEFORE_S, "after_s": AFTER_S}
FARM = {"cameras": 1, "mode": "load", "audio": "aac", "width": 640, "height": 360, "rate": 15, "gop": GOP_S}
OVERRIDES: dict[str, dict[str, Any]] = {"recording": {"object_s": 5.0}, "pull": {"allowed_networks": ["127.0.0.0/8"]}}
SLACK = timedelta(milliseconds=100)


@pytest.fixture
def site(tmp_path: Path, s3: SeaweedServer) -> Iterator[Stack]:
    with empty_site(tmp_path, s3, FARM, OVERRIDES) as stack:
        yield stack


def _add(site: Stack, **choices: object) -> Any:
    address = site.farm.addresses()[0]
    body = {"id": GATE, "address": address.address, "username": address.username, "password": address.password}
    return site.client.call("POST", "/api/v1/cameras", body | choices)


def _main(site: Stack) -> Any:
    return site.client.get(ONE_GATE)["streams"]["main"]


def _recording(site: Stack) -> tuple[str, str]:
    found = _main(site)["recording"]
    return found["state"], (found["reason"] or {"code": ""})["code"]


def _hears_events(site: Stack) -> bool:
    device = site.client.get(ONE_GATE)["device"]
    return bool(device and device["services"].get("events", {}).get("state") == "ok")


def _motion(site: Stack, begins: bool) -> float:
    """When it was ordered, by the clock that the pictures carry."""
    now_s = time.time()
    site.farm.event(site.farm.cameras[0]["id"], "motion", begins)
    return now_s


def _wait_until(at_s: float) -> None:
    wait_for(lambda: time.time() >= at_s, 60)


def _pictures(site: Stack) -> list[Counter]:
    now = datetime.now(UTC)
    units = list(played_units(site.client, GATE, now - timedelta(minutes=5), now))
    assert all(unit.counter is not None and verify(unit.counter, site.farm.key) for unit in units)
    return [unit.counter for unit in units if unit.counter is not None]


def _sessions(site: Stack) -> int:
    return int(site.farm.camera(site.farm.cameras[0]["id"])["streams"]["main"]["sessions_total"])


def _spool_bytes(site: Stack) -> int:
    spool = site.directory / "server" / "data" / "spool"
    return sum(path.stat().st_size for path in spool.iterdir())


def test_an_event_brings_its_past_and_its_end_and_nothing_else(site: Stack) -> None:
    _add(site, recording=EVENTS, attested=1)
    wait_for(lambda: _recording(site) == ("waiting", "no_event") and _hears_events(site), 30)
    _wait_until(time.time() + BEFORE_S + 2 * GOP_S)
    assert _spool_bytes(site) == 0, "what may never be asked for stays in memory"
    assert time_line(site.client, GATE).coverage == []

    began_s = _motion(site, True)
    wait_for(lambda: _recording(site)[0] == "recording", 5, lambda: str(_main(site)))
    _wait_until(began_s + 4)
    ended_s = _motion(site, False)
    wait_for(lambda: _recording(site) == ("waiting", "no_event"), 15, lambda: str(_main(site)))

    pictures = _pictures(site)
    first_s, last_s = pictures[0].wall_us / 1e6, pictures[-1].wall_us / 1e6
    assert pictures[0].keyframe
    assert began_s - BEFORE_S - GOP_S - 0.5 <= first_s <= began_s - BEFORE_S + 0.5
    assert ended_s + AFTER_S - 0.5 <= last_s <= ended_s + AFTER_S + GOP_S + 1.0
    assert all(later.counter == earlier.counter + 1 for earlier, later in pairwise(pictures)), "no picture is missing"

    line = time_line(site.client, GATE)
    assert line.causes[-2:] == ["no_event", "no_event"]
    line.check_whole(SLACK)
    assert line.gaps[-1].is_open
    assert _sessions(site) == 1
    check_all_stored(site)


def test_plans_change_within_one_session_and_each_gap_has_the_cause_of_its_plan(site: Stack) -> None:
    _add(site, attested=1)
    wait_for(lambda: _recording(site)[0] == "recording", 30)
    today = (datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower()
    elsewhen = {"mode": "schedule", "time_zone": "UTC", "spans": [{"days": [today], "from": "00:00", "to": "24:00"}]}
    for plan, expected in (
        (EVENTS, ("waiting", "no_event")),
        ({"mode": "continuous"}, ("recording", "")),
        (elsewhen, ("off", "outside_schedule")),
        ({"mode": "continuous"}, ("recording", "")),
        ({"mode": "off"}, ("off", "")),
        ({"mode": "continuous"}, ("recording", "")),
    ):
        shown = site.client.call("PATCH", ONE_GATE, {"recording": plan})
        assert shown["recording"] == plan
        wait_for(lambda wanted=expected: _recording(site) == wanted, 10, lambda: str(_main(site)))
        _wait_until(time.time() + 2 * GOP_S)
    line = time_line(site.client, GATE)
    causes = [cause for cause in line.causes if cause in ("no_event", "outside_schedule", "not_recording")]
    assert causes == ["no_event", "outside_schedule", "not_recording"]
    line.check_whole(SLACK)
    assert _sessions(site) == 1
    with pytest.raises(ApiError) as refused:
        site.client.call("PATCH", ONE_GATE, {"recording": {"mode": "schedule", "time_zone": "Mars"}})
    assert (refused.value.status, refused.value.code) == (400, "recording_invalid")


def test_a_server_that_is_killed_while_it_waits_for_events_does_not_claim_that_there_were_none(site: Stack) -> None:
    _add(site, recording=EVENTS, attested=1)
    wait_for(lambda: _recording(site) == ("waiting", "no_event") and _hears_events(site), 30)
    _motion(site, True)
    wait_for(lambda: _recording(site)[0] == "recording", 5)
    _wait_until(time.time() + 3)
    site.server.kill()
    site.server.start()
    # The motion that began before still lasts: it is recorded on.
    wait_for(lambda: _recording(site)[0] == "recording", 30, lambda: str(_main(site)))
    ended_s = _motion(site, False)
    wait_for(lambda: _recording(site) == ("waiting", "no_event"), 15 + AFTER_S, lambda: str(_main(site)))
    assert _pictures(site)[-1].wall_us / 1e6 >= ended_s + AFTER_S - 0.5
    line = time_line(site.client, GATE)
    assert "server_down" in line.causes
    line.check_whole(SLACK)


def test_a_camera_without_attestation_or_sound_is_told_apart_from_others(site: Stack) -> None:
    added = _add(site, record_audio="off")
    assert (added["attestation"], added["audio_recorded"]) == (None, False)
    wait_for(lambda: _recording(site) == ("off", "attestation_missing"), 10)
    wait_for(lambda: time_line(site.client, GATE).causes == ["attestation_missing"], 5)
    text = site.client.get("/api/v1/attestation")
    shown = site.client.call("POST", f"{ONE_GATE}/attestation", {"version": text["version"]})
    assert (shown["attestation"]["version"], shown["attestation"]["by"]) == (text["version"], "demo")
    wait_for(lambda: _main(site)["recording"]["indexed_until"], 40, lambda: str(_main(site)))
    recording = _main(site)["recording"]
    times = [recording[name] for name in ("received_until", "durable_until", "stored_until", "indexed_until")]
    assert times == sorted(times, reverse=True)
    now = datetime.now(UTC)
    span = f"start={(now - timedelta(minutes=5)).isoformat()}&end={now.isoformat()}".replace("+", "%2B")
    assert b"TYPE=AUDIO" not in site.client.fetch(f"/playback/{GATE}/index.m3u8?{span}")
    site.client.call("PATCH", ONE_GATE, {"record_audio": "on"})
    wait_for(lambda: _has_sound(site), 30)


def _has_sound(site: Stack) -> bool:
    now = datetime.now(UTC)
    span = f"start={(now - timedelta(seconds=8)).isoformat()}&end={now.isoformat()}".replace("+", "%2B")
    return b"TYPE=AUDIO" in site.client.fetch(f"/playback/{GATE}/index.m3u8?{span}")
