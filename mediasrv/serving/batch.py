"""What goes out in one go, made ready once for all readers of a stream.

Readers differ in the channels or ports that they chose, not in the packets: those with the same choice share the very
same bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mediasrv.media.access_unit import TrackKind
from mediasrv.wire.packet_ring import split_runs

RTP_FRAME_BYTES: Final = 4
"""`$`, channel and length before an interleaved packet (RFC 2326, 10.12)."""


class Layout(NamedTuple):
    """A reader's interleaved channel for RTP of each kind of track; None for one that is not set up."""

    video: int | None
    audio: int | None
    metadata: int | None

    def channel(self, kind: TrackKind) -> int | None:
        return self[kind - 1]


class Run(NamedTuple):
    """Packets of one track and size (the last may be shorter), joined: one send by UDP GSO."""

    kind: TrackKind
    joined: bytes
    size_bytes: int


class Entry(NamedTuple):
    """RTP packets of one access unit, or an RTCP compound."""

    kind: TrackKind
    packets: list[bytes]
    is_rtcp: bool = False


class Batch:
    """Entries in the order of sending. Never changed after it is made; `keyframe`: it begins with one."""

    __slots__ = ("_framed", "_runs", "entries", "has_reports", "keyframe", "size_bytes")

    def __init__(self, entries: list[Entry], *, keyframe: bool = False) -> None:
        self.entries = entries
        self.keyframe = keyframe
        self.has_reports = any(entry.is_rtcp for entry in entries)
        self.size_bytes = sum(len(packet) + RTP_FRAME_BYTES for entry in entries for packet in entry.packets)
        """Interleaved, with all tracks."""
        self._framed: dict[Layout, bytes] = {}
        self._runs: list[Run] | None = None

    def framed(self, layout: Layout) -> bytes:
        """Interleaved for readers of this layout; empty where it has none of the tracks."""
        found = self._framed.get(layout)
        if found is None:
            found = self._framed[layout] = self._frame(layout)
        return found

    def runs(self) -> list[Run]:
        """The RTP packets, as UDP sends them."""
        if self._runs is None:
            self._runs = [run for entry in self.entries if not entry.is_rtcp for run in _runs(entry)]
        return self._runs

    def _frame(self, layout: Layout) -> bytes:
        pieces: list[bytes] = []
        for entry in self.entries:
            channel = layout.channel(entry.kind)
            if channel is None:
                continue
            head = bytes((0x24, channel + entry.is_rtcp))
            for packet in entry.packets:
                pieces += (head, len(packet).to_bytes(2, "big"), packet)
        return b"".join(pieces)


def _runs(entry: Entry) -> list[Run]:
    packets = entry.packets
    return [
        Run(entry.kind, b"".join(packets[start:end]), size)
        for start, end, size in split_runs([len(packet) for packet in packets], overhead_bytes=0)
    ]
