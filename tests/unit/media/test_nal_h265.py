"""H.265 parameter sets, as x265 writes them and damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import Codec
from mediasrv.media.nal_h265 import h265_video_format, nal_type, parse_h265_sps
from tests.unit.media.streams import H265_PPS, H265_SPS, H265_VPS

SPS_OF_X265 = {
    "420101016000000300900000030000030078a003c0801107536595952930b9a02000000300200000030321": (
        1918, 1078, "hvc1.1.6.L120.90", 8, 1, 2
    ),
    "42010102200000030090000003000003005da00280802d136595952930b9a02000000300200000030321": (
        1280, 720, "hvc1.2.4.L93.90", 10, 1, 2
    ),
    "4201010408000003009e0800000300003f9000a0402e3e272dd25261734040000003004000000642": (
        640, 360, "hvc1.4.10.L63.9E.8", 8, 3, 0
    ),
    "420101216000000300900000030000030099a0058200905965654a4c2e6808000003000800000300c840": (
        704, 576, "hvc1.1.6.H153.90", 8, 1, 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("sps", SPS_OF_X265)
def test_size_profile_and_reordering_of_real_sps(sps: str) -> None:
    parsed = parse_h265_sps(bytes.fromhex(sps))
    found = (parsed.width, parsed.height, parsed.profile.rfc6381)
    found += (parsed.bit_depth_luma, parsed.chroma_format_idc, parsed.max_num_reorder)
    assert found == SPS_OF_X265[sps]


def ue(value: int) -> str:
    """An unsigned Exp-Golomb code (9.2)."""
    return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)


def test_sub_layers_are_passed_over() -> None:
    """Three temporal layers; the first has a profile and a level of its own, the second only a level."""
    general = f"{0:02b}0{1:05b}" + f"{0x60000000:032b}" + "1001" + "0" * 44 + f"{93:08b}"
    layers = "11" + "01" + "00" * 6 + "1" * 88 + f"{60:08b}" + f"{90:08b}"
    order = "1" + "".join(ue(4) + ue(reorder) + ue(0) for reorder in (0, 1, 3))
    fields = "0000" + f"{2:03b}" + "1" + general + layers + ue(0) + ue(1) + ue(640) + ue(360) + "0" + ue(0) + ue(0)
    text = fields + ue(4) + order + "1"
    text += "0" * (-len(text) % 8)
    rbsp = int(text, 2).to_bytes(len(text) // 8, "big")
    parsed = parse_h265_sps(b"\x42\x01" + rbsp.replace(b"\0\0\0", b"\0\0\3\0"))
    assert (parsed.width, parsed.height, parsed.sub_layers, parsed.max_num_reorder) == (640, 360, 3, 3)
    assert parsed.profile.rfc6381 == "hvc1.1.6.L93.90"


def test_a_format_says_what_a_playlist_needs() -> None:
    video = h265_video_format(H265_VPS, H265_SPS, H265_PPS)
    assert video.codec is Codec.H265
    assert video.parameter_sets == (H265_VPS, H265_SPS, H265_PPS)
    assert (video.width, video.height, video.rfc6381, video.reorder) == (1280, 720, "hvc1.2.4.L93.90", 2)


@pytest.mark.parametrize(
    "sets",
    [
        (H265_SPS, H265_SPS, H265_PPS),
        (H265_VPS, H265_PPS, H265_PPS),
        (H265_VPS, H265_SPS, H265_SPS),
        (b"", H265_SPS, H265_PPS),
        (H265_VPS, H265_SPS[:12], H265_PPS),
        (H265_VPS, b"\x42\x09" + H265_SPS[2:], H265_PPS),
    ],
)
def test_what_is_no_set_of_the_base_layer_is_refused(sets: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(ProtocolError):
        h265_video_format(*sets)


@given(st.sampled_from([bytes.fromhex(sps) for sps in SPS_OF_X265]), st.data())
def test_damaged_sps_is_an_sps_or_a_protocol_error(sps: bytes, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, len(sps) * 8 - 1), min_size=1, max_size=8))
    damaged = int.from_bytes(sps, "big")
    for bit in bits:
        damaged ^= 1 << bit
    try:
        parsed = parse_h265_sps(damaged.to_bytes(len(sps), "big")[: data.draw(st.integers(0, len(sps)))])
    except ProtocolError:
        return
    assert parsed.width > 0
    assert parsed.height > 0


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_an_sps_or_a_protocol_error(tail: bytes) -> None:
    for data in (tail, b"\x42\x01" + tail):
        try:
            parse_h265_sps(data)
        except ProtocolError:
            continue


def test_a_nal_unit_without_its_header_has_no_type() -> None:
    assert nal_type(b"\x26\x01") == 19
    with pytest.raises(ProtocolError):
        nal_type(b"\x26")
