"""Retention deletes in an order that survives a crash between any two steps: a real catalogue, a store in memory."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate

import pytest
from sqlalchemy import Connection, event, insert, select, update

from mediasrv.catalogue.camera_events import EventRow, insert_events
from mediasrv.catalogue.footage_queries import mark_garbage
from mediasrv.catalogue.generations import confirm, raise_generation
from mediasrv.catalogue.holds import NewHold, place_hold, release_hold, set_legal_holds, touched_by
from mediasrv.catalogue.policies import Bounds, Subject, clear_policy, set_policy
from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import (
    access_log,
    camera,
    camera_event,
    data_key,
    gap,
    garbage,
    hold,
    outbox,
    place,
    receipt,
    recording,
)
from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.errors import FootageRefused, StorageError
from mediasrv.media.access_unit import Session, StreamName, StreamRef
from mediasrv.media.camera_event import EventKind
from mediasrv.retention import Condition, RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.security.access_log import AccessLog, verify
from mediasrv.security.receipts import CONTEXT, Receipts
from mediasrv.settings import RetentionSettings, StorageSettings
from mediasrv.storage.keys import verify_signature
from tests.archive import NODE_ID, Archive
from tests.clocks import SimulatedClock
from tests.unit.media.streams import REF, STARTED_US, video_units

DAY_S = 86_400
KEYS = "keys"


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


class MemoryStore:
    """A bucket in memory; counts its operations and can fail or die at one."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str | None, str], bytes] = {}
        self.deleted: list[str] = []
        self.refused: set[str] = set()
        self.away = False

    async def put(self, key: str, body: Sequence[bytes], crc32c: int, *, bucket: str | None = None) -> None:
        self.objects[bucket, key] = b"".join(body)

    async def delete_many(self, objects: Sequence[tuple[str, str | None]]) -> list[StorageError | None]:
        outcomes: list[StorageError | None] = []
        for key, version_id in objects:
            try:
                await self.delete(key, version_id)
            except StorageError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    async def delete(self, key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        if self.away:
            raise StorageError("The object store is not reached.", code="storage_unreachable")
        if key in self.refused:
            raise StorageError("The object is locked.", code="storage_refused")
        self.objects.pop((bucket, key), None)
        self.deleted.append(key)


class Dying:
    """Lets `steps` operations of the wrapped parts through, and dies before or after the next one."""

    def __init__(self, steps: int, before: bool) -> None:
        self.left = steps
        self.before = before

    async def step(self, call: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Crash
        result = await call()
        if self.left == 0:
            raise Crash
        return result


@pytest.fixture
async def archive(tmp_path: Path, each_database: None) -> AsyncIterator[Archive]:
    made = Archive(tmp_path, MemoryStore(), KEYS, SimulatedClock(STARTED_US))
    await made.register()
    yield made
    made.catalogue.close()


def task(
    archive: Archive, spooled_keys: Sequence[str] = (), backup_days: float = 0.0, **settings: Any
) -> RetentionTask:
    log = AccessLog(archive.catalogue, archive.clock)
    chosen = RetentionSettings(**({"max_age_days": 1.0} | settings))
    receipts = Receipts(archive.catalogue, log, NODE_ID, archive.node_key.sign, archive.clock, 0.0, backup_days, KEYS)
    return RetentionTask(
        archive.catalogue,
        archive.store,
        KEYS,
        lambda: spooled_keys,
        log,
        archive.clock,
        chosen,
        Defaults.of(chosen, StorageSettings()),
        receipts,
    )


def store_of(archive: Archive) -> MemoryStore:
    assert isinstance(archive.store, MemoryStore)
    return archive.store


def session(ref: StreamRef = REF, started_us: int = STARTED_US, name: str = "one") -> Session:
    return Session(name, ref, 1, started_us, 0.0)


async def rows(archive: Archive, table: Any) -> list[Any]:
    return list(await archive.catalogue.read(lambda connection: connection.execute(select(table)).all()))


async def objects(archive: Archive) -> list[str]:
    return sorted(key for bucket, key in store_of(archive).objects if bucket is None)


async def test_footage_goes_when_it_is_of_age_and_not_before(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 30))
    retention = task(archive)
    archive.clock.at_us = made[0].row.ended_us + DAY_S * SECOND_US - 1
    archive.clock.now_s += DAY_S
    retention = task(archive)
    await retention.round()
    assert len(await objects(archive)) == 3
    archive.clock.advance(0.000_001)
    await retention.round()
    assert await objects(archive) == sorted(one.header.object_key for one in made[1:])
    assert retention.state.deleted_objects == 1


async def test_the_catalogue_says_what_went(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 30))
    archive.clock.advance(2 * DAY_S)
    await task(archive).round()
    assert await rows(archive, recording) == []
    assert await rows(archive, garbage) == []
    (row,) = await rows(archive, gap)
    assert (to_us(row.started_at), to_us(row.ended_at)) == (made[0].row.started_us, made[-1].row.ended_us)
    assert row.cause == "retention"
    assert [row.kind for row in await rows(archive, outbox)][-1] == "footage.deleted"


