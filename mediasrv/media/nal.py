"""H.264 NAL units: splitting, joining, and the little of their content that a server must read.

Two framings of the same units: Annex B (start codes, ITU-T H.264) and length-prefixed (4 bytes each,
ISO/IEC 14496-15), which is what an access unit's payload holds. Section numbers are those of
ITU-T H.264 (ISO/IEC 14496-10). Everything here comes from a network: whatever the bytes are, the
answer is a value or a ProtocolError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import Codec, VideoFormat
from mediasrv.media.bits import Bits, bad_sps

NAL_SLICE: Final = 1
NAL_IDR: Final = 5
NAL_SEI: Final = 6
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_AUD: Final = 9
NAL_END_OF_SEQUENCE: Final = 10
NAL_END_OF_STREAM: Final = 11
NAL_FILLER: Final = 12

_SEI_UNREGISTERED: Final = 5
_SEI_RECOVERY_POINT: Final = 6
_UUID_BYTES: Final = 16
_MOST_SPS_BYTES: Final = 4096
_MOST_SIDE: Final = 16384
_HIGH_PROFILES: Final = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_EXTENDED_SAR: Final = 255
_START_CODE: Final = re.compile(rb"\x00\x00\x01")
_NEEDS_ESCAPE: Final = re.compile(rb"\x00\x00(?=[\x00-\x03])")


def nal_type(nal: bytes) -> int:
    """`nal_unit_type` (7.3.1) of a unit without start code; ProtocolError for an empty one."""
    if not nal:
        raise ProtocolError("A NAL unit is empty.", code="nal_invalid")
    return nal[0] & 0x1F


def split_annexb(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream (Annex B), without start codes and trailing zeros; empty ones are left out."""
    starts = [match.end() for match in _START_CODE.finditer(data)]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    units = (data[start:end].rstrip(b"\x00") for start, end in zip(starts, ends, strict=False))
    return [unit for unit in units if unit]


def join_annexb(nals: Iterable[bytes]) -> bytes:
    """NAL units as a byte stream (Annex B), each behind a start code of four bytes."""
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)


def join_avcc(nals: Iterable[bytes]) -> bytes:
    """NAL units as one length-prefixed payload."""
    out: list[bytes] = []
    for nal in nals:
        out += (len(nal).to_bytes(4, "big"), nal)
    return b"".join(out)


def iter_avcc(payload: bytes) -> Iterator[bytes]:
    """The NAL units of a length-prefixed payload. ProtocolError where a length leads out of it or is zero."""
    position, end = 0, len(payload)
    while position < end:
        start = position + 4
        position = start + int.from_bytes(payload[position:start], "big")
        if position > end or position <= start:
            raise ProtocolError("A NAL unit's length leads out of its access unit.", code="nal_invalid")
        yield payload[start:position]


