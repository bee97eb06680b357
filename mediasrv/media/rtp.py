"""RTP payloads: H.264 (RFC 6184), AAC (RFC 3640) and G.711 (RFC 3551) to access units, and H.264 back again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_NAL_TYPE: Final = 0x1F
_NAL_REF_IDC: Final = 0x60
_AUD: Final = 9
_STAP_A: Final = 24
_FU_A: Final = 28
_FU_START: Final = 0x80
_FU_END: Final = 0x40


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
    for start, end in _nal_spans(payload):
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


def _nal_spans(payload: bytes) -> Iterator[tuple[int, int]]:
    at, size = 0, len(payload)
    while at + 4 < size:
        start = at + 4
        at = min(start + int.from_bytes(payload[at:start], "big"), size)
        if at > start:
            yield start, at


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
    fragments[0] = bytes((indicator, kind | _FU_START)) + fragments[0][2:]
    fragments[-1] = bytes((indicator, kind | _FU_END)) + fragments[-1][2:]
    return fragments
