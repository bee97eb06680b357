"""What is recorded around events, what is not, and what is said of the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import Part, TrackKind
from mediasrv.media.camera_event import CameraEvent, EventKind
from mediasrv.media.gaps import GapLedger, GapOpened, OutageEnded
from mediasrv.recording.preroll import PrerollMemory, starts_gop
from mediasrv.recording.stream import StreamRecorder
from mediasrv.settings import CONTINUOUS, RecordingPlan, SpoolSettings
from mediasrv.storage.sealing import Descriptor
from mediasrv.storage.spool import Spool
from tests.clocks import SimulatedClock
from tests.unit.media.streams import REF, STARTED_US, audio_units, cut, interleave, session, video_units
from tests.unit.storage.sealed import NODE
from tests.unit.test_recorder_stream import CONTEXT, SETTINGS, Bench, NotedFacts

PLAN = RecordingPlan("event", kinds=("motion",), before_s=5.0, after_s=3.0)
MOTION = frozenset({EventKind.MOTION})
assert NODE  # the node's key that CONTEXT signs with


def event(at_s: float, active: bool, kind: EventKind = EventKind.MOTION) -> CameraEvent:
    return CameraEvent(REF.camera_id, kind, "rule", active, None, STARTED_US + round(at_s * SECOND_US))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = await new_bench(tmp_path)
    yield made
    await made.spool.close()


async def new_bench(directory: Path, memory: PrerollMemory | None = None) -> Bench:
    clock = SimulatedClock(STARTED_US)
    spool = Spool(directory / "spool", SpoolSettings(), clock)
    await spool.open()
    facts = NotedFacts()
    stream = StreamRecorder(REF, CONTEXT, spool, facts, GapLedger(), clock, SETTINGS, memory)  # type: ignore[arg-type]
    stream.follow(PLAN, ())
    stream.begin(None)
    return Bench(spool, facts, stream, clock)


def run(bench: Bench, parts: list[Part], *events: CameraEvent) -> None:
    """Parts and events in the order of time; each part comes when it is complete."""
    told = list(events)
    for part in parts:
        while told and told[0].arrived_us <= part.received_us:
            tell(bench, told.pop(0))
        bench.clock.at_us = part.received_us
        bench.stream.on_part(part)
    for one in told:
        tell(bench, one)


def tell(bench: Bench, one: CameraEvent) -> None:
    bench.clock.at_us = one.arrived_us
    bench.stream.on_event(one, {one.kind} if one.active else set())


async def footage_s(bench: Bench) -> list[tuple[float, float]]:
    """Spans of video in the spool, joined where they meet."""
    await bench.spool.flush()
    joined: list[tuple[float, float]] = []
    for item in bench.spool.objects():
        assert item.span_us is not None
        start, end = ((us - STARTED_US) / SECOND_US for us in item.span_us)
        if joined and abs(joined[-1][1] - start) < 0.001:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def gap_rows(bench: Bench) -> list[tuple[float, float | None, str]]:
    """The rows that the noted changes leave, as `catalogue.recordings.change_gaps` makes them."""
    found: list[tuple[int, int | None, str]] = []
    for change in bench.facts.gaps():
        if isinstance(change, GapOpened):
            found.append((change.started_us, None, change.cause))
        else:
            assert isinstance(change, OutageEnded)
            kept = [row for row in found if row[0] < change.since_us or row[0] < change.at_us]
            found = [
                (start, change.at_us if end is None or end > change.at_us else end, cause) for start, end, cause in kept
            ]
    return [
        ((start - STARTED_US) / SECOND_US, None if end is None else (end - STARTED_US) / SECOND_US, cause)
        for start, end, cause in found
    ]


async def test_nothing_is_on_disk_before_an_event_and_the_gap_says_why(bench: Bench) -> None:
    run(bench, cut(video_units(session(), 60.0)))
    await bench.spool.flush()
    assert bench.spool.objects() == []
    assert not any(path.stat().st_size for path in bench.spool.directory.iterdir())
    assert gap_rows(bench)[-1] == (0.0, None, "no_event")
    assert not bench.stream.recording


async def test_an_event_is_recorded_from_before_it_until_after_its_end_in_whole_gops(bench: Bench) -> None:
    run(bench, cut(video_units(session(), 60.0)), event(21.0, True), event(30.5, False))
    # 21 - 5 s lies in the GOP that begins at 16 s, and 30.5 + 3 s in the one that ends at 34 s.
    assert await footage_s(bench) == [(16.0, 34.0)]
    assert gap_rows(bench) == [(0.0, 16.0, "no_event"), (34.0, None, "no_event")]


async def test_an_event_of_another_kind_is_none(bench: Bench) -> None:
    run(bench, cut(video_units(session(), 30.0)), event(10.0, True, EventKind.TAMPER), event(12.0, False))
    assert await footage_s(bench) == []


async def test_events_that_follow_each_other_leave_no_hole_and_the_last_end_counts(bench: Bench) -> None:
    told = [event(20.0, True), event(21.0, False), event(23.0, True), event(24.0, False), event(27.5, True)]
    run(bench, cut(video_units(session(), 50.0)), *told, event(28.0, False))
    assert await footage_s(bench) == [(14.0, 32.0)]


async def test_an_event_just_after_the_end_of_the_last_one_goes_on_without_a_hole(bench: Bench) -> None:
    run(bench, cut(video_units(session(), 60.0)), event(20.0, True), event(21.0, False), event(25.0, True))
    (start, end), *others = await footage_s(bench)
    assert (start, others) == (14.0, [])
    assert end > 55
    assert [row for row in gap_rows(bench) if row[0] > 14] == []


async def test_what_still_waits_in_memory_is_recorded_where_the_camera_is_lost(bench: Bench) -> None:
    parts = cut(video_units(session(), 20.0))
    run(bench, parts, event(19.99, True))
    bench.clock.now_s = 120.0
    bench.stream.on_session_ended(parts[0].session, "camera_lost")
    assert await footage_s(bench) == [(14.0, 20.0)]
    assert gap_rows(bench)[-1] == (20.0, None, "camera_lost")


async def test_a_lost_camera_is_not_taken_for_a_quiet_one(bench: Bench) -> None:
    one, other = session(), session("two", STARTED_US + 30 * SECOND_US)
    run(bench, cut(video_units(one, 20.0)))
    bench.clock.now_s = 120.0
    bench.stream.on_session_ended(one, "camera_lost")
    run(bench, cut(video_units(other, 20.0)), event(41.0, True))
    assert [row[2] for row in gap_rows(bench)] == ["no_event", "camera_lost", "no_event"]
    assert gap_rows(bench)[1][:2] == (20.0, 30.0)
    assert (await footage_s(bench))[0][0] == 36.0


async def test_going_over_to_events_and_back_cuts_at_keyframes(bench: Bench) -> None:
    parts = cut(video_units(session(), 60.0))
    bench.stream.follow(CONTINUOUS, ())
    first = [part for part in parts if part.received_us < STARTED_US + 9 * SECOND_US]
    run(bench, first)
    bench.stream.follow(PLAN, ())
    second = [part for part in parts[len(first) :] if part.received_us < STARTED_US + 33 * SECOND_US]
    run(bench, second)
    assert await footage_s(bench) == [(0.0, 10.0)]
    bench.stream.follow(CONTINUOUS, ())
    run(bench, parts[len(first) + len(second) :])
    assert await footage_s(bench) == [(0.0, 10.0), (32.0, 60.0)]
    assert [row for row in gap_rows(bench) if row[2] == "no_event"] == [(10.0, 32.0, "no_event")]


async def test_a_plan_that_begins_during_an_event_records_at_once(bench: Bench) -> None:
    bench.stream.follow(CONTINUOUS, ())
    bench.stream.follow(PLAN, MOTION)
    run(bench, cut(video_units(session(), 10.0)))
    assert await footage_s(bench) == [(0.0, 10.0)]


async def test_sound_that_is_not_to_be_recorded_reaches_neither_memory_nor_spool(bench: Bench) -> None:
    one = session()
    bench.stream.sound = False
    run(bench, cut(interleave(video_units(one, 40.0), audio_units(one, 40.0))), event(20.0, True), event(22.0, False))
    bench.stream.follow(CONTINUOUS, ())
    later = session("two", STARTED_US + 50 * SECOND_US)
    run(bench, cut(interleave(video_units(later, 4.0), audio_units(later, 4.0))))
    await bench.spool.flush()
    tracks = {Descriptor.unpack(place.descriptor).track for item in bench.spool.objects() for place in item.places()}
    assert tracks == {TrackKind.VIDEO}
    bench.stream.sound = True
    last = session("three", STARTED_US + 60 * SECOND_US)
    run(bench, cut(interleave(video_units(last, 4.0), audio_units(last, 4.0))))
    await bench.spool.flush()
    last_item = bench.spool.objects()[-1]
    assert TrackKind.AUDIO in {Descriptor.unpack(place.descriptor).track for place in last_item.places()}


async def test_memory_is_bounded_for_a_stream_and_for_all_and_a_shorter_past_is_counted(tmp_path: Path) -> None:
    parts = cut(video_units(session(), 30.0, size_bytes=2000))
    gop_bytes = sum(part.size_bytes for part in parts) // 15
    for most, most_stream in ((10**9, 2.5 * gop_bytes), (2.5 * gop_bytes, 10**9)):
        memory = PrerollMemory(round(most), round(most_stream))
        bench = await new_bench(tmp_path / str(most), memory)
        run(bench, parts[:-1])
        assert 0 < memory.used_bytes <= 2.5 * gop_bytes
        assert memory.shortened
        tell(bench, event(29.5, True))
        bench.stream.end("not_recording")
        # Two GOPs instead of the three that five seconds take.
        assert (await footage_s(bench))[0][0] == 26.0
        assert memory.used_bytes == 0
        await bench.spool.close()


async def test_a_gop_that_does_not_fit_leaves_an_event_to_begin_at_the_next_keyframe(tmp_path: Path) -> None:
    parts = cut(video_units(session(), 12.0, gop_s=8.0, size_bytes=2000))
    bench = await new_bench(tmp_path, PrerollMemory(10**9, sum(part.size_bytes for part in parts) // 4))
    run(bench, parts, event(6.0, True))
    assert await footage_s(bench) == [(8.0, 12.0)]
    assert [row[2] for row in gap_rows(bench)] == ["no_event", "waiting_keyframe"]
    assert gap_rows(bench)[-1][1] == 8.0
    await bench.spool.close()


@settings(max_examples=40, deadline=None)
@given(
    gop_s=st.sampled_from([0.4, 1.0, 2.0, 5.0]),
    changes=st.lists(st.floats(0.3, 20.0), max_size=8),
    lost_after_s=st.floats(5.0, 60.0),
)
async def test_whatever_the_events_what_they_ask_for_is_there_and_footage_and_gaps_tile_the_time(
    tmp_path_factory: pytest.TempPathFactory, gop_s: float, changes: list[float], lost_after_s: float
) -> None:
    bench = await new_bench(tmp_path_factory.mktemp("events"))
    one, other = session(), session("two", STARTED_US + round((lost_after_s + 4) * SECOND_US))
    at_s, told, asked = 0.0, list[CameraEvent](), list[list[float]]()
    for number, pause_s in enumerate(changes):
        at_s += pause_s
        if at_s > lost_after_s + 43:
            break
        told.append(event(at_s, number % 2 == 0))
        if number % 2 == 0:
            asked.append([at_s - PLAN.before_s, 1e9])
        else:
            asked[-1][1] = at_s + PLAN.after_s
    lost_us = STARTED_US + round(lost_after_s * SECOND_US)
    first = cut(video_units(one, lost_after_s, gop_s=gop_s, rate=10))
    run(bench, first, *(each for each in told if each.arrived_us <= lost_us))
    bench.clock.now_s, bench.clock.at_us = 100.0 + lost_after_s, lost_us
    bench.stream.on_session_ended(one, "camera_lost")
    second = cut(video_units(other, 40.0, gop_s=gop_s, rate=10))
    run(bench, second, *(each for each in told if each.arrived_us > lost_us))
    end_s = (second[-1].started_us - STARTED_US) / SECOND_US + second[-1].duration_s
    bench.clock.at_us = STARTED_US + round(end_s * SECOND_US)
    bench.stream.end("not_recording")
    spans, gaps = await footage_s(bench), gap_rows(bench)
    await bench.spool.close()

    # No hole and no overlap, from the first keyframe on.
    tiles = sorted([*spans, *((start, end) for start, end, _ in gaps if end is not None)])
    for (_, before), (after, _) in pairwise(tiles):
        assert abs(before - after) < 0.16, (tiles, gaps)
    # All that events ask for while the camera was there, and nothing else, GOP by GOP.
    for part in [*first, *second]:
        if not starts_gop(part):
            continue
        started_s = (part.started_us - STARTED_US) / SECOND_US
        gop = (started_s, min(started_s + gop_s, lost_after_s if part.session is one else end_s))
        recorded = any(start - 0.05 <= gop[0] < end - 0.05 for start, end in spans)
        # The events as they were known: an event after a loss asks for nothing of before it.
        known = [
            (max(start, (lost_after_s + 4) if start + PLAN.before_s > lost_after_s else start), end)
            for start, end in asked
        ]
        wanted = any(start < gop[1] - 0.05 and end > gop[0] + 0.05 for start, end in known)
        if wanted:
            assert recorded, (gop, asked, spans)
        elif not any(start - 0.6 < gop[1] and end + 0.6 > gop[0] for start, end in asked):
            assert not recorded, (gop, asked, spans)


async def test_the_same_plan_again_changes_nothing(bench: Bench) -> None:
    run(bench, cut(video_units(session(), 20.0)), event(18.0, True))
    bench.stream.follow(replace(PLAN), MOTION)
    assert bench.stream.recording
