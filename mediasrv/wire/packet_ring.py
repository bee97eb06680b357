"""The packets of one stream, made once for all its viewers and kept for a while to be asked for again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mediasrv.wire.srtp import EXTENSION_BYTES, OVERHEAD_BYTES

GSO_SEGMENTS: Final = 64
"""What one send takes on every kernel that knows UDP_SEGMENT."""
_GSO_BYTES: Final = 65_507

Run = tuple[int, int, int]
"""(start, end, datagram size in bytes): payloads of one size, the last may be shorter, that fit one GSO send."""


class PacketizedUnit:
    """RTP payloads of one access unit. Never changed after it is made.

    `first` counts all packets of the stream up to its first one; `timestamp` is the stream's media time in
    clock-rate units, strictly rising and never wrapped; `arrived_s` is monotonic.
    """

    __slots__ = ("arrived_s", "first", "keyframe", "octets", "payloads", "runs", "timestamp")

    def __init__(self, first: int, payloads: list[bytes], timestamp: int, *, keyframe: bool, arrived_s: float) -> None:
        self.first = first
        self.payloads = payloads
        self.timestamp = timestamp
        self.keyframe = keyframe
        self.arrived_s = arrived_s
        sizes = [len(payload) for payload in payloads]
        self.octets = sum(sizes)
        self.runs = split_runs(sizes)

    @property
    def end(self) -> int:
        return self.first + len(self.payloads)


class PacketRing:
    """Packetised units of the last `keep_s` seconds, and always the GOP that a viewer would join with.

    `encoding` is the name of the payload format of all of them, as in SDP (`H264`); empty before it is known.
    """

    def __init__(self, keep_s: float, encoding: str = "H264") -> None:
        self.encoding = encoding
        self._keep_s = keep_s
        self._units: deque[PacketizedUnit] = deque()
        self._octets = 0
        self._next = 0
        self.gop: list[PacketizedUnit] = []
        """The units since the last keyframe, that one first; empty while there is none to join with."""

    @property
    def oldest(self) -> int:
        """The number of the oldest packet that is kept; where none is, that of the next one."""
        return self._units[0].first if self._units else self._next

    @property
    def interval(self) -> int:
        """RTP time between the last two units; 0 while there are not two."""
        return self._units[-1].timestamp - self._units[-2].timestamp if len(self._units) > 1 else 0

    @property
    def packets_per_s(self) -> float:
        """The stream's own rate over what is kept; 0 while that is too little to tell."""
        if len(self._units) < 2:
            return 0.0
        span_s = self._units[-1].arrived_s - self._units[0].arrived_s
        return (self._next - self._units[0].first) / span_s if span_s > 0 else 0.0

    @property
    def bits_per_s(self) -> float:
        """Of payload, over what is kept; 0 while that is too little to tell."""
        if len(self._units) < 2:
            return 0.0
        span_s = self._units[-1].arrived_s - self._units[0].arrived_s
        return 8 * self._octets / span_s if span_s > 0 else 0.0

    def push(self, payloads: list[bytes], timestamp: int, *, keyframe: bool, arrived_s: float) -> PacketizedUnit:
        """Numbers the packets of the next access unit and keeps them. `timestamp` must exceed the last one's."""
        unit = PacketizedUnit(self._next, payloads, timestamp, keyframe=keyframe, arrived_s=arrived_s)
        self._next = unit.end
        self._units.append(unit)
        self._octets += unit.octets
        if keyframe:
            self.gop = [unit]
        elif self.gop:
            self.gop.append(unit)
        self._forget(arrived_s - self._keep_s)
        return unit

    def end_gop(self) -> None:
        """Nothing more belongs to this GOP: its session ended, or it grew beyond what is worth keeping."""
        self.gop = []

    def close(self) -> None:
        """Forgets everything: nobody watches this stream any more, and nothing of it is answered."""
        self._units.clear()
        self._octets = 0
        self.gop = []

    def find(self, number: int) -> PacketizedUnit | None:
        """The unit that holds packet `number`, unless it was forgotten or is yet to come."""
        if not self.oldest <= number < self._next:
            return None
        # A packet asked for again is recent, so the walk from the new end is short.
        return next(unit for unit in reversed(self._units) if unit.first <= number)

    def _forget(self, before_s: float) -> None:
        units = self._units
        keep_from = self.gop[0].first if self.gop else self._next
        while units[0].arrived_s < before_s and units[0].first < keep_from:
            self._octets -= units.popleft().octets


def split_runs(sizes: Sequence[int], overhead_bytes: int = OVERHEAD_BYTES) -> list[Run]:
    """Cuts payloads of these sizes into runs that UDP_SEGMENT can send: all equal, only the last may be shorter.

    Each becomes a datagram that is `overhead_bytes` longer.
    """
    runs: list[Run] = []
    start = 0
    for end in range(1, len(sizes) + 1):
        if end == len(sizes) or not _fits(sizes, start, end, overhead_bytes):
            runs.append((start, end, sizes[start] + overhead_bytes))
            start = end
    return runs


def _fits(sizes: Sequence[int], start: int, at: int, overhead_bytes: int) -> bool:
    """Whether payload `at` may follow in the run that began at `start`."""
    size = sizes[start]
    count = at + 1 - start
    return (
        count <= GSO_SEGMENTS
        and count * (size + overhead_bytes + EXTENSION_BYTES) <= _GSO_BYTES
        and sizes[at - 1] == size
        and sizes[at] <= size
    )
