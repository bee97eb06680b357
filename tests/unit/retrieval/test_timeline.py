"""The timeline as coarse as it is drawn: nothing finer than a pixel is shipped, and nothing is hushed up."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.catalogue.footage_queries import GapRow
from mediasrv.catalogue.spans import Span, subtract
from mediasrv.clock import SECOND_US
from mediasrv.retrieval.timeline import Timeline, TimelineGap, build_timeline
from tests.unit.media.streams import REF

MINUTE_US = 60 * SECOND_US
MONTH = Span(0, 30 * 24 * 3600 * SECOND_US)


def row(start_s: float, end_s: float | None, cause: str = "camera_lost") -> GapRow:
    ended_us = None if end_s is None else round(end_s * SECOND_US)
    return GapRow(1, REF, round(start_s * SECOND_US), ended_us, cause)


def flapping(within: Span, each_s: int = 60, away_s: int = 5) -> tuple[list[Span], list[GapRow]]:
    """A camera that is away for some seconds of each minute."""
    starts = range(within.start_us // SECOND_US, within.end_us // SECOND_US, each_s)
    footage = [Span((at + away_s) * SECOND_US, (at + each_s) * SECOND_US) for at in starts]
    return footage, [row(at, at + away_s, ("camera_lost", "stalled")[at // each_s % 3 == 0]) for at in starts]


def test_a_month_of_a_camera_that_comes_and_goes_is_as_many_entries_as_can_be_drawn() -> None:
    footage, gaps = flapping(MONTH)
    began = time.process_time()
    timeline = build_timeline(footage, footage, gaps, [], MONTH, 3600 * SECOND_US)
    assert time.process_time() - began < 2
    assert len(gaps) == 43_200
    assert len(timeline.gaps) == 720
    assert [(one.count, one.cause, one.missing_us) for one in timeline.gaps] == [
        (60, "camera_lost", 300 * SECOND_US)
    ] * 720
    assert timeline.coverage == [Span(5 * SECOND_US, MONTH.end_us)]
    assert timeline.covered_us == 43_200 * 55 * SECOND_US


def test_what_can_be_drawn_stays_as_it_is() -> None:
    footage = [Span(0, 600 * SECOND_US), Span(700 * SECOND_US, 900 * SECOND_US)]
    gaps = [row(600, 700), row(900, None, "stalled")]
    fine = build_timeline(footage, footage, gaps, [], Span(0, 1000 * SECOND_US))
    assert build_timeline(footage, footage, gaps, [], Span(0, 1000 * SECOND_US), MINUTE_US) == fine
    assert fine.gaps == [
        TimelineGap(600 * SECOND_US, 700 * SECOND_US, "camera_lost"),
        TimelineGap(900 * SECOND_US, None, "stalled"),
    ]


def test_the_cause_of_several_is_what_most_is_missing_by() -> None:
    gaps = [row(0, 1, "stalled"), row(2, 3, "stalled"), row(10, 15, "server_down")]
    (told,) = build_timeline([], [], gaps, [], Span(0, MINUTE_US), 30 * SECOND_US).gaps
    assert told == TimelineGap(0, 15 * SECOND_US, "server_down", 3, 7 * SECOND_US)


moments = st.integers(0, 5000)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Span], list[GapRow]]:
    """Footage and the gaps between, in seconds that alternate."""
    marks = sorted(draw(st.sets(moments, min_size=2, max_size=60)))
    footage = [Span(a * SECOND_US, b * SECOND_US) for a, b in zip(marks[::2], marks[1::2], strict=False)]
    return footage, [row(a, b) for a, b in zip(marks[1::2], marks[2::2], strict=False)]


@given(histories(), st.integers(1, 1000))
def test_however_coarse_it_is_no_gap_is_lost_and_no_entry_too_many(
    history: tuple[list[Span], list[GapRow]], resolution_s: int
) -> None:
    within = Span(0, 5000 * SECOND_US)
    footage, gaps = history
    fine, coarse = (build_timeline(footage, footage, gaps, [], within, one * SECOND_US) for one in (0, resolution_s))
    assert sum(one.count for one in coarse.gaps) == len(fine.gaps)
    assert _missing(coarse) == _missing(fine)
    assert coarse.covered_us == fine.covered_us
    assert max(len(coarse.gaps), len(coarse.coverage)) <= 2 * (5000 / resolution_s + 1)
    assert not subtract(fine.coverage, coarse.coverage)


def _missing(timeline: Timeline) -> int:
    return sum(
        (one.ended_us or 0) - one.started_us if one.missing_us is None else one.missing_us for one in timeline.gaps
    )


spans = st.lists(st.tuples(moments, moments).map(lambda ends: Span(min(ends), max(ends))), max_size=12)


@given(spans, spans)
def test_what_is_left_of_spans_is_what_no_other_covers(ours: list[Span], theirs: list[Span]) -> None:
    def holding(these: list[Span], at: int) -> bool:
        return any(one.start_us <= at < one.end_us for one in these)

    left = subtract(ours, theirs)
    for at in {mark for one in (*ours, *theirs) for mark in one} | {0, 2500}:
        assert holding(left, at) == (holding(ours, at) and not holding(theirs, at))


def test_a_resolution_of_none_is_what_there_is() -> None:
    footage, gaps = flapping(Span(0, 600 * SECOND_US))
    timeline = build_timeline(footage, footage, gaps, [Span(0, SECOND_US)], Span(0, 600 * SECOND_US))
    assert len(timeline.coverage) == len(timeline.gaps) == 10
    assert timeline.holds == [Span(0, SECOND_US)]
