"""A camera's clock: many loose observations make a close one, and never a wrong one."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.camera_clock import CameraClock


def test_nothing_is_known_before_the_first_report() -> None:
    assert CameraClock().offset_us is None
    assert CameraClock().uncertainty_us is None


def test_reports_that_waited_differently_narrow_the_offset() -> None:
    clock, chance = CameraClock(), random.Random(7)
    for report in range(20):
        waited_us = chance.uniform(0, 200_000)
        clock.observe(5.0 * report, 3_000_000 - waited_us, 3_000_000 - waited_us + 200_000)
    assert clock.uncertainty_us is not None
    assert clock.uncertainty_us < 30_000
    assert abs((clock.offset_us or 0) - 3_000_000) <= clock.uncertainty_us


def test_a_camera_whose_clock_was_set_is_believed_at_once() -> None:
    clock = CameraClock()
    clock.observe(0.0, -1000, 1000)
    clock.observe(5.0, 59_999_000, 60_001_000)
    assert (clock.offset_us, clock.uncertainty_us) == (60_000_000, 1000)


@given(
    st.floats(-1e9, 1e9),
    st.floats(-90e-6, 90e-6),
    st.lists(st.tuples(st.floats(0.1, 600), st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=40),
)
def test_the_true_offset_is_always_within_the_bounds(
    offset_us: float, drift: float, reports: list[tuple[float, float, float]]
) -> None:
    clock, now = CameraClock(), 0.0
    for later_s, share, width_us in reports:
        now += later_s
        true_us = offset_us + now * drift * 1e6
        clock.observe(now, true_us - share * width_us, true_us + (1 - share) * width_us)
        assert abs((clock.offset_us or 0) - true_us) <= (clock.uncertainty_us or 0) + 2
