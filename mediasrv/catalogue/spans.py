"""Spans of wall time, half open, in microseconds since 1970: pure arithmetic for coverage, gaps and holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """`start_us` belongs to it, `end_us` does not. An empty span is none: the functions below leave it out."""

    start_us: int
    end_us: int

    def overlaps(self, other: Span) -> bool:
        return self.start_us < other.end_us and other.start_us < self.end_us


def merge(spans: Iterable[Span], tolerance_us: int = 0) -> list[Span]:
    """Sorted, disjoint spans; those no more than `tolerance_us` apart become one."""
    merged: list[Span] = []
    for span in sorted(spans):
        if span.end_us <= span.start_us:
            continue
        if merged and span.start_us - merged[-1].end_us <= tolerance_us:
            merged[-1] = Span(merged[-1].start_us, max(merged[-1].end_us, span.end_us))
        else:
            merged.append(span)
    return merged


def clip(spans: Iterable[Span], within: Span) -> list[Span]:
    """What of each span lies inside `within`, in the order given."""
    cut = (Span(max(one.start_us, within.start_us), min(one.end_us, within.end_us)) for one in spans)
    return [one for one in cut if one.start_us < one.end_us]


def subtract(spans: Iterable[Span], covered: Iterable[Span]) -> list[Span]:
    """What of `spans` no span of `covered` covers; sorted and disjoint."""
    taken = merge(covered)
    left: list[Span] = []
    first = 0
    for span in merge(spans):
        start_us = span.start_us
        while first < len(taken) and taken[first].end_us <= start_us:
            first += 1
        for number in range(first, len(taken)):
            one = taken[number]
            if one.start_us >= span.end_us:
                break
            if one.start_us > start_us:
                left.append(Span(start_us, one.start_us))
            start_us = one.end_us
        if start_us < span.end_us:
            left.append(Span(start_us, span.end_us))
    return left
