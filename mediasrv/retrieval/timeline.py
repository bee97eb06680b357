"""The timeline of a span: where footage is, where none is and why, what is held; as fine as it can be drawn. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.catalogue.footage_queries import SEAM_US, GapRow
from mediasrv.catalogue.spans import Span, clip, merge, subtract
from mediasrv.clock import SECOND_US

_NEAR_US: Final = 3600 * SECOND_US


@dataclass(frozen=True, slots=True)
class TimelineGap:
    """`cause` is a code of docs/reasons.md; `ended_us` is None while it lasts.

    Of several that are told as one, `count`, `cause` is that which most is missing by, and `missing_us` what is
    missing by all of them.
    """

    started_us: int
    ended_us: int | None
    cause: str
    count: int = 1
    missing_us: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of a span; sorted, cut to the span. `covered_us` is exact, however coarse `coverage` is."""

    coverage: list[Span]
    gaps: list[TimelineGap]
    holds: list[Span]
    covered_us: int


def doubtful_spans(gaps: Iterable[GapRow], joined: Sequence[Span], within: Span) -> list[Span]:
    """Gaps with footage in them: some of what is joined there may be a hole as short as a seam. A few spans of them."""
    spans = merge(_gap_span(_clip_gap(row, within), within) for row in gaps)
    return merge((one for one in spans if subtract([one], joined) != [one]), _NEAR_US)


def build_timeline(
    footage: Iterable[Span],
    in_gaps: Iterable[Span],
    gaps: Iterable[GapRow],
    holds: Iterable[Span],
    within: Span,
    resolution_us: int = 0,
) -> Timeline:
    """What is finer than `resolution_us` is told as one: holes between footage vanish, short gaps are counted.

    So each list has at most one entry, and one more, for each `resolution_us` of the span. `footage` may be joined over
    seams; `in_gaps` is that of `doubtful_spans`, and is not.
    """
    shown = [_clip_gap(row, within) for row in gaps]
    coverage = _coverage(footage, in_gaps, shown, within)
    covered_us = sum(one.end_us - one.start_us for one in coverage)
    if resolution_us:
        coverage, shown = merge(coverage, resolution_us - 1), _count_short(shown, resolution_us)
    return Timeline(coverage, shown, clip(merge(holds, resolution_us), within), covered_us)


def _coverage(
    footage: Iterable[Span], in_gaps: Iterable[Span], gaps: Iterable[TimelineGap], within: Span
) -> list[Span]:
    """Joined over seams, which are nothing, but not over a gap as short as one: that has a cause."""
    missing = subtract((_gap_span(one, within) for one in gaps), in_gaps)
    return clip(subtract(merge(footage, SEAM_US), missing), within)


def _gap_span(one: TimelineGap, within: Span) -> Span:
    return Span(one.started_us, one.ended_us or within.end_us)


def _clip_gap(row: GapRow, within: Span) -> TimelineGap:
    ended_us = None if row.ended_us is None else min(row.ended_us, within.end_us)
    return TimelineGap(max(row.started_us, within.start_us), ended_us, row.cause)


def _count_short(gaps: Iterable[TimelineGap], resolution_us: int) -> list[TimelineGap]:
    """Gaps shorter than this that begin within as much are one; longer ones, and one that lasts, stay what they are."""
    told: list[TimelineGap] = []
    run: list[TimelineGap] = []
    for gap in gaps:
        if run and gap.started_us - run[0].started_us >= resolution_us:
            told.append(_as_one(run))
            run = []
        if gap.ended_us is None or gap.ended_us - gap.started_us >= resolution_us:
            told.append(gap)
        else:
            run.append(gap)
    if run:
        told.append(_as_one(run))
    return sorted(told, key=lambda one: one.started_us)


def _as_one(run: Sequence[TimelineGap]) -> TimelineGap:
    missing_us: Counter[str] = Counter()
    for gap in run:
        missing_us[gap.cause] += _length_us(gap)
    ((cause, _),) = missing_us.most_common(1)
    ended_us = max(gap.ended_us or 0 for gap in run)
    return TimelineGap(run[0].started_us, ended_us, cause, len(run), missing_us.total())


def _length_us(gap: TimelineGap) -> int:
    return (gap.ended_us or gap.started_us) - gap.started_us
