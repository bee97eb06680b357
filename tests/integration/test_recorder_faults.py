"""Storage that refuses, hangs, fails, dies mid-PUT or loses its answers: said, outlived, nothing lost or doubled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from load_tests.faulting.storage_proxy import Fault, FaultProxy, fault_proxy
from mediasrv.catalogue import recordings, tables
from mediasrv.catalogue.data_keys import replace_record
from mediasrv.catalogue.recordings import key_record
from mediasrv.clock import SECOND_US, SystemClock
from mediasrv.errors import StorageConflict, StorageError
from mediasrv.recorder import RecordingMode
from mediasrv.settings import SpoolSettings, StorageSettings
from mediasrv.storage.keys import Identity, NodeKey, rewrap
from mediasrv.storage.object_store import ObjectStore, crc32c_of
from mediasrv.storage.spool_log import file_name
from tests.integration.recording import REF, Recording, Running, new_session, now_us, tables_of
from tests.unit.media.streams import video_units

BODY = [b"sealed" * 50_000]


def through(storage: StorageSettings, proxy: FaultProxy) -> StorageSettings:
    return replace(storage, endpoint=proxy.endpoint, request_timeout_s=1.0)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.REFUSE, "storage_unreachable"),
        (Fault.HANG, "storage_timeout"),
        (Fault.ERROR_500, "storage_failed"),
        (Fault.DENY, "storage_refused"),
        (Fault.FULL, "storage_full"),
        (Fault.CUT_BODY, "storage_unreachable"),
    ],
)
async def test_each_fault_has_its_code(storage: StorageSettings, fault: Fault, code: str) -> None:
    async with fault_proxy(storage.endpoint) as proxy, ObjectStore(through(storage, proxy)) as store:
        await store.ensure_buckets()
        await proxy.set(fault)
        with pytest.raises(StorageError) as failed:
            await store.put("a", BODY, crc32c_of(BODY))
        assert failed.value.code == code
        await proxy.set(Fault.NONE)
        assert await store.head("a") is None


async def test_a_lost_answer_is_looked_up_and_not_put_again(storage: StorageSettings) -> None:
    async with fault_proxy(storage.endpoint) as proxy, ObjectStore(through(storage, proxy)) as store:
        await store.ensure_buckets()
        await proxy.set(Fault.LOSE_ANSWER, left=1)
        await store.put("a", BODY, crc32c_of(BODY))
        assert proxy.seen["PUT", Fault.LOSE_ANSWER] == 1
        assert await store.get("a") == b"".join(BODY)
        with pytest.raises(StorageConflict):
            await store.put("a", [b"other"], crc32c_of([b"other"]))


async def record_through(fault: Fault, running: Running, proxy: FaultProxy, count: int = 12) -> list[bytes]:
    """Records `count` seconds while storage fails; what was fed."""
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, float(count)))
    running.recorder.start(REF, 1)
    await proxy.set(fault)
    await running.feed(session, video, end=None)
    return [unit.payload for unit in video]


@pytest.mark.parametrize("fault", [one for one in Fault if one not in (Fault.NONE, Fault.CORRUPT_READ)])
async def test_recording_outlives_the_fault_and_nothing_is_lost_or_doubled(
    tmp_path: Path, storage: StorageSettings, fault: Fault
) -> None:
    async with fault_proxy(storage.endpoint) as proxy:  # noqa: SIM117 - the second needs the first
        async with Recording(tmp_path, through(storage, proxy)).opened() as running:
            payloads = await record_through(fault, running, proxy)
            if fault is Fault.LOSE_ANSWER:
                await running.until(lambda: proxy.seen["PUT", fault] > 0)
            else:
                await running.until(lambda: running.recorder.state(REF).reason_code is not None)
                assert running.recorder.state(REF).state is RecordingMode.RECORDING
                assert running.recorder.state(REF).stored_until_us is None
                assert len(running.spool.objects()) == 3
            await proxy.set(Fault.NONE)
            running.mountpoint.end_session("camera_lost")
            await running.all_stored()
            assert running.recorder.status.uploads.reason_code is None
            assert await running.read_back() == payloads
            listed = [item.key async for item in running.store.list()]
            assert sorted(row.object_key for row in await running.rows()) == sorted(listed)


async def test_a_crash_between_put_and_row_stores_and_catalogues_once(
    tmp_path: Path, storage: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Recording(tmp_path, storage)
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, 8.0))
    async with home.opened(flush=False) as running:
        put = asyncio.Event()

        async def commit(_: object) -> None:
            put.set()
            await asyncio.sleep(3600)

        monkeypatch.setattr(running.recorder._uploader, "_commit", commit)
        running.recorder.start(REF, 1)
        await running.feed(session, video)
        await running.recorder._facts.drained()
        await put.wait()
    monkeypatch.undo()
    async with home.opened() as running:
        await running.all_stored()
        assert await running.read_back() == [unit.payload for unit in video]
        assert len([item async for item in running.store.list()]) == len(await running.rows()) == 2


async def test_a_crash_between_row_and_release_catalogues_once(
    tmp_path: Path, storage: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Recording(tmp_path, storage)
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    async with home.opened(flush=False) as running:
        monkeypatch.setattr(running.recorder._uploader, "_release", lambda batch: None)
        running.recorder.start(REF, 1)
        await running.feed(session, video_units(session, 8.0))
        while len(await running.rows()) < 2:  # noqa: ASYNC110 - a row is no event
            await asyncio.sleep(0.02)
        await running.recorder._facts.drained()
    monkeypatch.undo()
    async with home.opened() as running:
        await running.all_stored()
        assert running.recorder.status.uploads.stored == 0
        assert len(await running.rows()) == 2


async def test_a_key_that_was_wrapped_anew_holds_up_nothing_that_waits_in_the_spool(
    tmp_path: Path, storage: StorageSettings
) -> None:
    """The spool has the record that was made with the key, both other places have another one by now."""
    home, escrow = Recording(tmp_path, storage), Identity.generate()
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, 8.0))
    async with home.opened(flush=False) as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video, end=None)
        while len(await running.rows()) < 1:  # noqa: ASYNC110 - a row is no event
            await asyncio.sleep(0.02)
        await running.recorder._facts.drained()
        await running.spool.flush()
        (item,) = running.spool.objects()
        record, node_key = item.key_record, NodeKey.load_or_create(tmp_path / "node.key")
        recipients = [running.identity.recipient, escrow.recipient]
        new = rewrap(record, record.unwrap([running.identity]), "node-1", node_key, recipients).to_bytes()
        await running.store.replace(record.bucket_key, new, crc32c_of([new]), bucket=storage.key_bucket)
        assert await running.catalogue.write(replace_record, record.key_id, record.to_bytes(), new)
    async with home.opened() as running:
        await running.all_stored()
        assert len(await running.rows()) == 2
        assert await running.catalogue.read(key_record, record.key_id) == new
        assert await running.store.get(record.bucket_key, bucket=storage.key_bucket) == new
        back = await running.read_back()
        assert back == [unit.payload for unit in video][: len(back)]
        assert len(back) > len(video) - 12  # but for the part that was not whole


async def test_a_forger_who_was_there_first_costs_no_footage(tmp_path: Path, storage: StorageSettings) -> None:
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, 4.0))
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video, end=None)
        (item,) = running.spool.objects()
        await running.store.put(item.header.object_key, BODY, crc32c_of(BODY))
        running.mountpoint.end_session("camera_lost")
        await running.all_stored()
        (row,) = await running.rows()
        assert row.object_key == f"{item.header.object_key}-{item.object_id[:16]}"
        assert await running.read_back() == [unit.payload for unit in video]


async def test_a_spool_that_takes_nothing_is_a_gap_and_recording_goes_on_at_a_keyframe(
    tmp_path: Path, storage: StorageSettings
) -> None:
    start_us = now_us() - 100 * SECOND_US
    session = new_session("a" * 16, start_us)
    video = list(video_units(session, 12.0, size_bytes=2000))
    home = Recording(tmp_path, storage, spool_settings=SpoolSettings(sync_interval_s=0.05, queue_bytes=150_000))
    async with home.opened() as running:
        running.recorder.start(REF, 1)
        # Without a pause nothing is synced: the queue fills after three seconds of footage.
        running.mountpoint.start_session(session)
        for unit in video[:200]:
            running.mountpoint.publish(unit)
        state = running.recorder.state(REF)
        assert (state.state, state.reason_code) == (RecordingMode.FAILED, "spool_failed")
        await running.spool.flush()
        await running.feed(session, video[200:250], end=None)
        await running.spool.flush()
        await running.feed(session, video[250:])
        await running.all_stored()
        read = await running.read_back()
        assert len(set(read)) == len(read)
        gap = next(gap for gap in await running.gaps() if gap[2] == "spool_failed")
        missing = {unit.payload for unit in video} - set(read)
        assert missing == {unit.payload for unit in video if gap[0] <= unit.arrived_us < (gap[1] or 0)}
        assert missing
        assert running.recorder.state(REF).state is RecordingMode.WAITING


async def test_footage_given_up_under_the_budget_is_a_gap(tmp_path: Path, storage: StorageSettings) -> None:
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, 40.0, size_bytes=8000))
    limits = SpoolSettings(sync_interval_s=0.05, budget_bytes=5 << 20)
    async with fault_proxy(storage.endpoint) as proxy:  # noqa: SIM117 - the second needs the first
        async with Recording(tmp_path, through(storage, proxy), spool_settings=limits).opened() as running:
            await proxy.set(Fault.REFUSE)
            running.recorder.start(REF, 1)
            for start in range(0, len(video), 100):
                await running.feed(session, video[start : start + 100], end=None)
                await running.spool.flush()
            await running.until(lambda: running.spool.state.used_bytes <= limits.budget_bytes)
            await proxy.set(Fault.NONE)
            running.mountpoint.end_session("camera_lost")
            await running.all_stored()
            read = set(await running.read_back())
            dropped = [gap for gap in await running.gaps() if gap[2] == "footage_dropped"]
            missing = {unit.payload for unit in video} - read
            assert missing == {
                unit.payload for unit in video if any(gap[0] <= unit.arrived_us < (gap[1] or 0) for gap in dropped)
            }
            assert missing


async def test_an_orderly_end_makes_all_durable_and_leaves_a_gap_that_the_next_start_closes(
    tmp_path: Path, storage: StorageSettings
) -> None:
    async with fault_proxy(storage.endpoint) as proxy:
        home = Recording(tmp_path, through(storage, proxy))
        start_us = now_us() - 100 * SECOND_US
        first, second = new_session("a" * 16, start_us), new_session("b" * 16, start_us + 200 * SECOND_US, 2)
        video = list(video_units(first, 5.0))
        async with home.opened() as running:
            await proxy.set(Fault.REFUSE)
            running.recorder.start(REF, 1)
            await running.feed(first, video, "server_down")
        await proxy.set(Fault.NONE)
        async with home.opened() as running:
            running.recorder.start(REF, 2)
            await running.feed(second, video_units(second, 2.0))
            await running.all_stored()
            assert (await running.read_back())[: len(video)] == [unit.payload for unit in video]
            gaps = await running.gaps()
            assert gaps[0] == (start_us + 5 * SECOND_US, second.started_us, "server_down")
            sessions = await tables_of(running.catalogue, tables.session)
            assert [row["end_reason"] for row in sessions] == ["server_down", "camera_lost"]
            assert {row.status for row in await running.rows()} == {"late", "live"}


async def test_damage_in_the_spool_is_a_gap_even_if_the_catalogue_does_not_take_it_at_once(
    tmp_path: Path, storage: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session("a" * 16, now_us() - 100 * SECOND_US)
    video = list(video_units(session, 4.0, size_bytes=8000))
    refusals, note_dropped = [1, 2], recordings.note_dropped

    def refuse(*arguments: Any) -> None:
        if refusals:
            refusals.pop()
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        note_dropped(*arguments)

    monkeypatch.setattr(recordings, "note_dropped", refuse)
    async with fault_proxy(storage.endpoint) as proxy:  # noqa: SIM117 - the second needs the first
        async with Recording(tmp_path, through(storage, proxy)).opened() as running:
            await proxy.set(Fault.REFUSE)
            running.recorder.start(REF, 1)
            await running.feed(session, video)
            await running.spool.flush()
            (item,) = running.spool.objects()
            whole_us, place = item.span_us, item.places()[5]
            with (tmp_path / "spool" / file_name(place.file)).open("r+b") as file:
                file.seek(place.offset + 500)
                file.write(b"spoilt")
            await proxy.set(Fault.NONE)
            await running.all_stored()
            assert not refusals
            kept = await running.read_back()
            assert kept == [unit.payload for unit in video[: len(kept)]]
            (gap,) = [gap for gap in await running.gaps() if gap[2] == "spool_failed"]
            assert whole_us is not None
            assert gap[1] == whole_us[1]
            missing = video[len(kept) :]
            assert gap[0] == missing[0].arrived_us


async def test_what_is_said_to_be_durable_goes_back_with_the_clock(tmp_path: Path, storage: StorageSettings) -> None:
    now = SystemClock().wall_us()
    ahead, back = new_session("a" * 16, now - 5 * SECOND_US), new_session("b" * 16, now - 100 * SECOND_US, 2)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(ahead, video_units(ahead, 5.0))
        await running.all_stored()
        assert running.recorder.state(REF).stored_until_us == ahead.started_us + 5 * SECOND_US
        await running.feed(back, video_units(back, 3.0), end=None)
        await running.spool.flush()
        said_us = running.recorder.state(REF).durable_until_us or 0
        assert back.started_us + 2 * SECOND_US <= said_us <= back.started_us + 3 * SECOND_US


async def test_what_is_said_to_be_durable_never_lies_in_the_future(tmp_path: Path, storage: StorageSettings) -> None:
    """Until new footage comes, a clock that was set back is ahead of nothing but what it said before."""
    session = new_session("a" * 16, SystemClock().wall_us() + 100 * SECOND_US)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video_units(session, 5.0))
        await running.all_stored()
        state = running.recorder.state(REF)
        assert (state.durable_until_us, state.stored_until_us) == (None, None)


@pytest.mark.parametrize("steps", [(0, 300, 20), (0, -100, 20), (0, 100, 200, 40, 60)])
async def test_a_clock_that_is_set_leaves_no_gap_over_footage(
    tmp_path: Path, storage: StorageSettings, steps: tuple[int, ...]
) -> None:
    """Ten seconds each at these times, one after the other: the gap of a step reaches over footage of another time, or
    footage comes into a gap that is there. What is left of gaps is what has no footage, and all of that.
    """
    start_us = now_us() - 500 * SECOND_US
    sessions = [new_session(f"{at:016x}"[-16:], start_us + at * SECOND_US, n) for n, at in enumerate(steps, 1)]
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        for session in sessions:
            await running.feed(session, video_units(session, 10.0), "clock_step")
            await running.all_stored()
        gaps = [gap for gap in await running.gaps() if gap[1] is not None and gap[2] == "clock_step"]
        starts = sorted(one.started_us for one in sessions)
        between = [(start + 10 * SECOND_US, later) for start, later in pairwise(starts)]
        # A step back into an old gap can make the same one once more.
        assert sorted({(start, end) for start, end, _ in gaps}) == between
