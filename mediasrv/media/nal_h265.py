"""H.265 parameter sets: the little of them that a server must read.

Section numbers are those of ITU-T H.265 (ISO/IEC 23008-2). Everything here comes from a network: whatever the bytes
are, the answer is a value or a ProtocolError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import Codec, VideoFormat
from mediasrv.media.bits import Bits, bad_sps
from mediasrv.media.nal import unescape

NAL_VPS: Final = 32
NAL_SPS: Final = 33
NAL_PPS: Final = 34

_MOST_SET_BYTES: Final = 4096
_MOST_SIDE: Final = 16384
_MOST_SUB_LAYERS: Final = 7
_SUB_LAYER_PROFILE_BITS: Final = 88
_SUB_LAYER_LEVEL_BITS: Final = 8


def nal_type(nal: bytes) -> int:
    """`nal_unit_type` (7.3.1.2) of a unit without start code; ProtocolError for one without a header."""
    if len(nal) < 2:
        raise ProtocolError("A NAL unit is shorter than its header.", code="nal_invalid")
    return nal[0] >> 1 & 0x3F


@dataclass(frozen=True, slots=True)
class ProfileTierLevel:
    """The general part of profile_tier_level (7.3.3); `constraint_flags` are the 48 bits before the level."""

    profile_space: int
    tier: int
    profile_idc: int
    compatibility_flags: int
    constraint_flags: int
    level_idc: int

    @property
    def rfc6381(self) -> str:
        """The CODECS string (ISO/IEC 14496-15, annex E.3)."""
        space = ("", "A", "B", "C")[self.profile_space]
        compatibility = int(f"{self.compatibility_flags:032b}"[::-1], 2)
        constraints = self.constraint_flags.to_bytes(6, "big").rstrip(b"\0")
        fields = [f"{space}{self.profile_idc}", f"{compatibility:X}", f"{'LH'[self.tier]}{self.level_idc}"]
        return ".".join(["hvc1", *fields, *(f"{flags:X}" for flags in constraints)])


@dataclass(frozen=True, slots=True)
class H265Sps:
    """What a sequence parameter set says that matters here (7.3.2.2.1). Sizes are in pixels, cropped."""

    profile: ProfileTierLevel
    sub_layers: int
    temporal_id_nesting: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    max_num_reorder: int


def h265_video_format(vps: bytes, sps: bytes, pps: bytes) -> VideoFormat:
    """The format that these parameter sets describe. ProtocolError where they are no VPS, SPS and PPS."""
    parsed = parse_h265_sps(sps)
    for nal, kind, name in ((vps, NAL_VPS, "video"), (pps, NAL_PPS, "picture")):
        if nal_type(nal) != kind or len(nal) > 0xFFFF:
            raise ProtocolError(f"The {name} parameter set is none.", code="sps_invalid")
    rfc6381 = parsed.profile.rfc6381
    return VideoFormat(Codec.H265, (vps, sps, pps), parsed.width, parsed.height, rfc6381, parsed.max_num_reorder)


def parse_h265_sps(sps: bytes) -> H265Sps:
    """Reads a sequence parameter set NAL unit of the base layer. ProtocolError for anything else, in bounded time."""
    if not 4 <= len(sps) <= _MOST_SET_BYTES or nal_type(sps) != NAL_SPS or sps[0] & 0x81 or sps[1] & 0xF8:
        raise bad_sps()
    bits = Bits(unescape(sps)[2:])
    bits.u(4)  # sps_video_parameter_set_id
    sub_layers, nesting = bits.u(3) + 1, bits.u(1)
    if sub_layers > _MOST_SUB_LAYERS:
        raise bad_sps()
    profile = _profile_tier_level(bits, sub_layers)
    bits.ue(15)  # sps_seq_parameter_set_id
    chroma = bits.ue(3)
    if chroma == 3:
        bits.u(1)  # separate_colour_plane_flag
    width, height = _picture_size(bits, chroma)
    luma_depth, chroma_depth = 8 + bits.ue(7), 8 + bits.ue(7)  # hvcC has three bits for each
    bits.ue(12)  # log2_max_pic_order_cnt_lsb_minus4
    reorder = _reorder(bits, sub_layers)
    return H265Sps(profile, sub_layers, nesting, chroma, luma_depth, chroma_depth, width, height, reorder)


def _profile_tier_level(bits: Bits, sub_layers: int) -> ProfileTierLevel:
    """7.3.3; what it says of sub-layers is passed over."""
    general = ProfileTierLevel(bits.u(2), bits.u(1), bits.u(5), bits.u(32), bits.u(48), bits.u(8))
    if sub_layers > 1:
        present = [(bits.u(1), bits.u(1)) for _ in range(sub_layers - 1)]
        bits.u(2 * (9 - sub_layers))  # reserved_zero_2bits
        for profile, level in present:
            bits.u(profile * _SUB_LAYER_PROFILE_BITS + level * _SUB_LAYER_LEVEL_BITS)
    return general


def _picture_size(bits: Bits, chroma: int) -> tuple[int, int]:
    """Width and height inside the conformance window (7.4.3.2.1)."""
    width, height = bits.ue(_MOST_SIDE), bits.ue(_MOST_SIDE)
    if bits.u(1):
        unit_x, unit_y = 2 if chroma in (1, 2) else 1, 2 if chroma == 1 else 1
        width -= (bits.ue(_MOST_SIDE) + bits.ue(_MOST_SIDE)) * unit_x
        height -= (bits.ue(_MOST_SIDE) + bits.ue(_MOST_SIDE)) * unit_y
    if width <= 0 or height <= 0:
        raise bad_sps()
    return width, height


def _reorder(bits: Bits, sub_layers: int) -> int:
    """sps_max_num_reorder_pics of the whole stream, which is that of the highest sub-layer."""
    reorder = 0
    for _ in range(sub_layers if bits.u(1) else 1):
        bits.ue(15)  # sps_max_dec_pic_buffering_minus1
        reorder = bits.ue(15)
        bits.ue()  # sps_max_latency_increase_plus1
    return reorder
