"""The account that `ingest` gives of what the cameras sent."""

from __future__ import annotations

from load_tests.ingest import account

SENT = {"first": 3, "first_keyframe": 4, "last": 20, "left_out": [[10, 11]], "damaged": [13]}


def test_what_came_between_the_first_and_the_last_is_held_against_what_was_sent() -> None:
    whole = [6, 7, 8, 9, 12, 14, 15]
    assert account({"cam-1": SENT}, {"cam-1": whole}) == {
        "access_units_sent": 7,
        "access_units_kept": 7,
        "lost": 0,
        "doubled": 0,
    }


def test_a_hole_a_double_and_a_camera_of_which_nothing_came_are_told() -> None:
    told = account({"cam-1": SENT, "cam-2": SENT}, {"cam-1": [6, 7, 7, 9]})
    assert told == {"access_units_sent": 4, "access_units_kept": 3, "lost": 2, "doubled": 1}
