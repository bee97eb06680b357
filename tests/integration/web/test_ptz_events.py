"""Events and PTZ over HTTP: who may, what is logged, what a second person is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.security.accounts import Actor
from tests.integration.web.site import Site
from tests.unit.web.fakes import NORTH, SOUTH, START_US

PTZ = f"/api/v1/cameras/{NORTH}/ptz"
EVENTS = f"/api/v1/cameras/{NORTH}/events"
SPAN = "start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z"


async def tell(site: Site, *events: CameraEvent) -> None:
    """Through the same door as cameras do."""
    running = asyncio.create_task(site.world.events.run())
    await asyncio.sleep(0)
    site.world.events.offer(events)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def event(second: int, kind: EventKind = EventKind.MOTION, camera_id: str = NORTH) -> CameraEvent:
    at_us = START_US + second * 1_000_000
    return CameraEvent(camera_id, kind, "Cổng", True, at_us - 3_600_000_000, at_us)


# --- events -----------------------------------------------------------------------------------------


async def test_events_are_given_in_order_with_both_times(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    await tell(site, event(5), event(1, EventKind.TAMPER), event(2, camera_id=SOUTH))
    status, body = await site.call("GET", f"{EVENTS}?{SPAN}", token)
    assert (status, body["more"]) == (200, False)
    assert [(one["kind"], one["at"]) for one in body["events"]] == [
        ("tamper", "2026-01-01T00:00:01.000Z"),
        ("motion", "2026-01-01T00:00:05.000Z"),
    ]
    assert body["events"][0]["camera_at"] == "2025-12-31T23:00:01.000Z"
    assert (body["events"][0]["active"], body["events"][0]["source"]) == (True, "Cổng")


async def test_kinds_and_a_limit_are_chosen(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    await tell(site, *(event(second, list(EventKind)[second % 4]) for second in range(12)))
    _, body = await site.call("GET", f"{EVENTS}?{SPAN}&kind=motion&kind=storage&limit=4", token)
    assert ({one["kind"] for one in body["events"]}, len(body["events"]), body["more"]) == (
        {"motion", "storage"},
        4,
        True,
    )
    _, body = await site.call("GET", f"{EVENTS}?{SPAN}&kind=motion&limit=3", token)
    assert (len(body["events"]), body["more"]) == (3, False)


async def test_who_follows_a_day_is_told_what_is_new_and_logged_once(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    await tell(site, event(5), event(9))
    _, first = await site.call("GET", f"{EVENTS}?{SPAN}&after=0&limit=1", token)
    assert ([one["at"][17:19] for one in first["events"]], first["more"]) == (["05"], True)
    _, second = await site.call("GET", f"{EVENTS}?{SPAN}&after={first['events'][0]['id']}", token)
    await tell(site, event(7))
    _, third = await site.call("GET", f"{EVENTS}?{SPAN}&after={second['events'][-1]['id']}", token)
    assert [[one["at"][17:19] for one in page["events"]] for page in (second, third)] == [["09"], ["07"]]
    assert await site.world.actions("events.") == ["events.read"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        SPAN + "&kind=murder",
        SPAN + "&limit=0",
        SPAN + "&limit=1001",
        SPAN + "&after=-1",
        SPAN + "&after=x",
        "start=1&end=2",
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_and_not_logged(site: Site, query: str) -> None:
    token = await site.world.account("lan", "auditor")
    status, _ = await site.call("GET", f"{EVENTS}?{query}", token)
    assert status == 400
    assert await site.world.actions("events.") == []


async def test_reading_events_is_logged_once_a_question(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    for _ in range(3):
        await site.call("GET", f"{EVENTS}?{SPAN}", token)
    await site.call("GET", f"{EVENTS}?{SPAN}&kind=motion", token)
    entries = [one for one in await site.world.log() if one.action == "events.read"]
    span = "2026-01-01T00:00:00.000Z 2026-01-01T01:00:00.000Z"
    assert [(one.username, one.subject) for one in entries] == [
        ("lan", f"{NORTH} {span}"),
        ("lan", f"{NORTH} {span} motion"),
    ]


async def test_events_outlive_the_camera(site: Site) -> None:
    token = await site.world.account("lan", "auditor")
    await tell(site, event(1))
    await site.world.cameras.remove(NORTH, Actor(username="minh"))
    status, body = await site.call("GET", f"{EVENTS}?{SPAN}", token)
    assert (status, len(body["events"])) == (200, 1)


@pytest.mark.parametrize("role", ["viewer", "administrator"])
async def test_whoever_watches_or_manages_reads_no_events_by_that(site: Site, role: str) -> None:
    token = await site.world.account("lan", role)
    status, body = await site.call("GET", f"{EVENTS}?{SPAN}", token)
    assert (status, body["code"]) == (403, "not_permitted")


# --- PTZ --------------------------------------------------------------------------------------------


async def command(site: Site, token: str, **members: Any) -> tuple[int, Any]:
    return await site.call("POST", PTZ, token, json=members)


async def test_an_operator_moves_a_camera_and_it_is_logged_before(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    status, body = await command(site, token, move="continuous", pan=-0.5, zoom=1)
    assert status == 200
    assert body["lock"] == {"username": "lan", "until": "2026-01-01T00:00:15.000Z"}
    [(operation, parameters)] = site.world.ptz_camera.told
    assert operation == "ContinuousMove"
    assert parameters["Velocity"] == {"PanTilt": {"x": -0.5, "y": 0.0}, "Zoom": {"x": 1.0}}
    for _ in range(5):
        await command(site, token, move="continuous", pan=-0.5)
    await command(site, token, move="stop")
    await command(site, token, move="preset", preset="7")
    entries = [one for one in await site.world.log() if one.action.startswith("ptz.")]
    assert [(one.action, one.username, one.subject, one.detail) for one in entries] == [
        ("ptz.moved", "lan", NORTH, {}),
        ("ptz.preset", "lan", NORTH, {"preset": "7"}),
    ]
    assert [operation for operation, _ in site.world.ptz_camera.told][-2:] == ["Stop", "GotoPreset"]


async def test_a_second_operator_is_told_who_and_until_when(site: Site) -> None:
    lan, minh = await site.world.account("lan", "operator"), await site.world.account("minh", "operator")
    await command(site, lan, move="relative", tilt=0.1)
    for body in ({"move": "relative", "tilt": 0.1}, {"move": "stop"}, {"move": "preset", "preset": "1"}):
        status, problem = await command(site, minh, **body)
        assert (status, problem["code"]) == (409, "ptz_locked")
        assert "lan is moving this camera, until 2026-01-01T00:00:15Z" in problem["detail"]
    status, problem = await site.call("POST", f"{PTZ}/presets", minh, json={"name": "x"})
    assert (status, problem["code"]) == (409, "ptz_locked")
    assert (await site.call("GET", PTZ, minh))[1]["lock"]["username"] == "lan"
    assert not [one for one in await site.world.log() if one.action.startswith("ptz.") and one.username == "minh"]
    assert (await site.call("DELETE", f"{PTZ}/lock", minh))[0] == 204
    assert (await command(site, minh, move="stop"))[0] == 409
    assert (await site.call("DELETE", f"{PTZ}/lock", lan))[0] == 204
    assert (await command(site, minh, move="stop"))[0] == 200


async def test_what_a_camera_can_do_and_where_it_can_look(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    status, body = await site.call("GET", PTZ, token)
    assert status == 200
    assert body == {
        "moves": {move: {"pan_tilt": True, "zoom": True} for move in ("continuous", "relative", "absolute")},
        "hold_s": 2.0,
        "lock": None,
    }
    assert (await site.call("GET", f"{PTZ}/presets", token))[1] == {"presets": [{"preset": "1", "name": "Gate"}]}
    answer = await site.call("POST", f"{PTZ}/presets", token, json={"name": "Cổng", "preset": "7"})
    assert answer == (201, {"preset": "7", "name": "Cổng"})
    [entry] = [one for one in await site.world.log() if one.action == "ptz.preset_set"]
    assert entry.detail == {"name": "Cổng", "preset": "7"}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"move": "sideways", "pan": 1},
        {"move": "continuous"},
        {"move": "continuous", "pan": 1.1},
        {"move": "continuous", "pan": "1"},
        {"move": "continuous", "pan": 1, "preset": "1"},
        {"move": "stop", "pan": 0},
        {"move": "preset"},
        {"move": "preset", "preset": "1", "zoom": 1},
        {"move": "relative", "speed": 1},
    ],
)
async def test_a_command_that_makes_no_sense_moves_and_locks_nothing(site: Site, members: dict[str, Any]) -> None:
    token = await site.world.account("lan", "operator")
    assert (await command(site, token, **members))[0] == 400
    assert site.world.ptz_camera.told == []
    assert (await site.call("GET", PTZ, token))[1]["lock"] is None


@pytest.mark.parametrize("role", ["viewer", "administrator", "auditor"])
async def test_only_operators_move_cameras(site: Site, role: str) -> None:
    token = await site.world.account("lan", role)
    status, body = await command(site, token, move="stop")
    assert (status, body["code"]) == (403, "not_permitted")
    assert site.world.ptz_camera.told == []


# --- discovery --------------------------------------------------------------------------------------


async def test_discovery_asks_the_addresses_that_are_named(site: Site) -> None:
    token = await site.world.account("lan", "operator")
    status, body = await site.call("GET", "/api/v1/discover?addresses=192.0.2.0/30,192.0.2.9:81", token)
    assert (status, body["devices"][0]["address"]) == (200, "192.0.2.9")
    assert site.world.cameras.addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.9:81"]
    for addresses in ("", "10.0.0.0/8", "x%20y:z"):
        status, body = await site.call("GET", f"/api/v1/discover?addresses={addresses}", token)
        assert (status, body["code"]) == (400, "addresses_invalid")
