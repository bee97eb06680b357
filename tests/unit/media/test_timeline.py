"""Time, rules 2 to 5 of docs/time.md, on simulated cameras and networks. No clock is read."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mediasrv.media.timeline import JUMP_S, SessionTimeline, TrackTimeline

STARTED_US = 1_790_000_000_000_000
STARTED_MONOTONIC = 5_000.0
RATE = 90_000
MOST_REORDER = 4

Placed = list[tuple[int, int, int]]


def video_track(reorder: int = 0) -> TrackTimeline:
    return SessionTimeline(STARTED_US, STARTED_MONOTONIC).track(RATE, reorder)


def play(track: TrackTimeline, units: Iterable[tuple[float, float]], first_timestamp: int = 0) -> Placed:
    """Places units given as (media seconds, arrival seconds since the session's start)."""
    return [
        track.place((first_timestamp + round(media_s * RATE)) & 0xFFFF_FFFF, STARTED_MONOTONIC + arrival_s)
        for media_s, arrival_s in units
    ]


def steady(seconds: float, rate: float = 25.0, media_rate: float | None = None) -> list[tuple[float, float]]:
    """A camera that delivers `rate` pictures a second and counts as though it were `media_rate`."""
    return [(index / (media_rate or rate), index / rate) for index in range(int(seconds * rate))]


def durations_s(placed: Placed) -> list[float]:
    return [(after[0] - before[0]) / RATE for before, after in pairwise(placed)]


def arrived_s(placed: Placed, index: int = -1) -> float:
    return (placed[index][2] - STARTED_US) / 1e6


@given(first_timestamp=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_first_timestamp_and_wraps_change_nothing(first_timestamp: int) -> None:
    units = steady(20.0)
    assert play(video_track(), units, first_timestamp) == play(video_track(), units)


def test_wrap_in_the_middle_is_seamless() -> None:
    placed = play(video_track(), steady(4.0), first_timestamp=2**32 - 2 * RATE)
    assert durations_s(placed) == [0.04] * 99


def test_track_starts_where_it_arrived() -> None:
    timeline = SessionTimeline(STARTED_US, STARTED_MONOTONIC)
    video = timeline.track(RATE).place(77, STARTED_MONOTONIC + 1.5)
    audio = timeline.track(8000).place(99, STARTED_MONOTONIC + 1.75)
    assert video == (135_000, 135_000, STARTED_US + 1_500_000)
    assert audio == (14_000, 14_000, STARTED_US + 1_750_000)


def test_network_jitter_is_not_in_the_result() -> None:
    jitter = random.Random(1)
    units = [(media_s, at_s + jitter.expovariate(50.0)) for media_s, at_s in steady(60.0)]
    units = [(units[0][0], units[0][1] + 0.2), *units[1:]]  # the first, a keyframe, is later still
    units = list(zip([media_s for media_s, _ in units], sorted(at_s for _, at_s in units), strict=True))
    placed = play(video_track(), units)
    assert durations_s(placed) == pytest.approx([0.04] * 1499, abs=1e-9)
    late_s = [arrived_s(placed, index) - index * 0.04 for index in range(200, 1500)]
    assert max(late_s) - min(late_s) < 0.005
    assert -0.002 < min(late_s) < 0.01


@pytest.mark.parametrize("drift", [-400e-6, -100e-6, 100e-6, 400e-6])
def test_tolerable_drift_is_followed(drift: float) -> None:
    track = video_track()
    placed = play(track, steady(3600.0, 25.0, 25.0 * (1 + drift)))
    assert track.reliable
    assert track.reanchored == 0
    assert abs(arrived_s(placed) - 3600.0) < 0.06
    assert max(durations_s(placed)) < 0.0401


@pytest.mark.parametrize("delivered", [21.0, 24.9, 10.0, 30.0])
def test_wrong_clock_rate_becomes_unreliable_without_a_gap(delivered: float) -> None:
    """A camera that counts 25 pictures a second and delivers another number of them."""
    track = video_track()
    placed = play(track, steady(40.0, delivered, 25.0))
    while track.reliable or len(placed) < 600 * delivered:
        assert len(placed) < 700 * delivered
        index = len(placed)
        placed += play(track, [(index / 25.0, index / delivered)])
        if index == int(60 * delivered):
            assert not track.reliable, "30 s beyond 500 ppm, in buckets of 10 s, are over by now"
    assert track.reanchored == 0
    assert max(durations_s(placed)) < 1.3 * max(1 / delivered, 1 / 25.0)
    end_s = len(placed) / delivered
    assert placed[-1][0] / RATE == pytest.approx(end_s, abs=1.0)
    assert arrived_s(placed) == pytest.approx(end_s, abs=0.2)


def test_media_time_that_behaves_again_is_believed_again() -> None:
    track = video_track()
    units = steady(60.0, 21.0, 25.0)
    last_media_s, last_at_s = units[-1]
    play(track, units)
    assert not track.reliable
    placed = play(track, [(last_media_s + step / 25.0, last_at_s + step / 25.0) for step in range(1, 25 * 60)])
    assert track.reliable
    assert max(durations_s(placed)) < 0.06
    assert durations_s(placed)[-1] == 0.04


@pytest.mark.parametrize("jump_s", [3.0, 3600.0, 20_000.0, -3.0, -3600.0, -20_000.0])
def test_jump_of_media_time_leaves_no_gap(jump_s: float) -> None:
    track = video_track()
    units = [(media_s + (jump_s if at_s >= 10.0 else 0.0), at_s) for media_s, at_s in steady(20.0)]
    placed = play(track, units, first_timestamp=2_000_000_000)
    assert track.reanchored == 1
    assert max(durations_s(placed)) < 0.05
    assert min(durations_s(placed)) > 0.03
    assert arrived_s(placed) == pytest.approx(19.96, abs=0.01)


def test_network_stall_and_burst_leave_no_gap() -> None:
    """Three seconds of silence, then all that was sent meanwhile at once: nothing happened to the camera."""
    units = [(media_s, max(at_s, 13.0) if at_s >= 10.0 else at_s) for media_s, at_s in steady(40.0)]
    track = video_track()
    placed = play(track, units)
    assert track.reanchored == 0
    assert durations_s(placed) == [0.04] * 999
    assert arrived_s(placed) == pytest.approx(39.96, abs=0.01)


def test_pause_that_the_camera_counted_is_kept() -> None:
    units = [
        (media_s + (7.0 if at_s >= 10.0 else 0.0), at_s + (7.0 if at_s >= 10.0 else 0.0))
        for media_s, at_s in steady(20.0)
    ]
    placed = play(video_track(), units)
    assert max(durations_s(placed)) == pytest.approx(7.04)
    assert arrived_s(placed) == pytest.approx(26.96, abs=0.01)


def test_pause_that_the_camera_did_not_count_is_found() -> None:
    """Media time stood still for 5 s. A stalled network would look the same, for a while."""
    units = [(media_s, at_s + (5.0 if at_s >= 10.0 else 0.0)) for media_s, at_s in steady(60.0)]
    track = video_track()
    placed = play(track, units)
    assert track.reanchored == 1
    assert sum(duration > 0.05 for duration in durations_s(placed)) == 1
    assert placed[-1][0] / RATE == pytest.approx(64.96, abs=0.01)
    assert arrived_s(placed) == pytest.approx(64.96, abs=0.01)


def test_burst_of_old_pictures_at_the_start_does_not_put_the_rest_into_the_future() -> None:
    """Recorders begin with the GOP they have: here 1.8 s of pictures within a moment."""
    units = [(media_s, max(0.01 * index, media_s - 1.8)) for index, (media_s, _) in enumerate(steady(20.0))]
    units.sort(key=lambda unit: unit[1])
    placed = play(video_track(), units)
    assert durations_s(placed) == [0.04] * 499
    for index, (_, at_s) in enumerate(units):
        assert arrived_s(placed, index) <= at_s + 1e-6
    assert arrived_s(placed) == pytest.approx(units[-1][1], abs=0.02)


@pytest.mark.parametrize("stated", [0, 2])
def test_reordered_pictures_decode_in_order(stated: int) -> None:
    """I P B B P B B …, whether the stream states its reordering or not."""
    shown = [0, *(number for group in range(1, 100) for number in (3 * group, 3 * group - 2, 3 * group - 1))]
    track = video_track(reorder=stated)
    placed = play(track, [(number / 25.0, index / 25.0) for index, number in enumerate(shown)])
    settled = placed[10:]
    assert track.reanchored == 0
    assert all(dts <= pts for dts, pts, _ in settled)
    assert set(durations_s(settled)) == {0.04}
    by_time = sorted(range(len(settled)), key=lambda index: settled[index][1])
    assert [shown[10 + index] for index in by_time] == sorted(shown[10:])
    if stated:
        assert all(dts <= pts for dts, pts, _ in placed)
        assert max(durations_s(placed)) < 0.05


def test_leap_of_reordered_pictures_after_a_stall_makes_no_phantom_duration() -> None:
    """The longer the wait the further ahead a picture may come early, but a stall is no reason to believe anything."""
    track = video_track()
    learnt = [(second, 0.04 * index) for index, second in enumerate((0.0, 0.04, 1.0, 0.9, 0.8, 0.7, 0.6))]
    placed = play(track, [*learnt, *((33.6 + number / 25.0, 5.3 + number / 25.0) for number in range(50))])
    assert track.reanchored == 1
    assert all(dts / RATE <= 5.3 + number / 25.0 + 2.0 for number, (dts, _, _) in enumerate(placed[len(learnt) :]))
    assert max(durations_s(placed)) < 6.0


def test_constant_timestamps_still_make_a_time_line() -> None:
    track = video_track()
    placed = play(track, [(0.0, index / 25.0) for index in range(25 * 300)])
    assert not track.reliable
    assert max(durations_s(placed)) < 0.06
    assert placed[-1][0] / RATE == pytest.approx(300.0, abs=0.2)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-90_000, 400_000), st.just(3600)),
            st.one_of(st.floats(0.0, 0.1), st.floats(0.0, 5.0)),
        ),
        max_size=400,
    )
)
@example([(3600, 0.0), (-1, 0.0), (279_004, 1.0), (0, 0.0)])
@example(
    [
        (3600, 0.0),
        (-1541, 5.0),
        (-5903, 4.625),
        (46_619, 1.5),
        (3600, 4.5),
        (-28_878, 0.08),
        (2_553_915, 2.9),
        (9001, 0.0),
    ]
)
@settings(deadline=None, max_examples=200)
def test_whatever_comes_order_holds_and_no_duration_is_phantom(steps: list[tuple[int, float]]) -> None:
    track = video_track()
    timestamp, at_s, last = 0, 0.0, (-1, 0, STARTED_US)
    longest_wait_s = 0.0
    for step, wait_s in steps:
        timestamp, at_s = (timestamp + step) & 0xFFFF_FFFF, at_s + wait_s
        longest_wait_s = max(longest_wait_s, wait_s)
        placed = track.place(timestamp, STARTED_MONOTONIC + at_s)
        assert placed[0] > last[0]
        assert last[2] <= placed[2] <= STARTED_US + at_s * 1e6 + 1
        early_s = MOST_REORDER * 1.5 * longest_wait_s  # rule 7: pictures this slow may come early by so much
        assert (placed[0] - last[0]) / RATE <= at_s + 2.1 + early_s, "no later than the arrival allows"
        assert placed[0] / RATE <= at_s + 10.1 + JUMP_S, "ten seconds ahead is a jump, from the next access unit on"
        last = placed
