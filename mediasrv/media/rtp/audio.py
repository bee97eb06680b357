"""RTP payloads to audio access units, and back: G.711 (RFC 3551), AAC (RFC 3640) and Opus (RFC 7587)."""

from __future__ import annotations

from typing import Final

from mediasrv.media.rtp.base import PLAIN, RTP_HEADER, RTP_HEADER_BYTES, Deliver, Depacketizer

_AAC_SIZE_BITS: Final = 13
_AAC_INDEX_BITS: Final = 3
_AU_HEADERS_BITS: Final = _AAC_SIZE_BITS + _AAC_INDEX_BITS


class G711Depacketizer(Depacketizer):
    """Each packet is one access unit of samples as they are (RFC 3551, 4.5.14)."""

    __slots__ = ()

    def receive(self, data: bytes, start: int, stop: int, now: float) -> int:
        # Hot: up to a hundred packets a second, nearly all of which follow the one before.
        if stop - start > RTP_HEADER_BYTES:
            first, second, sequence, timestamp = RTP_HEADER(data, start)
            if first == PLAIN and sequence == self._expected and second & 0x7F == self.payload_type:
                self._expected = (sequence + 1) & 0xFFFF
                self.packets += 1
                self._deliver(timestamp, True, data[start + RTP_HEADER_BYTES : stop], now)
                return stop
        return super().receive(data, start, stop, now)

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        self._deliver(timestamp, True, data[at:end], now)


class AacDepacketizer(Depacketizer):
    """RFC 3640, mode AAC-hbr or AAC-lbr: several access units a packet, or one over several packets.

    `size_bits` and `index_bits` are the widths in an AU header; `unit_samples` is the length of an access unit (1024 or
    960).
    """

    __slots__ = ("_fragment", "_fragment_bytes", "_fragment_timestamp", "_index_bits", "_size_bits", "_unit_samples")

    def __init__(
        self, payload_type: int, deliver: Deliver, *, size_bits: int = 13, index_bits: int = 3, unit_samples: int = 1024
    ) -> None:
        super().__init__(payload_type, deliver)
        self._size_bits = size_bits
        self._index_bits = index_bits
        self._unit_samples = unit_samples
        self._fragment = b""
        self._fragment_bytes = 0
        self._fragment_timestamp = -1

    def _on_loss(self) -> None:
        self._fragment_timestamp = -1

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        sizes, at = self._au_headers(data, at, end)
        if len(sizes) == 1 and sizes[0] > end - at:
            self._take_fragment(data[at:end], sizes[0], timestamp, now)
            return
        self._fragment_timestamp = -1
        for index, size in enumerate(sizes):
            if at + size > end:
                self.strange_packets += 1
                return
            self._deliver((timestamp + index * self._unit_samples) & 0xFFFFFFFF, True, data[at : at + size], now)
            at += size

    def _au_headers(self, data: bytes, at: int, end: int) -> tuple[list[int], int]:
        """Sizes of the access units, and where the first begins (RFC 3640, 3.2.1). No sizes for nonsense."""
        header_bits = int.from_bytes(data[at : at + 2], "big")
        width = self._size_bits + self._index_bits
        body = at + 2 + (header_bits + 7) // 8
        if body >= end or header_bits < width:
            self.strange_packets += 1
            return [], end
        headers = int.from_bytes(data[at + 2 : body], "big") >> -header_bits % 8
        count = header_bits // width
        size_mask = (1 << self._size_bits) - 1
        shifts = range(header_bits - self._size_bits, -1, -width)
        return [size for shift in shifts[:count] if (size := headers >> shift & size_mask)], body

    def _take_fragment(self, piece: bytes, size: int, timestamp: int, now: float) -> None:
        if (timestamp, size) != (self._fragment_timestamp, self._fragment_bytes):
            self._fragment, self._fragment_timestamp, self._fragment_bytes = b"", timestamp, size
        self._fragment += piece
        if len(self._fragment) == size:
            self._fragment_timestamp = -1
            self._deliver(timestamp, True, self._fragment, now)
        elif len(self._fragment) > size:
            self._fragment_timestamp = -1
            self.strange_packets += 1


class OpusDepacketizer(G711Depacketizer):
    """Each packet is one Opus packet, which is one access unit (RFC 7587, 4.2), silent ones included."""

    __slots__ = ()


def packetize_g711(payload: bytes, most_bytes: int, channels: int) -> list[bytes]:
    """RTP payloads for one access unit of G.711: whole samples, all but the last of one size.

    Payload number n begins n times that size divided by `channels` later in RTP time (RFC 3551, 4.5.14).
    """
    step = most_bytes // channels * channels
    return [payload[at : at + step] for at in range(0, len(payload), step)]


def packetize_aac(payload: bytes, most_bytes: int) -> list[bytes]:
    """RTP payloads for one access unit of AAC in mode AAC-hbr (RFC 3640, 3.3.6): whole, or else in fragments.

    Each carries one AU header of 13 bits of size (the whole access unit's, 3.2.3.2) and 3 bits of index. The marker
    belongs on the last; all have the same RTP time. Empty for an access unit that the size field cannot tell.
    """
    size = len(payload)
    if not 0 < size < 1 << _AAC_SIZE_BITS:
        return []
    header = _AU_HEADERS_BITS.to_bytes(2, "big") + (size << _AAC_INDEX_BITS).to_bytes(2, "big")
    step = most_bytes - len(header)
    return [header + payload[at : at + step] for at in range(0, size, step)]
