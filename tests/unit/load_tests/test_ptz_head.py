"""Where a simulated PTZ camera looks."""

from __future__ import annotations

import pytest

from load_tests.camera_farm.ptz import TRAVEL_S, PtzHead


@pytest.fixture
def head() -> PtzHead:
    return PtzHead()


def test_a_move_takes_its_time_and_ends_where_it_was_sent(head: PtzHead) -> None:
    head.absolute({"pan": 0.5, "tilt": -0.5}, {"tilt": 0.5}, 10.0)
    assert head.position(10.25 * TRAVEL_S) == {"pan": 0.25, "tilt": -0.125, "zoom": 0.0}
    assert head.moving(10.25) == {"pan": True, "tilt": True, "zoom": False}
    assert head.position(20.0) == {"pan": 0.5, "tilt": -0.5, "zoom": 0.0}
    assert not any(head.moving(20.0).values())


def test_a_continuous_move_ends_by_stop_by_its_timeout_or_at_the_end_of_its_way(head: PtzHead) -> None:
    head.continuous({"pan": 0.5, "zoom": 1.0}, 0.5, 0.0)
    assert head.position(9.0) == {"pan": 0.25, "tilt": 0.0, "zoom": 0.5}
    head.continuous({"pan": -1.0}, 100.0, 10.0)
    head.stop({"pan"}, 10.5)
    assert head.position(99.0)["pan"] == -0.25
    head.continuous({"tilt": 1.0}, 100.0, 100.0)
    assert head.position(150.0)["tilt"] == 1.0
    assert not head.moving(150.0)["tilt"]


def test_relative_moves_add_up_and_stay_in_bounds(head: PtzHead) -> None:
    for start in (0.0, 10.0, 20.0):
        head.relative({"pan": 0.4}, {}, start)
    assert head.position(30.0)["pan"] == 1.0


def test_presets_keep_where_it_looked(head: PtzHead) -> None:
    head.absolute({"pan": 0.5}, {}, 0.0)
    first = head.set_preset("", "gate", 10.0)
    second = head.set_preset("", "yard", 10.0)
    assert first != second
    head.absolute({"pan": -1.0}, {}, 10.0)
    assert head.set_preset(first, "", 20.0) == first
    assert head.presets[first] == ("gate", {"pan": -1.0, "tilt": 0.0, "zoom": 0.0})
    assert head.presets[second][1]["pan"] == 0.5
