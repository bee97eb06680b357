from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.media import nal
from tests.unit.media.streams import PPS, SPS

UNITS = st.lists(st.binary(min_size=1, max_size=50).map(lambda body: body.replace(b"\0\0", b"\x01\x01") + b"\x80"))

SPS_OF_X264 = {
    "67640028acd940780227a9b011000003000100000300320f183196": (1918, 1078, 2),
    "6742c01fd9005005bb011000000300100000030320f1832480": (1280, 720, 0),
    "674d401ef2016849b011000003000100000300321f142912": (720, 576, 1),  # interlaced
    "67f4001e919c805017fc4e0220000003002000000641e2c5a240": (640, 360, 1),  # 4:4:4
}


def test_annexb_units_come_back_whatever_their_start_codes() -> None:
    stream = b"\0\0\0\1\x67\x01" + b"\0\0\1\x68\x02\x03" + b"\0\0\0\0\1\x65\x88" + b"\0\0\1" + b"\0\0\1\x41\x9a\0\0"
    assert nal.split_annexb(stream) == [b"\x67\x01", b"\x68\x02\x03", b"\x65\x88", b"\x41\x9a"]


@given(UNITS)
def test_length_prefixed_units_round_trip(units: list[bytes]) -> None:
    assert list(nal.iter_avcc(nal.join_avcc(units))) == units
    assert nal.split_annexb(b"".join(b"\0\0\1" + unit for unit in units)) == units
    assert nal.split_annexb(nal.join_annexb(units)) == units


def test_parameter_sets_are_both_or_none() -> None:
    idr = b"\x65\x88"
    assert nal.parameter_sets([SPS, PPS, idr]) == nal.parameter_sets([idr, PPS + b"\1", PPS, SPS]) == (SPS, PPS)
    assert nal.parameter_sets([SPS, idr]) is nal.parameter_sets([PPS, idr]) is nal.parameter_sets([]) is None
    with pytest.raises(ProtocolError):
        nal.parameter_sets([SPS, b"", PPS])


@pytest.mark.parametrize("payload", [b"\0", b"\0\0\0\0", b"\0\0\0\5abcd", b"\xff\xff\xff\xffabcd", b"\0\0\0\1a\0\0"])
def test_lengths_that_lead_outside_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(nal.iter_avcc(payload))


@given(st.binary(max_size=300))
def test_arbitrary_payload_ends_in_units_or_protocol_error(payload: bytes) -> None:
    try:
        units = list(nal.iter_avcc(payload))
    except ProtocolError:
        return
    assert nal.join_avcc(units) == payload


