"""Span arithmetic, held against a model that counts microseconds one by one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.catalogue.spans import Span, clip, merge, subtract

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Span(*pair)), max_size=8)


def instants(spans: list[Span]) -> set[int]:
    return {instant for span in spans for instant in range(span.start_us, span.end_us)}


def is_sorted_and_apart(spans: list[Span]) -> bool:
    return all(one.end_us < other.start_us for one, other in pairwise(spans))


@given(SPANS)
def test_merging_keeps_every_instant_and_leaves_no_touching_spans(spans: list[Span]) -> None:
    merged = merge(spans)
    assert instants(merged) == instants(spans)
    assert is_sorted_and_apart(merged)


@given(SPANS, st.integers(0, 10))
def test_merging_with_tolerance_only_fills_holes_up_to_it(spans: list[Span], tolerance_us: int) -> None:
    holes = subtract(merge(spans, tolerance_us), spans)
    assert instants(spans) <= instants(merge(spans, tolerance_us))
    assert all(hole.end_us - hole.start_us <= tolerance_us for hole in holes)


@given(SPANS, SPANS)
def test_subtracting_leaves_what_the_other_does_not_cover(spans: list[Span], covered: list[Span]) -> None:
    assert instants(subtract(spans, covered)) == instants(spans) - instants(covered)


@given(SPANS, st.integers(0, 40), st.integers(0, 40))
def test_clipping_keeps_what_lies_inside(spans: list[Span], start_us: int, end_us: int) -> None:
    assert instants(clip(spans, Span(start_us, end_us))) == instants(spans) & set(range(start_us, end_us))


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert not Span(0, 5).overlaps(Span(5, 9))
    assert Span(0, 6).overlaps(Span(5, 9))
