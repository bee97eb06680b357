"""Pictures that are larger than a burst leave in bursts, at a pace that the viewer's line may be expected to carry."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from mediasrv.wire.congestion import Line
from mediasrv.wire.packet_ring import PacketizedUnit, PacketRing, Run

_VIDEO_CLOCK_RATE: Final = 90_000
_QUEUED_RUNS: Final = 256
"""Live runs that may wait behind a cached GOP or a large picture; more is an overrun."""
_PACE_ABOVE: Final = 1.2
_PACE_TIMES: Final = 4.0
_LOSSY: Final = 0.03
_LOSSY_TIMES: Final = 1.35
_LEAST_PACKETS_PER_S: Final = 200.0
"""2 Mbit/s, at which a keyframe of a small stream takes no time."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Pacer:
    """A burst is `burst_packets` in `pace_s`. `send` sends a run of a picture; `overrun` is called where more waits
    than should. Not for several streams at once: `clear` one, then put the next.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        burst_packets: int,
        pace_s: float,
        send: Callable[[PacketizedUnit, Run], None],
        overrun: Callable[[], None],
    ) -> None:
        self.burst_packets = burst_packets
        """What leaves at once; what is more is paced. Less than the settings say where the line is weak."""
        self.packets_per_s = burst_packets / pace_s
        self._call_later = call_later
        self._most_burst, self._pace_s = burst_packets, pace_s
        self._send = send
        self._overrun = overrun
        self._queue: deque[tuple[PacketizedUnit, Run]] = deque()
        self._queue_most = _QUEUED_RUNS
        self._timer: Timer | None = None

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def adapt(self, ring: PacketRing, line: Line, allowed_bps: float | None) -> None:
        """Some times the stream, within a burst each so often: who chose the stream has a line that carries as much for
        a moment. But hardly more than a line carries that is too small; and where packets are lost not much more than
        the stream either, since they may be what a short queue on the way had no room for.
        """
        stream, most = ring.packets_per_s, self._most_burst / self._pace_s
        self.burst_packets = self._most_burst
        if not stream:
            self.packets_per_s = most
        elif allowed_bps is None and line.loss <= _LOSSY:
            self.packets_per_s = max(2 * stream, min(most, max(_LEAST_PACKETS_PER_S, _PACE_TIMES * stream)))
        else:
            share = _LOSSY_TIMES if allowed_bps is None else _PACE_ABOVE * allowed_bps / ring.bits_per_s
            self.packets_per_s = share * stream
            self.burst_packets = min(self._most_burst, self._packets_a_turn)

    def time_for(self, units: Sequence[PacketizedUnit]) -> int:
        """How long these units take, in RTP time."""
        return round((units[-1].end - units[0].first) / self.packets_per_s * _VIDEO_CLOCK_RATE)

    def put(self, unit: PacketizedUnit) -> None:
        """A live picture: behind what waits."""
        self._enqueue(unit)
        if len(self._queue) > self._queue_most:
            self._overrun()
        elif self._timer is None:
            self._turn()

    def put_all(self, units: Sequence[PacketizedUnit]) -> None:
        """Cached pictures, however many."""
        for unit in units:
            self._enqueue(unit)
        self._queue_most = len(self._queue) + _QUEUED_RUNS
        if self._timer is None:
            self._turn()

    def clear(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _enqueue(self, unit: PacketizedUnit) -> None:
        burst = self.burst_packets
        for start, end, size in unit.runs:
            self._queue.extend((unit, (at, min(at + burst, end), size)) for at in range(start, end, burst))

    @property
    def _packets_a_turn(self) -> int:
        return max(1, round(self.packets_per_s * self._pace_s))

    def _turn(self) -> None:
        """Sends one burst and comes back for the next."""
        self._timer = None
        left = self._packets_a_turn
        while self._queue and left > 0:
            unit, run = self._queue.popleft()
            self._send(unit, run)
            left -= run[1] - run[0]
        if self._queue:
            self._timer = self._call_later(self._pace_s, self._turn)
