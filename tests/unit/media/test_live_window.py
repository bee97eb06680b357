from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from load_tests.hls_rules import (
    MediaPlaylist,
    check,
    check_hint_came,
    check_next,
    check_renditions,
    check_report,
    merge,
    parse,
    segment_duration_s,
)
from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.media import fmp4
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Part, TrackKind
from mediasrv.media.live_segment import bits_per_second
from mediasrv.media.live_window import LiveWindow, target_duration_s
from mediasrv.media.playlist import Manner
from mediasrv.media.segmenter import Segmenter
from tests.unit.media.streams import (
    AAC,
    H265,
    OPUS,
    PCMA,
    VIDEO,
    audio_units,
    documents,
    interleave,
    session,
    video_units,
)

PART_S = 0.48
V, A = TrackKind.VIDEO, TrackKind.AUDIO


class Feed:
    """Publishes access units into a window as the hub does."""

    def __init__(self, window: LiveWindow) -> None:
        self.window = window
        self.parts: list[Part] = []
        self._segmenter = Segmenter(PART_S)
        self._keyframe: AccessUnit | None = None

    def push(self, unit: AccessUnit) -> bool:
        """Whether a part came of it."""
        if unit.format.kind is V and unit.keyframe:
            self._keyframe = unit
        made = self._segmenter.push(unit)
        for part in made:
            self._add(part)
        return bool(made)

    def end_session(self) -> None:
        for part in self._segmenter.finish():
            self._add(part)
        self._keyframe = None
        self.window.end_session()

    def _add(self, part: Part) -> None:
        key = self._keyframe
        followed = key is not None and key.dts == part.decode_time + part.duration and part.format.kind is V
        self.window.add(part, followed_by=key.format if key and followed else None)
        self.parts.append(part)


def window_of(
    seconds: float, *, gop_s: float = 2.0, audio: AudioFormat | None = AAC, window_s: float = 12.0
) -> LiveWindow:
    window = LiveWindow(window_s, target_duration_s(gop_s), PART_S)
    one = session()
    tracks = [video_units(one, seconds, gop_s=gop_s)] + ([audio_units(one, seconds, format=audio)] if audio else [])
    feed = Feed(window)
    for unit in interleave(*tracks):
        feed.push(unit)
    return window


def uneven(pictures: Iterable[AccessUnit], most_s: float) -> Iterator[AccessUnit]:
    """The same pictures, each up to so much later than it should be."""
    for index, unit in enumerate(pictures):
        off = round(index * 7919 % 17 / 16 * most_s * unit.format.clock_rate)
        yield replace(unit, dts=unit.dts + off, pts=unit.pts + off)


@dataclass(frozen=True)
class SessionOf:
    seconds: float
    h265: bool
    audio_late_s: float


@dataclass(frozen=True)
class History:
    """What a camera may do while it is watched."""

    gop_s: float
    gop_known: bool
    rate: float
    audio: AudioFormat | None
    sessions: list[SessionOf]
    uneven_s: float = 0.0

    def units(self) -> Iterator[list[AccessUnit]]:
        for number, of in enumerate(self.sessions):
            one = session(f"session-{number}", session().started_us + number * 100_000_000)
            format = H265 if of.h265 else VIDEO
            pictures = video_units(one, of.seconds, rate=self.rate, gop_s=self.gop_s, format=format)
            tracks = [uneven(pictures, self.uneven_s)]
            tracks.append(documents(one, of.seconds, each_s=0.7))
            if self.audio is not None:
                tracks.append(audio_units(one, of.seconds, format=self.audio, start_s=of.audio_late_s))
            yield interleave(*tracks)