async def test_the_access_log_says_what_went(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 30))
    archive.clock.advance(2 * DAY_S)
    await task(archive).round()
    entries = await rows(archive, access_log)
    assert [entry.action for entry in entries] == ["retention.deleted", "retention.key_destroyed", "receipt.written"]
    assert '"objects":3' in entries[0].detail
    assert f'"size_bytes":{sum(len(one.body) for one in made)}' in entries[0].detail
    assert await archive.catalogue.read(verify) is None


async def test_deletions_next_to_each_other_become_one_gap(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    for one in made:
        archive.clock.at_us = one.row.ended_us + DAY_S * SECOND_US
        await task(archive).round()
    (row,) = await rows(archive, gap)
    assert (to_us(row.started_at), to_us(row.ended_at)) == (made[0].row.started_us, made[-1].row.ended_us)


async def test_a_gap_for_another_cause_stays_between_two_deletions(archive: Archive) -> None:
    first = await archive.record(video_units(session(), 10))
    lost_until_us = first[0].row.ended_us + 5 * SECOND_US
    await archive.catalogue.write(_insert_gap, first[0].row.ended_us, lost_until_us)
    await archive.record(video_units(session(started_us=lost_until_us, name="two"), 10))
    archive.clock.advance(2 * DAY_S)
    await task(archive).round()
    causes = sorted((to_us(row.started_at), row.cause) for row in await rows(archive, gap))
    assert [cause for _, cause in causes] == ["retention", "camera_lost", "retention"]


def _insert_gap(connection: Connection, start_us: int, end_us: int) -> None:
    values = {"started_at": from_us(start_us), "ended_at": from_us(end_us), "cause": "camera_lost"}
    connection.execute(insert(gap).values(camera_id=REF.camera_id, stream=str(REF.stream), **values))


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("steps", range(1, 9))
async def test_a_crash_at_any_step_leaves_what_the_next_start_finishes(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, steps: int, before: bool
) -> None:
    made = await archive.record(video_units(session(), 20))
    archive.clock.advance(2 * DAY_S)
    dying = Dying(steps, before)
    write, store = archive.catalogue.write, store_of(archive)
    delete, delete_many = store.delete, store.delete_many

    async def dying_write(query: Callable[Concatenate[Connection, ...], Any], *args: Any, **kwargs: Any) -> Any:
        return await dying.step(lambda: write(query, *args, **kwargs))

    async def dying_delete(key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        if bucket is None:
            return await delete(key, version_id)  # one of many: the whole request is a step
        return await dying.step(lambda: delete(key, version_id, bucket=bucket))

    async def dying_delete_many(objects: Sequence[tuple[str, str | None]]) -> Any:
        return await dying.step(lambda: delete_many(objects))

    with monkeypatch.context() as patch:
        patch.setattr(archive.catalogue, "write", dying_write)
        patch.setattr(store, "delete", dying_delete)
        patch.setattr(store, "delete_many", dying_delete_many)
        try:
            await task(archive).round()
        except Crash:
            await _nothing_is_unaccounted_for(archive)
        else:
            assert dying.left > 0
    await task(archive).round()
    assert await rows(archive, recording) == []
    assert await rows(archive, garbage) == []
    assert store_of(archive).objects == {}
    (key,) = await rows(archive, data_key)
    assert (key.record, key.destroyed_at) == (None, from_us(archive.clock.wall_us()))
    (row,) = await rows(archive, gap)
    assert (to_us(row.started_at), to_us(row.ended_at)) == (made[0].row.started_us, made[-1].row.ended_us)
    deletions = [entry for entry in await rows(archive, access_log) if entry.action == "retention.deleted"]
    assert sum(int(entry.detail.partition('"objects":')[2].partition(",")[0]) for entry in deletions) == 2


async def _nothing_is_unaccounted_for(archive: Archive) -> None:
    """Invariant 4 after a crash: each object has a row, or is garbage; each has its key."""
    named = {row.object_key for table in (recording, garbage) for row in await rows(archive, table)}
    assert set(await objects(archive)) <= named
    needed = {row.key_id for table in (recording, garbage) for row in await rows(archive, table)}
    kept = {row.key_id for row in await rows(archive, data_key) if row.record is not None}
    assert needed <= kept


async def test_size_takes_the_oldest_until_the_rest_fits(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    most = sum(len(one.body) for one in made[-3:])
    await task(archive, max_size_bytes=most).round()
    assert await objects(archive) == sorted(one.header.object_key for one in made[-3:])


async def test_a_camera_has_its_own_policy(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    await archive.catalogue.write(_insert_camera, 0, len(made[-1].body))
    await task(archive).round()
    assert await objects(archive) == [made[-1].header.object_key]


def _insert_camera(
    connection: Connection, max_age_days: int, max_size_bytes: int, camera_id: str = REF.camera_id
) -> None:
    if connection.execute(select(place).where(place.c.place_id == "root")).first() is None:
        connection.execute(insert(place).values(place_id="root", level="centre", name="", path="root/"))
    values = {
        "camera_id": camera_id, "cell": "cell-1", "place_id": "root", "name": "", "kind": "rtsp",
        "address": "rtsp://192.0.2.1/", "origin": "api", "enabled": True,
        "recording": {"mode": "continuous"}, "record_audio": "policy",
        "created_at": from_us(STARTED_US),
    }  # fmt: skip
    connection.execute(insert(camera).values(values))
    set_policy(connection, Subject("camera", camera_id), Bounds(max_age_days, max_size_bytes), "lan", STARTED_US)


async def test_a_hold_beats_age_and_size(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    held = made[2].row
    await archive.place_hold(REF.camera_id, held.started_us + SECOND_US, held.ended_us - SECOND_US)
    archive.clock.advance(30 * DAY_S)
    await task(archive, max_size_bytes=1).round()
    assert await objects(archive) == [made[2].header.object_key]
    assert [row.object_id for row in await rows(archive, recording)] == [made[2].header.object_id]


async def test_a_hold_keeps_both_streams(archive: Archive) -> None:
    main = await archive.record(video_units(session(), 10))
    sub = await archive.record(video_units(session(StreamRef(REF.camera_id, StreamName.SUB), name="sub"), 10))
    await archive.place_hold(REF.camera_id, main[0].row.started_us, main[0].row.ended_us)
    archive.clock.advance(30 * DAY_S)
    await task(archive).round()
    assert await objects(archive) == sorted(one.header.object_key for one in [*main, *sub])


async def test_a_released_hold_holds_nothing(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 10))
    await archive.place_hold(REF.camera_id, made[0].row.started_us, made[0].row.ended_us)
    archive.clock.advance(30 * DAY_S)
    released = from_us(archive.clock.wall_us())
    await archive.catalogue.write(lambda connection: connection.execute(update(hold).values(released_at=released)))
    await task(archive).round()
    assert await objects(archive) == []


async def test_a_hold_placed_after_the_plan_was_made_still_counts(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await archive.record(video_units(session(), 10))
    archive.clock.advance(30 * DAY_S)
    read = archive.catalogue.read

    async def read_then_hold(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = await read(query, *args, **kwargs)
        if query.__name__ == "due":
            await archive.place_hold(REF.camera_id, made[0].row.started_us, made[0].row.ended_us)
        return found

    monkeypatch.setattr(archive.catalogue, "read", read_then_hold)
    await task(archive).round()
    assert len(await objects(archive)) == 1


async def test_a_key_goes_with_its_last_object_and_not_before(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 20))
    record = next(iter(archive.keys.values())).record
    assert [row.record for row in await rows(archive, data_key)] == [record.to_bytes()]
    archive.clock.at_us = made[0].row.ended_us + DAY_S * SECOND_US
    await task(archive).round()
    assert (KEYS, record.bucket_key) in store_of(archive).objects
    archive.clock.advance(DAY_S)
    retention = task(archive)
    await retention.round()
    assert retention.state.destroyed_keys == 1
    assert [row.record for row in await rows(archive, data_key)] == [None]
    assert (KEYS, record.bucket_key) not in store_of(archive).objects


@pytest.mark.parametrize("each_database", ["sqlite"], indirect=True)
async def test_nothing_of_a_destroyed_key_is_left_in_the_catalogue_file(archive: Archive) -> None:
    # Some builds of SQLite overwrite by default; the proof must not rest on that.
    event.listen(archive.catalogue.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA secure_delete=OFF"))
    await archive.record(video_units(session(), 10))
    wrapped = next(iter(next(iter(archive.keys.values())).record.wrapped.values()))
    archive.clock.advance(2 * DAY_S)
    await task(archive).round()
    with archive.catalogue.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    # The start of it: the shorter row that replaced it lies over its end.
    assert base64.b64encode(wrapped)[:40] not in archive.catalogue_path.read_bytes()


async def test_a_key_that_the_spool_needs_stays(archive: Archive) -> None:
    await archive.record(video_units(session(), 10))
    record = next(iter(archive.keys.values())).record
    archive.clock.advance(2 * DAY_S)
    await task(archive, spooled_keys=[record.key_id]).round()
    assert await objects(archive) == []
    assert (KEYS, record.bucket_key) in store_of(archive).objects


async def test_storage_that_is_away_stops_the_round_and_loses_nothing(archive: Archive) -> None:
    await archive.record(video_units(session(), 60))
    archive.clock.advance(2 * DAY_S)
    store_of(archive).away = True
    retention = task(archive, batch=2)
    with pytest.raises(StorageError):
        await retention.round()
    with pytest.raises(StorageError):
        await retention.round()
    assert len(await rows(archive, garbage)) == 2
    store_of(archive).away = False
    await retention.round()
    assert (await objects(archive), await rows(archive, garbage)) == ([], [])


async def test_a_locked_object_holds_up_no_other_and_goes_later(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    archive.clock.advance(2 * DAY_S)
    locked = made[0].header.object_key
    store_of(archive).refused = {locked}
    retention = task(archive, batch=1)
    await retention.round()
    assert await objects(archive) == [locked]
    assert retention.state.waiting_garbage == 1
    store_of(archive).refused = set()
    archive.clock.advance(3600)
    await retention.round()
    assert (await objects(archive), retention.state.waiting_garbage) == ([], 0)


async def test_nothing_is_deleted_after_a_rebuild_before_the_holds_are_confirmed(archive: Archive) -> None:
    await archive.record(video_units(session(), 10))
    archive.clock.advance(30 * DAY_S)
    await archive.catalogue.write(raise_generation, "rebuild", archive.clock.wall_us())
    retention = task(archive)
    await retention.round()
    assert (retention.state.condition, retention.state.code) == (Condition.PAUSED, "holds_unconfirmed")
    assert len(await objects(archive)) == 1
    await archive.catalogue.write(confirm, "lan", archive.clock.wall_us())
    await retention.round()
    assert await objects(archive) == []


async def test_a_version_with_a_legal_hold_goes_only_when_that_was_taken_away(archive: Archive) -> None:
    """Its row stays meanwhile: what could not be deleted would be footage that no row names."""
    made = await archive.record(video_units(session(), 10))
    await archive.catalogue.write(set_legal_holds, [(made[0].header.object_id, True)], STARTED_US)
    archive.clock.advance(30 * DAY_S)
    await task(archive).round()
    assert len(await rows(archive, recording)) == 1
    await archive.catalogue.write(set_legal_holds, [(made[0].header.object_id, False)], STARTED_US)
    await task(archive).round()
    assert await objects(archive) == []


async def test_nothing_is_deleted_while_the_clock_has_jumped(archive: Archive) -> None:
    await archive.record(video_units(session(), 10))
    retention = task(archive)
    archive.clock.at_us += 365 * DAY_S * SECOND_US
    await retention.round()
    assert (retention.state.condition, retention.state.code) == (Condition.PAUSED, "clock_jumped")
    assert len(await objects(archive)) == 1
    archive.clock.at_us -= 365 * DAY_S * SECOND_US
    await retention.round()
    assert retention.state.condition is Condition.IDLE
    assert len(await objects(archive)) == 1


async def test_a_deletion_that_others_cover_leaves_no_gap_over_footage(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 10))
    await archive.record(video_units(session(started_us=STARTED_US + 4 * SECOND_US, name="other"), 20), object_s=60)
    archive.clock.at_us = made[0].row.ended_us + DAY_S * SECOND_US
    await task(archive).round()
    (row,) = await rows(archive, gap)
    assert (to_us(row.started_at), to_us(row.ended_at)) == (STARTED_US, STARTED_US + 4 * SECOND_US)


async def test_events_go_with_the_footage_of_their_day_and_stay_under_a_hold(archive: Archive) -> None:
    await archive.catalogue.write(_insert_camera, 1, 0)
    await archive.catalogue.write(_insert_camera, 3, 0, "gate-3")
    kept = [
        EventRow(0, camera_id, EventKind.MOTION, True, b"", None, STARTED_US + hours * 3600 * SECOND_US)
        for camera_id in (REF.camera_id, "gate-3")
        for hours in (0, 1, 2, 20)
    ]
    await archive.catalogue.write(insert_events, kept)
    await archive.place_hold(REF.camera_id, STARTED_US + 1800 * SECOND_US, STARTED_US + 5400 * SECOND_US)
    archive.clock.advance(DAY_S + 3 * 3600)
    await task(archive, batch=2).round()
    left = [
        (one.camera_id, (to_us(one.arrived_at) - STARTED_US) // (3600 * SECOND_US))
        for one in await rows(archive, camera_event)
    ]
    assert sorted(left) == [(REF.camera_id, 1), (REF.camera_id, 20), *(("gate-3", hours) for hours in (0, 1, 2, 20))]


async def test_no_event_goes_while_the_clock_has_jumped(archive: Archive) -> None:
    await archive.catalogue.write(_insert_camera, 1, 0)
    await archive.catalogue.write(
        insert_events, [EventRow(0, REF.camera_id, EventKind.MOTION, True, b"", None, STARTED_US)]
    )
    retention = task(archive)
    archive.clock.at_us += 400 * DAY_S * SECOND_US
    await retention.round()
    assert retention.state.condition is Condition.PAUSED
    assert len(await rows(archive, camera_event)) == 1


# --- policies that come from elsewhere -----------------------------------------------------------


async def test_a_camera_without_a_policy_follows_its_place(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 20))
    await archive.catalogue.write(_insert_camera, 0, 0)
    await archive.catalogue.write(clear_policy, Subject("camera", REF.camera_id))
    await archive.catalogue.write(set_policy, Subject("place", "root"), Bounds(5), "lan", STARTED_US)
    archive.clock.advance(2 * DAY_S)
    await task(archive).round()
    assert len(await objects(archive)) == len(made)
    archive.clock.advance(4 * DAY_S)
    await task(archive).round()
    assert await objects(archive) == []


async def test_footage_around_an_event_stays_and_so_does_the_event(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    await archive.catalogue.write(_insert_camera, 1, 0)
    bounds = Bounds(1, 0, {"motion": 5}, 0, 0)
    await archive.catalogue.write(set_policy, Subject("camera", REF.camera_id), bounds, "lan", STARTED_US)
    inside_us = made[2].row.started_us + SECOND_US
    motion = [
        EventRow(0, REF.camera_id, EventKind.MOTION, active, b"", None, inside_us + after_us)
        for active, after_us in ((True, 0), (False, SECOND_US))
    ]
    await archive.catalogue.write(insert_events, motion)
    retention = task(archive, batch=2)
    archive.clock.advance(2 * DAY_S)
    await retention.round()
    assert await objects(archive) == [made[2].header.object_key]
    assert len(await rows(archive, camera_event)) == 2
    archive.clock.advance(4 * DAY_S)
    await retention.round()
    assert await objects(archive) == []
    assert await rows(archive, camera_event) == []


async def test_what_events_keep_is_walked_past_once_an_hour_only(archive: Archive) -> None:
    """Size is looked at in each round all the same."""
    made = await archive.record(video_units(session(), 30))
    await archive.catalogue.write(_insert_camera, 1, 0)
    bounds = Bounds(1, 0, {"motion": 5})
    await archive.catalogue.write(set_policy, Subject("camera", REF.camera_id), bounds, "lan", STARTED_US)
    retention = task(archive)
    archive.clock.advance(DAY_S - 600)
    await retention.round()
    archive.clock.advance(1200)
    await retention.round()
    assert len(await objects(archive)) == 3
    small = Bounds(1, sum(len(one.body) for one in made[1:]), {"motion": 5})
    await archive.catalogue.write(set_policy, Subject("camera", REF.camera_id), small, "lan", STARTED_US)
    await retention.round()
    assert len(await objects(archive)) < 3
    archive.clock.advance(3600)
    await retention.round()
    assert await objects(archive) == []


async def test_a_policy_that_was_made_longer_since_the_plan_counts(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await archive.record(video_units(session(), 10))
    await archive.catalogue.write(_insert_camera, 1, 0)
    archive.clock.advance(30 * DAY_S)
    read = archive.catalogue.read

    async def read_then_keep(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = await read(query, *args, **kwargs)
        if query.__name__ == "due":
            subject = Subject("camera", REF.camera_id)
            await archive.catalogue.write(set_policy, subject, Bounds(90), "lan", STARTED_US)
        return found

    monkeypatch.setattr(archive.catalogue, "read", read_then_keep)
    await task(archive).round()
    assert len(await objects(archive)) == len(made)


# --- holds that come at the same time ------------------------------------------------------------


def held(start_us: int, end_us: int) -> NewHold:
    return NewHold(REF.camera_id, Span(start_us, end_us), "a case", None, None)


async def test_of_a_hold_and_a_deletion_one_comes_first(archive: Archive) -> None:
    """Either order: a hold that is there keeps the footage, one that comes later says that there is none."""
    made = await archive.record(video_units(session(), 20))
    first, second = made[0].row, made[1].row
    await archive.catalogue.write(place_hold, held(first.started_us, first.ended_us - 1), "lan", STARTED_US)
    doomed = [(one.header.object_id, "age") for one in made]
    going = await archive.catalogue.write(mark_garbage, doomed, STARTED_US)
    assert [one.object_id for one in going] == [made[1].header.object_id]
    await archive.catalogue.write(place_hold, held(second.started_us + 1, second.ended_us), "lan", STARTED_US)
    late = await archive.catalogue.read(touched_by, REF.camera_id, Span(second.started_us + SECOND_US, second.ended_us))
    assert late.objects == 0
    early = await archive.catalogue.read(touched_by, REF.camera_id, Span(first.started_us, first.ended_us - 1))
    assert early.objects == 1


async def test_many_holds_and_deletions_at_once_never_delete_what_was_held(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 60))
    archive.clock.advance(30 * DAY_S)
    retention = task(archive, batch=1, batch_pause_s=0.0)

    async def hold_all() -> list[int]:
        kept = []
        for one in reversed(made):
            span = Span(one.row.started_us + 1, one.row.ended_us - 1)
            await archive.catalogue.write(place_hold, held(*span), "lan", archive.clock.wall_us())
            kept.append((await archive.catalogue.read(touched_by, REF.camera_id, span)).objects)
        return kept

    kept, _ = await asyncio.gather(hold_all(), retention.round())
    protected = [one for one, objects_ in zip(reversed(made), kept, strict=True) if objects_]
    left = await objects(archive)
    assert {one.header.object_key for one in protected} <= set(left)
    assert len(left) == len(protected)


async def test_overlapping_holds_end_one_by_one(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 10))
    whole = held(made[0].row.started_us, made[0].row.ended_us)
    ids = [(await archive.catalogue.write(place_hold, whole, "lan", STARTED_US)).hold_id for _ in range(2)]
    archive.clock.advance(30 * DAY_S)
    retention = task(archive)
    for hold_id in ids:
        await retention.round()
        assert len(await objects(archive)) == 1
        await archive.catalogue.write(release_hold, hold_id, "minh", "closed", archive.clock.wall_us())
    await retention.round()
    assert await objects(archive) == []
    assert [(row.released_by, row.release_reason) for row in await rows(archive, hold)] == [("minh", "closed")] * 2


# --- receipts ------------------------------------------------------------------------------------


async def test_a_receipt_says_what_was_destroyed_and_is_signed(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 30))
    key_id = next(iter(archive.keys.values())).key_id
    archive.clock.advance(2 * DAY_S)
    retention = task(archive, batch=2, backup_days=30)
    await retention.round()
    await retention.round()
    (kept,) = await rows(archive, receipt)
    verify_signature(archive.node_key.public, kept.signature, CONTEXT + kept.document.encode())
    with pytest.raises(FootageRefused):
        verify_signature(archive.node_key.public, kept.signature, CONTEXT + kept.document.encode() + b" ")
    document = json.loads(kept.document)
    (line,) = document["footage"]
    assert (line["camera"], line["objects"]) == (REF.camera_id, 3)
    assert line["size_bytes"] == sum(len(one.body) for one in made)
    assert len(line["spans"]) == 2, "two batches"
    (key,) = document["keys"]
    assert key["key_id"] == key_id
    assert [copy["place"] for copy in key["copies"]] == [f"key bucket {KEYS}", "catalogue"]
    at = from_us(archive.clock.wall_us())
    assert document["last_backup_expires_at"] == (at + timedelta(days=30)).isoformat()
    assert document["sentence"] == "Destroyed as far as this system knows."
    assert document["access_log"] == {"first": 1, "last": 3}


async def test_without_backups_a_receipt_names_no_date_and_where_nothing_went_there_is_none(archive: Archive) -> None:
    retention = task(archive)
    await retention.round()
    assert await rows(archive, receipt) == []
    await archive.record(video_units(session(), 10))
    archive.clock.advance(2 * DAY_S)
    await retention.round()
    (kept,) = await rows(archive, receipt)
    assert json.loads(kept.document)["last_backup_expires_at"] is None


async def test_what_a_crash_kept_from_its_receipt_is_in_the_next_one_and_in_no_other(archive: Archive) -> None:
    made = await archive.record(video_units(session(), 20))
    for one in made:
        archive.clock.at_us = one.row.ended_us + DAY_S * SECOND_US
        retention = task(archive)
        retention._receipts = None if one is made[0] else retention._receipts  # it dies before the first receipt
        await retention.round()
    await task(archive).round()
    lines = [json.loads(one.document)["footage"] for one in await rows(archive, receipt)]
    assert sum(line["objects"] for found in lines for line in found) == 2
    assert len(lines) == 1
