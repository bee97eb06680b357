"""Which streams of a camera are recorded and which are pulled on demand: policy, and what a change of it touches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from mediasrv.cameras.drivers import Way
from mediasrv.cameras.views import CameraChanges, NewCamera
from mediasrv.catalogue import cameras as rows
from mediasrv.errors import CameraError
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import CONTINUOUS, CameraEntry, RecordingPlan
from tests.unit.camera_world import ADMIN, World, stream, supervised, until

MAIN, SUB = StreamRef("gate", StreamName.MAIN), StreamRef("gate", StreamName.SUB)
MAIN_URL, SUB_URL = "rtsp://10.0.0.5/main", "rtsp://10.0.0.5/sub"


OFF = RecordingPlan("off")


async def add(world: World, record_stream: str = "main", plan: RecordingPlan = CONTINUOUS) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", "", "gate", recording=plan, record_stream=record_stream), ADMIN)


async def change(world: World, changes: CameraChanges) -> None:
    await world.cameras.change("gate", changes, ADMIN)


def live(world: World, *refs: StreamRef) -> bool:
    return all(stream(world, ref.camera_id, ref.stream).state == "live" for ref in refs)


def running(world: World) -> dict[str, int]:
    return {url: count for url, count in world.running.items() if count}


@contextlib.contextmanager
def watching(world: World, ref: StreamRef) -> Iterator[list[str]]:
    """A viewer; what it hears of ends of sessions."""
    ends: list[str] = []
    sink = SimpleNamespace(
        on_access_unit=lambda unit: None, on_session_ended=lambda session, reason: ends.append(reason)
    )
    subscription = world.hub.mountpoint(ref).subscribe(sink)
    yield ends
    subscription.close()


@pytest.mark.parametrize(
    ("record_stream", "recorded"),
    [("main", {MAIN: MAIN_URL}), ("sub", {SUB: SUB_URL}), ("both", {MAIN: MAIN_URL, SUB: SUB_URL})],
)
async def test_what_is_recorded_is_pulled_always_and_what_is_not_on_demand(
    world: World, record_stream: str, recorded: dict[StreamRef, str]
) -> None:
    await add(world, record_stream)
    await until(lambda: live(world, *recorded))
    assert world.recording.started == dict.fromkeys(recorded, 7)
    assert running(world) == dict.fromkeys(recorded.values(), 1)
    for ref in {MAIN, SUB} - set(recorded):
        assert stream(world, "gate", ref.stream).state == "idle"


async def test_the_full_stream_of_a_camera_that_is_not_recorded_starts_once_for_all_first_viewers_and_lingers(
    world: World,
) -> None:
    await add(world, plan=OFF)
    assert stream(world, "gate").state == "idle"
    await asyncio.gather(*(world.cameras.ensure(MAIN) for _ in range(20)))
    assert world.pulls == [MAIN_URL]
    assert live(world, MAIN), "it lingers"
    await until(lambda: stream(world, "gate").state == "idle")
    assert (running(world), world.ends) == ({}, ["not_watched"])


async def test_recording_the_substream_pulls_it_once_however_many_watch_and_the_main_one_only_for_viewers(
    world: World,
) -> None:
    await add(world, "sub")
    await until(lambda: live(world, SUB))
    with watching(world, SUB), watching(world, MAIN):
        await asyncio.gather(world.cameras.ensure(SUB), world.cameras.ensure(MAIN))
        assert running(world) == {MAIN_URL: 1, SUB_URL: 1}
    await until(lambda: running(world) == {SUB_URL: 1})
    assert sorted(world.pulls) == [MAIN_URL, SUB_URL]
    assert world.recording.started == {SUB: 7}


async def test_a_viewer_of_the_stream_that_is_recorded_no_longer_stays_and_its_session_goes_on(world: World) -> None:
    await add(world)
    await until(lambda: live(world, MAIN))
    session = world.hub.mountpoint(MAIN).session
    with watching(world, MAIN) as ends:
        await change(world, CameraChanges(record_stream="sub"))
        assert world.recording.started == {SUB: 7}
        assert world.recording.stops[-1] == (MAIN, "other_stream_recorded")
        await until(lambda: live(world, SUB))
        await change(world, CameraChanges(grid_stream="main", name="Gate"))
        await change(world, CameraChanges(recording=OFF))
        assert world.recording.stops[-2:] == [(MAIN, "not_recording"), (SUB, "not_recording")]
        await change(world, CameraChanges(recording=CONTINUOUS, record_stream="both"))
        assert world.recording.started == {MAIN: 7, SUB: 7}
        assert world.hub.mountpoint(MAIN).session is session
        assert ends == []
    assert sorted(world.pulls) == [MAIN_URL, SUB_URL]


async def test_what_is_recorded_no_longer_and_nobody_watches_ends_after_the_linger(world: World) -> None:
    await add(world)
    await until(lambda: live(world, MAIN))
    await change(world, CameraChanges(record_stream="sub"))
    assert live(world, MAIN)
    await until(lambda: running(world) == {SUB_URL: 1})
    assert world.ends == ["not_watched"]
    await change(world, CameraChanges(record_stream="main"))
    await until(lambda: live(world, MAIN))
    await until(lambda: running(world) == {MAIN_URL: 1})


async def test_another_way_to_the_camera_has_both_streams_pulled_anew_with_viewers_and_recorder_attached(
    world: World,
) -> None:
    await add(world)
    with watching(world, SUB) as ends:
        await until(lambda: live(world, MAIN, SUB))
        stops = len(world.recording.stops)
        await change(world, CameraChanges(transport="udp"))
        await until(lambda: live(world, MAIN, SUB))
        assert ends == ["settings_changed"]
        assert world.ways[-2:] == [Way("udp")] * 2
        assert world.recording.started == {MAIN: 7}
        assert {ref for ref, _ in world.recording.stops[stops:]} == {SUB}, "the recorder stays with the main stream"
        assert world.most_at_once == 1
        assert len(world.hub.mountpoint(MAIN)._demand_listeners) == 1, "the supervisor of before hears no more"


async def test_an_outage_of_the_recorded_stream_is_told_to_the_recorder_and_of_the_other_not(world: World) -> None:
    await add(world, "sub")
    await until(lambda: live(world, SUB))
    for url in (MAIN_URL, SUB_URL):
        world.failures[url] = CameraError("Refused.", code="port_closed")
    world.pullers[SUB_URL].lost.set()
    with watching(world, MAIN):
        await until(lambda: stream(world, "gate").reason)
        await until(lambda: (SUB, "port_closed") in world.recording.outages)
    assert {ref for ref, _ in world.recording.outages} == {SUB}


@pytest.mark.parametrize("choice", [{"record_stream": "sub"}, {"record_stream": "both"}, {"grid_stream": "sub"}])
async def test_a_choice_that_names_a_substream_that_is_not_there_is_refused(
    world: World, choice: dict[str, str]
) -> None:
    url = "rtsp://10.0.0.6/only"
    with pytest.raises(CameraError) as caught:
        await world.cameras.add(NewCamera(url, camera_id="gate", **choice), ADMIN)
    assert (caught.value.code, world.cameras.list(), world.pulls) == ("no_substream", [], [])
    view = await world.cameras.add(NewCamera(url, camera_id="gate"), ADMIN)
    assert (view.record_stream, view.grid_stream) == ("main", "main")
    with pytest.raises(CameraError) as caught:
        await change(world, CameraChanges(name="Gate", **choice))
    assert caught.value.code == "no_substream"
    assert world.cameras.get("gate").name == "gate"


async def test_what_was_chosen_is_there_again_after_a_restart_and_the_rest_of_an_outage_has_its_cause(
    world: World,
) -> None:
    await add(world, "sub")
    await change(world, CameraChanges(grid_stream="main"))
    again = world.new_cameras()
    world.recording.stops.clear()
    async with supervised(again):
        await until(lambda: len(again.list()) == 1 and world.recording.stops)
        view = again.get("gate")
    assert (view.record_stream, view.grid_stream) == ("sub", "main")
    assert world.recording.stops[0] == (MAIN, "other_stream_recorded")


async def test_a_recorded_substream_that_the_camera_offers_no_more_says_so(world: World) -> None:
    await add(world, "sub")
    await until(lambda: live(world, SUB))
    world.offers_sub = False
    world.failures[SUB_URL] = CameraError("No such stream.", code="stream_not_found")
    world.pullers[SUB_URL].lost.set()
    await until(lambda: (found := stream(world, "gate", StreamName.SUB)).reason and found.reason.code == "no_substream")
    assert (SUB, "no_substream") in world.recording.outages
    assert world.cameras.get("gate").grid_stream == "main"


async def test_streams_of_the_cameras_file(world: World) -> None:
    entry = CameraEntry("gate", "10.0.0.5", record_stream="both", grid_stream="main")
    await world.cameras.sync_file([entry], "")
    (row,) = await world.catalogue.read(rows.list_cameras)
    assert (row["record_stream"], row["grid_stream"]) == ("both", "main")
    await world.cameras.sync_file([CameraEntry("gate", "10.0.0.5")], "")
    (row,) = await world.catalogue.read(rows.list_cameras)
    assert (row["record_stream"], row["grid_stream"]) == ("main", "sub")


async def test_how_media_comes_is_shown_while_it_comes(world: World) -> None:
    world.transport = "udp"
    await add(world)
    await until(lambda: live(world, MAIN))
    assert (stream(world, "gate").transport, stream(world, "gate", StreamName.SUB).transport) == ("udp", "")
