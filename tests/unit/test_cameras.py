"""The supervisor of cameras, with drivers that do what each test needs. No socket; delays are microseconds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from mediasrv.backoff import Backoff
from mediasrv.cameras.drivers import Login, Way
from mediasrv.cameras.hosts import Host
from mediasrv.cameras.supervisor import PASSWORD_TRIES, StreamSupervisor
from mediasrv.cameras.views import CameraChanges, NewCamera, Profile
from mediasrv.catalogue import cameras as rows
from mediasrv.catalogue.migrate import upgrade
from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError, Conflict, InvalidRequest, NotFound, Unavailable
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.media.profile import MediaProfile
from mediasrv.security.access_log import Entry, read_entries
from mediasrv.settings import CameraEntry, PullSettings, RecordingPlan
from tests.unit.camera_world import ADMIN, SETTINGS, World, stream, supervised, until


async def test_an_added_onvif_camera_is_pulled_recorded_and_explained(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", "Gate", "gate", username="u", password="p"), by=ADMIN)
    await until(lambda: stream(world, "gate").state == "live")
    view = world.cameras.get("gate")
    assert view.profile is not None
    assert view.profile.explanation == "Picked."
    assert world.recording.started == {StreamRef("gate", StreamName.MAIN): 7}
    assert world.logins[-1] == Login("u", "p")
    assert stream(world, "gate", StreamName.SUB).state == "idle"


async def test_a_camera_that_cannot_be_read_is_not_kept_and_says_why(world: World) -> None:
    world.device_failure = CameraError("The camera refused the password.", code="credentials_wrong")
    with pytest.raises(CameraError) as caught:
        await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    assert caught.value.code == "credentials_wrong"
    assert world.cameras.list() == []


async def test_a_plain_url_is_tried_before_it_is_kept_and_the_trial_ends_before_the_pull_begins(world: World) -> None:
    url = "rtsp://10.0.0.6/channel/1"
    await world.cameras.add(NewCamera(url, camera_id="nvr-1"), by=ADMIN)
    await until(lambda: stream(world, "nvr-1").state == "live")
    assert world.pulls == [url, url]
    assert world.most_at_once == 1
    profile = world.cameras.get("nvr-1").profile
    assert profile is not None
    assert (profile.main.codec, profile.main.width) == ("h264", 640), "what the trial has seen stays known"


async def test_a_wrong_url_gives_its_reason(world: World) -> None:
    world.failures["rtsp://10.0.0.6/x"] = CameraError("No such stream.", code="stream_not_found")
    with pytest.raises(CameraError) as caught:
        await world.cameras.probe(NewCamera("rtsp://10.0.0.6/x"))
    assert caught.value.code == "stream_not_found"


async def test_a_lost_camera_is_tried_again_and_its_outage_is_told_to_the_recorder(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    main = "rtsp://10.0.0.5/main"
    await until(lambda: stream(world, "gate").state == "live")
    world.failures[main] = CameraError("Refused.", code="port_closed")
    world.pullers[main].lost.set()
    await until(
        lambda: stream(world, "gate").state == "retrying" and stream(world, "gate").reason.code == "port_closed"
    )
    assert (StreamRef("gate", StreamName.MAIN), "port_closed") in world.recording.outages
    del world.failures[main]
    await until(lambda: stream(world, "gate").state == "live")
    assert stream(world, "gate").reason is None
    assert world.most_at_once == 1


async def test_viewers_and_recorders_stay_attached_across_a_reconnect_with_one_discontinuity(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    ref = StreamRef("gate", StreamName.MAIN)
    await until(lambda: stream(world, "gate").state == "live")
    seen: list[tuple[str, str]] = []
    sink = SimpleNamespace(
        on_access_unit=lambda unit: seen.append(("unit", unit.session.session_id)),
        on_part=lambda part: None,
        on_session_ended=lambda session, reason: seen.append((reason, session.session_id)),
    )
    mountpoint = world.hub.mountpoint(ref)
    mountpoint.subscribe(sink)
    mountpoint.subscribe_parts(sink)
    first = mountpoint.session
    assert first is not None
    world.pullers["rtsp://10.0.0.5/main"].lost.set()
    await until(lambda: world.pulls.count("rtsp://10.0.0.5/main") == 2 and stream(world, "gate").state == "live")
    second = mountpoint.session
    assert second is not None
    assert seen == [("camera_lost", first.session_id)] * 2 + [("unit", second.session_id)]
    assert mountpoint.subscribers == 2


async def test_the_transport_that_worked_is_tried_first_the_next_time(world: World) -> None:
    world.transport = "udp"
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await until(lambda: stream(world, "gate").state == "live")
    world.pullers["rtsp://10.0.0.5/main"].lost.set()
    await until(lambda: len(world.ways) == 2)
    assert [way.preferred for way in world.ways] == ["", "udp"]


async def test_an_attempt_that_brought_nothing_does_not_unlearn_the_transport_that_worked(world: World) -> None:
    url = "rtsp://10.0.0.5/main"
    world.transport = "udp"
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await until(lambda: stream(world, "gate").state == "live")
    world.failures[url] = CameraError("Busy.", code="camera_busy")
    world.pullers[url].lost.set()
    await until(lambda: len(world.ways) >= 4)
    assert [way.preferred for way in world.ways[:4]] == ["", "udp", "udp", "udp"]


async def test_the_transport_that_worked_is_remembered_by_the_next_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediasrv.cameras.REMEMBER_S", 0.01)
    world.transport = "udp"
    before = world.new_cameras()
    async with supervised(before):
        await before.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
        async with asyncio.timeout(10):
            while not any(row["learnt_transport"] for row in await world.catalogue.read(rows.list_cameras)):
                pass
    world.ways.clear()
    async with supervised(world.new_cameras()):
        await until(lambda: bool(world.ways))
    assert world.ways[0].preferred == "udp"


async def test_how_a_cameras_media_is_to_come_is_kept_with_it_and_taken_away_again(world: World) -> None:
    wish = NewCamera("rtsps://10.0.0.6/x", camera_id="dock", transport="tcp", tls_fingerprint="ab" * 32)
    await world.cameras.add(wish, by=ADMIN)
    await until(lambda: stream(world, "dock").state == "live")
    assert world.ways == [Way("tcp", "ab" * 32)] * 2, "the trial and the pull"
    again = world.new_cameras()
    async with supervised(again):
        await until(lambda: len(again.list()) == 1 and len(world.ways) == 3)
    assert world.ways[-1] == Way("tcp", "ab" * 32)
    view = await world.cameras.change("dock", CameraChanges(transport="", tls_fingerprint=""), by=ADMIN)
    assert (view.transport, view.tls_fingerprint) == (None, None)
    await until(lambda: world.ways[-1] == Way())


async def test_a_refused_password_is_tried_three_times_and_then_rarely(world: World) -> None:
    main = "rtsp://10.0.0.5/main"
    world.failures[main] = CameraError("Refused.", code="credentials_wrong")
    world.failures["rtsp://10.0.0.6/main"] = CameraError("Refused.", code="rtsp_refused")
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await world.cameras.add(NewCamera("10.0.0.6", camera_id="yard"), by=ADMIN)
    await until(lambda: len(world.attempts) >= 40)
    assert world.attempts.count(main) == PASSWORD_TRIES


async def test_the_pause_counts_from_the_beginning_of_an_attempt(world: World) -> None:
    """A camera that was waited for in vain is asked again soon; one that refuses at once is not."""
    settings = PullSettings(backoff_first_s=1.0, backoff_most_s=6.0)
    supervisor = StreamSupervisor(
        world.hub.mountpoint(StreamRef("gate", StreamName.MAIN)),
        world.cameras._connect,  # type: ignore[arg-type]
        on_demand=False,
        host=Host(SystemClock(), 1.0, 6.0),
        failed=lambda ref, error: None,
        clock=SystemClock(),
        settings=settings,
    )
    busy, silent = CameraError("Busy.", code="camera_busy"), CameraError("Silent.", code="host_unreachable")
    for _ in range(5):
        supervisor._pause_s(busy, 0.0)
    assert all(3.0 <= supervisor._pause_s(busy, 0.0) <= 6.0 for _ in range(20))
    assert all(1.0 <= supervisor._pause_s(silent, 2.0) <= 4.0 for _ in range(20))
    assert all(0.5 <= supervisor._pause_s(silent, 6.0) <= 1.0 for _ in range(20))


async def test_a_driver_that_fails_unexpectedly_does_not_end_the_other_cameras(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="good"), by=ADMIN)
    await world.cameras.add(NewCamera("10.0.0.6", camera_id="odd"), by=ADMIN)
    await until(lambda: stream(world, "odd").state == "live")
    world.failures["rtsp://10.0.0.6/main"] = RuntimeError("a bug")  # type: ignore[assignment]
    world.pullers["rtsp://10.0.0.6/main"].lost.set()
    await until(lambda: stream(world, "odd").reason and stream(world, "odd").reason.code == "camera_failed")
    assert stream(world, "good").state == "live"


async def test_the_substream_runs_only_while_wanted_and_simultaneous_viewers_share_one_start(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    ref = StreamRef("gate", StreamName.SUB)
    await asyncio.gather(*(world.cameras.ensure(ref) for _ in range(20)))
    assert world.pulls.count("rtsp://10.0.0.5/sub") == 1
    await until(lambda: stream(world, "gate", StreamName.SUB).state == "idle")
    assert world.running["rtsp://10.0.0.5/sub"] == 0
    assert world.ends == ["not_watched"]


async def test_a_viewer_holds_the_substream_beyond_its_linger(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    ref = StreamRef("gate", StreamName.SUB)
    await world.cameras.ensure(ref)
    sink = SimpleNamespace(on_access_unit=lambda unit: None, on_session_ended=lambda session, reason: None)
    subscription = world.hub.mountpoint(ref).subscribe(sink)
    await asyncio.sleep(SETTINGS.linger_s * 3)  # the very time that must not end it
    assert stream(world, "gate", StreamName.SUB).state == "live"
    subscription.close()
    await until(lambda: stream(world, "gate", StreamName.SUB).state == "idle")


@pytest.mark.parametrize("turns", range(6))
async def test_a_viewer_that_leaves_while_the_pull_is_ended_does_not_hold_it_up(turns: int) -> None:
    """A server that stops sends its viewers away in about the turn of the loop in which it ends its pulls."""
    mountpoint = Mountpoint(StreamRef("gate", StreamName.MAIN), 0.48)
    connected, sink = asyncio.Event(), SimpleNamespace(on_access_unit=None, on_session_ended=None)

    async def connect(_: Mountpoint) -> Any:
        return SimpleNamespace(run=pull, stop_reason="")

    async def pull() -> None:
        connected.set()
        await asyncio.Event().wait()

    clock, settings = SystemClock(), PullSettings()
    supervisor = StreamSupervisor(
        mountpoint,
        connect,
        on_demand=False,
        failed=lambda *_: None,
        clock=clock,
        settings=settings,
        host=Host(clock, 1.0, 1.0),
    )
    subscription = mountpoint.subscribe(sink)
    run = asyncio.create_task(supervisor.run())
    await connected.wait()
    await asyncio.sleep(0)
    run.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    subscription.close()
    done, _ = await asyncio.wait({run}, timeout=5)
    assert done


async def test_ensure_says_why_a_stream_cannot_be_had(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    world.failures["rtsp://10.0.0.5/sub"] = CameraError("Refused.", code="rtsp_refused")
    with pytest.raises(Unavailable) as caught:
        await world.cameras.ensure(StreamRef("gate", StreamName.SUB))
    assert caught.value.code == "rtsp_refused"
    with pytest.raises(NotFound):
        await world.cameras.ensure(StreamRef("nobody", StreamName.MAIN))


async def test_switching_recording_off_and_the_camera_off_stops_each(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await world.cameras.change("gate", CameraChanges(recording=RecordingPlan("off")), ADMIN)
    assert world.recording.started == {}
    assert world.recording.stops[-1][1] == "not_recording"
    await world.cameras.change("gate", CameraChanges(enabled=False), ADMIN)
    assert stream(world, "gate").state == "off"
    assert sum(world.running.values()) == 0
    assert world.ends == ["camera_disabled"], "the pull lingers beyond the end of recording"
    assert world.recording.stops[-1][1] == "camera_disabled"


async def test_a_new_password_is_used_and_the_old_name_kept(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate", username="u", password="old"), by=ADMIN)
    await world.cameras.change("gate", CameraChanges(password="new"), ADMIN)
    await until(lambda: world.logins[-1:] == [Login("u", "new")])


async def test_cameras_are_there_again_after_a_restart_with_sealed_credentials(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", "Gate", "gate", username="u", password="hidden-word"), by=ADMIN)
    database = Path(world.catalogue.url.removeprefix("sqlite:///"))
    stored = b"".join(path.read_bytes() for path in database.parent.iterdir())
    assert b"hidden-word" not in stored
    again = world.new_cameras()
    async with supervised(again):
        await until(lambda: world.logins[-1:] == [Login("u", "hidden-word")] and len(again.list()) == 1)


async def test_cameras_of_a_file_follow_the_file(world: World) -> None:
    entry = CameraEntry("yard", "10.0.0.9", "Yard", username="u", password="env:YARD")
    await world.cameras.sync_file([entry], "")
    again = world.new_cameras()
    async with supervised(again):
        await until(lambda: world.logins[-1:] == [Login("u", "secret of env:YARD")])
    await world.cameras.sync_file([], "")
    empty = world.new_cameras()
    async with supervised(empty):
        await until(lambda: empty._group)
        assert empty.list() == []


async def test_a_server_without_the_role_record_knows_the_cameras_and_touches_none(world: World) -> None:
    entry = CameraEntry("yard", "10.0.0.9", "Yard", username="u", password="env:YARD")
    await world.cameras.sync_file([entry], "")
    other = world.new_cameras()
    following = asyncio.create_task(other.follow())
    await until(lambda: [view.camera_id for view in other.list()] == ["yard"])
    refused = [
        other.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN),
        other.change("yard", CameraChanges(name="Back yard"), by=ADMIN),
        other.remove("yard", by=ADMIN),
        other.attest("yard", 1, by=ADMIN),
        other.ensure(StreamRef("yard", StreamName.MAIN)),
    ]
    for attempt in refused:
        with pytest.raises(Unavailable) as error:
            await attempt
        assert error.value.code == "role_missing"
    assert (world.pulls, world.attempts, world.logins) == ([], [], [])
    following.cancel()


async def test_a_removed_camera_is_gone_and_its_stream_with_it(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await world.cameras.remove("gate", ADMIN)
    assert world.cameras.list() == []
    assert world.hub.get(StreamRef("gate", StreamName.MAIN)) is None


async def test_a_stream_that_the_camera_does_not_offer_is_off(world: World) -> None:
    await world.cameras.add(NewCamera("rtsp://10.0.0.6/only", camera_id="nvr-1"), by=ADMIN)
    assert stream(world, "nvr-1", StreamName.SUB).state == "off"


async def test_bad_and_doubled_ids_are_refused(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await world.cameras.add(NewCamera("10.0.0.5", camera_id="Not An Id"), by=ADMIN)
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    with pytest.raises(Conflict):
        await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)


async def test_a_camera_that_is_added_while_the_others_start_is_pulled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.db"
    await asyncio.to_thread(upgrade, url)
    world, go_on, loaded = World(url), asyncio.Event(), asyncio.Event()
    read = world.catalogue.read

    async def slow(query: Any, *args: Any) -> Any:
        if query is not rows.list_cameras:
            return await read(query, *args)
        await go_on.wait()
        found = await read(query, *args)
        loaded.set()
        return found

    monkeypatch.setattr(world.catalogue, "read", slow)
    async with supervised(world.cameras):
        adding = asyncio.create_task(world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), ADMIN))
        await asyncio.wait({adding}, timeout=0.1)
        go_on.set()
        await asyncio.gather(adding, loaded.wait())
        await until(lambda: stream(world, "gate").state == "live")
        await world.cameras.remove("gate", ADMIN)
        assert sum(world.running.values()) == 0
    world.catalogue.close()
    assert world.most_at_once == 1


# --- devices and weak passwords ------------------------------------------------------------------


async def test_devices_are_tried_again_once_a_pull_has_begun(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), by=ADMIN)
    await until(lambda: stream(world, "gate").state == "live")
    assert world.devices.retries == ["gate"]
    world.pullers["rtsp://10.0.0.5/main"].begin_session()
    assert world.devices.retries == ["gate"], "a session that begins behind damage tells nothing new"
    world.pullers["rtsp://10.0.0.5/main"].lost.set()
    await until(lambda: len(world.devices.retries) == 2)


async def test_devices_are_looked_after_while_a_camera_is_in_service(world: World) -> None:
    wish = NewCamera("10.0.0.5", camera_id="gate", username="a", password="b")
    assert (await world.cameras.add(wish, ADMIN)).device is not None
    assert world.devices.logins["gate"]() == Login("a", "b")
    await world.cameras.change("gate", CameraChanges(password="c"), ADMIN)
    assert world.devices.logins["gate"]() == Login("a", "c")
    await world.cameras.change("gate", CameraChanges(enabled=False), ADMIN)
    assert world.cameras.get("gate").device is None
    await world.cameras.add(NewCamera("rtsp://10.0.0.6/a", camera_id="nvr-1"), ADMIN)
    assert world.devices.logins == {}


async def test_a_camera_that_anybody_can_enter_is_refused_where_the_policy_says_so(world: World) -> None:
    refused = frozenset({"password_default", "password_empty"})
    world.cameras._drivers = dataclasses.replace(world.cameras._drivers, refused_warnings=refused)
    world.warnings = ("password_default",)
    with pytest.raises(CameraError) as caught:
        await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), ADMIN)
    assert caught.value.code == "password_default"
    assert world.cameras.list() == []
    world.warnings = ()
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), ADMIN)


async def test_a_warning_stays_with_the_camera_until_its_password_changes(world: World) -> None:
    world.warnings = ("password_default",)
    await world.cameras.add(NewCamera("10.0.0.5", camera_id="gate"), ADMIN)
    shown = world.cameras.get("gate").profile
    assert shown is not None
    assert shown.warnings == ("password_default",)
    assert Profile.from_json(json.loads(json.dumps(dataclasses.asdict(shown)))) == shown
    world.warnings = ()
    await world.cameras.change("gate", CameraChanges(username="admin", password="better"), ADMIN)
    await until(lambda: (found := world.cameras.get("gate").profile) is not None and not found.warnings)


def test_a_profile_from_before_there_were_warnings_is_read() -> None:
    main = dataclasses.asdict(MediaProfile("p1", "main", "h264", 640, 360, 15.0, 500, "pcma", "rtsp://10.0.0.5/a"))
    del main["snapshot_url"], main["gop_units"]
    old = {"manufacturer": "", "model": "", "firmware": "", "clock_offset_s": None, "main": main, "sub": None,
           "explanation": "", "explanation_vi": ""}  # fmt: skip
    assert Profile.from_json(old).warnings == ()


# --- the access log ------------------------------------------------------------------------------


async def entries(world: World) -> list[Entry]:
    """The access log, oldest first."""
    return (await world.catalogue.read(read_entries, 100))[::-1]


async def test_each_change_is_in_the_log_with_who_and_what(world: World) -> None:
    wish = NewCamera("10.0.0.5", camera_id="gate", username="u", password="hidden-word", place_id="root")
    await world.cameras.add(wish, ADMIN)
    await world.cameras.change("gate", CameraChanges(name="Cổng", password="hidden-too"), ADMIN)
    await world.cameras.remove("gate", ADMIN)
    found = await entries(world)
    assert [(one.action, one.subject, one.username, one.remote) for one in found] == [
        (action, "gate", "admin", "192.0.2.1") for action in ("camera.added", "camera.changed", "camera.removed")
    ]
    assert [one.detail for one in found] == [
        {"address": "10.0.0.5", "place": "root"},
        {"changed": ["credentials", "name"]},
        {},
    ]
    assert "hidden" not in repr(found)


async def test_a_wish_that_changes_nothing_is_no_change(world: World) -> None:
    await world.cameras.add(NewCamera("10.0.0.5", "Gate", "gate"), by=ADMIN)
    view = await world.cameras.change("gate", CameraChanges(name="Gate", enabled=True), ADMIN)
    assert view.name == "Gate"
    assert [one.action for one in await entries(world)] == ["camera.added"]


async def test_changes_of_the_cameras_file_are_in_the_log(world: World) -> None:
    entry = CameraEntry("yard", "10.0.0.9", "Yard", username="u", password="env:YARD")
    changed = dataclasses.replace(entry, address="10.0.0.10", password="env:OTHER")
    for file in ([entry], [entry], [changed], []):
        await world.cameras.sync_file(file, "")
    found = await entries(world)
    assert [(one.action, one.subject, one.username) for one in found] == [
        (f"camera.{what}", "yard", "(cameras file)") for what in ("added", "changed", "removed")
    ]
    assert found[0].detail == {"address": "10.0.0.9", "place": "root"}
    assert found[1].detail == {"changed": ["address", "credentials"]}


@contextlib.asynccontextmanager
async def refusing_to_write(world: World, table: str) -> AsyncIterator[None]:
    """The database refuses every new or changed row of a table."""

    async def execute(sql: str) -> None:
        await world.catalogue.write(lambda connection: connection.exec_driver_sql(sql).close())

    for verb in ("insert", "update"):
        await execute(f"create trigger no_{verb} before {verb} on {table} begin select raise(fail, 'refused'); end")
    yield
    for verb in ("insert", "update"):
        await execute(f"drop trigger no_{verb}")


CHANGES: dict[str, Callable[[World], Awaitable[object]]] = {
    "add": lambda world: world.cameras.add(NewCamera("10.0.0.6", camera_id="yard"), ADMIN),
    "change": lambda world: world.cameras.change("gate", CameraChanges(name="Sân", enabled=False), ADMIN),
    "remove": lambda world: world.cameras.remove("gate", ADMIN),
    "file": lambda world: world.cameras.sync_file([CameraEntry("yard", "10.0.0.9")], ""),
}


async def everything(world: World) -> tuple[object, ...]:
    """What a change may touch: rows, entries, what is shown and what runs."""
    stored = await world.catalogue.read(rows.list_cameras)
    shown = [dataclasses.replace(view, streams={}) for view in world.cameras.list()]
    return stored, await entries(world), shown, dict(world.running), dict(world.recording.started)


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("refused", ["access_log", "camera"])
async def test_no_change_without_its_entry_and_no_entry_without_its_change(
    world: World, how: str, refused: str
) -> None:
    """The database refuses to write one of the two tables: neither may have changed, nor anything that runs."""
    await world.cameras.add(NewCamera("10.0.0.5", "Gate", "gate"), by=ADMIN)
    await until(lambda: stream(world, "gate").state == "live")
    before = await everything(world)
    async with refusing_to_write(world, refused):
        with pytest.raises(SQLAlchemyError, match="refused"):
            await CHANGES[how](world)
    assert await everything(world) == before
    await CHANGES[how](world)
    assert len(await entries(world)) == 2


def test_backoff_doubles_up_to_its_bound_with_jitter_and_starts_anew() -> None:
    backoff = Backoff(1.0, 8.0, uniform=lambda low, high: high)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    backoff.reset()
    assert backoff.next_s() == 1
    jittered = Backoff(1.0, 8.0)
    assert all(0.5 <= Backoff(1.0, 8.0).next_s() <= 1.0 for _ in range(100))
    assert jittered.next_s() != jittered.next_s()
