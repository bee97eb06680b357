"""Receiver statistics against RFC 3550, A.3 and A.8."""

from __future__ import annotations

import struct

from mediasrv.wire.reception import Reception
from mediasrv.wire.rtcp import ReportBlock, SenderReport

RATE = 90_000


def packet(sequence: int, timestamp: int = 0, ssrc: int = 7) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)


def report(reception: Reception, now: float = 0.0) -> ReportBlock:
    block = reception.report(now)
    assert block is not None
    return block


def test_before_any_packet_there_is_nothing_to_report() -> None:
    assert Reception(RATE).report(0.0) is None


def test_losses_are_counted_in_all_and_since_the_last_report_over_the_wrap() -> None:
    reception = Reception(RATE)
    for sequence in (65_534, 65_535, 1, 2):  # 0 is missing
        reception.receive(packet(sequence), 0.0)
    first = report(reception)
    assert (first.ssrc, first.packets_lost, first.fraction_lost) == (7, 1, 256 // 5)
    assert first.highest_sequence == 0x10002
    reception.receive(packet(3), 0.0)
    second = report(reception)
    assert (second.packets_lost, second.fraction_lost) == (1, 0)


def test_reordered_packets_are_no_loss_and_doubled_ones_a_gain() -> None:
    reception = Reception(RATE)
    for sequence in (10, 12, 11, 11):
        reception.receive(packet(sequence), 0.0)
    assert report(reception).packets_lost == -1
    assert report(reception).fraction_lost == 0


def test_even_arrivals_have_no_jitter_and_uneven_ones_have() -> None:
    even, uneven = Reception(RATE), Reception(RATE)
    for index in range(200):
        even.receive(packet(index, index * 3600), index * 0.04)
        uneven.receive(packet(index, index * 3600), index * 0.04 + (0.01 if index % 2 else 0.0))
    assert report(even).jitter <= 1
    assert abs(report(uneven).jitter - 900) <= 5


def test_a_sender_report_is_echoed_with_its_age() -> None:
    reception = Reception(RATE)
    reception.receive(packet(1), 0.0)
    reception.receive_sender_report(SenderReport(8, 1 << 60, 0, 0, 0), 1.0)
    assert (report(reception).last_sr, report(reception).delay_65536) == (0, 0)
    reception.receive_sender_report(SenderReport(7, 0x1122334455667788, 0, 0, 0), 1.0)
    block = report(reception, 3.5)
    assert (block.last_sr, block.delay_65536) == (0x33445566, 2.5 * 65_536)


def test_a_new_source_is_counted_anew() -> None:
    reception = Reception(RATE)
    reception.receive(packet(1), 0.0)
    reception.receive(packet(500, ssrc=9), 0.0)
    block = report(reception)
    assert (block.ssrc, block.packets_lost, block.highest_sequence) == (9, 0, 500)
