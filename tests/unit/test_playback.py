"""Playback of synthetic footage: each access unit once, in order, from storage and spool alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate

import pytest
from sqlalchemy import Connection, insert

from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import gap
from mediasrv.clock import from_us
from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef, TrackKind
from mediasrv.media.dvr import Stretch
from mediasrv.media.fmp4 import init_segment, read_samples
from mediasrv.media.nal import video_format
from mediasrv.retrieval.playlists import Rendition
from mediasrv.retrieval.timeline import TimelineGap
from tests.unit.house import AUDIO_TRACK, VIDEO_TRACK, House, at
from tests.unit.media.streams import (
    AAC,
    H265,
    OPUS,
    PCMA,
    PPS,
    REF,
    SPS,
    VIDEO,
    audio_units,
    documents,
    interleave,
    video_units,
)
from tests.vod import read_all


@cache
def session(name: str = "one", start_s: float = 0.0, ref: StreamRef = REF) -> Session:
    """The same object for the same arguments: sessions are compared by identity."""
    return Session(name, ref, 1, at(start_s), 0.0)


def payloads(units: Sequence[AccessUnit], rendition: Rendition = VIDEO_TRACK) -> list[bytes]:
    return [unit.payload for unit in units if unit.format.kind is rendition.track]


async def test_every_access_unit_comes_back_once_and_in_order(house: House) -> None:
    units = interleave(video_units(session(), 60), audio_units(session(), 60, format=AAC))
    await house.archive.record(units)
    for track in (VIDEO_TRACK, AUDIO_TRACK):
        samples = await read_all(await house.playlist(0, 60, track), house.fetch)
        assert [one.payload for one in samples] == payloads(units, track)


async def test_h265_and_opus_come_back_as_they_were_and_metadata_is_kept_from_players(house: House) -> None:
    one = session()
    units = interleave(
        video_units(one, 30, format=H265), audio_units(one, 30, format=OPUS), documents(one, 30, each_s=0.7)
    )
    await house.archive.record(units)
    master = await house.playback.master(REF, at(0), at(30))
    assert f'CODECS="{H265.rfc6381},opus"'.encode() in master
    for track in (VIDEO_TRACK, AUDIO_TRACK):
        samples = await read_all(await house.playlist(0, 30, track), house.fetch)
        assert [one.payload for one in samples] == payloads(units, track)
        assert b"MetadataStream" not in b"".join(one.payload for one in samples)


async def test_sessions_play_one_after_the_other_with_discontinuities(house: House) -> None:
    runs = [list(video_units(session(name, start_s), 20)) for name, start_s in (("a", 0), ("b", 30), ("c", 51.5))]
    for run in runs:
        await house.archive.record(run)
    playlist = await house.playlist(0, 100)
    samples = await read_all(playlist, house.fetch)
    assert [one.payload for one in samples] == [unit.payload for run in runs for unit in run]
    assert [number for number, one in enumerate(playlist.segments) if one.discontinuity] == [10, 20]
    assert [playlist.segments[number].date for number in (0, 10, 20)] == [
        "2026-09-21T14:13:20.000Z",
        "2026-09-21T14:13:50.000Z",
        "2026-09-21T14:14:11.500Z",
    ]


async def test_objects_of_a_session_follow_without_discontinuity_and_share_an_init_segment(house: House) -> None:
    await house.archive.record(video_units(session(), 60))
    playlist = await house.playlist(0, 60)
    assert not any(one.discontinuity for one in playlist.segments)
    assert len({one.init_uri for one in playlist.segments}) == 1
    assert await house.fetch(playlist.segments[0].init_uri or "") == init_segment(VIDEO)


async def test_an_object_lost_in_between_is_a_discontinuity(house: House) -> None:
    for number, one in enumerate(house.archive.seal(video_units(session(), 30))):
        if number != 1:
            await house.archive.keep(one)
    playlist = await house.playlist(0, 30)
    assert [one.discontinuity for one in playlist.segments] == [False] * 5 + [True] + [False] * 4


async def test_a_change_of_format_is_a_discontinuity_with_its_own_init_segment(house: House) -> None:
    other = video_format(SPS, PPS + b"\x80")
    one = session()
    units = [*video_units(one, 10), *video_units(one, 10, start_s=10, format=other)]
    await house.archive.record(units)
    playlist = await house.playlist(0, 20)
    assert [entry.discontinuity for entry in playlist.segments] == [False] * 5 + [True] + [False] * 4
    inits = [await house.fetch(entry.init_uri or "") for entry in playlist.segments]
    assert inits == [init_segment(VIDEO)] * 5 + [init_segment(other)] * 5


async def test_the_span_is_widened_to_whole_segments_and_the_start_is_told(house: House) -> None:
    await house.archive.record(video_units(session(), 60))
    playlist = await house.playlist(23.4, 25.1)
    assert [one.date for one in playlist.segments][:1] == ["2026-09-21T14:13:42.000Z"]
    assert sum(one.duration_s for one in playlist.segments) == pytest.approx(4)
    assert playlist.start_s == pytest.approx(1.4)


async def test_a_start_in_a_gap_is_the_next_footage(house: House) -> None:
    await house.archive.record(video_units(session(), 10))
    await house.archive.record(video_units(session("two", 30), 10))
    playlist = await house.playlist(15, 60)
    assert (playlist.start_s, playlist.segments[0].date) == (0.0, "2026-09-21T14:13:50.000Z")


async def test_durations_are_those_of_the_pictures(house: House) -> None:
    await house.archive.record(video_units(session(), 30, rate=21, gop_s=2.0))
    playlist = await house.playlist(0, 30)
    for one in playlist.segments:
        samples = read_samples(await house.fetch(one.uri))
        assert one.duration_s == pytest.approx(sum(sample.duration for sample in samples) / 90_000, abs=1e-6)


async def test_footage_in_the_spool_plays_as_stored_footage_does(house: House) -> None:
    units = interleave(video_units(session(), 30), audio_units(session(), 30, format=AAC))
    sealed = house.archive.seal(units)
    await house.archive.keep(sealed[0])
    house.footage.waiting = sealed[1:]
    before = await house.playlist(0, 30)
    assert [one.payload for one in await read_all(before, house.fetch)] == payloads(units)
    for one in sealed[1:]:
        await house.archive.keep(one)
    house.footage.waiting = []
    assert [one.payload for one in await read_all(before, house.fetch)] == payloads(units)
    assert await house.playlist(0, 30) == before


async def test_an_object_that_is_stored_before_an_earlier_one_plays_in_its_place(house: House) -> None:
    units = list(video_units(session(), 30))
    sealed = house.archive.seal(units)
    await house.archive.keep(sealed[2])
    house.footage.waiting = sealed[:2]
    samples = await read_all(await house.playlist(0, 30), house.fetch)
    assert [one.payload for one in samples] == payloads(units)


async def test_an_object_both_stored_and_in_the_spool_plays_once(house: House) -> None:
    sealed = await house.archive.record(video_units(session(), 20))
    house.footage.waiting = sealed
    assert sum(one.duration_s for one in (await house.playlist(0, 20)).segments) == pytest.approx(20)


async def test_a_refused_object_is_left_out_and_the_rest_plays(house: House) -> None:
    sealed = await house.archive.record(video_units(session(), 30))
    house.footage.refused = {sealed[1].header.object_id}
    playlist = await house.playlist(0, 30)
    assert sum(one.duration_s for one in playlist.segments) == pytest.approx(20)
    assert sum(one.discontinuity for one in playlist.segments) == 1


async def test_overlapping_sessions_both_play_whole(house: House) -> None:
    first, second = list(video_units(session("a"), 20)), list(video_units(session("b", 5), 20))
    await house.archive.record(second)
    await house.archive.record(first)
    samples = await read_all(await house.playlist(0, 60), house.fetch)
    assert [one.payload for one in samples] == payloads([*first, *second])


async def test_g711_is_not_offered(house: House) -> None:
    await house.archive.record(interleave(video_units(session(), 10), audio_units(session(), 10, format=PCMA)))
    master = (await house.playback.master(REF, at(0), at(10))).decode()
    assert "audio" not in master
    assert 'CODECS="avc1.64001e"' in master
    with pytest.raises(NotFound):
        await house.playlist(0, 10, AUDIO_TRACK)


async def test_aac_is_a_rendition_and_both_playlists_keep_step(house: House) -> None:
    await house.archive.record(interleave(video_units(session("a"), 20), audio_units(session("a"), 20, format=AAC)))
    await house.archive.record(video_units(session("silent", 30), 10))
    await house.archive.record(
        interleave(video_units(session("b", 50), 20), audio_units(session("b", 50), 20, format=AAC))
    )
    master = (await house.playback.master(REF, at(0), at(100))).decode()
    assert 'CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,AUDIO="audio"' in master
    assert 'URI="audio.m3u8?start=2026-09-21T14:13:20.000000Z&end=' in master
    video, audio = await house.playlist(0, 100), await house.playlist(0, 100, AUDIO_TRACK)
    assert [one.discontinuity for one in audio.segments] == [one.discontinuity for one in video.segments]
    assert [one.gap for one in audio.segments] == [False] * 10 + [True] * 5 + [False] * 10
    assert audio.target_s == video.target_s
    ends = [list(accumulate(one.duration_s for one in playlist.segments)) for playlist in (video, audio)]
    # At the end of an object the audio of the next keyframe's first part was handed out already.
    assert all(abs(one - other) <= 0.5 for one, other in zip(*ends, strict=True))


async def test_the_bandwidth_is_that_of_the_largest_segment(house: House) -> None:
    await house.archive.record(video_units(session(), 10, size_bytes=5000))
    master = (await house.playback.master(REF, at(0), at(10))).decode()
    peak = int(master.partition("BANDWIDTH=")[2].partition(",")[0])
    assert 25 * 5000 * 8 < peak < 25 * 5000 * 8 * 1.1


async def test_a_span_without_footage_is_not_found(house: House) -> None:
    await house.archive.record(video_units(session(), 10))
    with pytest.raises(NotFound) as missing:
        await house.playlist(100, 200)
    assert missing.value.code == "no_footage"


@pytest.mark.parametrize(("start_s", "end_s", "code"), [(10, 10, "span_empty"), (0, 6 * 3600 + 1, "span_too_long")])
async def test_a_span_that_cannot_be_played_is_refused(house: House, start_s: float, end_s: float, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await house.playlist(start_s, end_s)
    assert refused.value.code == code


async def test_an_object_of_another_camera_is_not_found(house: House) -> None:
    other = StreamRef("gate-2", StreamName.MAIN)
    sealed = await house.archive.record(video_units(session("other", ref=other), 10))
    object_id = sealed[0].header.object_id
    assert await house.playback.segment("gate-2", object_id, VIDEO_TRACK, 1, 2)
    for wait in (False, True):
        house.footage.waiting = sealed if wait else []
        with pytest.raises(NotFound):
            await house.playback.segment("gate-1", object_id, VIDEO_TRACK, 1, 2)
        with pytest.raises(NotFound):
            await house.playback.init("gate-1", object_id, VIDEO_TRACK, 0)


@pytest.mark.parametrize(("first", "last"), [(0, 10_000), (5, 4), (10_000, 10_001), (0, 0)])
async def test_parts_that_are_not_there_are_not_found(house: House, first: int, last: int) -> None:
    sealed = await house.archive.record(video_units(session(), 10))
    with pytest.raises(NotFound):
        await house.playback.segment(REF.camera_id, sealed[0].header.object_id, VIDEO_TRACK, first, last)


async def test_only_an_init_part_is_given_as_one(house: House) -> None:
    sealed = await house.archive.record(video_units(session(), 10))
    object_id = sealed[0].header.object_id
    for track, number in ((VIDEO_TRACK, 1), (AUDIO_TRACK, 0), (VIDEO_TRACK, 10_000)):
        with pytest.raises(NotFound):
            await house.playback.init(REF.camera_id, object_id, track, number)


async def test_a_plan_that_was_made_once_reads_no_init_segment_again(house: House) -> None:
    await house.archive.record(video_units(session(), 60))
    await house.playlist(0, 60)
    reads = house.footage.reads
    await house.playlist(10, 50)
    assert house.footage.reads == reads


# --- what left a live window ---------------------------------------------------------------------


async def fetched(house: House, start_s: int, end_s: int) -> list[bytes]:
    """The pictures of the first session between two times of it."""
    rate = VIDEO.clock_rate
    wanted = Stretch(session().session_id, start_s * rate, (end_s - start_s) * rate, at(start_s), at(end_s))
    return [one.payload for one in read_samples(await house.playback.stretch(REF, TrackKind.VIDEO, wanted))]


async def test_a_stretch_is_one_read_of_each_object_though_sound_and_pictures_alternate(house: House) -> None:
    units = interleave(video_units(session(), 40), audio_units(session(), 40, format=AAC))
    await house.archive.record(units)
    for start_s, end_s, objects in ((2, 4, 1), (8, 12, 2)):
        house.footage.reads = 0
        assert await fetched(house, start_s, end_s) == payloads(units)[start_s * 25 : end_s * 25]
        assert house.footage.reads == objects


async def test_a_stretch_is_whole_though_its_object_leaves_the_spool_meanwhile(house: House) -> None:
    units = list(video_units(session(), 30))
    house.footage.waiting = house.archive.seal(units)
    house.footage.leaving = house.footage.waiting[1:2]
    assert await fetched(house, 12, 14) == payloads(units)[300:350]
    assert not house.footage.leaving


async def test_a_stretch_that_is_stored_is_not_read_from_the_spool(house: House) -> None:
    units = list(video_units(session(), 30))
    house.footage.waiting = await house.archive.record(units)
    assert await fetched(house, 12, 14) == payloads(units)[300:350]
    assert house.footage.indexed == {one.header.object_id for one in house.footage.waiting[1:2]}


async def test_a_refused_neighbour_does_not_fail_a_stretch(house: House) -> None:
    units = list(video_units(session(), 30))
    sealed = await house.archive.record(units)
    house.footage.refused = {sealed[0].header.object_id}
    assert await fetched(house, 10, 12) == payloads(units)[250:300]
    with pytest.raises(NotFound) as missing:
        await fetched(house, 8, 10)
    assert missing.value.code == "segment_not_found"


# --- timeline ------------------------------------------------------------------------------------


def _insert_gap(connection: Connection, start_us: int, end_us: int | None, cause: str) -> None:
    ended_at = None if end_us is None else from_us(end_us)
    values = {"camera_id": REF.camera_id, "stream": str(REF.stream), "started_at": from_us(start_us), "cause": cause}
    connection.execute(insert(gap).values(ended_at=ended_at, **values))


async def test_the_timeline_merges_footage_and_names_gaps(house: House) -> None:
    await house.archive.record(video_units(session(), 30))
    await house.archive.record(video_units(session("two", 40), 20))
    await house.archive.catalogue.write(_insert_gap, at(30), at(38), "camera_lost")
    await house.archive.catalogue.write(_insert_gap, at(38), at(40), "waiting_keyframe")
    await house.archive.catalogue.write(_insert_gap, at(60), None, "stalled")
    timeline = await house.playback.timeline(REF, at(5), at(100))
    assert timeline.coverage == [Span(at(5), at(30)), Span(at(40), at(60))]
    assert timeline.gaps == [
        TimelineGap(at(30), at(38), "camera_lost"),
        TimelineGap(at(38), at(40), "waiting_keyframe"),
        TimelineGap(at(60), None, "stalled"),
    ]


@pytest.mark.parametrize("told", [True, False])
async def test_a_gap_as_short_as_a_seam_is_a_hole_and_a_seam_is_none(house: House, told: bool) -> None:
    await house.archive.record(video_units(session(), 30))
    await house.archive.record(video_units(session("two", 30.2), 20))
    if told:
        await house.archive.catalogue.write(_insert_gap, at(29.9), at(30.2), "settings_changed")
    coverage = (await house.playback.timeline(REF, at(0), at(100))).coverage
    assert coverage == ([Span(at(0), at(30)), Span(at(30.2), at(50.2))] if told else [Span(at(0), at(50.2))])


async def test_the_timeline_has_what_waits_in_the_spool(house: House) -> None:
    sealed = house.archive.seal(video_units(session(), 30))
    await house.archive.keep(sealed[0])
    house.footage.waiting = sealed[1:]
    assert (await house.playback.timeline(REF, at(0), at(100))).coverage == [Span(at(0), at(30))]


async def test_the_timeline_shows_active_holds_within_the_span(house: House) -> None:
    await house.archive.place_hold(REF.camera_id, at(-10), at(5))
    await house.archive.place_hold("gate-2", at(0), at(50))
    assert (await house.playback.timeline(REF, at(0), at(100))).holds == [Span(at(0), at(5))]
