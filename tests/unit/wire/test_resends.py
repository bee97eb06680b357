"""How much a viewer is sent again."""

from __future__ import annotations

import pytest

from mediasrv.wire.resends import Resends


def taken(resends: Resends) -> int:
    """How many are sent again before no more is."""
    count = 0
    while not resends.spent:
        resends.note(count, 0.0)
        count += 1
    return count


@pytest.mark.parametrize(
    ("packets", "congested", "most"), [(100, False, 50), (100, True, 20), (10, False, 8), (10, True, 8), (0, False, 8)]
)
def test_it_is_a_share_of_what_was_sent_and_less_where_the_line_is_full(
    packets: int, congested: bool, most: int
) -> None:
    resends = Resends()
    assert taken(resends) == 20
    resends.tick(packets, 1.0, 0.05, congested=congested)
    assert taken(resends) == most


@pytest.mark.parametrize(("round_trip_s", "again_s"), [(0.001, 0.1), (0.3, 0.31)])
def test_what_was_asked_for_again_waits_for_its_round_trip_but_not_less_than_browsers_do(
    round_trip_s: float, again_s: float
) -> None:
    resends = Resends()
    assert not resends.is_under_way(7, 0.0, round_trip_s)
    resends.note(7, 0.0)
    assert resends.is_under_way(7, again_s - 0.02, round_trip_s)
    resends.tick(10, again_s - 0.02, round_trip_s, congested=False)
    assert resends.is_under_way(7, again_s - 0.02, round_trip_s)
    assert not resends.is_under_way(7, again_s, round_trip_s)
