"""Packets come out in order, once, and none is waited for beyond its bound."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.reorder import ReorderBuffer

WAIT_S = 0.1
MOST = 16


class Rig:
    def __init__(self) -> None:
        self.out: list[tuple[int, float]] = []
        self.buffer = ReorderBuffer(self._take, most_packets=MOST, wait_s=WAIT_S)

    @property
    def sequences(self) -> list[int]:
        return [sequence for sequence, _ in self.out]

    def _take(self, data: bytes, start: int, stop: int, now: float) -> int:
        assert (start, stop) == (0, len(data))
        self.out.append((int.from_bytes(data[2:4], "big"), now))
        return stop

    def receive(self, *sequences: int, at: float = 0.0) -> list[int]:
        for sequence in sequences:
            self.buffer.receive(packet(sequence), at)
        return self.sequences


def packet(sequence: int) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence & 0xFFFF, 0, 1) + b"payload"


def test_what_comes_in_order_passes_at_once_over_the_wrap() -> None:
    rig = Rig()
    assert rig.receive(65_534, 65_535, 0, 1) == [65_534, 65_535, 0, 1]
    assert not rig.buffer.waiting


def test_what_comes_out_of_order_is_put_in_order() -> None:
    rig = Rig()
    assert rig.receive(65_534, 1, 0) == [65_534]
    assert rig.buffer.waiting
    assert rig.receive(65_535, at=0.05) == [65_534, 65_535, 0, 1]
    assert rig.out[-1] == (1, 0.05)
    assert not rig.buffer.waiting


def test_a_missing_packet_is_given_up_in_time_and_no_sooner() -> None:
    rig = Rig()
    rig.receive(10, 12, at=1.0)
    rig.receive(14, at=1.05)
    rig.buffer.release(1.0 + WAIT_S - 0.001)
    assert rig.sequences == [10]
    rig.buffer.release(1.0 + WAIT_S)
    assert rig.sequences == [10, 12]
    rig.buffer.release(1.05 + WAIT_S)
    assert rig.sequences == [10, 12, 14]
    rig.receive(13, 14)
    assert (rig.sequences, rig.buffer.late_packets) == ([10, 12, 14], 2)


def test_what_waits_is_bounded() -> None:
    rig = Rig()
    rig.receive(0, *range(2, 2 + MOST))
    assert rig.sequences == [0]
    rig.receive(2 + MOST)
    assert rig.sequences == [0, *range(2, 3 + MOST)]


def test_a_packet_that_came_twice_passes_once() -> None:
    rig = Rig()
    assert rig.receive(5, 5, 7, 7, 6) == [5, 6, 7]
    assert rig.buffer.late_packets == 2


def test_a_sender_that_begins_anew_is_followed_and_a_stray_is_not() -> None:
    rig = Rig()
    assert rig.receive(100, 40_000, 101) == [100, 101]
    assert rig.receive(20_000, 20_001, 20_002) == [100, 101, 20_000, 20_001, 20_002]


def test_what_waited_comes_before_the_new_beginning() -> None:
    rig = Rig()
    assert rig.receive(100, 102, 30_000, 30_001) == [100, 102, 30_000, 30_001]


def test_the_first_packet_may_be_late_where_the_camera_told_its_number() -> None:
    rig = Rig()
    rig.buffer.expect(500)
    assert rig.receive(501, 500) == [500, 501]


def test_a_camera_that_tells_a_wrong_number_loses_nothing() -> None:
    rig = Rig()
    rig.buffer.expect(9)
    assert rig.receive(30_000, 30_001) == [30_000, 30_001]


@pytest.mark.parametrize("junk", [b"", b"\x80" * 11, bytes(40)])
def test_what_is_no_rtp_is_counted(junk: bytes) -> None:
    rig = Rig()
    rig.buffer.receive(junk, 0.0)
    assert (rig.out, rig.buffer.strange_packets) == ([], 1)


@given(st.integers(0, 65_535), st.randoms(use_true_random=False))
def test_any_disorder_within_the_bound_is_undone(first: int, chance: random.Random) -> None:
    rig = Rig()
    rig.buffer.expect(first)
    # Each packet is late by less than the bound: sorted by place plus a random delay.
    order = sorted(range(200), key=lambda place: place + chance.uniform(0, MOST - 1))
    rig.receive(*(first + place for place in order))
    assert rig.sequences == [(first + place) & 0xFFFF for place in range(200)]
    assert rig.buffer.late_packets == 0


@given(st.lists(st.tuples(st.integers(0, 65_535), st.floats(0, 0.2)), max_size=300))
def test_any_numbers_leave_nothing_waiting_beyond_its_time(arrivals: list[tuple[int, float]]) -> None:
    rig, now = Rig(), 0.0
    for sequence, pause_s in arrivals:
        now += pause_s
        rig.receive(sequence, at=now)
        assert len(rig.buffer._held) <= MOST
    rig.buffer.release(now + 1.01 * WAIT_S)
    assert not rig.buffer.waiting
