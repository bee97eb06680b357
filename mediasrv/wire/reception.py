"""What a receiver knows of one RTP source, for its reports (RFC 3550, 6.4.1, A.3 and A.8). Sans-IO."""

from __future__ import annotations

import struct
from typing import Final

from mediasrv.wire.rtcp import ReportBlock, SenderReport

_HEADER: Final = struct.Struct("!2xHII").unpack_from
_BEHIND: Final = 0x8000
_MOST_LOST: Final = 0x7FFFFF


class Reception:
    """Counts packets as they arrive, before they are put in order. `now` is monotonic seconds."""

    def __init__(self, clock_rate: int) -> None:
        self._rate = clock_rate
        self._ssrc = -1
        self._begin(0)

    def _begin(self, sequence: int) -> None:
        self._first = self._highest = sequence
        self._received = 0
        self._reported_expected = self._reported_received = 0
        self._transit: int | None = None
        self._jitter = 0.0
        self._sender_report: tuple[int, float] | None = None

    def receive(self, data: bytes, now: float) -> None:
        """A whole RTP packet, of 12 bytes at least."""
        sequence, timestamp, ssrc = _HEADER(data)
        if ssrc != self._ssrc:
            self._ssrc = ssrc
            self._begin(sequence)
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead < _BEHIND:
            self._highest += ahead
        self._received += 1
        transit = int(now * self._rate) - timestamp & 0xFFFFFFFF
        if self._transit is not None:
            change = transit - self._transit & 0xFFFFFFFF
            self._jitter += (min(change, 0x100000000 - change) - self._jitter) / 16
        self._transit = transit

    def receive_sender_report(self, report: SenderReport, now: float) -> None:
        if report.ssrc == self._ssrc:
            self._sender_report = (report.ntp >> 16 & 0xFFFFFFFF, now)

    def report(self, now: float) -> ReportBlock | None:
        """What has changed since the last report; None before any packet."""
        if self._ssrc < 0:
            return None
        expected = self._highest - self._first + 1
        expected_since = expected - self._reported_expected
        lost_since = expected_since - (self._received - self._reported_received)
        self._reported_expected, self._reported_received = expected, self._received
        last, heard_at = self._sender_report or (0, now)
        return ReportBlock(
            ssrc=self._ssrc,
            fraction_lost=min(255, max(0, lost_since) * 256 // expected_since) if expected_since > 0 else 0,
            packets_lost=max(-_MOST_LOST, min(_MOST_LOST, expected - self._received)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=int(self._jitter) & 0xFFFFFFFF,
            last_sr=last,
            delay_65536=int((now - heard_at) * 65536) & 0xFFFFFFFF,
        )
