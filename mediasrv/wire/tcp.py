"""ICE over TCP: datagrams framed in a stream of bytes (RFC 4571, as RFC 6544 wants it). Pure: bytes in, bytes out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from mediasrv.errors import ProtocolError

MOST_BYTES: Final = 2048
"""Longest datagram that is taken; no peer has reason to send one that would not fit into an Ethernet frame."""
LEAST_BYTES: Final = 13
"""Shortest: the header of a DTLS record. Shorter ones would only cost us their frames."""

_LENGTH: Final = struct.Struct(">H")


class Deframer:
    """Takes a stream as it comes and gives the datagrams in it."""

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The datagrams that are whole by now. Raises ProtocolError once one is too short or too long: a stream has
        no place to go on from."""
        data = self._rest + data
        at = 0
        try:
            while len(data) - at >= 2:
                (size,) = _LENGTH.unpack_from(data, at)
                if not LEAST_BYTES <= size <= MOST_BYTES:
                    raise ProtocolError("A datagram in a TCP connection is too short or too long.")
                end = at + 2 + size
                if end > len(data):
                    break
                at, start = end, at + 2
                yield data[start:end]
        finally:
            self._rest = data[at:]


def frame_run(joined: bytes, size: int) -> bytes:
    """Frames for datagrams of `size` bytes, the last maybe shorter, that lie joined in one buffer."""
    if len(joined) <= size:
        return _LENGTH.pack(len(joined)) + joined
    full = _LENGTH.pack(size)
    pieces: list[bytes] = []
    whole = len(joined) - len(joined) % size
    for at in range(0, whole, size):
        pieces += (full, joined[at : at + size])
    if whole < len(joined):
        pieces += (_LENGTH.pack(len(joined) - whole), joined[whole:])
    return b"".join(pieces)
