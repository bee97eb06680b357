"""The recorder on real parts: what is fed comes back, whole, once, in order; what is missing has a cause."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from mediasrv.catalogue import tables
from mediasrv.clock import SECOND_US, to_us
from mediasrv.media.access_unit import StreamName, StreamRef, TrackKind
from mediasrv.recorder import RecordingMode
from mediasrv.settings import StorageSettings
from tests.integration.recording import REF, Recording, new_session, now_us, tables_of
from tests.integration.s3 import find_plain
from tests.unit.media.streams import PPS, SPS, audio_units, interleave, video_units


async def test_what_was_fed_comes_back_once_in_order_from_storage(tmp_path: Path, storage: StorageSettings) -> None:
    session = new_session("a" * 16, now_us() - 60 * SECOND_US)
    video, audio = list(video_units(session, 20.0)), list(audio_units(session, 20.0))
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, interleave(video, audio))
        await running.all_stored()
        assert await running.read_back(TrackKind.VIDEO) == [unit.payload for unit in video]
        assert await running.read_back(TrackKind.AUDIO) == [unit.payload for unit in audio]
        rows = await running.rows()
        assert [(row.seq, row.status, row.ended) for row in rows] == [(n, "live", "closed") for n in range(5)]
        assert rows[0].started_us == session.started_us
        assert rows[-1].ended_us == session.started_us + 20 * SECOND_US
        assert all(one.ended_us == other.started_us for one, other in pairwise(rows))
        kinds = {row["kind"] for row in await tables_of(running.catalogue, tables.outbox)}
        assert kinds == {"recording.committed", "gap.opened", "gap.ended"}


async def test_footage_of_the_last_minute_is_read_from_the_spool(tmp_path: Path, storage: StorageSettings) -> None:
    session = new_session("a" * 16, now_us() - 60 * SECOND_US)
    video = list(video_units(session, 3.0))
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video, end=None)
        await running.spool.flush()
        read = await running.read_back()
        assert not await running.rows()
        # The newest part is not complete: its last picture's duration is not known yet.
        assert read == [unit.payload for unit in video[: len(read)]]
        assert len(read) > len(video) - 13
        state = running.recorder.state(REF)
        assert state.state is RecordingMode.RECORDING
        assert state.durable_until_us == session.started_us + len(read) * 40_000


async def test_nothing_of_the_stream_lies_plain_anywhere(tmp_path: Path, storage: StorageSettings, s3: object) -> None:
    session = new_session("a" * 16, now_us() - 60 * SECOND_US)
    video, audio = list(video_units(session, 9.0)), list(audio_units(session, 9.0))
    needles = [SPS, PPS, *(unit.payload[:32] for unit in (*video[::7], *audio[::7]))]
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, interleave(video, audio), end=None)
        await running.spool.flush()
        await running.until(lambda: len(running.spool.objects()) == 1)
        assert find_plain(needles, tmp_path, s3.data_dir) == []  # type: ignore[attr-defined]
        plain = await running.read_back()
    (tmp_path / "proof").write_bytes(b"".join(plain))
    assert find_plain(needles[2:3], tmp_path) == [(needles[2], tmp_path / "proof")]


async def test_a_lost_camera_is_a_gap_with_its_causes(tmp_path: Path, storage: StorageSettings) -> None:
    start_us = now_us() - 60 * SECOND_US
    first = new_session("a" * 16, start_us)
    second = new_session("b" * 16, start_us + 20 * SECOND_US)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(first, video_units(first, 5.0), "camera_lost")
        running.recorder.note_outage(REF, start_us + 10 * SECOND_US, "host_unreachable")
        assert running.recorder.state(REF).state is RecordingMode.WAITING
        assert running.recorder.state(REF).reason_code == "host_unreachable"
        await running.feed(second, video_units(second, 5.0, start_s=1.5), end=None)
        gaps = await running.gaps()
        assert gaps == [
            (start_us + 5 * SECOND_US, start_us + 10 * SECOND_US, "camera_lost"),
            (start_us + 10 * SECOND_US, start_us + 20 * SECOND_US, "host_unreachable"),
            (start_us + 20 * SECOND_US, start_us + 21_500_000, "waiting_keyframe"),
        ]
        sessions = await tables_of(running.catalogue, tables.session)
        assert [(row["session_id"], row["end_reason"]) for row in sessions] == [
            ("a" * 16, "camera_lost"),
            ("b" * 16, None),
        ]


async def test_recording_off_and_on_inside_a_session_doubles_nothing(tmp_path: Path, storage: StorageSettings) -> None:
    session = new_session("a" * 16, now_us() - 60 * SECOND_US)
    video = list(video_units(session, 12.0))
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video[:120], end=None)
        running.recorder.stop(REF)
        assert running.recorder.state(REF).state is RecordingMode.OFF
        running.recorder.start(REF, 1)
        await running.feed(session, video[120:], end="camera_lost")
        await running.all_stored()
        read = await running.read_back()
        assert len(set(read)) == len(read)
        numbers = [int.from_bytes(payload[5:9], "big") for payload in read]
        assert numbers == sorted(numbers)
        # Off at 4.8 s, in the GOP that began at 4 s; on again from the keyframe at 6 s.
        assert set(range(300)) - set(numbers) <= set(range(108, 150))
        missing = [gap for gap in await running.gaps() if gap[1] is not None]
        covered = [(row.started_us, row.ended_us) for row in await running.rows()]
        edges = sorted([*covered, *((start, end) for start, end, _ in missing)])
        for (_, ended), (started, _) in pairwise(edges):
            assert 0 <= started - ended <= 60_000


async def test_a_restart_recovers_what_was_durable_and_says_that_the_server_was_down(
    tmp_path: Path, storage: StorageSettings
) -> None:
    home = Recording(tmp_path, storage)
    start_us = now_us() - 60 * SECOND_US
    first, second = new_session("a" * 16, start_us), new_session("b" * 16, start_us + 90 * SECOND_US, 2)
    video = list(video_units(first, 6.0))
    async with home.opened(flush=False) as running:
        running.recorder.start(REF, 1)
        await running.feed(first, video, end=None)
        await running.spool.flush()
        durable_us = running.recorder.state(REF).durable_until_us
        await running.recorder._facts.drained()
    async with home.opened() as running:
        running.recorder.start(REF, 2)
        await running.feed(second, video_units(second, 5.0, start_s=0.5))
        await running.all_stored()
        rows = await running.rows()
        assert [(row.status, row.ended) for row in rows][:2] == [("late", "closed"), ("late", "recovered")]
        assert rows[1].ended_us == durable_us
        read = await running.read_back()
        kept = [unit.payload for unit in video if unit.arrived_us < durable_us]
        assert read[: len(kept)] == kept
        assert len(read) == len(kept) + 125
        gaps = await running.gaps()
        assert [(gap[0], gap[2]) for gap in gaps[:2]] == [
            (durable_us, "server_down"),
            (second.started_us, "waiting_keyframe"),
        ]
        assert gaps[1][1] == second.started_us + 500_000
        sessions = await tables_of(running.catalogue, tables.session)
        assert [row["end_reason"] for row in sessions] == ["server_down", "camera_lost"]
        assert to_us(sessions[0]["ended_at"]) == durable_us  # type: ignore[arg-type]


async def test_a_stream_that_a_new_policy_records_no_longer_is_explained_across_restarts(
    tmp_path: Path, storage: StorageSettings
) -> None:
    """Recorded, cut off, and not recorded any more after the restart: the server is down until then, not for ever."""
    home, session = Recording(tmp_path, storage), new_session("a" * 16, now_us() - 60 * SECOND_US)
    async with home.opened(flush=False) as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video_units(session, 6.0), end=None)
        await running.spool.flush()
        await running.recorder._facts.drained()
    async with home.opened() as running:
        running.recorder.stop(REF, "other_stream_recorded")
        running.recorder.stop(REF, "other_stream_recorded")
        down, other = (await running.gaps())[-2:]
        assert (down[2], other[2], other[1]) == ("server_down", "other_stream_recorded", None)
        assert down[1] == other[0]
        assert running.recorder.state(REF).state is RecordingMode.OFF
        running.recorder.stop(StreamRef("gate-1", StreamName.SUB), "other_stream_recorded")
        gaps = await running.gaps()
    async with home.opened() as running:
        running.recorder.stop(REF, "other_stream_recorded")
        assert await running.gaps() == gaps, "nobody wanted footage while the server was down"
        running.recorder.stop(REF, "not_recording")
        assert [gap[2] for gap in (await running.gaps())[-2:]] == ["other_stream_recorded", "not_recording"]
