"""The plan of retention: nothing early, nothing held, oldest first, and no more than the policy asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.catalogue.footage_queries import PlannedRow
from mediasrv.catalogue.policies import Bounds, Subject, subjects
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.retention.clock_guard import ClockGuard
from mediasrv.retention.plan import Planned, Policy, Reason, plan
from mediasrv.retention.policies import Defaults, effective
from mediasrv.settings import RetentionSettings, StorageSettings

MINUTE_US = 60 * SECOND_US
NOW_US = 100 * MINUTE_US
NO_BOUND = Policy(0, 0)


def stored(minute: int, size_bytes: int = 10, name: str = "main", length_us: int = MINUTE_US) -> PlannedRow:
    """An object that ends `minute` minutes before NOW_US."""
    ended_us = NOW_US - minute * MINUTE_US
    return PlannedRow(ended_us - length_us, f"{name}-{minute:03d}", ended_us, size_bytes)


ROWS = sorted(stored(minute) for minute in range(10))


def going(
    rows: Sequence[PlannedRow],
    policy: Policy,
    holds: Sequence[Span] = (),
    now_us: int = NOW_US,
    stored_bytes: int | None = None,
    newest: Collection[str] = (),
    events: Mapping[str, Sequence[Span]] | None = None,
) -> list[Planned]:
    """What goes, without what is held."""
    whole = sum(one.size_bytes for one in rows) if stored_bytes is None else stored_bytes
    planned = plan(sorted(rows), policy, holds, now_us, whole, newest, events)
    return [one for one in planned if one.reason is not Reason.HELD]


def minutes(planned: list[Planned]) -> list[int]:
    return [(NOW_US - one.row.ended_us) // MINUTE_US for one in planned]


def test_without_a_bound_nothing_goes() -> None:
    assert going(ROWS, NO_BOUND) == []


def test_an_object_goes_when_its_last_picture_is_of_age() -> None:
    due = going(ROWS, Policy(5 * 60, 0))
    assert minutes(due) == [9, 8, 7, 6, 5]
    assert {one.reason for one in due} == {Reason.AGE}


def test_an_object_stays_one_microsecond_before_it_is_of_age() -> None:
    assert minutes(going(ROWS, Policy(5 * 60, 0), now_us=NOW_US - 1)) == [9, 8, 7, 6]


def test_the_oldest_go_until_the_rest_fits() -> None:
    due = going(ROWS, Policy(0, 75))
    assert minutes(due) == [9, 8, 7]
    assert {one.reason for one in due} == {Reason.SIZE}


def test_size_counts_what_lies_beyond_the_rows_at_hand() -> None:
    assert minutes(going(ROWS[:5], Policy(0, 75), stored_bytes=100)) == [9, 8, 7]


def test_what_age_takes_counts_for_size() -> None:
    assert [one.reason for one in going(ROWS, Policy(8 * 60, 75))] == [Reason.AGE, Reason.AGE, Reason.SIZE]


def test_both_streams_share_the_bound_and_the_oldest_of_either_goes_first() -> None:
    rows = [stored(1), stored(3), stored(2, name="sub"), stored(4, name="sub")]
    assert minutes(going(rows, Policy(0, 20))) == [4, 3]


def test_a_hold_beats_age_and_size() -> None:
    held = stored(8)
    due = going(ROWS, Policy(5 * 60, 10), [Span(held.started_us, held.ended_us)])
    assert held not in [one.row for one in due]
    assert stored(5) in [one.row for one in due]


def test_what_goes_but_for_a_hold_is_told() -> None:
    held = stored(8)
    planned = list(plan(ROWS, Policy(7 * 60, 0), [Span(held.started_us + 1, held.ended_us - 1)], NOW_US))
    assert [(one.row, one.reason) for one in planned] == [
        (stored(9), Reason.AGE),
        (held, Reason.HELD),
        (stored(7), Reason.AGE),
    ]


def test_a_hold_keeps_objects_that_only_touch_it() -> None:
    instant = Span(stored(8).ended_us, stored(8).ended_us)
    assert not {7, 8} & set(minutes(going(ROWS, Policy(1, 0), [instant])))


def test_held_footage_counts_as_stored() -> None:
    holds = [Span(0, stored(5).ended_us - 1)]
    assert minutes(going(ROWS, Policy(0, 75), holds)) == [4, 3, 2]


def test_size_leaves_the_newest_object() -> None:
    assert minutes(going(ROWS, Policy(0, 1), newest={stored(0).object_id})) == list(range(9, 0, -1))


def test_age_takes_the_newest_object_too() -> None:
    rows = [stored(9)]
    assert minutes(going(rows, Policy(60, 0), newest={rows[0].object_id})) == [9]


def test_footage_around_an_event_stays_longer_and_no_longer_than_that() -> None:
    policy = Policy(3 * 60, 0, (("motion", 8 * 60.0),), before_s=60.0, after_s=0.0)
    event = Span(stored(6).started_us + SECOND_US, stored(6).started_us + 2 * SECOND_US)
    # The object of the event, and the one that its margin before reaches.
    assert minutes(going(ROWS, policy, events={"motion": [event]})) == [9, 8, 5, 4, 3]
    later = minutes(going(ROWS, policy, now_us=NOW_US + 2 * MINUTE_US, events={"motion": [event]}))
    assert 6 in later
    assert minutes(going(ROWS, policy, events={"tamper": [event]})) == [9, 8, 7, 6, 5, 4, 3]


def test_an_event_keeps_nothing_from_size() -> None:
    policy = Policy(3 * 60, 75, (("motion", 8 * 60.0),))
    assert minutes(going(ROWS, policy, events={"motion": [Span(0, NOW_US)]}))[:3] == [9, 8, 7]


def test_a_shorter_time_for_events_shortens_nothing() -> None:
    policy = Policy(5 * 60, 0, (("motion", 60.0),))
    assert minutes(going(ROWS, policy, events={"motion": [Span(0, NOW_US)]})) == [9, 8, 7, 6, 5]


def test_what_storage_has_locked_stays() -> None:
    assert minutes(going(ROWS, Policy(2 * 60, 1, locked_s=7 * 60))) == [9, 8, 7]


def naive(
    rows: Sequence[PlannedRow],
    policy: Policy,
    holds: Sequence[Span],
    events: Mapping[str, Sequence[Span]],
    newest: Collection[str],
) -> list[Planned]:
    """The rules as they are told, object by object, each against each hold and event."""
    left, planned = sum(one.size_bytes for one in rows), []
    for row in sorted(rows):
        kept_s = policy.max_age_s
        for kind, seconds in policy.keep_events:
            for event in events.get(kind, ()):
                start_us = event.start_us - policy.before_s * SECOND_US
                if start_us <= row.ended_us and row.started_us <= event.end_us + policy.after_s * SECOND_US:
                    kept_s = max(kept_s, seconds)
        age_s = (NOW_US - row.ended_us) / SECOND_US
        free = age_s >= policy.locked_s
        if policy.max_age_s and free and age_s >= kept_s:
            reason = Reason.AGE
        elif policy.max_size_bytes and left > policy.max_size_bytes and free and row.object_id not in newest:
            reason = Reason.SIZE
        else:
            continue
        if any(one.start_us <= row.ended_us and row.started_us <= one.end_us for one in holds):
            reason = Reason.HELD
        else:
            left -= row.size_bytes
        planned.append(Planned(row, reason))
    return planned


SPANS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 5)).map(
        lambda pair: Span(pair[0] * MINUTE_US, (pair[0] + pair[1]) * MINUTE_US)
    ),
    max_size=4,
)
OBJECTS = st.lists(
    st.tuples(st.integers(0, 90), st.integers(1, 50), st.integers(1, 4)), max_size=25, unique_by=lambda one: one[0]
).map(lambda given: [stored(minute, size, length_us=length * MINUTE_US) for minute, size, length in given])
POLICIES = st.builds(
    Policy,
    st.integers(0, 100).map(lambda minute: minute * 60.0),
    st.integers(0, 300),
    st.tuples(
        st.tuples(st.just("motion"), st.integers(1, 100).map(lambda minute: minute * 60.0)),
        st.tuples(st.just("tamper"), st.integers(1, 100).map(lambda minute: minute * 60.0)),
    ),
    st.sampled_from([0.0, 60.0, 150.0]),
    st.sampled_from([0.0, 60.0, 150.0]),
    st.sampled_from([0.0, 0.0, 1200.0]),
)


@given(OBJECTS, POLICIES, SPANS, st.fixed_dictionaries({"motion": SPANS, "tamper": SPANS}), st.booleans())
def test_the_plan_is_what_the_rules_say(
    rows: list[PlannedRow], policy: Policy, holds: list[Span], events: dict[str, list[Span]], has_newest: bool
) -> None:
    newest = {max(rows).object_id} if rows and has_newest else set()
    whole = sum(one.size_bytes for one in rows)
    planned = list(plan(sorted(rows), policy, holds, NOW_US, whole, newest, events))
    assert planned == naive(rows, policy, holds, events, newest)
    for row, reason in planned:
        if reason is Reason.AGE:
            assert NOW_US - row.ended_us >= policy.max_age_s * SECOND_US
        if reason is not Reason.HELD:
            assert not any(one.start_us <= row.ended_us and row.started_us <= one.end_us for one in holds)
    assert [row for row, _ in planned] == sorted(row for row, _ in planned)


# --- whose policy it is --------------------------------------------------------------------------

DEFAULTS = Defaults.of(RetentionSettings(max_age_days=30.0, max_size_bytes=7), StorageSettings())
CHAIN = subjects("gate-1", "root/north/site-1/")


def test_the_chain_goes_from_the_camera_up_to_the_root() -> None:
    assert [str(one) for one in CHAIN] == ["camera:gate-1", "place:site-1", "place:north", "place:root"]


def test_a_camera_without_any_policy_has_the_default_one() -> None:
    found = effective(CHAIN, {}, DEFAULTS)
    assert (found.policy.max_age_s, found.policy.max_size_bytes) == (30 * 86400, 7)
    assert set(found.sources.values()) == {"settings"}


def test_the_nearest_wins_for_each_bound_by_itself() -> None:
    policies = {
        Subject("place", "root"): Bounds(90, 1000, {"motion": 100, "tamper": 365}, 10, 20),
        Subject("place", "site-1"): Bounds(None, 500, {"motion": 120}),
        Subject("camera", "gate-1"): Bounds(7),
        Subject("place", "south"): Bounds(1, 1),
    }
    found = effective(CHAIN, policies, DEFAULTS)
    day_s = 86400.0
    assert found.policy == Policy(7 * day_s, 500, (("motion", 120 * day_s), ("tamper", 365 * day_s)), 10, 20)
    assert found.sources == {
        "max_age_days": "camera:gate-1",
        "max_size_bytes": "place:site-1",
        "event_before_s": "place:root",
        "event_after_s": "place:root",
        "event.motion": "place:site-1",
        "event.tamper": "place:root",
    }


def test_zero_is_a_bound_of_its_own_and_not_inherited() -> None:
    found = effective(CHAIN, {Subject("camera", "gate-1"): Bounds(2, 0)}, DEFAULTS)
    assert (found.policy.max_age_s, found.policy.max_size_bytes) == (2 * 86400, 0)


def test_in_compliance_mode_age_is_the_only_policy_and_never_shorter_than_the_lock() -> None:
    storage = StorageSettings(object_lock="compliance", lock_days=10)
    found = effective(CHAIN, {Subject("camera", "gate-1"): Bounds(2, 5)}, Defaults.of(RetentionSettings(), storage))
    assert found.policy.max_size_bytes == 0
    assert found.policy.expired_before_us(20 * 86400 * SECOND_US) == 10 * 86400 * SECOND_US


# --- the clock -----------------------------------------------------------------------------------


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
