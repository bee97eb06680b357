"""H.265 NAL units as RTP payloads (RFC 7798, 4.4), apart from the server's own, for tests of its depacketizer."""

from __future__ import annotations

from collections.abc import Sequence

_AP, _FU = 48, 49


def h265_nal(kind: int, body: bytes) -> bytes:
    """A NAL unit of the base layer and the first temporal layer."""
    return bytes((kind << 1, 1)) + body


def aggregate(nals: Sequence[bytes]) -> bytes:
    return h265_nal(_AP, b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals))


def fragment(nal: bytes, most_bytes: int) -> list[bytes]:
    kind, body, step = nal[0] >> 1 & 0x3F, nal[2:], most_bytes - 3
    head = bytes((nal[0] & 0x81 | _FU << 1, nal[1]))
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    edges = [0x80 * (index == 0) | 0x40 * (index == len(pieces) - 1) for index in range(len(pieces))]
    return [head + bytes((edge | kind,)) + piece for edge, piece in zip(edges, pieces, strict=True)]


def packetize_h265(nals: Sequence[bytes], most_bytes: int) -> list[bytes]:
    """The payloads of one access unit: small neighbours together, large units in fragments."""
    payloads: list[bytes] = []
    small: list[bytes] = []
    for nal in nals:
        if small and 2 + sum(2 + len(one) for one in [*small, nal]) > most_bytes:
            payloads.append(aggregate(small) if len(small) > 1 else small[0])
            small = []
        if len(nal) > most_bytes:
            payloads += fragment(nal, most_bytes)
        else:
            small.append(nal)
    if small:
        payloads.append(aggregate(small) if len(small) > 1 else small[0])
    return payloads
