"""The H.264 packetizer, checked by an independent reassembly written after RFC 6184."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.rtp import packetize_h264

SPS, PPS, SEI, IDR, SLICE, AUD = 0x67, 0x68, 0x06, 0x65, 0x41, 0x09


def avcc(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def nal(header: int, size: int) -> bytes:
    return bytes((header,)) + bytes(index % 251 for index in range(size - 1))


def reassemble(payloads: list[bytes]) -> list[bytes]:
    nals: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 31
        if kind == 28:
            if payload[1] & 0x80:
                nals.append(bytes((payload[0] & 0xE0 | payload[1] & 31,)))
            nals[-1] += payload[2:]
        elif kind == 24:
            at = 1
            while at < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                nals.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
        else:
            nals.append(payload)
    return nals


def test_parameter_sets_and_sei_share_a_small_datagram_before_the_fragments() -> None:
    unit = [nal(SPS, 30), nal(PPS, 8), nal(SEI, 60), nal(IDR, 20_000)]
    payloads = packetize_h264(avcc(*unit), 1172)
    assert payloads[0][0] & 31 == 24
    assert payloads[0][0] & 0x60 == 0x60
    assert len(payloads[0]) == 1 + 3 * 2 + 98
    assert all(payload[0] & 31 == 28 for payload in payloads[1:])
    assert reassemble(payloads) == unit


def test_fragments_are_equal_but_for_the_last_and_carry_start_and_end_once() -> None:
    payloads = packetize_h264(avcc(nal(IDR, 10_001)), 1172)
    sizes = {len(payload) for payload in payloads[:-1]}
    assert len(sizes) == 1
    assert len(payloads[-1]) <= sizes.pop() <= 1172
    assert [payload[1] & 0xC0 for payload in payloads] == [0x80] + [0] * (len(payloads) - 2) + [0x40]


def test_a_small_picture_is_one_datagram() -> None:
    assert len(packetize_h264(avcc(nal(SEI, 40), nal(SLICE, 900)), 1172)) == 1
    assert packetize_h264(avcc(nal(SLICE, 1172)), 1172) == [nal(SLICE, 1172)]


def test_access_unit_delimiters_are_dropped() -> None:
    assert packetize_h264(avcc(b"\x09\xf0", nal(SLICE, 10)), 1172) == [nal(SLICE, 10)]


def test_a_truncated_payload_ends_quietly() -> None:
    assert packetize_h264(avcc(nal(SLICE, 10))[:-3], 1172) == [nal(SLICE, 10)[:-3]]
    assert packetize_h264(b"\0\0", 1172) == []


@given(
    st.lists(st.tuples(st.sampled_from([SPS, PPS, SEI, IDR, SLICE, AUD]), st.integers(1, 4000)), max_size=8),
    st.integers(3, 1500),
)
def test_every_nal_arrives_once_in_order_within_the_bound(sizes: list[tuple[int, int]], most_bytes: int) -> None:
    unit = [nal(header, size) for header, size in sizes]
    payloads = packetize_h264(avcc(*unit), most_bytes)
    assert all(len(payload) <= most_bytes for payload in payloads)
    kept = [item for item in unit if item[0] & 31 != 9]
    assert reassemble(payloads) == kept
