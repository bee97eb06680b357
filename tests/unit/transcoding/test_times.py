from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit
from mediasrv.transcoding.arrival_times import ArrivalTimes
from mediasrv.transcoding.sample_times import SampleTimes
from tests.unit.media.streams import H265, PCMA, STARTED_US, session

SESSION = session()


def picture(dts: int, arrived_us: int) -> AccessUnit:
    return AccessUnit(SESSION, H265, dts, dts, arrived_us, True, b"")


def test_samples_are_counted_from_the_access_unit_that_they_came_in() -> None:
    times = SampleTimes()
    for number in range(4):
        times.begin(number * 1024, 5000 + number * 1024)
    assert [times.take(sample) for sample in range(0, 3840, 960)] == [5000, 5960, 6920, 7880]


def test_a_gap_moves_what_comes_behind_it_and_nothing_else() -> None:
    times = SampleTimes()
    for number in range(8):
        times.begin(number * 1024, number * 1024 + (48_000 if number >= 4 else 0))
    taken = [times.take(sample) for sample in range(0, 7680, 960)]
    assert taken == [sample + (48_000 if sample >= 4096 else 0) for sample in range(0, 7680, 960)]


@given(st.lists(st.integers(-50, 2000), min_size=1, max_size=60))
def test_times_rise_whatever_the_camera_s_do(steps: list[int]) -> None:
    times, at = SampleTimes(), 0
    for number, step in enumerate(steps):
        at += step
        times.begin(number * 1024, at)
    taken = [times.take(sample) for sample in range(0, len(steps) * 1024, 960)]
    assert all(after > before for before, after in pairwise(taken))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=60))
def test_times_stay_within_an_access_unit_of_the_camera_s_where_these_rise(steps: list[int]) -> None:
    times, begins = SampleTimes(), list(accumulate(steps))
    for number, begin in enumerate(begins):
        times.begin(number * 1024, begin)
    for sample in range(0, len(steps) * 1024, 960):
        assert 0 <= times.take(sample) - begins[sample // 1024] < 1024


@given(st.lists(st.integers(900, 1200), min_size=2, max_size=200))
def test_an_error_does_not_add_up(steps: list[int]) -> None:
    """Access units last as long as their times say, not as their samples: each new one puts that right."""
    times, at = SampleTimes(), 0
    begins = []
    for number, step in enumerate(steps):
        begins.append(at)
        times.begin(number * 1024, at)
        at += step
    for number, begin in enumerate(begins):
        assert begin <= times.take(number * 1024) <= begin + 1024


def test_what_is_made_is_as_old_as_what_it_was_made_of() -> None:
    arrivals = ArrivalTimes()
    for number in range(10):
        arrivals.sent(picture(number * 3600, STARTED_US + number * 40_100))
    assert arrivals.arrived_us(3600, 90_000) == STARTED_US + 40_100
    assert arrivals.arrived_us(7200 + 900, 90_000) == STARTED_US + 80_200 + 10_000
    assert arrivals.arrived_us(9 * 3600 + 7200, 90_000) == STARTED_US + 9 * 40_100 + 80_000


def test_sound_may_begin_a_little_before_what_it_was_made_of() -> None:
    arrivals = ArrivalTimes()
    arrivals.sent(AccessUnit(SESSION, PCMA, 8000, 8000, STARTED_US, True, b""))
    assert arrivals.arrived_us(48_000 - 312, 48_000) == STARTED_US - 6500


def test_arrivals_never_fall() -> None:
    arrivals = ArrivalTimes()
    arrivals.sent(picture(0, STARTED_US))
    arrivals.sent(picture(3600, STARTED_US + 10_000))  # it was smoothed meanwhile
    assert arrivals.arrived_us(3500, 90_000) == STARTED_US + 38_888
    assert arrivals.arrived_us(3600, 90_000) == STARTED_US + 38_888


@pytest.mark.parametrize("dts", [3600, 0, 3600 * 12 + 2 * 90_000 + 90])
def test_times_that_cannot_be_are_refused(dts: int) -> None:
    arrivals = ArrivalTimes()
    for number in range(12):
        arrivals.sent(picture(number * 3600, STARTED_US))
    arrivals.arrived_us(3600, 90_000)
    with pytest.raises(ProtocolError):
        arrivals.arrived_us(dts, 90_000)


def test_nothing_comes_of_nothing() -> None:
    with pytest.raises(ProtocolError):
        ArrivalTimes().arrived_us(0, 90_000)
