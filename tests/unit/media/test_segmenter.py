from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediasrv.media import fmp4
from mediasrv.media.access_unit import AccessUnit, Part, TrackKind
from mediasrv.media.segmenter import Segmenter, parts_before
from tests.unit.media.streams import AAC, PCMA, VIDEO, audio_units, cut, documents, interleave, session, video_units

PART_S = 0.48


def of_kind(parts: list[Part], kind: TrackKind) -> list[Part]:
    return [part for part in parts if part.format.kind is kind]


def payloads(parts: list[Part]) -> list[bytes]:
    return [sample.payload for part in parts for sample in fmp4.read_samples(part.fragment)]


@given(
    rate=st.sampled_from([1.0, 4.0, 7.5, 10.0, 15.0, 25.0, 29.97, 60.0]),
    gop_s=st.sampled_from([0.5, 1.0, 2.0, 3.3, 10.0]),
    audio=st.sampled_from([PCMA, AAC]),
)
@settings(deadline=None, max_examples=40)
def test_every_access_unit_is_kept_once_in_parts_that_join(rate: float, gop_s: float, audio: object) -> None:
    one = session()
    video, sound = list(video_units(one, 12.0, rate=rate, gop_s=gop_s)), list(audio_units(one, 12.0, format=audio))
    parts = cut(interleave(video, sound))
    for kind, units in ((TrackKind.VIDEO, video), (TrackKind.AUDIO, sound)):
        mine = of_kind(parts, kind)
        assert payloads(mine) == [unit.payload for unit in units]
        assert sum(part.access_units for part in mine) == len(units)
        assert all(after.decode_time == before.decode_time + before.duration for before, after in pairwise(mine))
        assert all(part.duration_s <= PART_S or part.access_units == 1 for part in mine)
        assert all(fmp4.read_samples(part.fragment)[0].decode_time == part.decode_time for part in mine)


def test_video_part_is_independent_exactly_where_it_begins_with_a_keyframe() -> None:
    parts = of_kind(cut(video_units(session(), 10.0)), TrackKind.VIDEO)
    for part in parts:
        keyframes = [sample.keyframe for sample in fmp4.read_samples(part.fragment)]
        assert keyframes[0] == part.independent
        assert not any(keyframes[1:])
    assert sum(part.independent for part in parts) == 5


def test_parts_of_a_steady_stream_are_as_long_as_may_be() -> None:
    parts = of_kind(cut(video_units(session(), 2.0)), TrackKind.VIDEO)
    assert [round(part.duration_s, 3) for part in parts] == [0.48, 0.48, 0.48, 0.48, 0.08]


def test_full_part_leaves_with_the_access_unit_after_it() -> None:
    segmenter = Segmenter(PART_S)
    units = list(video_units(session(), 1.0))
    assert not any(segmenter.push(unit) for unit in units[:12])
    (part,) = segmenter.push(units[12])
    assert (part.access_units, part.started_us, part.received_us) == (12, units[0].arrived_us, units[11].arrived_us)


def test_very_short_gops_share_a_part() -> None:
    parts = of_kind(cut(video_units(session(), 4.0, gop_s=0.04)), TrackKind.VIDEO)
    assert all(part.independent for part in parts)
    assert [part.access_units for part in parts[:-1]] == [6] * (len(parts) - 1)


def test_audio_part_ends_at_a_keyframe_and_precedes_the_video_part() -> None:
    one = session()
    segmenter = Segmenter(PART_S)
    for unit in interleave(video_units(one, 2.04), audio_units(one, 2.0)):
        parts = segmenter.push(unit)
        if unit.format is VIDEO and unit.keyframe and unit.dts:
            assert [part.format.kind for part in parts] == [TrackKind.AUDIO, TrackKind.VIDEO]
            return
    pytest.fail("no second keyframe came")


def test_nothing_begins_before_the_first_keyframe() -> None:
    one = session()
    video = list(video_units(one, 6.0))[7:]
    parts = cut(interleave(video, audio_units(one, 6.0)))
    assert of_kind(parts, TrackKind.VIDEO)[0].decode_time == 2 * 90_000
    assert of_kind(parts, TrackKind.AUDIO)[0].decode_time / 8000 >= 1.99


def test_session_without_video_is_kept_as_audio() -> None:
    parts = cut(audio_units(session(), 10.0))
    assert parts[0].decode_time / 8000 == pytest.approx(3.0)
    assert sum(part.duration_s for part in parts) == pytest.approx(7.0)


def test_last_durations_are_those_before_them() -> None:
    one = session()
    parts = cut(interleave(video_units(one, 1.0, rate=10.0), audio_units(one, 1.0)))
    assert sum(part.duration_s for part in of_kind(parts, TrackKind.VIDEO)) == pytest.approx(1.0)
    assert sum(part.duration_s for part in of_kind(parts, TrackKind.AUDIO)) == pytest.approx(1.0)


def test_single_access_unit_makes_a_part() -> None:
    (part,) = cut(list(video_units(session(), 1.0))[:1])
    assert (part.access_units, part.duration) == (1, 3600)


def test_duration_is_the_distance_to_the_next_access_unit() -> None:
    units = list(video_units(session(), 1.0))
    late = [replace(unit, dts=unit.dts + 900_000, pts=unit.pts + 900_000) for unit in units[5:]]
    parts = cut([*units[:5], *late])
    assert [part.access_units for part in parts] == [4, 1, 12, 8]
    assert parts[1].duration == 900_000 + 3600


