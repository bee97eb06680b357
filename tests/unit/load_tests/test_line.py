"""What befalls packets between a simulated camera and its client."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from load_tests.camera_farm.rtsp.line import Line, LineTroubles
from load_tests.camera_farm.tracks.rtp_unit import split_frames


class Kept:
    """A carrier that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def send(self, framed: bytes) -> None:
        self.calls.append(framed)

    send_report = send

    def backlog_bytes(self) -> int:
        return 0

    def close(self) -> None:
        pass

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(packet[4:], "big") for call in self.calls for packet in split_frames(call)]


def framed(numbers: range) -> bytes:
    return b"".join(struct.pack(">BBHI", 0x24, 0, 4, number) for number in numbers)


def line(*, ordered: bool = False, **troubles: float) -> tuple[Line, Kept, LineTroubles]:
    kept, found = Kept(), LineTroubles()
    found.set(**troubles)
    return Line(kept, found, ordered=ordered), kept, found


def test_a_good_line_hands_on_what_it_is_given_in_one_piece() -> None:
    one, kept, _ = line()
    data = framed(range(9))
    assert one.send(data) == 0
    assert kept.calls[0] is data


@given(share=st.floats(0.01, 1))
def test_what_is_lost_is_counted_and_the_rest_keeps_its_order(share: float) -> None:
    one, kept, _ = line(loss=share)
    lost = sum(one.send(framed(range(start, start + 10))) for start in range(0, 100, 10))
    assert lost == 100 - len(kept.numbers)
    assert kept.numbers == sorted(set(kept.numbers))


@given(share=st.floats(0.01, 0.9), by=st.integers(1, 8))
def test_late_packets_all_come_once_the_trouble_is_over(share: float, by: int) -> None:
    one, kept, troubles = line(reorder=share, reorder_by=by)
    for start in range(0, 100, 10):
        one.send(framed(range(start, start + 10)))
    troubles.set(reorder=0.0)
    one.send(framed(range(100, 200)))
    assert sorted(kept.numbers) == list(range(200))


def test_a_late_packet_is_overtaken_by_as_many_as_were_asked_for() -> None:
    one, kept, troubles = line(reorder=1.0, reorder_by=3)
    one.send(framed(range(1)))
    troubles.set(reorder=0.0)
    one.send(framed(range(1, 9)))
    assert kept.numbers == [1, 2, 3, 0, 4, 5, 6, 7, 8]


def test_a_connection_keeps_order_and_repeats_nothing() -> None:
    one, kept, _ = line(ordered=True, reorder=0.9, duplicates=0.9)
    one.send(framed(range(100)))
    assert kept.numbers == list(range(100))
