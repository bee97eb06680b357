"""How often, and how many at once, may join."""

from __future__ import annotations

import pytest

from mediasrv.errors import TooManyRequests
from mediasrv.fanout import admission
from mediasrv.fanout.admission import JoinRate, check_handshakes


def test_a_wall_may_join_at_once_and_then_at_the_rate() -> None:
    rate = JoinRate(60)
    for _ in range(60):
        rate.take("person-1", 0.0)
    with pytest.raises(TooManyRequests) as refused:
        rate.take("person-1", 0.5)
    assert (refused.value.code, refused.value.retry_after_s) == ("joins_too_fast", 1)
    rate.take("person-1", 1.0)
    with pytest.raises(TooManyRequests):
        rate.take("person-1", 1.0)


def test_one_principal_takes_nothing_from_another() -> None:
    rate = JoinRate(1)
    rate.take("person-1", 0.0)
    rate.take("person-2", 0.0)
    with pytest.raises(TooManyRequests) as refused:
        rate.take("person-1", 0.0)
    assert refused.value.retry_after_s == 61


def test_nothing_is_saved_up_beyond_a_minutes_worth() -> None:
    rate = JoinRate(2)
    rate.take("person-1", 0.0)
    for _ in range(2):
        rate.take("person-1", 1e6)
    with pytest.raises(TooManyRequests):
        rate.take("person-1", 1e6)


def test_without_a_bound_nobody_waits_and_memory_has_one_always(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(1000):
        JoinRate(0).take("person-1", 0.0)
    monkeypatch.setattr(admission, "_MOST_KEPT", 3)
    rate = JoinRate(5)
    for number in range(10):
        rate.take(f"person-{number}", 0.0)
    assert list(rate._left) == ["person-7", "person-8", "person-9"]


def test_half_of_all_handshakes_is_for_one_principal() -> None:
    check_handshakes(["person-1"], "person-1", 4)
    for connecting, principal in ((["person-1"] * 2, "person-1"), (["a", "b", "c", "d"], "e")):
        with pytest.raises(TooManyRequests) as refused:
            check_handshakes(connecting, principal, 4)
        assert refused.value.code == "handshakes_full"
    check_handshakes(["person-1"] * 2, "person-2", 4)
