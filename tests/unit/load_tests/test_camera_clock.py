"""A simulated camera's time: drift and a wrong wall clock, each without the other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.camera_farm.clock import CameraClock

WALL_S = 1_700_000_000.0


@given(st.lists(st.tuples(st.floats(0.1, 1000), st.floats(-200_000, 200_000)), max_size=5), st.floats(0, 1e5))
def test_what_is_due_is_due_when_the_crystal_says_so(changes: list[tuple[float, float]], elapsed_s: float) -> None:
    clock, now = CameraClock(100.0, WALL_S, 0.0), 100.0
    for after_s, ppm in changes:
        now += after_s
        before = clock.elapsed_s(now)
        clock.set_drift(ppm, now)
        assert clock.elapsed_s(now) == pytest.approx(before)
    later = clock.elapsed_s(now) + elapsed_s
    assert clock.elapsed_s(clock.due(later)) == pytest.approx(later, rel=1e-9)


def test_a_fast_crystal_shows_a_later_time_and_the_true_one_stays_known() -> None:
    clock = CameraClock(100.0, WALL_S, 0.0)
    clock.set_drift(500_000, 100.0)
    assert clock.drift_ppm == pytest.approx(500_000)
    assert clock.elapsed_s(110.0) == 15.0
    assert clock.shown_wall_s(15.0) == WALL_S + 15
    assert clock.true_wall_s(15.0) == WALL_S + 10


def test_a_clock_that_is_set_runs_on_from_there() -> None:
    clock = CameraClock(100.0, WALL_S, -3600.0)
    assert clock.now(100.0) == datetime.fromtimestamp(WALL_S - 3600, UTC)
    clock.show(0.0, 110.0)
    assert clock.now(115.0) == datetime.fromtimestamp(5, UTC)
    assert clock.true_wall_s(clock.elapsed_s(115.0)) == WALL_S + 15
