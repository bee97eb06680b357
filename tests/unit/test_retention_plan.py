"""The plan of retention: nothing early, nothing held, oldest first, and no more than the policy asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.retention import ClockGuard, Deletion, Policy, Reason, effective_policy, plan
from mediasrv.settings import RetentionSettings

MINUTE_US = 60 * SECOND_US
NOW_US = 100 * MINUTE_US
NO_BOUND = Policy(0, 0)


def stored(minute: int, size_bytes: int = 10, stream: StreamName = StreamName.MAIN) -> StoredObject:
    """An object of the minute that ends at NOW_US minus `minute` minutes."""
    ended_us = NOW_US - minute * MINUTE_US
    name = f"{stream}-{minute:03d}"
    return StoredObject(
        name, name, None, "key", StreamRef("gate-1", stream), ended_us - MINUTE_US, ended_us, size_bytes
    )


def minutes(deletions: list[Deletion]) -> list[int]:
    return [(NOW_US - one.stored.ended_us) // MINUTE_US for one in deletions]


ROWS = [stored(minute) for minute in range(10)]


def test_without_a_bound_nothing_goes() -> None:
    assert plan(ROWS, NO_BOUND, [], NOW_US) == []


def test_an_object_goes_when_its_last_picture_is_of_age() -> None:
    going = plan(ROWS, Policy(5 * 60, 0), [], NOW_US)
    assert minutes(going) == [9, 8, 7, 6, 5]
    assert {one.reason for one in going} == {Reason.AGE}


def test_an_object_stays_one_microsecond_before_it_is_of_age() -> None:
    assert minutes(plan(ROWS, Policy(5 * 60, 0), [], NOW_US - 1)) == [9, 8, 7, 6]


def test_the_oldest_go_until_the_rest_fits() -> None:
    going = plan(ROWS, Policy(0, 75), [], NOW_US)
    assert minutes(going) == [9, 8, 7]
    assert {one.reason for one in going} == {Reason.SIZE}


def test_size_counts_what_lies_beyond_the_rows_at_hand() -> None:
    assert minutes(plan(ROWS[5:], Policy(0, 75), [], NOW_US, stored_bytes=100)) == [9, 8, 7]


def test_what_age_takes_counts_for_size() -> None:
    going = plan(ROWS, Policy(8 * 60, 75), [], NOW_US)
    assert [one.reason for one in going] == [Reason.AGE, Reason.AGE, Reason.SIZE]


def test_both_streams_share_the_bound_and_the_oldest_of_either_goes_first() -> None:
    rows = [stored(1), stored(3), stored(2, stream=StreamName.SUB), stored(4, stream=StreamName.SUB)]
    assert minutes(plan(rows, Policy(0, 20), [], NOW_US)) == [4, 3]


def test_a_hold_beats_age_and_size() -> None:
    held = ROWS[8]
    policy = Policy(5 * 60, 10)
    going = plan(ROWS, policy, [held.span], NOW_US)
    assert held not in [one.stored for one in going]
    assert stored(5) in [one.stored for one in going]


def test_a_hold_keeps_objects_that_only_touch_it() -> None:
    instant = Span(ROWS[8].ended_us, ROWS[8].ended_us)
    assert not {7, 8} & set(minutes(plan(ROWS, Policy(1, 0), [instant], NOW_US)))


def test_held_footage_counts_as_stored() -> None:
    holds = [Span(0, ROWS[5].ended_us - 1)]
    assert minutes(plan(ROWS, Policy(0, 75), holds, NOW_US)) == [4, 3, 2]


def test_size_leaves_the_newest_object() -> None:
    assert minutes(plan(ROWS, Policy(0, 1), [], NOW_US, newest={ROWS[0].object_id})) == list(range(9, 0, -1))


def test_age_takes_the_newest_object_too() -> None:
    rows = [stored(9)]
    assert minutes(plan(rows, Policy(60, 0), [], NOW_US, newest={rows[0].object_id})) == [9]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 50)), max_size=20, unique_by=lambda pair: pair[0]),
    st.integers(0, 100),
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), max_size=3),
)
def test_whatever_the_footage_no_deletion_is_early_held_or_needless(
    objects: list[tuple[int, int]], age_minutes: int, most: int, held: list[tuple[int, int]]
) -> None:
    rows = [stored(minute, size) for minute, size in objects]
    holds = [Span(start * MINUTE_US, (start + length) * MINUTE_US) for start, length in held]
    policy = Policy(age_minutes * 60, most)
    going = plan(rows, policy, holds, NOW_US)
    left = sum(one.size_bytes for one in rows)
    for one in going:
        assert not any(hold.start_us <= one.stored.ended_us and one.stored.started_us <= hold.end_us for hold in holds)
        if one.reason is Reason.AGE:
            assert policy.max_age_s
            assert NOW_US - one.stored.ended_us >= policy.max_age_s * SECOND_US
        else:
            assert most
            assert left > most
        left -= one.stored.size_bytes
    if most and left > most:
        unheld = [row for row in rows if not any(hold.overlaps(row.span) for hold in holds)]
        touching = [
            row for row in unheld if any(row.ended_us == h.start_us or row.started_us == h.end_us for h in holds)
        ]
        assert {row.object_id for row in unheld} - {row.object_id for row in touching} <= {
            one.stored.object_id for one in going
        }
    assert [one.stored.started_us for one in going] == sorted(one.stored.started_us for one in going)


def test_a_camera_without_a_policy_has_the_default_one() -> None:
    defaults = RetentionSettings(max_age_days=30.0, max_size_bytes=7)
    assert effective_policy((None, None), defaults) == Policy(30 * 86400, 7)
    assert effective_policy((2, 0), defaults) == Policy(2 * 86400, 0)


class Clocks:
    """Wall and monotonic time that go together until told otherwise."""

    def __init__(self) -> None:
        self.wall_us = 1_790_000_000 * SECOND_US
        self.monotonic = 1000.0
        self.guard = ClockGuard(300, self.wall_us, self.monotonic, settle_s=3600)

    def pass_s(self, seconds: float) -> float:
        self.wall_us += round(seconds * SECOND_US)
        self.monotonic += seconds
        return self.guard.jumped_s(self.wall_us, self.monotonic)

    def step_s(self, seconds: float) -> float:
        self.wall_us += round(seconds * SECOND_US)
        return self.guard.jumped_s(self.wall_us, self.monotonic)


def test_time_that_passes_is_no_jump() -> None:
    assert Clocks().pass_s(30 * 86400) == 0.0


def test_a_jump_either_way_is_seen() -> None:
    assert Clocks().step_s(86400) == 86400
    assert Clocks().step_s(-301) == -301


def test_a_step_within_the_bound_is_none() -> None:
    assert Clocks().step_s(299) == 0.0


def test_small_steps_add_up() -> None:
    clocks = Clocks()
    clocks.step_s(200)
    assert clocks.step_s(200) == 400


def test_a_jump_that_is_taken_back_is_forgotten() -> None:
    clocks = Clocks()
    clocks.step_s(86400)
    assert clocks.step_s(-86400) == 0.0


def test_a_jump_that_nobody_takes_back_settles() -> None:
    clocks = Clocks()
    clocks.step_s(86400)
    assert clocks.pass_s(3599) == 86400
    assert clocks.pass_s(1) == 0.0
    assert clocks.pass_s(86400) == 0.0


def test_a_clock_that_keeps_jumping_does_not_settle() -> None:
    clocks = Clocks()
    clocks.step_s(86400)
    clocks.pass_s(3000)
    clocks.step_s(86400)
    assert clocks.pass_s(3000) == 2 * 86400
