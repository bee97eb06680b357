"""The line between a camera and whoever pulls it: packets that are lost, doubled, late, or spread over time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from load_tests.camera_farm.rtsp.carriers import Carrier
from load_tests.camera_farm.tracks.rtp_unit import PAYLOAD_BYTES, split_frames

_SPREAD_OVER: Final = 0.9
"""A picture's packets are out before the next picture is due."""


@dataclass(slots=True)
class LineTroubles:
    """What befalls packets: shares from 0 to 1. A reordered packet comes `reorder_by` packets late, on UDP only."""

    loss: float = 0.0
    duplicates: float = 0.0
    reorder: float = 0.0
    reorder_by: int = 3
    any: bool = False

    def set(self, **values: float) -> None:
        """Changes what is given; a share of 0 is no trouble any more."""
        for name, value in values.items():
            setattr(self, name, value)
        self.any = bool(self.loss or self.duplicates or self.reorder)


class Line:
    """The way of one track's packets to its carrier.

    Units of a hundred cameras pass here, so the fewer objects are touched on the way the better: while the line is
    `clear` whoever has a unit calls `carry` itself.
    """

    __slots__ = (
        "_late",
        "_next_at",
        "_ordered",
        "_step_s",
        "_timer",
        "_troubles",
        "_waiting",
        "backlog_bytes",
        "carrier",
        "carry",
        "clear",
    )

    def __init__(self, carrier: Carrier, troubles: LineTroubles, *, ordered: bool) -> None:
        self.carrier = carrier
        self.carry, self.backlog_bytes = carrier.send, carrier.backlog_bytes
        self._troubles = troubles
        self._ordered = ordered
        self._late: list[tuple[int, bytes]] = []
        self._waiting: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._step_s = self._next_at = 0.0
        self.look()

    def look(self) -> None:
        """Whether the line is clear, now that its troubles have changed."""
        self.clear = not (self._troubles.any or self._late)

    def send(self, data: bytes, spread_s: float = 0.0) -> int:
        """Sends framed packets, at once or over `spread_s`; how many of them were lost."""
        troubles = self._troubles
        whole = list(split_frames(data))
        kept = [packet for packet in whole if random.random() >= troubles.loss]
        arriving = kept if self._ordered else self._disordered(kept)
        if spread_s:
            self._spread(arriving, spread_s * _SPREAD_OVER)
        elif arriving:
            self.carry(b"".join(arriving))
        self.look()
        return len(whole) - len(kept)

    def _disordered(self, packets: Iterable[bytes]) -> list[bytes]:
        arriving: list[bytes] = []
        for packet in packets:
            if random.random() < self._troubles.reorder:
                self._late.append((self._troubles.reorder_by, packet))
                continue
            arriving.append(packet)
            if random.random() < self._troubles.duplicates:
                arriving.append(packet)
            arriving += self._overtaken()
        return arriving

    def _overtaken(self) -> list[bytes]:
        """The late packets that now come, after enough others."""
        due = [packet for left, packet in self._late if left <= 1]
        self._late = [(left - 1, packet) for left, packet in self._late if left > 1]
        return due

    def _spread(self, packets: list[bytes], over_s: float) -> None:
        # Where the loop was late a packet of the picture before may still wait: none may overtake it.
        self._flush()
        self._waiting.extend(packets)
        self._step_s = over_s / max(1, len(packets))
        self._next_at = asyncio.get_running_loop().time()
        self._send_next()

    def _send_next(self) -> None:
        if self._waiting:
            self.carry(self._waiting.popleft())
            self._next_at += self._step_s
            self._timer = asyncio.get_running_loop().call_at(self._next_at, self._send_next)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            self.carry(b"".join(self._waiting))
            self._waiting.clear()

    def junk(self, data: bytes) -> None:
        """Bytes that are no packet; as datagrams where packets are datagrams."""
        if self._ordered:
            self.carry(data)
            return
        for at in range(0, len(data), PAYLOAD_BYTES):
            piece = data[at : at + PAYLOAD_BYTES]
            self.carry(b"$\x00" + len(piece).to_bytes(2, "big") + piece)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.carrier.close()
