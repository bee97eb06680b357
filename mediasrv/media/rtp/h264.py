"""H.264 over RTP (RFC 6184, packetization modes 0 and 1): payloads to access units, and back."""

from __future__ import annotations

from typing import Final

from mediasrv.media.nal import recovery_frame_count
from mediasrv.media.rtp.pictures import BYTES, NalSyntax, PictureDepacketizer, packetize_nals

MOST_RECOVERY_PICTURES: Final = 12
"""A recovery point whose pictures are whole after no more than so many is a keyframe: half a second at 25 a second."""

_NAL_TYPE: Final = 0x1F
_NAL_REF_IDC: Final = 0x60
_AUD: Final = 9
_LAST_SINGLE: Final = 23
_STAP_A: Final = 24
_FU_A: Final = 28


class H264Depacketizer(PictureDepacketizer):
    """Single NAL units, STAP-A and FU-A. Keyframes are IDR pictures, and those behind a recovery point SEI."""

    __slots__ = ()

    syntax = NalSyntax(
        type_shift=0,
        type_mask=_NAL_TYPE,
        set_types=(7, 8),
        first_slice=1,
        last_slice=5,
        random_access=frozenset((5,)),
        delimiter=_AUD,
        sei=6,
        fu_mask=_NAL_TYPE,
        fu_mark=_FU_A,
        fu_bytes=2,
    )

    def _take_payload(self, data: bytes, at: int, end: int, now: float) -> None:
        kind = data[at] & _NAL_TYPE
        if 0 < kind <= _LAST_SINGLE:
            self._take_nal(data, at, end, now)
        elif kind == _STAP_A:
            self._take_aggregate(data, at + 1, end, now)
        else:
            self._break(now)  # interleaved mode, which was not negotiated: the pictures cannot be put together

    def _whole_header(self, data: bytes, at: int, kind: int) -> bytes:
        return BYTES[data[at] & 0xE0 | kind]

    def _is_recovery_point(self, sei: bytes) -> bool:
        pictures = recovery_frame_count(sei)
        return pictures is not None and pictures <= MOST_RECOVERY_PICTURES


def packetize_h264(payload: bytes, most_bytes: int) -> list[bytes]:
    """RTP payloads, in order, for one access unit of length-prefixed NAL units (RFC 6184, packetization mode 1).

    None is longer than `most_bytes` (at least 3). Neighbouring NAL units that fit together share a STAP-A; see
    `packetize_nals` for the rest.
    """
    return packetize_nals(payload, most_bytes, H264Depacketizer.syntax, _aggregate_header)


def _aggregate_header(nals: list[bytes]) -> bytes:
    """Of a STAP-A (RFC 6184, 5.7.1): as important as the most important unit in it."""
    return BYTES[_STAP_A | max(nal[0] & _NAL_REF_IDC for nal in nals)]
