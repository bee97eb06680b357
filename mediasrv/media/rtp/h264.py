"""H.264 over RTP (RFC 6184, packetization modes 0 and 1): payloads to access units, and back."""

from __future__ import annotations

from typing import Final

from mediasrv.media.nal import recovery_frame_count
from mediasrv.media.rtp.pictures import BYTES, FU_END, FU_START, NalSyntax, PictureDepacketizer, nal_spans

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

    None is longer than `most_bytes` (at least 3). Neighbouring NAL units that fit together share a STAP-A, so parameter
    sets and SEI travel in a small datagram of their own before the fragments of a picture. All fragments of a NAL unit
    have one size, only the last may be shorter: the kernel cuts them out of one buffer (UDP GSO). Access unit
    delimiters are dropped. The marker bit belongs on the last payload.
    """
    payloads: list[bytes] = []
    together: list[bytes] = []
    together_bytes = 1
    for start, end in nal_spans(payload):
        if payload[start] & _NAL_TYPE == _AUD:
            continue
        size = end - start
        if together and together_bytes + 2 + size > most_bytes:
            payloads.append(_aggregate(together))
            together, together_bytes = [], 1
        if size > most_bytes:
            payloads += _fragment(payload, start, end, most_bytes)
        else:
            together.append(payload[start:end])
            together_bytes += 2 + size
    if together:
        payloads.append(_aggregate(together))
    return payloads


def _aggregate(nals: list[bytes]) -> bytes:
    """One NAL unit as it is, several as a STAP-A (RFC 6184, 5.7.1)."""
    if len(nals) == 1:
        return nals[0]
    header = _STAP_A | max(nal[0] & _NAL_REF_IDC for nal in nals)
    return bytes((header,)) + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _fragment(payload: bytes, start: int, end: int, most_bytes: int) -> list[bytes]:
    """FU-A fragments (RFC 6184, 5.8) of equal size; the NAL header travels inside the two bytes of each."""
    indicator, kind = payload[start] & 0xE0 | _FU_A, payload[start] & _NAL_TYPE
    body = start + 1
    count = -(-(end - body) // (most_bytes - 2))
    step = -(-(end - body) // count)
    middle = bytes((indicator, kind))
    fragments = [middle + payload[at : min(at + step, end)] for at in range(body, end, step)]
    fragments[0] = bytes((indicator, kind | FU_START)) + fragments[0][2:]
    fragments[-1] = bytes((indicator, kind | FU_END)) + fragments[-1][2:]
    return fragments
