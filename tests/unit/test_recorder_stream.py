"""How one stream is cut into objects, sealed under which key, and what is said of its outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mediasrv.catalogue import recordings
from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import METADATA, AccessUnit, Part, StreamName, StreamRef, TrackKind
from mediasrv.media.fmp4 import read_format, read_samples
from mediasrv.media.gaps import GapLedger, GapOpened, OutageEnded
from mediasrv.recording.stream import NodeContext, StreamRecorder, object_phase_us
from mediasrv.settings import RecordingSettings, SpoolSettings
from mediasrv.storage.sealing import DISCONTINUITY, Descriptor, ObjectCipher
from mediasrv.storage.spool import Spool
from tests.clocks import SimulatedClock
from tests.unit.media.streams import (
    PPS,
    REF,
    SPS,
    STARTED_US,
    VIDEO,
    audio_units,
    cut,
    documents,
    interleave,
    session,
    video_units,
)
from tests.unit.storage.sealed import IDENTITY, NODE

CONTEXT = NodeContext("node-1", "1" * 32, "cell-1", NODE, [IDENTITY.recipient])
SETTINGS = RecordingSettings(object_s=4.0, key_period_s=10)
OBJECT_END_US = STARTED_US // (4 * SECOND_US) * 4 * SECOND_US + object_phase_us(REF, 4 * SECOND_US)


@dataclass
class NotedFacts:
    """Keeps what would go to the catalogue."""

    noted: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def note(self, query: Any, *arguments: Any) -> None:
        self.noted.append((query.__name__, arguments))

    def gaps(self) -> list[Any]:
        changes = [arguments[1] for name, arguments in self.noted if name == recordings.change_gaps.__name__]
        return [one for batch in changes for one in batch]


@dataclass
class Bench:
    spool: Spool
    facts: NotedFacts
    stream: StreamRecorder
    clock: SimulatedClock

    def feed(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self.stream.on_part(part)

    def objects(self) -> list[tuple[int, list[Descriptor]]]:
        return [
            (item.header.seq, [Descriptor.unpack(place.descriptor) for place in item.places()])
            for item in self.spool.objects()
        ]

    def lengths_s(self) -> list[float]:
        return [(end - start) / SECOND_US for start, end in (item.span_us or (0, 0) for item in self.spool.objects())]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = SimulatedClock(STARTED_US)
    spool = Spool(tmp_path / "spool", SpoolSettings(), clock)
    await spool.open()
    facts = NotedFacts()
    stream = StreamRecorder(REF, CONTEXT, spool, facts, GapLedger(), clock, SETTINGS)  # type: ignore[arg-type]
    stream.begin(None)
    yield Bench(spool, facts, stream, clock)
    await spool.close()


def video_parts(seconds: float, **options: Any) -> list[Part]:
    return cut(video_units(session(), seconds, **options))


async def test_an_object_ends_at_the_first_keyframe_after_its_time(bench: Bench) -> None:
    bench.feed(cut(video_units(session(started_us=OBJECT_END_US), 15.0, gop_s=3.0)))
    bench.stream.end("not_recording")
    await bench.spool.flush()
    assert bench.lengths_s() == [6.0, 3.0, 3.0, 3.0]  # keyframes after 0, 3, 6, 9 and 12 s, ends after each 4 s
    assert [seq for seq, _ in bench.objects()] == [0, 1, 2, 3]
    for _, descriptors in bench.objects():
        assert descriptors[0].is_init
        assert descriptors[1].independent


def test_streams_that_began_together_end_their_objects_at_different_times() -> None:
    cameras = [StreamRef(f"gate-{number}", StreamName.MAIN) for number in range(600)]
    phases = [object_phase_us(ref, 60 * SECOND_US) // (10 * SECOND_US) for ref in cameras]
    assert all(60 < phases.count(sixth) < 140 for sixth in range(6))


async def test_a_stream_without_keyframes_is_cut_all_the_same(bench: Bench) -> None:
    bench.feed(video_parts(40.0, gop_s=100.0))
    bench.stream.end("not_recording")
    await bench.spool.flush()
    assert [round(length) for length in bench.lengths_s()] == [16, 16, 7]


async def test_each_track_and_each_format_has_its_init_part_first(bench: Bench) -> None:
    one = session(started_us=OBJECT_END_US)
    other = replace(VIDEO, parameter_sets=(VIDEO.parameter_sets[0], PPS + b"\x00"))
    units: list[AccessUnit] = [
        *video_units(one, 2.0),
        *video_units(one, 2.0, start_s=2.0, format=other),
    ]
    bench.feed(cut(interleave(units, audio_units(one, 4.0))))
    bench.stream.end("not_recording")
    await bench.spool.flush()
    (item,) = bench.spool.objects()
    descriptors = bench.objects()[0][1]
    inits = [(one.track, one.started_us - OBJECT_END_US) for one in descriptors if one.is_init]
    assert sorted(inits) == [(1, 0), (1, 2 * SECOND_US), (2, 0)]
    for track in (TrackKind.VIDEO, TrackKind.AUDIO):
        assert next(one for one in descriptors if one.track == track).is_init
    cipher = ObjectCipher(item.header, item.key_record.unwrap([IDENTITY]))
    sealed = await bench.spool.read(item)
    plain = [cipher.open(n, one.pack(), data) for n, (one, data) in enumerate(zip(descriptors, sealed, strict=True))]
    assert sum(SPS in part for part in plain) == 2
    assert not any(SPS in part for part in sealed)


async def test_documents_are_sealed_like_all_else_and_are_no_footage(bench: Bench) -> None:
    one = session(started_us=OBJECT_END_US)
    bench.feed(cut(interleave(documents(one, 4.0, each_s=0.5), video_units(one, 4.0))))
    bench.stream.end("not_recording")
    await bench.spool.flush()
    (item,) = bench.spool.objects()
    descriptors = bench.objects()[0][1]
    assert descriptors[0].track == TrackKind.VIDEO
    assert next(entry for entry in descriptors if entry.track == TrackKind.METADATA).is_init
    assert item.span_us == (OBJECT_END_US, OBJECT_END_US + 4 * SECOND_US)
    cipher = ObjectCipher(item.header, item.key_record.unwrap([IDENTITY]))
    sealed = await bench.spool.read(item)
    plain = [
        cipher.open(n, entry.pack(), data) for n, (entry, data) in enumerate(zip(descriptors, sealed, strict=True))
    ]
    metadata = [data for entry, data in zip(descriptors, plain, strict=True) if entry.track == TrackKind.METADATA]
    assert read_format(metadata[0]) is METADATA
    read = [sample.payload for part in metadata[1:] for sample in read_samples(part)]
    assert read == [f"<tt:MetadataStream n='{index}'/>".encode() for index in range(8)]
    assert not any(b"MetadataStream" in data for data in sealed)


async def test_a_data_key_serves_one_period_and_no_other_process(bench: Bench, tmp_path: Path) -> None:
    bench.feed(video_parts(24.0))
    bench.stream.end("not_recording")
    await bench.spool.flush()
    keys = [item.key_record for item in bench.spool.objects()]
    periods = [key.period_us for key in keys]
    assert len(set(periods)) > 1
    for key, item in zip(keys, bench.spool.objects(), strict=True):
        assert key.period_us <= item.header.started_us < key.period_us + key.period_s * SECOND_US
    assert len({key.key_id for key in keys}) == len(set(periods))
    again = StreamRecorder(REF, CONTEXT, bench.spool, bench.facts, GapLedger(), bench.clock, SETTINGS)  # type: ignore[arg-type]
    again.begin(None)
    again.on_part(video_parts(1.0)[0])
    assert bench.spool.objects()[-1].key_record.key_id not in {key.key_id for key in keys}


async def test_recording_from_the_middle_of_a_session_waits_for_a_keyframe(bench: Bench) -> None:
    parts = video_parts(6.0)
    bench.stream.end("not_recording")
    bench.stream.begin(parts[0].session)
    bench.feed(parts[2:])
    await bench.spool.flush()
    (item,) = bench.spool.objects()
    assert item.span_us == (STARTED_US + 2 * SECOND_US, STARTED_US + 6 * SECOND_US)


async def test_an_object_that_the_spool_gives_up_is_followed_by_one_from_the_next_keyframe(bench: Bench) -> None:
    parts = video_parts(6.0)
    bench.feed(parts[:4])
    (item,) = bench.spool.objects()
    assert bench.stream.abandon("of another stream") is None
    covered_until_us = bench.stream.abandon(item.object_id)
    assert covered_until_us == parts[3].started_us + round(parts[3].duration_s * SECOND_US)
    bench.feed(parts[4:])
    await bench.spool.flush()
    descriptors = bench.objects()[1][1]
    assert descriptors[1].independent
    assert descriptors[1].flags & DISCONTINUITY
    assert not any(one.flags & DISCONTINUITY for one in descriptors[2:])


async def test_an_outage_is_opened_where_footage_ends_and_closed_where_it_begins(bench: Bench) -> None:
    parts = video_parts(2.0)
    bench.feed(parts)
    bench.clock.advance(2.2)
    bench.stream.on_session_ended(parts[0].session, "camera_lost")
    assert bench.facts.gaps() == [
        GapOpened(STARTED_US, "connecting"),
        OutageEnded(STARTED_US, STARTED_US),
        GapOpened(STARTED_US, "waiting_keyframe"),
        OutageEnded(STARTED_US, STARTED_US),
        GapOpened(STARTED_US + 2 * SECOND_US, "camera_lost"),
    ]
    ended = [arguments for name, arguments in bench.facts.noted if name == "end_session"]
    assert ended[0][2] == "camera_lost"


async def test_a_session_without_any_footage_is_on_record_too(bench: Bench) -> None:
    bench.stream.on_session_ended(session("empty"), "no_parameter_sets")
    names = [(name, arguments[0]) for name, arguments in bench.facts.noted if "session" in name]
    assert [name for name, _ in names] == ["start_session", "end_session"]
    assert names[1][1] == "empty"
    assert bench.facts.gaps()[-1].cause == "no_parameter_sets"


async def test_a_failure_in_recording_a_part_ends_the_object_and_not_the_recording(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = video_parts(6.0)
    bench.feed(parts[:3])
    with monkeypatch.context() as patched:
        patched.setattr(bench.spool, "append", lambda *_: 1 / 0)
        bench.feed(parts[3:5])
    assert bench.stream.failure == "spool_failed"
    assert "could not be recorded" in caplog.text
    bench.feed(parts[5:])
    assert bench.stream.failure is None
    await bench.spool.flush()
    assert len(bench.spool.objects()) == 2
