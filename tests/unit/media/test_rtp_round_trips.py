"""Packetizers against the depacketizers: what is sent is what a receiver puts together, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.rtp import (
    AacDepacketizer,
    Depacketizer,
    G711Depacketizer,
    H264Depacketizer,
    H265Depacketizer,
    packetize_aac,
    packetize_g711,
    packetize_h264,
    packetize_h265,
)

VPS, SPS, PPS, AUD, SEI, TRAIL, IDR = 32, 33, 34, 35, 39, 1, 19
MOST_UNIT_BYTES = 1 << 20
Taken = list[tuple[int, bool, bytes]]


def avcc(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def nal(kind: int, size: int, layer: int = 0, temporal: int = 1) -> bytes:
    body = bytes(index % 251 for index in range(size - 2))
    return bytes((kind << 1 | layer >> 5, (layer & 31) << 3 | temporal)) + body


def receive(depacketizer: Depacketizer, payloads: list[bytes], timestamps: list[int]) -> None:
    for number, (payload, timestamp) in enumerate(zip(payloads, timestamps, strict=True)):
        marker = 0x80 if number == len(payloads) - 1 else 0
        head = bytes((0x80, marker | 96)) + number.to_bytes(2, "big") + timestamp.to_bytes(4, "big") + bytes(4)
        packet = head + payload
        assert depacketizer.receive(packet, 0, len(packet), 1.0) == len(packet)


def pictures(kind: type[H264Depacketizer] | type[H265Depacketizer], payloads: list[bytes]) -> Taken:
    taken: Taken = []
    depacketizer = kind(
        96, lambda at, key, unit, now: taken.append((at, key, unit)), lambda now: None, most_bytes=MOST_UNIT_BYTES
    )
    receive(depacketizer, payloads, [3600] * len(payloads))
    assert not depacketizer.strange_packets
    return taken


def test_parameter_sets_share_an_aggregation_packet_before_the_fragments() -> None:
    unit = [nal(VPS, 24), nal(SPS, 40), nal(PPS, 8), nal(IDR, 20_000)]
    payloads = packetize_h265(avcc(*unit), 1172)
    assert payloads[0] == bytes((48 << 1, 1)) + b"".join(len(one).to_bytes(2, "big") + one for one in unit[:3])
    assert [payload[2] & 0xC0 for payload in payloads[1:]] == [0x80] + [0] * (len(payloads) - 3) + [0x40]
    assert {payload[2] & 0x3F for payload in payloads[1:]} == {IDR}
    assert len({len(payload) for payload in payloads[1:-1]}) == 1
    assert pictures(H265Depacketizer, payloads) == [(3600, True, avcc(*unit))]


def test_an_aggregation_packet_is_of_the_lowest_layer_and_temporal_id_in_it() -> None:
    (payload,) = packetize_h265(avcc(nal(TRAIL, 10, layer=40, temporal=3), nal(TRAIL, 10, layer=33, temporal=5)), 1172)
    assert payload[:2] == bytes((48 << 1 | 1, 1 << 3 | 3))


def test_fragments_keep_the_layer_and_the_temporal_id() -> None:
    whole = nal(TRAIL, 3000, layer=40, temporal=3)
    payloads = packetize_h265(avcc(whole), 1172)
    assert {payload[:2] for payload in payloads} == {bytes((49 << 1 | 1, 8 << 3 | 3))}
    assert pictures(H265Depacketizer, payloads) == [(3600, False, avcc(whole))]


@given(
    st.lists(st.tuples(st.sampled_from([VPS, SPS, PPS, SEI, AUD]), st.integers(2, 300)), max_size=6),
    st.lists(st.tuples(st.sampled_from([TRAIL, IDR]), st.integers(2, 4000)), min_size=1, max_size=4),
    st.integers(4, 1500),
)
def test_every_h265_picture_arrives_whole(
    before: list[tuple[int, int]], slices: list[tuple[int, int]], most_bytes: int
) -> None:
    unit = [nal(kind, size) for kind, size in before + slices]
    payloads = packetize_h265(avcc(*unit), most_bytes)
    assert all(2 <= len(payload) <= most_bytes for payload in payloads)
    kept = avcc(*(one for one in unit if one[0] >> 1 != AUD))
    assert pictures(H265Depacketizer, payloads) == [(3600, any(kind == IDR for kind, _ in slices), kept)]


@given(
    st.lists(st.tuples(st.sampled_from([0x67, 0x68, 0x06]), st.integers(2, 300)), max_size=5),
    st.lists(st.tuples(st.sampled_from([0x65, 0x41]), st.integers(2, 4000)), min_size=1, max_size=4),
    st.integers(3, 1500),
)
def test_every_h264_picture_arrives_whole(
    before: list[tuple[int, int]], slices: list[tuple[int, int]], most_bytes: int
) -> None:
    # A recovery point among random SEI would make a keyframe of it: a user-data SEI is none.
    unit = [bytes((header, 5)) + bytes(index % 251 for index in range(size - 2)) for header, size in before + slices]
    payloads = packetize_h264(avcc(*unit), most_bytes)
    assert pictures(H264Depacketizer, payloads) == [(3600, any(one == 0x65 for one, _ in slices), avcc(*unit))]


@given(st.integers(1, 8191), st.integers(5, 1500))
def test_every_aac_unit_arrives_whole(size: int, most_bytes: int) -> None:
    unit, taken = bytes(index % 251 for index in range(size)), []
    payloads = packetize_aac(unit, most_bytes)
    assert all(len(payload) <= most_bytes for payload in payloads)
    depacketizer = AacDepacketizer(96, lambda at, key, payload, now: taken.append((at, payload)))
    receive(depacketizer, payloads, [1024] * len(payloads))
    assert taken == [(1024, unit)]
    assert not depacketizer.strange_packets


def test_an_aac_unit_whose_size_cannot_be_told_is_not_sent() -> None:
    assert packetize_aac(bytes(8192), 1172) == []
    assert packetize_aac(b"", 1172) == []


@given(st.integers(1, 5000), st.integers(4, 1500), st.integers(1, 2))
def test_g711_arrives_sample_by_sample(samples: int, most_bytes: int, channels: int) -> None:
    unit = bytes(index % 251 for index in range(samples * channels))
    payloads = packetize_g711(unit, most_bytes, channels)
    assert all(len(payload) <= most_bytes for payload in payloads)
    step = len(payloads[0]) // channels
    taken: list[tuple[int, bytes]] = []
    depacketizer = G711Depacketizer(96, lambda at, key, payload, now: taken.append((at, payload)))
    receive(depacketizer, payloads, [number * step for number in range(len(payloads))])
    assert b"".join(payload for _, payload in taken) == unit
    for at, payload in taken:
        assert payload == unit[at * channels : at * channels + len(payload)]
