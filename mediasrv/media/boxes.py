"""ISO base media boxes (ISO/IEC 14496-12, 4.2): written, walked through, found."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mediasrv.errors import ProtocolError


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, flags: int, *parts: bytes) -> bytes:
    """`flags` are version and flags together, 32 bits."""
    return box(kind, flags.to_bytes(4, "big"), *parts)


def iter_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (type, body) of each box that lies one after the other in `data`. ProtocolError where one leads out of it."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size < 8 or position + size > len(data):
            raise bad_file()
        yield data[position + 4 : position + 8], data[position + 8 : position + size]
        position += size


def find_box(data: bytes, kind: bytes) -> bytes:
    """The body of the first box of this type. ProtocolError where there is none."""
    for found, body in iter_boxes(data):
        if found == kind:
            return body
    raise bad_file()


def bad_file() -> ProtocolError:
    return ProtocolError("This is no fragmented MP4 as mediasrv writes it.", code="fmp4_invalid")
