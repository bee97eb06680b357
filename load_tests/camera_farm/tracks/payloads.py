"""NAL units as RTP payloads: H.264 (RFC 6184, packetization mode 1) and H.265 (RFC 7798, no DONL).

Written for the farm alone: what the product takes apart is put together by other code than the product's. As cameras
do it, fragments are as long as a packet may be and the last one is what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from load_tests.camera_farm.tracks.shapes import VideoCodec

_STAP_A: Final = 24
_FU_A: Final = 28
_AP: Final = 48
_FU: Final = 49
_START, _END = 0x80, 0x40
_NAL_REF_IDC: Final = 0x60


def packetise(nals: Sequence[bytes], codec: VideoCodec, most_bytes: int) -> list[bytes]:
    """RTP payloads of at most `most_bytes`, in order. Neighbours that fit together share an aggregation packet."""
    aggregate, fragment = _FORMS[codec]
    payloads: list[bytes] = []
    together: list[bytes] = []
    for nal in nals:
        if together and _aggregate_bytes([*together, nal]) > most_bytes:
            payloads.append(aggregate(together))
            together = []
        if len(nal) > most_bytes:
            payloads += fragment(nal, most_bytes)
        else:
            together.append(nal)
    return [*payloads, aggregate(together)] if together else payloads


def _aggregate_bytes(nals: Sequence[bytes]) -> int:
    return 2 + sum(2 + len(nal) for nal in nals)


def _sized(nals: Sequence[bytes]) -> bytes:
    return b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _stap_a(nals: Sequence[bytes]) -> bytes:
    """RFC 6184, 5.7.1; one NAL unit travels as it is."""
    if len(nals) == 1:
        return nals[0]
    return bytes((_STAP_A | max(nal[0] & _NAL_REF_IDC for nal in nals),)) + _sized(nals)


def _fu_a(nal: bytes, most_bytes: int) -> list[bytes]:
    """RFC 6184, 5.8: the type of the NAL unit moves from its header, which is not sent, into that of the fragment."""
    return _cut(nal[1:], most_bytes, bytes((nal[0] & 0xE0 | _FU_A,)), nal[0] & 0x1F)


def _ap(nals: Sequence[bytes]) -> bytes:
    """RFC 7798, 4.4.2: layer and temporal id are the lowest of those within."""
    if len(nals) == 1:
        return nals[0]
    layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
    temporal = min(nal[1] & 7 for nal in nals)
    return bytes((_AP << 1 | layer >> 5, (layer & 31) << 3 | temporal)) + _sized(nals)


def _fu(nal: bytes, most_bytes: int) -> list[bytes]:
    """RFC 7798, 4.4.3."""
    return _cut(nal[2:], most_bytes, bytes((nal[0] & 0x81 | _FU << 1, nal[1])), nal[0] >> 1 & 0x3F)


def _cut(body: bytes, most_bytes: int, head: bytes, kind: int) -> list[bytes]:
    step = most_bytes - len(head) - 1
    starts = range(0, len(body), step)
    edges = [_START * (at == 0) | _END * (at + step >= len(body)) for at in starts]
    return [head + bytes((edge | kind,)) + body[at : at + step] for at, edge in zip(starts, edges, strict=True)]


_Aggregate = Callable[[Sequence[bytes]], bytes]
_Fragment = Callable[[bytes, int], list[bytes]]
_FORMS: Final[dict[VideoCodec, tuple[_Aggregate, _Fragment]]] = {
    VideoCodec.H264: (_stap_a, _fu_a),
    VideoCodec.H265: (_ap, _fu),
}
