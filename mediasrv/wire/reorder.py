"""RTP packets of one track as UDP brings them, put back into the order in which they were sent. Sans-IO."""

from __future__ import annotations

from typing import Final

from mediasrv.wire.rtsp import Sink

HEADER_BYTES: Final = 12
_MOST_AHEAD: Final = 3000
_MOST_LATE: Final = 100
"""How far a sequence number may leap, or lag behind, before it means a sender that began anew (RFC 3550, A.1)."""


class ReorderBuffer:
    """Gives packets to `sink` in order. A packet that is missing is waited for `wait_s`, or until `most_packets` wait
    for it; then the sink, which counts losses itself, is given what comes after the gap.

    The owner calls `release` at the latest `wait_s` after `waiting` became true. Never raises on any bytes.
    """

    def __init__(self, sink: Sink, *, most_packets: int, wait_s: float) -> None:
        self.late_packets = 0
        """Came twice, or after they had been given up."""
        self.strange_packets = 0
        self._sink = sink
        self._most_packets = most_packets
        self._wait_s = wait_s
        self._expected = -1
        self._held: dict[int, tuple[bytes, float]] = {}
        """By sequence number, in order of arrival."""
        self._stray: tuple[int, bytes] | None = None

    @property
    def waiting(self) -> bool:
        return bool(self._held)

    def expect(self, sequence: int) -> None:
        """The camera told with which packet it begins (RTP-Info); without effect once a packet has come."""
        if self._expected < 0:
            self._expected = sequence

    def receive(self, data: bytes, now: float) -> None:
        """Takes one datagram. Hot: nearly all of them come in order."""
        if len(data) < HEADER_BYTES or data[0] >> 6 != 2:
            self.strange_packets += 1
            return
        sequence = data[2] << 8 | data[3]
        if sequence == self._expected and not self._held:
            self._expected = (sequence + 1) & 0xFFFF
            self._sink(data, 0, len(data), now)
        else:
            self._receive_out_of_order(sequence, data, now)

    def release(self, now: float) -> None:
        """Gives up the packets that have been waited for long enough."""
        while self._held and now - next(iter(self._held.values()))[1] >= self._wait_s:
            self._skip_gap(now)

    def _receive_out_of_order(self, sequence: int, data: bytes, now: float) -> None:
        if self._expected < 0:
            self._expected = sequence
        ahead = (sequence - self._expected) & 0xFFFF
        if ahead < _MOST_AHEAD:
            self._hold(sequence, data, now)
        elif ahead >= 0x10000 - _MOST_LATE:
            self.late_packets += 1
        elif self._stray is not None and sequence == (self._stray[0] + 1) & 0xFFFF:
            self._begin_anew(self._stray, now)
            self.receive(data, now)
        else:  # two in sequence are a sender that began anew, one alone is a stray
            self._stray = (sequence, data)

    def _hold(self, sequence: int, data: bytes, now: float) -> None:
        if sequence in self._held:
            self.late_packets += 1
            return
        self._held[sequence] = (data, now)
        if sequence == self._expected:
            self._deliver_run(now)
        elif len(self._held) > self._most_packets:
            self._skip_gap(now)

    def _begin_anew(self, first: tuple[int, bytes], now: float) -> None:
        while self._held:
            self._skip_gap(now)
        self._stray = None
        self._expected = first[0]
        self.receive(first[1], now)

    def _skip_gap(self, now: float) -> None:
        self._expected = min(self._held, key=lambda sequence: (sequence - self._expected) & 0xFFFF)
        self._deliver_run(now)

    def _deliver_run(self, now: float) -> None:
        """What is next is given with the present time: arrivals must not run backwards."""
        while (held := self._held.pop(self._expected, None)) is not None:
            self._expected = (self._expected + 1) & 0xFFFF
            self._sink(held[0], 0, len(held[0]), now)