AAC_16K = AudioFormat(AAC.codec, 16_000, 1, bytes.fromhex("1408"))
HISTORIES = st.builds(
    History,
    gop_s=st.sampled_from([0.1, 0.4, 0.5, 0.9, 1.0, 2.0, 3.5, 4.0, 7.0]),
    gop_known=st.booleans(),
    rate=st.sampled_from([1.0, 2.0, 2.3, 5.0, 10.0, 12.5, 15.0, 25.0, 30.0]),
    audio=st.sampled_from([None, AAC, PCMA, OPUS, AAC_16K]),
    sessions=st.lists(
        st.builds(
            SessionOf, seconds=st.floats(0.3, 12.0), h265=st.booleans(), audio_late_s=st.sampled_from([0.0, 0.3])
        ),
        min_size=1,
        max_size=3,
    ),
    uneven_s=st.sampled_from([0.0, 0.002, 0.008]),
)


# Sound that begins later than the picture: gaps in its playlist, of which the first may stand behind what is skipped.
LATE_SOUND = History(
    0.5, True, 15.0, AAC_16K, [SessionOf(7.2, False, 0.3), SessionOf(11.3, False, 0.3), SessionOf(1.0, False, 0.3)]
)


# A session of one picture, whose duration is a guess, before one of half a second a picture.
LONE_PICTURE = History(0.1, True, 2.0, PCMA, [SessionOf(0.7, False, 0.3), SessionOf(3.7, False, 0.3)])


