from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.media import fmp4
from mediasrv.media.access_unit import METADATA, AudioFormat, Codec, Format
from tests.unit.media.streams import AAC, H265, OPUS, PCMA, VIDEO

Sample = tuple[bytes, int, bool, int]
"""Payload, duration, keyframe, composition offset."""

FORMATS: list[Format] = [
    VIDEO,
    H265,
    AAC,
    OPUS,
    PCMA,
    AudioFormat(Codec.PCMU, 8000, 2),
    AudioFormat(Codec.AAC, 96_000, 1, bytes.fromhex("1008")),
    METADATA,
]
SAMPLES = st.lists(
    st.tuples(
        st.binary(max_size=40),
        st.one_of(st.just(3600), st.integers(1, 2**32 - 1)),
        st.booleans(),
        st.one_of(st.just(0), st.integers(-(2**31), 2**31 - 1)),
    ),
    min_size=1,
    max_size=30,
)


def fragment(sequence: int, format: Format, decode_time: int, samples: list[Sample]) -> bytes:
    columns = fmp4.Samples(*zip(*samples, strict=True))
    return b"".join(fmp4.fragment_pieces(sequence, format, decode_time, columns))


@pytest.mark.parametrize("format", FORMATS)
def test_init_segment_holds_its_format(format: Format) -> None:
    assert fmp4.read_format(fmp4.init_segment(format)) == format


def test_hvcc_says_what_the_sps_says() -> None:
    """ISO/IEC 14496-15, 8.3.3.1, field by field."""
    init = fmp4.init_segment(H265)
    record = init[init.index(b"hvcC") + 4 :]
    assert record[0] == 1
    assert (record[1], record[2:6].hex(), record[6:12].hex(), record[12]) == (2, "20000000", "900000000000", 93)
    assert record[13:15] == b"\xf0\x00", "segmentation is not stated"
    assert record[15:21].hex() == "fcfdfafa0000", "parallelism, chroma, depths of 10, no rates"
    assert (record[21], record[22]) == (0b00_001_1_11, 3)
    arrays = b""
    for kind, one in zip((32, 33, 34), H265.parameter_sets, strict=True):
        arrays += bytes((0x80 | kind, 0, 1)) + len(one).to_bytes(2, "big") + one
    assert record[23 : 23 + len(arrays)] == arrays


def test_dops_says_channels_and_rate_and_skips_nothing() -> None:
    init = fmp4.init_segment(OPUS)
    at = init.index(b"dOps") + 4
    assert init[at : at + 11].hex() == "00" + "02" + "0000" + "0000bb80" + "0000" + "00"


def test_equal_formats_share_one_init_segment() -> None:
    assert fmp4.init_segment(replace(VIDEO)) is fmp4.init_segment(VIDEO)


@given(SAMPLES, st.integers(0, 2**63), st.sampled_from([VIDEO, PCMA]))
def test_samples_come_back_as_written(samples: list[Sample], decode_time: int, format: Format) -> None:
    read = fmp4.read_samples(fragment(7, format, decode_time, samples))
    assert [(one.payload, one.duration, one.keyframe, one.composition_offset) for one in read] == samples
    assert [one.decode_time for one in read] == [
        decode_time + sum(sample[1] for sample in samples[:index]) for index in range(len(samples))
    ]


def test_segment_of_several_fragments_is_read_through() -> None:
    first = fragment(1, VIDEO, 0, [(b"a", 3600, True, 0), (b"bb", 3600, False, 0)])
    second = fragment(2, VIDEO, 7200, [(b"ccc", 3000, False, 0)])
    assert [one.decode_time for one in fmp4.read_samples(first + second)] == [0, 3600, 7200]


def test_equal_samples_cost_no_table() -> None:
    one = fragment(1, PCMA, 0, [(bytes(160), 160, True, 0)])
    many = fragment(1, PCMA, 0, [(bytes(160), 160, True, 0)] * 24)
    assert len(many) - len(one) == 23 * 160


def test_offsets_are_from_the_movie_fragment() -> None:
    data = fragment(1, VIDEO, 0, [(b"one", 3600, True, 0), (b"three", 3600, False, 0)])
    moof_size = int.from_bytes(data[:4], "big")
    trun = data.index(b"trun")
    assert int.from_bytes(data[trun + 12 : trun + 16], "big") == moof_size + 8
    assert data[moof_size + 8 :] == b"onethree"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_segment_and_as_init(data: bytes) -> None:
    if data:
        with pytest.raises(ProtocolError):
            fmp4.read_samples(data)
    with pytest.raises(ProtocolError):
        fmp4.read_format(data)


@given(st.data())
def test_damaged_fragment_is_samples_or_protocol_error(data: st.DataObject) -> None:
    whole = fragment(1, VIDEO, 0, [(b"abc", 3600, True, 0), (b"defg", 3000, False, 5)])
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:position] + bytes((data.draw(st.integers(0, 255)),)) + whole[position + 1 :]
    try:
        samples = fmp4.read_samples(damaged[: data.draw(st.integers(position + 1, len(whole)))])
    except ProtocolError:
        return
    assert len(samples) <= 10_000


@given(st.data(), st.sampled_from(FORMATS))
def test_damaged_init_segment_is_a_format_or_protocol_error(data: st.DataObject, format: Format) -> None:
    whole = fmp4.init_segment(format)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:position] + bytes((data.draw(st.integers(0, 255)),)) + whole[position + 1 :]
    try:
        fmp4.read_format(damaged)
    except ProtocolError:
        return


def test_a_number_of_samples_that_costs_nothing_to_claim_is_refused() -> None:
    """All alike and of no bytes: four billion of them would fit into these few."""
    whole = fragment(1, PCMA, 0, [(b"", 160, True, 0)] * 5)
    at = whole.index(b"trun") + 8
    claimed = whole[:at] + (0xFFFF_FFFF).to_bytes(4, "big") + whole[at + 4 :]
    with pytest.raises(ProtocolError):
        fmp4.read_samples(claimed)


def test_a_run_that_is_cut_short_is_refused() -> None:
    whole = fragment(1, PCMA, 0, [(bytes(160), 160, True, 0)])
    size = int.from_bytes(whole[whole.index(b"trun") - 4 :][:4], "big")
    at = whole.index(b"trun") - 4
    short = whole[:at] + (8).to_bytes(4, "big") + whole[at + 4 : at + 8]
    traf, moof = len(short) - whole.index(b"traf") + 4, len(short)
    short = moof.to_bytes(4, "big") + short[4:]
    where = short.index(b"traf") - 4
    short = short[:where] + traf.to_bytes(4, "big") + short[where + 4 :]
    with pytest.raises(ProtocolError):
        fmp4.read_samples(short + whole[at + size :])
