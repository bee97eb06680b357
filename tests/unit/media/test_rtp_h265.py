"""H.265 over RTP (RFC 7798): whole, aggregated, fragmented, damaged; which pictures are keyframes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.nal import join_avcc
from mediasrv.media.rtp import H265Depacketizer
from tests.unit.media.h265_packets import aggregate, fragment, h265_nal, packetize_h265
from tests.unit.media.streams import H265_PPS, H265_SPS, H265_VPS
from tests.unit.media.test_rtp_depacketize import Camera, Listener, feed_framed, framed, rtp

VIDEO_PT = 96
IDR = h265_nal(19, bytes(range(256)) * 12)
TRAIL = h265_nal(1, bytes(range(256)) * 3)
AUD, SEI = h265_nal(35, b"\x50"), h265_nal(39, b"\x05\x01x\x80")
SETS = [H265_VPS, H265_SPS, H265_PPS]


def h265(listener: Listener, most_bytes: int = 1 << 20) -> H265Depacketizer:
    return H265Depacketizer(VIDEO_PT, listener.deliver, listener.damages.append, most_bytes=most_bytes)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_single_aggregated_and_fragmented_nal_units_survive_to_the_bit(listener: Listener) -> None:
    camera = Camera(h265(listener))
    camera.send([aggregate([AUD, *SETS, SEI]), *fragment(IDR, 1000)], 1000, now=1.5)
    camera.send([SEI, TRAIL], 4600, now=1.6)
    camera.send(fragment(TRAIL, 300), 8200, now=1.7)
    assert listener.units == [
        (1000, True, join_avcc([*SETS, SEI, IDR]), 1.5),
        (4600, False, join_avcc([SEI, TRAIL]), 1.6),
        (8200, False, join_avcc([TRAIL]), 1.7),
    ]
    assert listener.damages == []


def test_a_keyframe_s_own_parameter_sets_are_adopted_before_it_is_delivered(listener: Listener) -> None:
    depacketizer = h265(listener)
    camera = Camera(depacketizer)
    camera.send(packetize_h265([*SETS, IDR], 1000), 0)
    assert depacketizer.parameter_sets == tuple(SETS)


@pytest.mark.parametrize(("kind", "keyframe"), [(kind, 16 <= kind <= 21) for kind in range(32)])
def test_keyframes_are_the_random_access_pictures(listener: Listener, kind: int, keyframe: bool) -> None:
    camera = Camera(h265(listener))
    camera.send([h265_nal(kind, b"slice")], 0)
    camera.send(fragment(h265_nal(kind, bytes(3000)), 1000), 3600)
    assert [unit[1] for unit in listener.units] == [keyframe, keyframe]


def test_framed_runs_of_fragments_are_taken_at_once_and_none_is_lost(listener: Listener) -> None:
    packets = [rtp(one, index, 0, marker=index == 3) for index, one in enumerate(fragment(IDR, 1000))]
    packets += [rtp(TRAIL, 4, 3600, marker=True)]
    depacketizer = h265(listener)
    feed_framed(depacketizer, framed(packets))
    assert listener.payloads == [join_avcc([IDR]), join_avcc([TRAIL])]
    assert (depacketizer.packets, depacketizer.lost_packets, depacketizer.strange_packets) == (5, 0, 0)


@pytest.mark.parametrize(
    "broken",
    [
        h265_nal(50, b"\x00\x00paci"),
        h265_nal(63, b"unspecified"),
        h265_nal(49, b""),
        h265_nal(49, b"\x13continues nothing"),
        h265_nal(48, b"\x00\x04\x26\x01"),
    ],
)
def test_what_cannot_be_put_together_is_damage_once(listener: Listener, broken: bytes) -> None:
    camera = Camera(h265(listener))
    camera.send([*SETS, IDR], 0, now=1.0)
    camera.send([broken, TRAIL], 3600, now=2.0)
    camera.send([TRAIL], 7200, now=3.0)
    assert listener.payloads == [join_avcc([*SETS, IDR]), join_avcc([TRAIL])]
    assert listener.damages == [2.0]


def test_a_picture_of_many_slices_and_no_marker_ends_with_the_next_timestamp(listener: Listener) -> None:
    camera = Camera(h265(listener), marks=False)
    for timestamp in (0, 3600, 7200):
        camera.send([TRAIL, TRAIL, *fragment(TRAIL, 300)], timestamp)
    assert listener.payloads == [join_avcc([TRAIL] * 3)] * 2


def test_a_picture_past_its_bound_is_damage(listener: Listener) -> None:
    camera = Camera(h265(listener, most_bytes=2000))
    camera.send(fragment(IDR, 500), 0)
    camera.send([TRAIL], 3600)
    assert listener.payloads == [join_avcc([TRAIL])]
    assert len(listener.damages) == 1


UNITS = st.lists(
    st.tuples(st.sampled_from([0, 1, 8, 9, 19, 20, 21]), st.binary(min_size=1, max_size=400)), min_size=1, max_size=4
)


@given(st.lists(UNITS, min_size=1, max_size=6), st.integers(8, 200), st.integers(0, 0xFFFF))
def test_whatever_is_packetized_comes_back(pictures: list[list[tuple[int, bytes]]], most: int, sequence: int) -> None:
    listener = Listener()
    packets, expected = [], []
    for number, units in enumerate(pictures):
        nals = [h265_nal(kind, body) for kind, body in units]
        expected.append(join_avcc(nals))
        payloads = packetize_h265(nals, most)
        for index, payload in enumerate(payloads):
            marker = index == len(payloads) - 1
            packets.append(rtp(payload, sequence + len(packets), 3600 * number, marker=marker))
    depacketizer = h265(listener)
    feed_framed(depacketizer, framed(packets))
    assert listener.payloads == expected
    assert depacketizer.packets == len(packets)
    assert listener.damages == []


@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(10, 300))
def test_nonsense_never_raises_and_never_outgrows_its_bound(bodies: list[bytes], most_bytes: int) -> None:
    listener = Listener()
    depacketizer = h265(listener, most_bytes)
    for index, body in enumerate(bodies):
        packet = rtp(body, index, index // 3 * 3600, marker=index % 5 == 4)
        depacketizer.receive(packet, 0, len(packet), 0.0)
    assert all(len(payload) <= most_bytes + 6 for payload in listener.payloads)