def parameter_sets(nals: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """SPS and PPS among these units, the last of each; None where one is missing. ProtocolError for an empty unit."""
    found = {nal_type(nal): nal for nal in nals}
    return (found[NAL_SPS], found[NAL_PPS]) if NAL_SPS in found and NAL_PPS in found else None


def unescape(nal: bytes) -> bytes:
    """A NAL unit without its emulation prevention bytes (7.3.1)."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")


def escape(rbsp: bytes) -> bytes:
    """The inverse of `unescape`, for a unit that does not end in a zero byte."""
    return _NEEDS_ESCAPE.sub(b"\x00\x00\x03", rbsp)


def build_sei_unregistered(uuid: bytes, body: bytes) -> bytes:
    """A SEI NAL unit with one user_data_unregistered message (D.1.7); `uuid` has 16 bytes."""
    size = _UUID_BYTES + len(body)
    length = b"\xff" * (size // 255) + bytes((size % 255,))
    return escape(bytes((NAL_SEI, _SEI_UNREGISTERED)) + length + uuid + body + b"\x80")


def iter_sei_unregistered(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (uuid, body) of each user_data_unregistered message in a length-prefixed payload.

    A SEI that contradicts itself ends that SEI, nothing more: it is side information.
    """
    for nal in iter_avcc(payload):
        if nal_type(nal) == NAL_SEI:
            for kind, body in _sei_messages(unescape(nal)):
                if kind == _SEI_UNREGISTERED and len(body) >= _UUID_BYTES:
                    yield body[:_UUID_BYTES], body[_UUID_BYTES:]


def recovery_frame_count(sei: bytes) -> int | None:
    """After how many pictures all is whole if decoding begins here (D.2.8); None where this is no recovery point."""
    for kind, body in _sei_messages(unescape(sei)):
        if kind == _SEI_RECOVERY_POINT:
            try:
                return Bits(body).ue(0xFFFF)
            except ProtocolError:
                return None
    return None


def _sei_messages(rbsp: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message (7.3.2.3.1), up to one that leads out of the unit."""
    position = 1
    while position + 2 <= len(rbsp):
        kind, position = _read_sei_number(rbsp, position)
        size, position = _read_sei_number(rbsp, position)
        position += size
        if position > len(rbsp):
            return
        yield kind, rbsp[position - size : position]


def _read_sei_number(rbsp: bytes, position: int) -> tuple[int, int]:
    """A payload type or size (7.3.2.3.1): as many 0xff as needed, then the rest."""
    value = 0
    while position < len(rbsp) and rbsp[position] == 0xFF:
        value += 255
        position += 1
    last = rbsp[position] if position < len(rbsp) else len(rbsp)
    return value + last, position + 1


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says that matters here (7.3.2.1.1). Sizes are in pixels, cropped.

    `max_num_reorder` is None where the stream does not say how far pictures are reordered.
    """

    profile_idc: int
    constraint_flags: int
    level_idc: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    max_num_reorder: int | None

    @property
    def rfc6381(self) -> str:
        """The CODECS string (RFC 6381, 3.3)."""
        return f"avc1.{self.profile_idc:02x}{self.constraint_flags:02x}{self.level_idc:02x}"


def video_format(sps: bytes, pps: bytes) -> VideoFormat:
    """The format that these parameter sets describe. ProtocolError where they are no SPS and PPS."""
    parsed = parse_sps(sps)
    if nal_type(pps) != NAL_PPS or len(pps) > 0xFFFF:
        raise ProtocolError("The picture parameter set is none.", code="pps_invalid")
    reorder = parsed.max_num_reorder or 0
    return VideoFormat(Codec.H264, (sps, pps), parsed.width, parsed.height, parsed.rfc6381, reorder)


def parse_sps(sps: bytes) -> Sps:
    """Reads a sequence parameter set NAL unit. ProtocolError for anything else, in bounded time."""
    if len(sps) < 5 or len(sps) > _MOST_SPS_BYTES or sps[0] & 0x9F != NAL_SPS:
        raise bad_sps()
    bits = Bits(unescape(sps)[1:])
    profile_idc, constraint_flags, level_idc = bits.u(8), bits.u(8), bits.u(8)
    bits.ue(31)  # seq_parameter_set_id
    chroma, luma_depth, chroma_depth = _chroma(bits) if profile_idc in _HIGH_PROFILES else (1, 8, 8)
    bits.ue(12)  # log2_max_frame_num_minus4
    order_type = _picture_order(bits)
    bits.ue(16)  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _picture_size(bits, chroma)
    reorder = 0 if order_type == 2 or profile_idc == 66 else _stated_reorder(bits)
    return Sps(profile_idc, constraint_flags, level_idc, chroma, luma_depth, chroma_depth, width, height, reorder)


def _chroma(bits: Bits) -> tuple[int, int, int]:
    """chroma_format_idc and the two bit depths of the high profiles; scaling lists are passed over."""
    chroma = bits.ue(3)
    if chroma == 3:
        bits.u(1)  # separate_colour_plane_flag
    luma_depth, chroma_depth = 8 + bits.ue(6), 8 + bits.ue(6)
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.u(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, luma_depth, chroma_depth


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _picture_order(bits: Bits) -> int:
    """pic_order_cnt_type; what follows it is passed over."""
    order_type = bits.ue(2)
    if order_type == 0:
        bits.ue(12)  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue(255)):
            bits.se()
    return order_type


def _picture_size(bits: Bits, chroma: int) -> tuple[int, int]:
    """Width and height after cropping (7.4.2.1.1, equations 7-19 to 7-22)."""
    width = (bits.ue(_MOST_SIDE // 16) + 1) * 16
    map_units = bits.ue(_MOST_SIDE // 16) + 1
    frame_mbs_only = bits.u(1)
    height = map_units * 16 * (2 - frame_mbs_only)
    if not frame_mbs_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    if bits.u(1):
        unit_x = 2 if chroma in (1, 2) else 1
        unit_y = (2 if chroma == 1 else 1) * (2 - frame_mbs_only)
        width -= (bits.ue(_MOST_SIDE) + bits.ue(_MOST_SIDE)) * unit_x
        height -= (bits.ue(_MOST_SIDE) + bits.ue(_MOST_SIDE)) * unit_y
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        raise bad_sps()
    return width, height


def _stated_reorder(bits: Bits) -> int | None:
    """max_num_reorder_frames (E.1.1), None where it is not given.

    Cameras send video usability information that is cut short; since the picture's size is known by
    then, that counts as not given.
    """
    try:
        return _vui_reorder(bits) if bits.u(1) else None
    except ProtocolError:
        return None


def _vui_reorder(bits: Bits) -> int | None:
    if bits.u(1) and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.u(1):
        bits.u(1)  # overscan_appropriate_flag
    if bits.u(1):
        bits.u(4)  # video_format, video_full_range_flag
        if bits.u(1):
            bits.u(24)  # colour description
    if bits.u(1):
        bits.ue()
        bits.ue()  # chroma sample locations
    if bits.u(1):
        bits.u(65)  # num_units_in_tick, time_scale, fixed_frame_rate_flag: a declared rate is not believed
    if _skip_hrd(bits) + _skip_hrd(bits):
        bits.u(1)  # low_delay_hrd_flag
    bits.u(1)  # pic_struct_present_flag
    if not bits.u(1):
        return None
    bits.u(1)
    for _ in range(4):
        bits.ue()
    return bits.ue(16)


def _skip_hrd(bits: Bits) -> int:
    """Passes over hrd_parameters (E.1.2) if they are there; whether they were."""
    if not bits.u(1):
        return 0
    count = bits.ue(31) + 1
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
    return 1
