"""NAL units of the simulated cameras as RTP payloads, put together again by a reader that knows the RFCs alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.camera_farm.tracks.payloads import packetise
from load_tests.camera_farm.tracks.shapes import VideoCodec

MOST = 60


def reassembled(payloads: list[bytes], codec: VideoCodec) -> list[bytes]:
    """RFC 6184, 5.6-5.8 and RFC 7798, 4.4; raises AssertionError for what they forbid."""
    header_bytes = 1 if codec is VideoCodec.H264 else 2
    nals: list[bytes] = []
    fragment = b""
    for payload in payloads:
        kind = payload[0] & 31 if codec is VideoCodec.H264 else payload[0] >> 1 & 63
        if kind in (24, 48):
            at = header_bytes
            while at < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                nals.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
            assert at == len(payload)
        elif kind in (28, 49):
            edge = payload[header_bytes]
            inner = edge & 31 if codec is VideoCodec.H264 else edge & 63
            assert edge & 0xC0 != 0xC0
            assert bool(fragment) != bool(edge & 0x80)
            if edge & 0x80:
                first = payload[0] & 0xE0 | inner if codec is VideoCodec.H264 else payload[0] & 0x81 | inner << 1
                fragment = bytes((first,)) + payload[1:header_bytes]
            fragment += payload[header_bytes + 1 :]
            if edge & 0x40:
                nals.append(fragment)
                fragment = b""
        else:
            nals.append(payload)
    assert not fragment
    return nals


bodies = st.binary(min_size=1, max_size=300)


@st.composite
def h264_nals(draw: st.DrawFn) -> bytes:
    return bytes((draw(st.integers(0, 3)) << 5 | draw(st.integers(1, 23)),)) + draw(bodies)


@st.composite
def h265_nals(draw: st.DrawFn) -> bytes:
    kind, layer, temporal = draw(st.integers(0, 40)), draw(st.integers(0, 63)), draw(st.integers(1, 7))
    return bytes((kind << 1 | layer >> 5, (layer & 31) << 3 | temporal)) + draw(bodies)


@given(st.lists(h264_nals(), min_size=1, max_size=8))
def test_h264_units_survive_the_journey(nals: list[bytes]) -> None:
    payloads = packetise(nals, VideoCodec.H264, MOST)
    assert reassembled(payloads, VideoCodec.H264) == nals
    assert max(map(len, payloads)) <= MOST


@given(st.lists(h265_nals(), min_size=1, max_size=8))
def test_h265_units_survive_the_journey(nals: list[bytes]) -> None:
    payloads = packetise(nals, VideoCodec.H265, MOST)
    assert reassembled(payloads, VideoCodec.H265) == nals
    assert max(map(len, payloads)) <= MOST


def test_an_aggregation_packet_bears_what_its_units_have_in_common() -> None:
    [stap_a] = packetise([b"\x67\x01", b"\x08\x02"], VideoCodec.H264, MOST)
    assert stap_a == b"\x78\x00\x02\x67\x01\x00\x02\x08\x02"  # the highest importance
    [ap] = packetise([b"\x40\x0a\xaa", b"\x43\x01\xbb"], VideoCodec.H265, MOST)
    assert ap[:2] == b"\x60\x09"  # type 48, the lowest layer and temporal id
    assert ap[2:] == b"\x00\x03\x40\x0a\xaa\x00\x03\x43\x01\xbb"


@pytest.mark.parametrize(("codec", "nal"), [(VideoCodec.H264, b"\x65"), (VideoCodec.H265, b"\x26\x01")])
def test_fragments_are_as_long_as_they_may_be_and_the_last_is_what_is_left(codec: VideoCodec, nal: bytes) -> None:
    sizes = [len(payload) for payload in packetise([nal + bytes(1000)], codec, MOST)]
    assert set(sizes[:-1]) == {MOST}
    assert sizes[-1] <= MOST
