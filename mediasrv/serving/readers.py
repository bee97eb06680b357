"""Readers of a feed: how batches reach one of them, and when one loses to the next keyframe, alone.

A packet is never cut: what has been handed to a connection leaves whole, and what would be too much is not handed over
at all. Runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mediasrv.media.access_unit import TrackKind
from mediasrv.serving.batch import Batch, Layout
from mediasrv.wire.ice import Path
from mediasrv.wire.udp import UdpTransport

BURST_BYTES: Final = 65_536
PACE_S: Final = 0.005
"""So much at once, and then so long nothing, is 100 Mbit/s: more overruns the buffers of common receivers."""

End = Callable[[str], None]
"""Ends the connection that a reader belongs to, and says why."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait for one reader: bytes, and how long it may stay behind before it loses to the next keyframe."""

    waiting_bytes: int
    behind_s: float


@dataclass(slots=True)
class ServeCounters:
    """Over all readers since the start; for metrics."""

    connections: int = 0
    refused: int = 0
    """Connections beyond the bounds, and strangers that made room."""
    protocol_errors: int = 0
    readers: int = 0
    sent_bytes: int = 0
    overruns: int = 0
    """How often a reader lost to the next keyframe."""
    skipped: int = 0
    """Batches (about a picture each) that such readers were not sent."""
    stalled: int = 0
    """Readers that took nothing for too long and were ended."""
    revoked: int = 0
    failures: int = 0
    blocked: int = 0
    """Datagrams lost because a socket's buffer was full."""
    send_errors: int = 0
    """Datagrams that the network refused."""
    unsegmented: int = 0
    """Addresses for which the kernel does not segment."""


class Reader(ABC):
    """One reader of one stream. `send` is called for each batch of its feed; its feed calls `end`, with the reason, for
    one that raised or cannot go on."""

    def __init__(self, bounds: Bounds, counters: ServeCounters, end: End) -> None:
        self.end = end
        self.waiting_keyframe = True
        self.behind_since: float | None = None
        """Since when something has been waiting without a pause, monotonic; None: nothing waits."""
        self.overruns = 0
        self._bounds = bounds
        self._counters = counters

    def start(self, reports: Batch, cached: Sequence[Batch]) -> None:
        """Sender reports, then what is cached since the last keyframe; without that, the next keyframe is the start."""
        self.waiting_keyframe = not cached
        self._hand_over((reports, *cached))

    def send(self, batch: Batch, now: float) -> None:
        """Hot: once a picture and reader."""
        waiting = self.waiting_bytes()
        if self.waiting_keyframe:
            if not batch.keyframe or waiting > self._bounds.waiting_bytes // 2:
                self._counters.skipped += 1
                return
            self.waiting_keyframe = False
        if waiting:
            if self.behind_since is None:
                self.behind_since = now
            late = now - self.behind_since > self._bounds.behind_s
            if late or waiting + batch.size_bytes > self._bounds.waiting_bytes:
                self._overrun()
                return
        elif self.behind_since is not None:
            self.behind_since = None
        self._hand_over((batch,))

    def send_reports(self, reports: Batch) -> None:
        """Sender reports; one that is behind goes without."""
        if not self.waiting_keyframe:
            self._hand_over((reports,))

    def look(self, now: float) -> float:
        """For how many seconds something has been waiting. To be called from time to time: nothing need come in."""
        if not self.waiting_bytes():
            self.behind_since = None
        return 0.0 if self.behind_since is None else now - self.behind_since

    @abstractmethod
    def close(self) -> None:
        """Nothing is sent from here on. Twice does no harm."""

    def _overrun(self) -> None:
        self.waiting_keyframe = True
        self.overruns += 1
        self._counters.overruns += 1
        self._counters.skipped += 1

    @abstractmethod
    def waiting_bytes(self) -> int:
        """What was handed over and has not left this process."""

    @abstractmethod
    def _hand_over(self, batches: Sequence[Batch]) -> None: ...


class TcpReader(Reader):
    """Interleaved in the RTSP connection, plain or TLS."""

    def __init__(
        self, transport: asyncio.WriteTransport, layout: Layout, bounds: Bounds, counters: ServeCounters, end: End
    ) -> None:
        super().__init__(bounds, counters, end)
        self._transport = transport
        self._layout = layout
        self._write: Callable[[bytes], None] = transport.write
        self._waiting = transport.get_write_buffer_size
        self._is_closing = transport.is_closing

    def close(self) -> None:
        self._write = _drop

    def waiting_bytes(self) -> int:
        return self._waiting()

    def _hand_over(self, batches: Sequence[Batch]) -> None:
        if self._is_closing():  # the peer has left, and its connection is about to notice
            return
        layout = self._layout
        data = batches[0].framed(layout) if len(batches) == 1 else b"".join([one.framed(layout) for one in batches])
        if data:
            self._counters.sent_bytes += len(data)
            self._write(data)


@dataclass(slots=True)
class UdpWay:
    """Where the packets of one track go: the sockets are shared by all readers."""

    rtp: Path
    rtcp: Path


@dataclass(slots=True)
class UdpSockets:
    """This server's pair."""

    rtp: UdpTransport
    rtcp: UdpTransport


@dataclass(slots=True)
class _Queue:
    """Sends that wait for their turn, and how much they are."""

    sends: deque[Callable[[], None]] = field(default_factory=deque)
    sizes: deque[int] = field(default_factory=deque)
    waiting_bytes: int = 0


class UdpReader(Reader):
    """Over UDP to the address that the RTSP connection comes from, in bursts that receivers can take."""

    def __init__(
        self,
        sockets: UdpSockets,
        ways: dict[TrackKind, UdpWay],
        bounds: Bounds,
        counters: ServeCounters,
        end: End,
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        super().__init__(bounds, counters, end)
        self._sockets = sockets
        self._send_run = sockets.rtp.send_run
        self._ways = ways
        self._call_later = call_later
        self._queue = _Queue()
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._queue, self._ways = None, _Queue(), {}

    def waiting_bytes(self) -> int:
        return self._queue.waiting_bytes

    def _hand_over(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            at_once = self._timer is None and batch.size_bytes <= BURST_BYTES and len(batches) == 1
            for kind, joined, size_bytes in batch.runs():
                way = self._ways.get(kind)
                if way is None:
                    continue
                if at_once:
                    self._send_run(joined, size_bytes, way.rtp)
                    self._counters.sent_bytes += len(joined)
                else:
                    self._enqueue(joined, size_bytes, way.rtp)
            if batch.has_reports:
                self._send_reports(batch)
        if self._timer is None and self._queue.sends:
            self._drain()

    def _send_reports(self, batch: Batch) -> None:
        for entry in batch.entries:
            way = self._ways.get(entry.kind) if entry.is_rtcp else None
            if way is not None:
                for packet in entry.packets:
                    self._sockets.rtcp.send(packet, way.rtcp)

    def _enqueue(self, joined: bytes, size_bytes: int, path: Path) -> None:
        queue, send_run = self._queue, self._send_run
        queue.sends.append(lambda: send_run(joined, size_bytes, path))
        queue.sizes.append(len(joined))
        queue.waiting_bytes += len(joined)

    def _drain(self) -> None:
        self._timer = None
        queue, sent = self._queue, 0
        while queue.sends and (not sent or sent + queue.sizes[0] <= BURST_BYTES):
            queue.sends.popleft()()
            sent += queue.sizes.popleft()
        queue.waiting_bytes -= sent
        self._counters.sent_bytes += sent
        if queue.sends:
            self._timer = self._call_later(PACE_S, self._drain)


def _drop(_data: object) -> None:
    pass
