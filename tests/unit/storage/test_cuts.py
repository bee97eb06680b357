"""Cuts of recording objects: at keyframes, the same for both tracks, nothing left out and nothing twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.access_unit import TrackKind
from mediasrv.storage.cuts import LEAST_S, Cut, CutPair, cut_object
from mediasrv.storage.sealing import INDEPENDENT, INIT, Descriptor

START_US = 1_790_000_000_000_000
Part = tuple[int, Descriptor]


def video(start_s: float, length_s: float, keyframe: bool = False) -> Part:
    at_us = START_US + round(start_s * 1e6)
    flags = INDEPENDENT if keyframe else 0
    units = max(1, round(length_s * 25))
    return 1000, Descriptor(1, flags, units, 90_000, at_us, round(start_s * 90_000), round(length_s * 90_000))


def audio(start_s: float, length_s: float) -> Part:
    at_us = START_US + round(start_s * 1e6)
    return 100, Descriptor(2, INDEPENDENT, 1, 8_000, at_us, round(start_s * 8_000), round(length_s * 8_000))


def init(track: TrackKind, start_s: float = 0.0) -> Part:
    rate = 90_000 if track is TrackKind.VIDEO else 8_000
    return 700, Descriptor(track, INIT, 0, rate, START_US + round(start_s * 1e6), round(start_s * rate), 0)


VIDEO_INIT, AUDIO_INIT = init(TrackKind.VIDEO), init(TrackKind.AUDIO)


def gop(start_s: float, length_s: float = 2.0) -> list[Part]:
    """Four video parts, each after its audio part."""
    quarter = length_s / 4
    parts: list[Part] = []
    for number in range(4):
        at = start_s + number * quarter
        parts += [audio(at, quarter), video(at, quarter, number == 0)]
    return parts


def numbers(cuts: list[CutPair]) -> list[tuple[int, int]]:
    return [(pair.video.first, pair.video.last) for pair in cuts]


def test_a_cut_runs_from_keyframe_to_keyframe() -> None:
    cuts = cut_object([VIDEO_INIT, AUDIO_INIT, *gop(0), *gop(2), *gop(4)])
    assert numbers(cuts) == [(3, 9), (11, 17), (19, 25)]
    assert [pair.video.duration_s for pair in cuts] == [2.0, 2.0, 2.0]
    assert [pair.video.started_us for pair in cuts] == [START_US, START_US + 2_000_000, START_US + 4_000_000]


def test_short_gops_are_joined() -> None:
    cuts = cut_object([VIDEO_INIT, *(video(second, 1.0, True) for second in range(5))])
    assert [pair.video.duration_s for pair in cuts] == [2.0, 2.0, 1.0]


def test_a_long_gop_stays_whole() -> None:
    parts = [video(number / 2, 0.5, number == 0) for number in range(40)]
    assert [pair.video.duration_s for pair in cut_object([VIDEO_INIT, *parts])] == [20.0]


def test_audio_is_cut_where_the_video_is() -> None:
    cuts = cut_object([VIDEO_INIT, AUDIO_INIT, *gop(0), *gop(2)])
    assert [(pair.audio.start_s, pair.audio.end_s) for pair in cuts if pair.audio] == [(0.0, 2.0), (2.0, 4.0)]


def test_audio_that_was_handed_out_before_its_keyframe_goes_with_the_keyframe() -> None:
    parts = [VIDEO_INIT, AUDIO_INIT, video(0, 2, True), audio(0, 2), audio(2, 0.5), video(2, 2, True), audio(2.5, 1.5)]
    second = cut_object(parts)[1].audio
    assert second is not None
    assert (second.first, second.last, second.start_s) == (4, 6, 2.0)


def test_audio_after_the_last_picture_goes_with_the_last_cut() -> None:
    last = cut_object([VIDEO_INIT, AUDIO_INIT, video(0, 2, True), audio(0, 2), audio(2, 0.5)])[-1].audio
    assert last is not None
    assert last.end_s == 2.5


def test_a_cut_without_audio_says_so() -> None:
    assert [pair.audio for pair in cut_object([VIDEO_INIT, video(0, 2, True)])] == [None]


def test_audio_alone_gives_no_cut() -> None:
    assert cut_object([AUDIO_INIT, audio(0, 2)]) == []


def test_a_new_format_begins_a_cut_with_its_own_init_segment() -> None:
    cuts = cut_object([VIDEO_INIT, video(0, 1, True), init(TrackKind.VIDEO, 1), video(1, 1, True), video(2, 1)])
    assert [(pair.video.first, pair.video.last, pair.video.init) for pair in cuts] == [(1, 1, 0), (3, 4, 2)]


def test_a_hole_ends_a_cut() -> None:
    cuts = cut_object([VIDEO_INIT, video(0, 1, True), video(3, 1, True)])
    assert [pair.video.start_s for pair in cuts] == [0.0, 3.0]
    assert not cuts[1].video.continues(cuts[0].video)


def test_a_jitter_is_no_hole() -> None:
    cuts = cut_object([VIDEO_INIT, video(0, 2, True), video(2.05, 2, True)])
    assert cuts[1].video.continues(cuts[0].video)


def test_a_part_without_its_init_segment_is_left_out() -> None:
    assert cut_object([video(0, 2, True)]) == []


@given(
    st.lists(st.tuples(st.sampled_from([0.04, 0.2, 0.48]), st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_every_part_is_in_exactly_one_cut(pattern: list[tuple[float, bool, bool]]) -> None:
    parts: list[Part] = [VIDEO_INIT, AUDIO_INIT]
    now_s = 0.0
    for length_s, keyframe, with_audio in pattern:
        if with_audio:
            parts.append(audio(now_s, length_s))
        parts.append(video(now_s, length_s, keyframe))
        now_s += length_s
    cuts = cut_object(parts)
    for track, cut_of in ((TrackKind.VIDEO, _video_of), (TrackKind.AUDIO, _audio_of)):
        listed = [number for pair in cuts for number in _numbers_of(cut_of(pair), parts)]
        assert listed == [number for number, (_, one) in enumerate(parts) if one.track == track and not one.is_init]
    assert all(pair.video.duration_s >= LEAST_S - 0.01 for pair in cuts[:-1])


def _video_of(pair: CutPair) -> Cut | None:
    return pair.video


def _audio_of(pair: CutPair) -> Cut | None:
    return pair.audio


def _numbers_of(cut: Cut | None, parts: list[Part]) -> list[int]:
    if cut is None:
        return []
    return [number for number in range(cut.first, cut.last + 1) if parts[number][1].track == cut.track]


def test_metadata_is_in_no_cut_and_moves_none() -> None:
    document = Descriptor(3, INDEPENDENT, 2, 90_000, START_US, 0, 90_000)
    without = [VIDEO_INIT, AUDIO_INIT, *gop(0), *gop(2)]
    beside = [*without[:4], (100, document._replace(flags=INIT)), (100, document), *without[4:], (100, document)]
    cuts, expected = cut_object(beside), cut_object(without)
    assert [pair.video.duration_s for pair in cuts] == [pair.video.duration_s for pair in expected]
    assert [pair.video.size_bytes for pair in cuts] == [pair.video.size_bytes for pair in expected]
    assert numbers(cuts) == [(3, 11), (13, 19)]
