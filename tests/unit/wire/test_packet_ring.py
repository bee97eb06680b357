"""The packets of a stream: numbered once, cut into runs the kernel takes, kept as long as needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.packet_ring import GSO_SEGMENTS, PacketRing, split_runs
from mediasrv.wire.srtp import OVERHEAD_BYTES


@given(st.lists(st.integers(1, 1200), max_size=300))
def test_runs_cover_all_payloads_in_order_within_the_rules_of_segmentation(sizes: list[int]) -> None:
    runs = split_runs(sizes)
    assert [place for start, end, _ in runs for place in range(start, end)] == list(range(len(sizes)))
    for start, end, size in runs:
        run = sizes[start:end]
        assert size == run[0] + OVERHEAD_BYTES
        assert all(each == run[0] for each in run[:-1])
        assert run[-1] <= run[0]
        assert len(run) <= GSO_SEGMENTS
        assert sum(run) + OVERHEAD_BYTES * len(run) <= 65_507


def test_a_picture_of_equal_fragments_is_one_run() -> None:
    assert split_runs([1000] * 9 + [400]) == [(0, 10, 1000 + OVERHEAD_BYTES)]


def push(ring: PacketRing, count: int, at_s: float, *, keyframe: bool = False) -> int:
    return ring.push([b"x"] * count, round(at_s * 90_000), keyframe=keyframe, arrived_s=at_s).first


def test_packets_are_numbered_through_and_found_by_number() -> None:
    ring = PacketRing(4.0)
    assert [push(ring, 3, 0.0, keyframe=True), push(ring, 2, 0.04), push(ring, 1, 0.08)] == [0, 3, 5]
    found = [ring.find(number) for number in range(6)]
    assert [unit.first for unit in found if unit] == [0, 0, 0, 3, 3, 5]
    assert ring.find(6) is None
    assert ring.find(-1) is None


def test_what_is_older_than_the_ring_is_forgotten_but_never_the_gop_of_joiners() -> None:
    ring = PacketRing(1.0)
    push(ring, 1, 0.0, keyframe=True)
    for step in range(1, 10):
        push(ring, 1, step * 0.5)
    assert ring.oldest == 0
    push(ring, 1, 5.0, keyframe=True)
    assert [unit.first for unit in ring.gop] == [10]
    assert ring.oldest == 8
    ring.end_gop()
    push(ring, 1, 7.0)
    assert ring.oldest == 11
    assert ring.gop == []


def test_the_rate_is_that_of_what_is_kept() -> None:
    ring = PacketRing(10.0)
    assert (ring.packets_per_s, ring.interval) == (0.0, 0)
    for step in range(26):
        push(ring, 10, step / 25)
    assert ring.packets_per_s == 260.0
    assert ring.interval == 3600
