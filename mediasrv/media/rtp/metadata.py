"""ONVIF metadata over RTP: XML documents (ONVIF Streaming Specification, 5.2.1.1)."""

from __future__ import annotations

from typing import Final

from mediasrv.media.rtp.base import Deliver, Depacketizer

MOST_DOCUMENT_BYTES: Final = 256 * 1024


class MetadataDepacketizer(Depacketizer):
    """One XML document is one access unit: it ends with the marker, or where the next timestamp begins.

    The document is not looked into. One that lost a packet, or is longer than `most_bytes`, is dropped whole.
    """

    __slots__ = ("_broken", "_most_bytes", "_pieces", "_size_bytes", "_timestamp")

    def __init__(self, payload_type: int, deliver: Deliver, *, most_bytes: int = MOST_DOCUMENT_BYTES) -> None:
        super().__init__(payload_type, deliver)
        self._most_bytes = most_bytes
        self._timestamp = -1
        self._broken = False
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def _on_loss(self) -> None:
        self._begin()
        self._timestamp, self._broken = -1, True

    def _take(self, data: bytes, at: int, end: int, timestamp: int, marker: bool, now: float) -> None:
        if timestamp != self._timestamp:
            self._end(now)
            # Behind a loss nobody knows whether the beginning of this document was lost, too.
            self._broken = self._broken and self._timestamp < 0
            self._timestamp = timestamp
        if not self._broken:
            self._pieces.append(data[at:end])
            self._size_bytes += end - at
            if self._size_bytes > self._most_bytes:
                self.strange_packets += 1
                self._begin()
                self._broken = True
        if marker:
            self._end(now)
            self._timestamp, self._broken = -1, False

    def _end(self, now: float) -> None:
        if self._pieces and not self._broken:
            self._deliver(self._timestamp, True, b"".join(self._pieces), now)
        self._begin()