def test_new_format_begins_a_new_part() -> None:
    one = session()
    other = replace(VIDEO, width=1280)
    parts = cut([*video_units(one, 2.2), *video_units(one, 2.0, format=other, start_s=2.2)])
    assert [part.format for part in parts].index(other) == 6
    assert all(part.format is (VIDEO if part.decode_time < 198_000 else other) for part in parts)


def test_session_that_changes_without_an_end_is_finished() -> None:
    first, second = session("one"), session("two")
    parts = cut([*video_units(first, 1.0), *video_units(second, 1.0)])
    assert payloads(parts) == [unit.payload for unit in (*video_units(first, 1.0), *video_units(second, 1.0))]
    assert [part.session for part in parts] == [first] * 3 + [second] * 3
    assert sum(part.duration for part in parts[:3]) == 90_000


@pytest.mark.parametrize("stalled", [TrackKind.VIDEO, TrackKind.AUDIO])
def test_track_that_stalls_is_closed_by_the_one_that_goes_on(stalled: TrackKind) -> None:
    """What arrived must become durable though nothing of its track comes after it."""
    one = session()
    video, sound = list(video_units(one, 4.0)), list(audio_units(one, 4.0))
    if stalled is TrackKind.VIDEO:
        video = video[:30]
    else:
        sound = sound[:60]
    segmenter = Segmenter(PART_S)
    parts = [(unit.arrived_us, part) for unit in interleave(video, sound) for part in segmenter.push(unit)]
    mine = [(at_us, part) for at_us, part in parts if part.format.kind is stalled]
    units = video if stalled is TrackKind.VIDEO else sound
    assert sum(part.access_units for _, part in mine) == len(units) - 1
    assert all(at_us - part.started_us <= 620_000 for at_us, part in mine)


@given(st.integers(0, 149))
def test_who_joins_in_the_middle_of_a_gop_gets_what_the_others_got(joined_at: int) -> None:
    segmenter = Segmenter(PART_S)
    gop: list[AccessUnit] = []
    made: list[Part] = []
    for unit in list(video_units(session(), 6.0))[: joined_at + 1]:
        gop = [unit] if unit.keyframe else [*gop, unit]
        made += segmenter.push(unit)
    open_from = segmenter.open_from(TrackKind.VIDEO)
    assert open_from is not None
    missed = parts_before(gop, open_from, PART_S)
    since_keyframe = [part for part in made if part.decode_time >= gop[0].dts]
    assert [part.decode_time for part in missed] == [part.decode_time for part in since_keyframe]
    assert payloads(missed) == payloads(since_keyframe)


def test_documents_join_a_part_whenever_pictures_do_and_none_is_lost() -> None:
    one = session()
    units = interleave(video_units(one, 4.0), audio_units(one, 4.0), documents(one, 4.0, each_s=0.1))
    parts = cut(units)
    metadata = of_kind(parts, TrackKind.METADATA)
    read = [sample.payload for part in metadata for sample in fmp4.read_samples(part.fragment)]
    assert read == [unit.payload for unit in units if unit.format.kind is TrackKind.METADATA]
    assert all(part.independent and part.duration_s < 0.48 for part in metadata)
    assert parts[0].format.kind is not TrackKind.METADATA, "an object begins with a picture"
    for part in metadata:
        first = fmp4.read_samples(part.fragment)[0]
        assert (first.decode_time, part.access_units > 0) == (part.decode_time, True)


def test_documents_wait_for_the_first_picture_up_to_a_bound() -> None:
    one = session()
    early = list(documents(one, 200.0))
    parts = cut([*early, *video_units(one, 1.0, start_s=200.0)])
    kept = [
        sample.payload for part in of_kind(parts, TrackKind.METADATA) for sample in fmp4.read_samples(part.fragment)
    ]
    assert kept == [unit.payload for unit in early[:64]]
    assert cut(early) == [], "without a picture there is nothing to keep them with"


def test_documents_do_not_wait_for_pictures_that_do_not_come() -> None:
    one = session()
    segmenter = Segmenter(0.48)
    for unit in video_units(one, 1.0):
        segmenter.push(unit)
    handed_out_at = [unit.arrived_us for unit in documents(one, 3.0, each_s=0.2, start_s=1.0) if segmenter.push(unit)]
    assert len(handed_out_at) >= 3


@pytest.mark.parametrize("rate", [1.0, 2.0, 2.3, 3.0, 5.0])
@pytest.mark.parametrize("sound", [True, False])
def test_slow_cameras_give_a_part_a_picture_or_as_many_as_fit(rate: float, sound: bool) -> None:
    """A part is at most 0.48 s, or one picture that lasts longer; it is handed out when its end is certain."""
    one = session()
    video = list(video_units(one, 20.0, rate=rate, gop_s=4.0))
    units = interleave(video, audio_units(one, 20.0) if sound else [])
    segmenter = Segmenter(0.48)
    latest_us, parts = 0, []
    for unit in units:
        for part in segmenter.push(unit):
            parts.append(part)
            if part.format.kind is TrackKind.VIDEO:
                latest_us = max(latest_us, unit.arrived_us - part.received_us)
    parts += segmenter.finish()
    pictures = of_kind(parts, TrackKind.VIDEO)
    assert all(part.duration_s <= max(0.48, 1 / rate + 1e-4) for part in pictures)
    assert [sample.payload for part in pictures for sample in fmp4.read_samples(part.fragment)] == [
        unit.payload for unit in video
    ]
    for before, after in pairwise(pictures):
        assert after.decode_time == before.decode_time + before.duration
    assert latest_us <= 1e6 / rate + 1, "the durability bound: one access unit interval, the rest is the spool's"