@given(st.binary(min_size=1, max_size=200).map(lambda body: body + b"\x80"))
@example(b"\0\0\0\0\0\0\0\x80")
@example(b"\0\0\3\0\0\3\x80")
def test_emulation_prevention_round_trips_and_hides_start_codes(rbsp: bytes) -> None:
    escaped = nal.escape(rbsp)
    assert nal.unescape(escaped) == rbsp
    assert not any(code in escaped for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@pytest.mark.parametrize("sps", SPS_OF_X264)
def test_size_and_reordering_of_real_sps(sps: str) -> None:
    parsed = nal.parse_sps(bytes.fromhex(sps))
    assert (parsed.width, parsed.height, parsed.max_num_reorder) == SPS_OF_X264[sps]


def test_sps_says_profile_level_and_depth() -> None:
    sps = nal.parse_sps(SPS)
    assert (sps.profile_idc, sps.level_idc, sps.rfc6381) == (100, 30, "avc1.64001e")
    assert (sps.chroma_format_idc, sps.bit_depth_luma, sps.bit_depth_chroma) == (1, 8, 8)


def test_vui_that_is_cut_short_leaves_the_size_known() -> None:
    cut = nal.parse_sps(bytes.fromhex("67640028acd940780227a9b0110000"))
    assert (cut.width, cut.height, cut.max_num_reorder) == (1918, 1078, None)


@given(st.binary(max_size=100).map(lambda body: b"\x67" + body))
@example(b"\x67" + b"\0" * 60)
@example(b"\x67\x64\0\x28" + b"\xff" * 60)
def test_arbitrary_sps_is_a_value_within_bounds_or_protocol_error(data: bytes) -> None:
    try:
        sps = nal.parse_sps(data)
    except ProtocolError:
        return
    assert 0 < sps.width <= 16384
    assert 0 < sps.height <= 16384


@given(st.integers(0, len(SPS) * 8 - 1))
def test_flipped_bit_in_an_sps_is_a_value_or_protocol_error(bit: int) -> None:
    flipped = int.from_bytes(SPS, "big") ^ (1 << bit)
    try:
        nal.parse_sps(flipped.to_bytes(len(SPS), "big"))
    except ProtocolError:
        return


@pytest.mark.parametrize("sps", [b"", b"\x67", b"\x68" + SPS[1:], b"\xe7" + SPS[1:], SPS + bytes(5000)])
def test_what_is_no_sps_is_refused(sps: bytes) -> None:
    with pytest.raises(ProtocolError):
        nal.parse_sps(sps)


@pytest.mark.parametrize("pps", [b"", SPS, b"\x68" + bytes(70_000)])
def test_video_format_refuses_what_is_no_pps(pps: bytes) -> None:
    with pytest.raises(ProtocolError):
        nal.video_format(SPS, pps)


def test_video_format_says_what_a_playlist_needs() -> None:
    format = nal.video_format(SPS, PPS)
    assert (format.width, format.height, format.rfc6381) == (640, 360, "avc1.64001e")


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=700))
def test_sei_round_trips(uuid: bytes, body: bytes) -> None:
    payload = nal.join_avcc([b"\x09\x10", nal.build_sei_unregistered(uuid, body), b"\x65\x88\x80"])
    assert list(nal.iter_sei_unregistered(payload)) == [(uuid, body)]


def test_sei_with_several_messages_gives_the_unregistered_ones() -> None:
    timing = bytes((1, 2, 0xAA, 0xBB))
    first, second = bytes(range(16)), bytes(range(1, 17))
    sei = b"\x06" + timing + b"\x05\x12" + first + b"hi" + b"\x05\x10" + second + b"\x80"
    assert list(nal.iter_sei_unregistered(nal.join_avcc([sei]))) == [(first, b"hi"), (second, b"")]


@given(st.binary(max_size=100))
def test_arbitrary_sei_never_fails(body: bytes) -> None:
    for uuid, _ in nal.iter_sei_unregistered(nal.join_avcc([b"\x06" + body])):
        assert len(uuid) == 16


@pytest.mark.parametrize(
    ("sei", "count"),
    [
        ("06060184 80", 0),
        ("060601c0 80", 0),
        ("06060124 80", 3),
        ("0601020000 0601c4 80", 0),
        ("0600070000030111111111 060134 80", 5),
        ("0605100102030405060708090a0b0c0d0e0f10 80", None),
        ("0606", None),
        ("060600", None),
        ("06060100 80", None),
        ("06", None),
        ("", None),
    ],
)
def test_recovery_points_are_found_behind_other_messages(sei: str, count: int | None) -> None:
    """x264 writes them so; the fifth stands behind an escaped message, whose size is without the escape."""
    assert nal.recovery_frame_count(bytes.fromhex(sei)) == count


@given(st.binary(max_size=300))
def test_arbitrary_sei_has_a_recovery_point_or_none(sei: bytes) -> None:
    count = nal.recovery_frame_count(b"\x06" + sei)
    assert count is None or 0 <= count <= 0xFFFF


def test_a_large_sei_is_read_in_one_pass() -> None:
    """A million empty messages: reading them again for each would take minutes."""
    assert nal.recovery_frame_count(b"\x06" + b"\x01\x00" * 1_000_000) is None
