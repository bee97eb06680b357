"""RTCP: what is built is read back, what is broken is refused, nothing else escapes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire import rtcp
from mediasrv.wire.rtcp import (
    BandwidthEstimate,
    Goodbye,
    KeyframeRequest,
    Nack,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)

U32 = st.integers(0, 2**32 - 1)
BLOCK = ReportBlock(7, 12, -3, 70000, 40, 0x11223344, 65536)


def test_a_sender_report_is_read_back_with_its_canonical_name() -> None:
    report = SenderReport(0xDEADBEEF, rtcp.ntp_from_us(1_700_000_000_000_000), 90_000, 5, 600)
    assert parse_compound(rtcp.build_sender_report(report, "gate-1")) == [
        report,
        SourceDescription(((0xDEADBEEF, "gate-1"),)),
    ]


def test_a_receiver_report_keeps_a_negative_count_of_lost_packets() -> None:
    assert parse_compound(rtcp.build_receiver_report(1, [BLOCK])) == [ReceiverReport(1, (BLOCK,))]


def test_a_nack_names_the_packet_and_those_of_its_bitmask_across_the_wrap() -> None:
    data = struct.pack(">BBHIIHH", 0x81, 205, 3, 1, 2, 0xFFFF, 0b1000000000000001)
    assert parse_compound(data) == [Nack(2, (0xFFFF, 0, 15))]


def test_pli_and_fir_both_ask_for_a_keyframe() -> None:
    fir = struct.pack(">BBHIIII", 0x84, 206, 4, 1, 0, 9, 0x05000000)
    assert parse_compound(rtcp.build_picture_loss(1, 9) + fir) == [KeyframeRequest((9,)), KeyframeRequest((9,))]


def test_remb_is_mantissa_times_power_of_two() -> None:
    data = struct.pack(">BBHII4sII", 0x8F, 206, 5, 1, 0, b"REMB", 1 << 24 | 3 << 18 | 1000, 77)
    assert parse_compound(data) == [BandwidthEstimate(8000, (77,))]


def test_goodbye_and_unknown_types_pass() -> None:
    unknown = struct.pack(">BBHI", 0x80, 207, 1, 5)
    assert parse_compound(unknown + rtcp.build_goodbye([1, 2])) == [Goodbye((1, 2))]


def test_padding_is_removed_before_the_entries_are_counted() -> None:
    data = struct.pack(">BBHIIHHI", 0xA1, 205, 4, 1, 2, 10, 0, 4)
    assert parse_compound(data) == [Nack(2, (10,))]


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        struct.pack(">BBHI", 0x40, 201, 1, 1),
        struct.pack(">BBHI", 0x81, 201, 1, 1),
        struct.pack(">BBHI", 0x80, 201, 2, 1),
        struct.pack(">BBHI", 0xA0, 201, 1, 0),
        struct.pack(">BBHI", 0xA0, 201, 1, 200),
        struct.pack(">BBHIBBH", 0x81, 202, 2, 1, 1, 200, 0),
        struct.pack(">BBHII4sI", 0x8F, 206, 4, 1, 0, b"REMB", 9 << 24),
        struct.pack(">BBHII", 0x81, 205, 1, 1, 2)[:8],
    ],
    ids=["short", "version", "count", "length", "padding 0", "padding", "sdes item", "remb count", "nack without ssrc"],
)
def test_what_does_not_fit_its_own_lengths_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_compound(data)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_compound(data)


@given(st.sampled_from([200, 201, 202, 203, 205, 206]), st.integers(0, 63), st.binary(max_size=120))
def test_arbitrary_bodies_under_a_right_header_raise_nothing_but_protocol_errors(
    kind: int, low: int, body: bytes
) -> None:
    body += bytes(-len(body) % 4)
    with contextlib.suppress(ProtocolError):
        parse_compound(struct.pack(">BBH", 0x80 | low, kind, len(body) // 4) + body)


@given(U32, st.integers(0, 2**64 - 1), U32, U32, U32, st.text(max_size=80))
def test_every_sender_report_survives_the_way_there_and_back(
    ssrc: int, ntp: int, timestamp: int, packets: int, octets: int, cname: str
) -> None:
    report = SenderReport(ssrc, ntp, timestamp, packets, octets)
    data = rtcp.build_sender_report(report, cname)
    assert len(data) % 4 == 0
    assert parse_compound(data)[0] == report


@given(st.integers(0, 4_000_000_000_000_000))
def test_ntp_time_is_exact_to_the_microsecond_beyond_2036(wall_us: int) -> None:
    assert rtcp.ntp_to_us(rtcp.ntp_from_us(wall_us)) == wall_us
