"""What the spool may take, how long that lasts, and when it says so."""

from __future__ import annotations

from mediasrv.settings import SpoolSettings
from mediasrv.storage.spool_budget import BACKLOG_S, RATE_WINDOW_S, SpoolBudget

GIB = 1 << 30
HOUR_S = 3600.0


def budget(free_gib: float | None = 100.0, rate_gib_an_hour: float = 0.0, **settings: float) -> SpoolBudget:
    made = SpoolBudget(SpoolSettings(**settings))  # type: ignore[arg-type]
    for second in range(90):
        if free_gib is not None:
            made.note(1000.0 + second, round(second * rate_gib_an_hour * GIB / HOUR_S), round(free_gib * GIB))
    return made


def test_the_budget_is_what_is_set_or_the_share_of_the_disk_whichever_is_less() -> None:
    assert budget().budget_bytes(0) == 80 * GIB
    assert budget().budget_bytes(50 * GIB) == 120 * GIB, "what the spool itself uses is not somebody else's"
    assert budget(budget_bytes=10 * GIB).budget_bytes(50 * GIB) == 10 * GIB
    assert budget(free_gib=5.0, budget_bytes=10 * GIB).budget_bytes(0) == 4 * GIB
    assert budget(free_gib=None, budget_bytes=10 * GIB).budget_bytes(0) == 10 * GIB


def test_how_long_it_lasts_is_by_the_rate_of_the_last_minute() -> None:
    made = budget(rate_gib_an_hour=8.0)
    assert round(made.lasts_s(80 * GIB) or 0) == round(10 * HOUR_S)
    for second in range(round(RATE_WINDOW_S) + 1):
        made.note(1100.0 + second, 0, 0)
    assert made.lasts_s(80 * GIB) is None, "nothing comes in"
    assert budget(free_gib=None).lasts_s(1) is None


def test_the_alarm_comes_at_a_share_or_where_storage_takes_nothing_and_hours_are_few() -> None:
    slow, fast = budget(rate_gib_an_hour=1.0), budget(rate_gib_an_hour=20.0)
    assert not slow.is_alarming(10 * GIB, BACKLOG_S + 1)
    assert fast.is_alarming(10 * GIB, BACKLOG_S + 1), "78 GiB are enough for four hours"
    assert not fast.is_alarming(10 * GIB, BACKLOG_S - 1), "it is only on its way"
    assert not slow.is_alarming(60 * GIB, 0.0)
    assert slow.is_alarming(70 * GIB, 0.0), "of 136 GiB"
    assert not budget(free_gib=None).is_alarming(GIB, 0.0), "nothing is known yet"
