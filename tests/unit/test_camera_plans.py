"""When a camera is recorded: schedules, attestations, sound, and that no change of a plan costs a session."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from mediasrv import cameras as cameras_module
from mediasrv.cameras.views import CameraChanges, NewCamera
from mediasrv.catalogue import places
from mediasrv.catalogue.tables import access_log
from mediasrv.clock import to_us
from mediasrv.errors import CameraError, InvalidRequest
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import CONTINUOUS, CameraEntry, RecordingPlan, RecordingSettings, parse_plan
from tests.clocks import SimulatedClock
from tests.unit.camera_world import ADMIN, World, stream, supervised, until

MAIN, SUB = StreamRef("gate", StreamName.MAIN), StreamRef("gate", StreamName.SUB)
OFFICE = parse_plan(
    {
        "mode": "schedule",
        "time_zone": "Asia/Ho_Chi_Minh",
        "spans": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "17:00"}],
    }
)
EVENTS = RecordingPlan("event", kinds=("motion",), before_s=5.0, after_s=5.0)


def hanoi(hour: int, minute: int = 0, second: int = 0) -> int:
    """On a Monday, in Vietnam, which is seven hours ahead of UTC."""
    return to_us(datetime(2026, 3, 2, hour - 7, minute, second, tzinfo=UTC))


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    monkeypatch.setattr(cameras_module, "SCHEDULE_S", 0.0)
    clock = SimulatedClock(hanoi(7))
    world.cameras._clock = clock
    return clock


async def add(world: World, plan: RecordingPlan = CONTINUOUS, attested: int = 0, **options: str) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", "", "gate", recording=plan, attested=attested, **options), ADMIN)


async def test_a_schedule_begins_and_ends_with_the_clock_on_the_wall(world: World, clock: SimulatedClock) -> None:
    await add(world, OFFICE)
    assert (world.recording.started, stream(world, "gate").state) == ({}, "idle")
    assert world.recording.stops[-2:] == [(MAIN, "outside_schedule"), (SUB, "other_stream_recorded")]
    clock.at_us = hanoi(7, 59, 1)
    await until(lambda: stream(world, "gate").state == "live")
    assert world.recording.started == {}, "pulled ahead, and not recorded"
    clock.at_us = hanoi(8)
    await until(lambda: world.recording.started)
    clock.at_us = hanoi(17)
    await until(lambda: not world.recording.started)
    assert (MAIN, "outside_schedule") in world.recording.stops[-2:]
    await until(lambda: clock.advance(0.01) or stream(world, "gate").state == "idle")
    assert world.pulls == ["rtsp://10.0.0.5/main"]


async def test_no_change_of_a_plan_takes_another_session(world: World, clock: SimulatedClock) -> None:
    await add(world)
    await until(lambda: stream(world, "gate").state == "live")
    sink = SimpleNamespace(on_access_unit=lambda unit: None, on_session_ended=lambda session, reason: None)
    subscription = world.hub.mountpoint(MAIN).subscribe(sink)
    for plan in (EVENTS, OFFICE, RecordingPlan("off"), EVENTS, CONTINUOUS):
        await world.cameras.change("gate", CameraChanges(recording=plan), ADMIN)
        if plan.mode in ("continuous", "event"):
            assert world.recording.plans[MAIN] == (plan, True)
        else:
            assert MAIN not in world.recording.started
    assert [cause for ref, cause in world.recording.stops if ref == MAIN] == ["outside_schedule", "not_recording"]
    subscription.close()
    assert (world.pulls, world.ends) == (["rtsp://10.0.0.5/main"], [])


async def test_a_plan_is_there_again_after_a_restart(world: World) -> None:
    await add(world, EVENTS, record_audio="off")
    again = world.new_cameras()
    async with supervised(again):
        await until(lambda: len(again.list()) == 1 and world.recording.plans[MAIN] == (EVENTS, False))
        assert (again.get("gate").recording, again.get("gate").record_audio) == (EVENTS, "off")


async def test_a_camera_that_tells_no_events_cannot_wait_for_them(world: World) -> None:
    with pytest.raises(CameraError) as refused:
        await world.cameras.add(NewCamera("rtsp://10.0.0.6/a", camera_id="nvr", recording=EVENTS), ADMIN)
    assert refused.value.code == "events_unsupported"
    await world.cameras.add(NewCamera("rtsp://10.0.0.6/a", camera_id="nvr"), ADMIN)
    with pytest.raises(CameraError) as refused:
        await world.cameras.change("nvr", CameraChanges(recording=EVENTS), ADMIN)
    assert refused.value.code == "events_unsupported"


async def test_a_camera_whose_events_are_not_heard_is_recorded_all_the_time(
    world: World, clock: SimulatedClock
) -> None:
    await add(world, EVENTS)
    await until(lambda: stream(world, "gate").state == "live")
    assert world.recording.plans[MAIN] == (EVENTS, True)
    world.devices.deaf.add("gate")
    await until(lambda: world.recording.plans[MAIN] == (CONTINUOUS, True))
    world.devices.deaf.clear()
    await until(lambda: world.recording.plans[MAIN] == (EVENTS, True))
    assert (world.pulls, world.ends) == (["rtsp://10.0.0.5/main"], [])


# --- attestation ---------------------------------------------------------------------------------


async def test_a_camera_that_nobody_attests_is_seen_and_not_recorded_until_somebody_does(world: World) -> None:
    world.cameras._recording = RecordingSettings()
    await add(world)
    assert world.recording.started == {}
    assert world.recording.stops[-2:] == [(MAIN, "attestation_missing"), (SUB, "other_stream_recorded")]
    sink = SimpleNamespace(on_access_unit=lambda unit: None, on_session_ended=lambda session, reason: None)
    viewer = world.hub.mountpoint(MAIN).subscribe(sink)
    await world.cameras.ensure(MAIN)
    session = world.hub.mountpoint(MAIN).session
    view = await world.cameras.attest("gate", 1, ADMIN)
    assert world.recording.started == {MAIN: 7}
    assert world.hub.mountpoint(MAIN).session is session
    viewer.close()
    assert view.attestation is not None
    assert (view.attestation.version, view.attestation.by) == (1, "admin")
    entries = await world.catalogue.read(lambda connection: list(connection.execute(select(access_log)).mappings()))
    assert (entries[-1]["action"], entries[-1]["subject"], entries[-1]["username"]) == (
        *("camera.attested", "gate", "admin"),
    )


async def test_a_camera_that_is_attested_when_it_is_added_is_recorded_at_once(world: World) -> None:
    world.cameras._recording = RecordingSettings()
    await add(world, attested=1)
    assert world.recording.started == {MAIN: 7}


async def test_another_text_than_the_one_that_is_shown_cannot_be_attested(world: World) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await add(world, attested=2)
    assert (refused.value.code, world.cameras.list()) == ("attestation_outdated", [])
    await add(world)
    with pytest.raises(InvalidRequest):
        await world.cameras.attest("gate", 2, ADMIN)
    assert world.cameras.get("gate").attestation is None


async def test_the_cameras_file_attests_once_and_silence_takes_nothing_back(world: World) -> None:
    async def attestation() -> object:
        async with supervised(world.new_cameras()) as _:
            rows = await world.catalogue.read(cameras_module.rows.list_cameras)
            return rows[0]["attestation"]

    await world.cameras.sync_file([CameraEntry("gate", "10.0.0.5")], "")
    assert await attestation() is None
    await world.cameras.sync_file([CameraEntry("gate", "10.0.0.5", attested_by="An")], "")
    first = await attestation()
    assert isinstance(first, dict)
    assert (first["version"], first["by"]) == (1, "An")
    await world.cameras.sync_file([CameraEntry("gate", "10.0.0.5", attested_by="An")], "")
    await world.cameras.sync_file([CameraEntry("gate", "10.0.0.5")], "")
    assert await attestation() == first


# --- sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record_audio", "place", "settings", "sound"),
    [
        ("policy", "root", {}, True),
        ("policy", "root", {"audio": False}, False),
        ("on", "root", {"audio": False}, True),
        ("off", "root", {}, False),
        ("policy", "school", {"audio_off_places": ("school",)}, False),
        ("policy", "class", {"audio_off_places": ("school",)}, False),
        ("policy", "class", {"audio_off_places": ("school",), "audio_on_places": ("class",)}, True),
        ("on", "class", {"audio_off_places": ("school",)}, True),
        ("policy", "root", {"audio_off_places": ("school",)}, True),
    ],
)
async def test_sound_is_recorded_as_the_camera_its_place_or_the_settings_say(
    world: World, record_audio: str, place: str, settings: dict[str, object], sound: bool
) -> None:
    await world.catalogue.write(places.add_place, "school", "root", "site", "School")
    await world.catalogue.write(places.add_place, "class", "school", "site", "Class")
    world.cameras._recording = RecordingSettings(attestation="off", **settings)  # type: ignore[arg-type]
    await add(world, place_id=place, record_audio=record_audio)
    assert world.recording.plans[MAIN] == (CONTINUOUS, sound)
    assert world.cameras.get("gate").audio_recorded is sound
    world.recording.plans.clear()
    again = world.new_cameras()
    again._recording = world.cameras._recording
    async with supervised(again):
        await until(lambda: MAIN in world.recording.plans)
    assert world.recording.plans[MAIN] == (CONTINUOUS, sound)


async def test_sound_is_switched_without_another_session(world: World) -> None:
    await add(world)
    await until(lambda: stream(world, "gate").state == "live")
    await world.cameras.change("gate", CameraChanges(record_audio="off"), ADMIN)
    assert world.recording.plans[MAIN] == (CONTINUOUS, False)
    assert (world.pulls, world.ends) == (["rtsp://10.0.0.5/main"], [])