@given(HISTORIES, st.integers(0, 2**31), st.booleans())
@example(LATE_SOUND, 7, False)
@example(LONE_PICTURE, 8429, False)
@example(LONE_PICTURE, 8429, True)
@settings(
    deadline=None, max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking takes minutes
def test_every_playlist_of_every_history_keeps_the_rules(history: History, first_number: int, impatient: bool) -> None:
    target_s = target_duration_s(history.gop_s if history.gop_known else None)
    window = LiveWindow(12.0, target_s, PART_S, first_number)
    feed = Feed(window)
    before: dict[TrackKind, MediaPlaylist] = {}
    for units in history.units():
        for unit in units:
            if feed.push(unit):
                before = check_all(window, before, impatient)
        feed.end_session()
        before = check_all(window, before, impatient)


def check_all(
    window: LiveWindow, before: dict[TrackKind, MediaPlaylist], impatient: bool
) -> dict[TrackKind, MediaPlaylist]:
    """`impatient`: there is a viewer from the start, for whom the first segment ends before its GOP does."""
    kinds = [kind for kind in TrackKind if window.has(kind)]
    if impatient and kinds:
        window.complete_first(kinds)
    if not kinds or not parse(window.playlist(V)).complete:
        assert not before, "what was shown is there no more"
        return {}
    after = {kind: parse(window.playlist(kind)) for kind in kinds}
    for kind, playlist in after.items():
        check(playlist)
        if kind not in before:
            continue
        check_next(before[kind], playlist)
        check_hint_came(before[kind], playlist)
        delta = parse(window.playlist(kind, Manner(skip=True)))
        check(delta)
        merged = merge(before[kind], delta) if delta.skipped else delta
        assert without_parts(merged) == without_parts(playlist)
    if len(after) == 2:
        check_renditions(after[V], after[A])
        check_report(after[V].reports["audio.m3u8"], after[A])
        check_report(after[A].reports["video.m3u8"], after[V])
    return after


def without_parts(playlist: MediaPlaylist) -> list[tuple[object, ...]]:
    return [
        (one.uri, one.duration_s, one.started_at, one.map_uri, one.discontinuity, one.gap) for one in playlist.segments
    ]


def test_everything_that_playlists_list_can_be_had_and_is_each_part_once() -> None:
    window = LiveWindow(12.0, 2, PART_S)
    feed, one = Feed(window), session()
    seen: dict[str, bytes] = {}
    for unit in interleave(video_units(one, 40.0), audio_units(one, 40.0, format=AAC)):
        if feed.push(unit):
            for kind in (V, A):
                if window.has(kind):
                    seen.update(fetch(window, kind, parse(window.playlist(kind))))
    parts = [body for uri, body in seen.items() if uri.count(".") == 2]
    assert sorted(parts) == sorted(part.fragment for part in feed.parts)
    segment = next(uri for uri in seen if uri.startswith("video/") and uri.count(".") == 1)
    assert len(fmp4.read_samples(seen[segment])) == 50


def fetch(window: LiveWindow, kind: TrackKind, playlist: MediaPlaylist) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for segment in playlist.segments:
        for part in segment.parts:
            numbers = part.uri.split("/")[1].split(".")
            body = window.part(kind, int(numbers[0]), int(numbers[1]))
            assert body is not None
            found[part.uri] = body
        if segment.uri:
            found[segment.uri] = window.segment(kind, int(segment.uri.split("/")[1].split(".")[0]))
    return found


def test_segments_begin_at_keyframes_and_the_last_part_completes_its_segment() -> None:
    window = window_of(8.1)
    playlist = parse(window.playlist(V))
    assert [segment.duration_s for segment in playlist.complete] == [2.0] * 4
    assert all(segment.parts[0].independent for segment in playlist.segments if segment.parts)
    assert playlist.hint == "video/4.0.m4s", "the segment is complete as soon as the keyframe after it came"


def test_audio_is_cut_where_video_is() -> None:
    window = window_of(20.0)
    video, audio = parse(window.playlist(V)).complete, parse(window.playlist(A)).complete
    for pictures, sound in list(zip(video, audio, strict=True))[1:]:
        assert pictures.started_at is not None
        assert sound.started_at is not None
        assert abs((pictures.started_at - sound.started_at).total_seconds()) < 0.03
        assert abs(pictures.duration_s - sound.duration_s) < 0.03


def test_gop_longer_than_the_target_is_cut_inside() -> None:
    window = window_of(20.0, gop_s=30.0, audio=None)
    playlist = parse(window.playlist(V))
    check(playlist)
    assert playlist.target_s == 10
    unknown = LiveWindow(12.0, target_duration_s(None), PART_S)
    feed = Feed(unknown)
    for unit in video_units(session(), 20.0, gop_s=30.0):
        feed.push(unit)
    assert [round(one.duration_s, 2) for one in parse(unknown.playlist(V)).complete] == [4.32] * 4


def test_short_gops_are_put_together() -> None:
    window = window_of(10.1, gop_s=0.4, audio=None)
    playlist = parse(window.playlist(V))
    check(playlist)
    assert all(one.duration_s >= 0.95 for one in playlist.complete)
    assert any(part.independent for one in playlist.segments for part in one.parts[1:])


def test_g711_makes_no_rendition() -> None:
    window = window_of(6.0, audio=PCMA)
    assert not window.has(A)
    assert not parse(window.playlist(V)).reports


def test_audio_that_begins_later_is_a_gap_before() -> None:
    one, window = session(), LiveWindow(12.0, 2, PART_S)
    feed = Feed(window)
    for unit in interleave(video_units(one, 8.1), audio_units(one, 3.0, format=AAC, start_s=5.0)):
        feed.push(unit)
    audio = parse(window.playlist(A))
    check(audio)
    assert [one.gap for one in audio.complete] == [True, True, False, False]
    assert all(one.duration_s == 2.0 for one in audio.complete[:2])
    check_renditions(parse(window.playlist(V)), audio)
    with pytest.raises(NotFound):
        window.segment(A, 0)


def test_new_session_is_a_discontinuity_in_both_renditions() -> None:
    window = window_of(5.0)
    window.end_session()
    two = session("two", session().started_us + 60_000_000)
    feed = Feed(window)
    for unit in interleave(video_units(two, 3.0), audio_units(two, 3.0, format=AAC)):
        feed.push(unit)
    for kind in (V, A):
        playlist = parse(window.playlist(kind))
        assert [one.discontinuity for one in playlist.segments] == [False, False, False, True, False]
        assert playlist.segments[3].started_at is not None
    window.end_session()
    window.end_session()
    assert sum(one.discontinuity for one in parse(window.playlist(V)).segments) == 1


def test_discontinuity_that_left_the_playlist_is_counted() -> None:
    window = window_of(5.0)
    window.end_session()
    two, feed = session("two", session().started_us + 60_000_000), Feed(window)
    for unit in video_units(two, 40.0):
        feed.push(unit)
    playlist = parse(window.playlist(V))
    assert playlist.discontinuity_sequence == 1
    assert not any(one.discontinuity for one in playlist.segments)


def test_new_format_gets_a_new_init_segment_and_a_discontinuity() -> None:
    one, window = session(), LiveWindow(12.0, 2, PART_S, first_number=70)
    feed = Feed(window)
    large = replace(VIDEO, width=1280, height=720)
    for unit in interleave(
        [*video_units(one, 3.0), *video_units(one, 3.0, start_s=3.0, format=large)],
        audio_units(one, 6.0, format=AAC),
    ):
        feed.push(unit)
    playlist = parse(window.playlist(V))
    assert [segment.map_uri for segment in playlist.segments] == ["video/init-71.mp4"] * 2 + ["video/init-72.mp4"] * 2
    assert [segment.discontinuity for segment in playlist.segments] == [False, False, True, False]
    assert fmp4.read_format(window.init(V, 72)) == replace(large, width=640, height=360)
    assert fmp4.read_format(window.init(A, 70)) == AAC
    for kind, version in ((V, 70), (A, 71), (V, 73)):
        with pytest.raises(NotFound):
            window.init(kind, version)


def test_delta_update_leaves_out_what_is_older_than_the_skip_boundary() -> None:
    window = window_of(60.0)
    full, delta = parse(window.playlist(V)), parse(window.playlist(V, Manner(skip=True)))
    assert delta.skipped > 0
    assert len(window.playlist(V, Manner(skip=True))) < len(window.playlist(V))
    assert delta.skipped + len(delta.segments) == len(full.segments)
    assert float(full.control["CAN-SKIP-UNTIL"]) == 12.0


def test_no_delta_updates_are_promised_where_the_window_is_too_short_for_them() -> None:
    window = window_of(60.0, gop_s=5.0, audio=None)
    assert "CAN-SKIP-UNTIL" not in parse(window.playlist(V)).control
    assert window.playlist(V, Manner(skip=True)) == window.playlist(V)


def test_parts_are_listed_near_the_end_only() -> None:
    playlist = parse(window_of(60.0).playlist(V))
    with_parts = [bool(one.parts) for one in playlist.complete]
    assert with_parts == sorted(with_parts)
    assert 0 < sum(with_parts) <= 4


def test_memory_is_bounded_and_what_left_the_playlist_stays_a_while() -> None:
    short, long = window_of(40.0), window_of(120.0)
    assert len(parse(long.playlist(V)).segments) == len(parse(short.playlist(V)).segments)
    playlist = parse(long.playlist(V))
    listed_s = sum(segment_duration_s(one) for one in playlist.segments)
    there = 0
    for msn in range(playlist.first_msn - 1, -1, -1):
        try:
            long.segment(V, msn)
        except NotFound:
            break
        there += 1
    assert listed_s <= there * 2.0 <= listed_s + 4.0


def test_playlist_is_made_once_for_each_revision() -> None:
    window = window_of(5.0)
    assert window.playlist(V) is window.playlist(V)


def test_blocking_reload_is_answered_when_the_playlist_holds_it() -> None:
    window = window_of(5.0)  # segments 0 and 1 complete; parts 0 and 1 of segment 2
    assert window.reached(V, 0, None)
    assert window.reached(V, 1, 3)
    assert window.reached(V, 1, 99), "as part 0 of the next"
    assert window.reached(V, 2, 1)
    assert not window.reached(V, 2, 2)
    assert not window.reached(V, 2, None)
    assert not window.reached(V, 3, 0)
    assert not window.reached(V, 3, None)


@pytest.mark.parametrize(("msn", "part"), [(4, None), (4, 0), (2, 9), (3, 7), (10**12, 0)])
def test_blocking_reload_too_far_ahead_is_refused(msn: int, part: int | None) -> None:
    with pytest.raises(InvalidRequest):
        window_of(5.0).reached(V, msn, part)


def test_hinted_part_is_waited_for_and_others_are_not_found() -> None:
    window = window_of(5.0)
    assert window.part(V, 2, 1) is not None
    assert window.part(V, 2, 2) is None
    assert window.part(V, 3, 0) is None
    for msn, part in ((1, 5), (2, 3), (3, 1), (4, 0)):
        with pytest.raises(NotFound):
            window.part(V, msn, part)
    for msn in (2, 3):
        with pytest.raises(NotFound):
            window.segment(V, msn)


def test_nothing_is_shown_before_a_keyframe() -> None:
    window = LiveWindow(12.0, 2, PART_S)
    parts = [part for unit in video_units(session(), 4.0) for part in ()]
    assert not parts
    segmenter = Segmenter(PART_S)
    made = [part for unit in video_units(session(), 4.0) for part in segmenter.push(unit)]
    for part in made[1:4]:
        window.add(part)
    assert not window.has(V)
    window.add(next(part for part in made[4:] if part.independent))
    assert window.has(V)


@pytest.mark.parametrize(
    ("rate", "part_target_s"),
    [(1.0, 1.08), (2.0, 0.54), (3.0, 0.36), (4.0, 0.27), (5.0, 0.432), (10.0, 0.432), (25.0, 0.48)],
)
def test_part_target_stays_where_pictures_come_unevenly(rate: float, part_target_s: float) -> None:
    window = LiveWindow(12.0, target_duration_s(2.0), PART_S)
    feed, before = Feed(window), dict[TrackKind, MediaPlaylist]()
    for unit in uneven(video_units(session(), 60.0, rate=rate), 0.008):
        if feed.push(unit):
            before = check_all(window, before, impatient=True)
    assert before[V].part_target_s == pytest.approx(part_target_s, rel=0.03)
    assert all(round(one.duration_s, 1) == 2.0 for one in before[V].complete[1:])


def test_session_of_one_picture_decides_nothing() -> None:
    window = LiveWindow(12.0, 2, PART_S, first_number=70)
    feed, one, two = Feed(window), session(), session("two", session().started_us + 60_000_000)
    for unit in interleave(video_units(one, 0.7, rate=2.0), audio_units(one, 0.7, format=AAC)):
        feed.push(unit)
    feed.end_session()
    assert len(feed.parts) > 1
    assert not window.has(V)
    assert not window.has(A)
    with pytest.raises(NotFound):
        window.segment(V, 70)
    for unit in video_units(two, 3.0, rate=2.0, gop_s=1.0):
        feed.push(unit)
    playlist = parse(window.playlist(V))
    assert playlist.part_target_s == 0.54
    assert [(one.uri, one.discontinuity) for one in playlist.complete] == [
        ("video/70.m4s", False),
        ("video/71.m4s", False),
    ]
    assert playlist.complete[0].map_uri is not None
    assert window.init(V, int(playlist.complete[0].map_uri.split("-")[1].split(".")[0]))


def test_session_that_was_long_enough_is_kept() -> None:
    window = window_of(1.0)
    window.end_session()
    assert [one.duration_s for one in parse(window.playlist(V)).complete] == [0.96]


def test_bit_rate_counts_all_tracks() -> None:
    peak, average = bits_per_second(window_of(20.0, audio=None).listed)
    assert 200 * 8 * 25 < average <= peak < 250 * 8 * 25
    assert bits_per_second(window_of(20.0).listed)[1] > average


@pytest.mark.parametrize(("gop_s", "target_gop_s"), [(1.6, 1.6), (7.0, None)])
def test_every_part_that_was_hinted_at_comes(gop_s: float, target_gop_s: float | None) -> None:
    """Also behind the short end of a GOP that was cut for an early viewer, and where a long GOP is cut."""
    window = LiveWindow(12.0, target_duration_s(target_gop_s), PART_S)
    feed, before, hinted = Feed(window), None, 0
    for unit in video_units(session(), 15.0, gop_s=gop_s):
        if feed.push(unit) and window.complete_first([V]):
            after = parse(window.playlist(V))
            if before is not None:
                check_hint_came(before, after)
                hinted += before.hint != after.hint
            before = after
    assert hinted > 20
