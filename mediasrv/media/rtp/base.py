"""What all RTP payload formats share (RFC 3550): header, sequence, loss, and the seam to whoever takes access units."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

Deliver = Callable[[int, bool, bytes, float], None]
"""`(rtp_timestamp, keyframe, payload, now)`: the timestamp is the packet's own 32 bits."""

RTP_HEADER: Final = struct.Struct("!BBHI").unpack_from
RTP_HEADER_BYTES: Final = 12
NO_RTP: Final = -1
PLAIN: Final = 0x80
"""First byte of a packet of version 2 without padding, extension and contributing sources."""
MARKER: Final = 0x80
_RESTART: Final = 0x8000


class Depacketizer:
    """What all payload formats share: header, sequence, loss. Not thread-safe; never raises on any bytes."""

    __slots__ = ("_deliver", "_expected", "lost_packets", "packets", "payload_type", "strange_packets")

    def __init__(self, payload_type: int, deliver: Deliver) -> None:
        self.payload_type = payload_type
        self.packets = 0
        self.lost_packets = 0
        self.strange_packets = 0
        """Packets of another payload type, or with nothing usable in them."""
        self._deliver = deliver
        self._expected = -1

    def receive(self, data: bytes, start: int, stop: int, now: float) -> int:
        """Takes the RTP packet `data[start:stop]` that arrived at `now` (monotonic seconds).

        Answers where the next one's frame begins: `stop`, or further on where packets behind it were taken, too;
        NO_RTP where it is none.
        """
        if stop - start < RTP_HEADER_BYTES or data[start] >> 6 != 2:
            return NO_RTP
        first, second, sequence, timestamp = RTP_HEADER(data, start)
        at, end = start + RTP_HEADER_BYTES, stop
        if first != PLAIN:
            at, end = payload_span(data, start, stop)
        self.packets += 1
        if sequence != self._expected and self._expected >= 0:
            self.lost_packets += packets_between(self._expected, sequence)
            self._on_loss()
        self._expected = (sequence + 1) & 0xFFFF
        if second & 0x7F == self.payload_type and at < end:
            self._take(data, at, end, timestamp, second & MARKER != 0, now)
        else:
            self.strange_packets += 1
        return stop

    def _on_loss(self) -> None:
        pass

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        raise NotImplementedError


def payload_span(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the payload lies in a packet with CSRCs, an extension or padding (RFC 3550, 5.1 and 5.3.1).

    Start equals end, inside the packet, where the header claims more than there is.
    """
    first = data[start]
    at = start + RTP_HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if at + 4 > end:
            return end, end
        at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
    if first & 0x20:
        padding = data[end - 1]
        end = end - padding if padding else start
    return (at, end) if at <= end else (start, start)


def packets_between(expected: int, sequence: int) -> int:
    """How many packets are missing. A step back is a sender that began anew: counted as one, since nobody knows."""
    missing = (sequence - expected) & 0xFFFF
    return missing if missing < _RESTART else 1
