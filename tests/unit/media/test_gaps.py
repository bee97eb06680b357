"""Gap rows follow from what happens to a stream, without hole and without overlap."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.gaps import GapChange, GapLedger, GapOpened, OpenGap, OutageEnded, gaps_after_restart

UNIT_US = 40_000
Row = tuple[int, int | None, str]


class Rows:
    """What the catalogue does with the changes."""

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = rows or []

    def apply(self, changes: list[GapChange]) -> None:
        for change in changes:
            if isinstance(change, GapOpened):
                self.rows.append((change.started_us, None, change.cause))
            else:
                self.rows = list(self._ended(change))

    def _ended(self, change: OutageEnded) -> list[Row]:
        kept = []
        for started, ended, cause in self.rows:
            if started < change.since_us:
                kept.append((started, ended, cause))
            elif started < change.at_us:
                kept.append((started, change.at_us if ended is None else min(ended, change.at_us), cause))
        return kept


def test_a_lost_camera_is_a_gap_from_the_last_footage_to_the_first_keyframe_with_both_causes() -> None:
    ledger, rows = GapLedger(), Rows()
    rows.apply(ledger.covered(0, 1_000_000, UNIT_US))
    rows.apply(ledger.outage(1_030_000, "camera_lost"))
    assert rows.rows == [(1_000_000, None, "camera_lost")]
    rows.apply(ledger.outage(5_000_000, "waiting_keyframe"))
    rows.apply(ledger.covered(6_500_000, 7_000_000, UNIT_US))
    assert rows.rows == [(1_000_000, 5_000_000, "camera_lost"), (5_000_000, 6_500_000, "waiting_keyframe")]


def test_an_outage_shorter_than_one_and_a_half_access_units_leaves_no_row() -> None:
    ledger, rows = GapLedger(), Rows()
    rows.apply(ledger.covered(0, 1_000_000, UNIT_US))
    rows.apply(ledger.outage(1_000_000, "clock_step"))
    rows.apply(ledger.outage(1_010_000, "waiting_keyframe"))
    rows.apply(ledger.covered(1_050_000, 1_500_000, UNIT_US))
    assert rows.rows == []


def test_the_same_cause_again_changes_nothing() -> None:
    ledger = GapLedger()
    assert ledger.outage(10, "camera_lost") == [GapOpened(10, "camera_lost")]
    assert ledger.outage(20, "camera_lost") == []


def test_a_hole_inside_a_running_session_is_never_silent() -> None:
    ledger, rows = GapLedger(0), Rows()
    rows.apply(ledger.covered(5_000_000, 5_500_000, UNIT_US))
    assert rows.rows == [(0, 5_000_000, "stream_damaged")]


def test_footage_of_a_clock_that_was_set_back_ends_the_outage_and_later_ones_start_at_the_new_time() -> None:
    ledger, rows = GapLedger(), Rows()
    rows.apply(ledger.covered(3600_000_000, 3601_000_000, UNIT_US))
    rows.apply(ledger.outage(3601_000_000, "clock_step"))
    rows.apply(ledger.covered(10_000_000, 11_000_000, UNIT_US))
    assert rows.rows == []
    rows.apply(ledger.outage(11_000_000, "camera_lost"))
    assert rows.rows == [(11_000_000, None, "camera_lost")]


def test_a_kill_while_recording_is_server_down_from_the_last_durable_footage() -> None:
    ledger, changes = gaps_after_restart(None, (0, 9_000_000), 8_000_000)
    assert changes == [GapOpened(9_000_000, "server_down")]
    assert ledger.covered_until_us == 9_000_000


def test_a_kill_while_a_camera_was_lost_splits_the_gap_when_the_server_was_last_alive() -> None:
    rows = Rows([(1_000, None, "camera_lost")])
    _, changes = gaps_after_restart(OpenGap(1_000, "camera_lost", 1_000), None, 8_000)
    rows.apply(changes)
    assert rows.rows == [(1_000, 8_000, "camera_lost"), (8_000, None, "server_down")]


def test_a_kill_before_the_gap_could_be_ended_ends_it_where_durable_footage_begins() -> None:
    rows = Rows([(1_000, None, "camera_lost")])
    _, changes = gaps_after_restart(OpenGap(1_000, "camera_lost", 1_000), (5_000, 9_000), 8_000)
    rows.apply(changes)
    assert rows.rows == [(1_000, 5_000, "camera_lost"), (9_000, None, "server_down")]


def test_a_restart_does_not_touch_what_nobody_wanted_recorded_nor_an_earlier_restart() -> None:
    for cause in ("not_recording", "server_down"):
        gap = OpenGap(1_000, cause, 1_000)
        ledger, changes = gaps_after_restart(gap, None, 8_000)
        assert (changes, ledger.gap) == ([], gap)


def test_what_was_only_not_wanted_yet_is_not_claimed_for_the_time_the_server_was_down() -> None:
    for cause in ("no_event", "outside_schedule"):
        rows = Rows([(1_000, None, cause)])
        _, changes = gaps_after_restart(OpenGap(1_000, cause, 1_000), None, 8_000)
        rows.apply(changes)
        assert rows.rows == [(1_000, 8_000, cause), (8_000, None, "server_down")]
    gap = OpenGap(1_000, "attestation_missing", 1_000)
    assert gaps_after_restart(gap, None, 8_000)[1] == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("outage"), st.integers(0, 3_000_000), st.sampled_from(["a", "b", "waiting_keyframe"])),
            st.tuples(st.just("covered"), st.integers(0, 3_000_000), st.integers(UNIT_US, 500_000)),
        ),
        max_size=40,
    )
)
def test_coverage_and_gaps_tile_the_time_line(events: list[tuple[str, int, object]]) -> None:
    ledger, rows = GapLedger(0), Rows()
    coverage: list[tuple[int, int]] = [(0, 0)]
    now = 0
    for kind, wait, detail in events:
        now += wait
        if kind == "outage":
            rows.apply(ledger.outage(now, str(detail)))
        else:
            duration = detail
            assert isinstance(duration, int)
            rows.apply(ledger.covered(now, now + duration, UNIT_US))
            coverage.append((now, now + duration))
            now += duration
    spans = sorted(coverage + [(start, end) for start, end, _ in rows.rows if end is not None])
    for (_, ended), (started, _) in itertools.pairwise(spans):
        assert 0 <= started - ended <= 1.5 * UNIT_US
    still_open = [row for row in rows.rows if row[1] is None]
    assert len(still_open) == (0 if ledger.gap is None else 1)
    for started, _, _ in still_open:
        assert started - max(end for _, end in spans) in range(2 * UNIT_US)
