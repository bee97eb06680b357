"""The line between a camera and whoever pulls it: packets that are lost, doubled, late, or spread over time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from load_tests.camera_farm.rtsp.carriers import Carrier
from load_tests.camera_farm.tracks.rtp_unit import split_frames

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
    """The way of one track's packets to its carrier."""

    def __init__(self, carrier: Carrier, troubles: LineTroubles, *, ordered: bool) -> None:
        self.carrier = carrier
        self._troubles = troubles
        self._ordered = ordered
        self._random = random.Random()
        self._late: list[tuple[int, bytes]] = []
        self._timers: set[asyncio.TimerHandle] = set()

    def send(self, data: bytes, spread_s: float = 0.0) -> int:
        """Sends framed packets, at once or over `spread_s`; how many of them were lost."""
        troubles = self._troubles
        if not (spread_s or troubles.any or self._late):
            self.carrier.send(data)
            return 0
        whole = list(split_frames(data))
        kept = [packet for packet in whole if self._random.random() >= troubles.loss]
        arriving = kept if self._ordered else self._disordered(kept)
        if spread_s:
            self._spread(arriving, spread_s * _SPREAD_OVER)
        elif arriving:
            self.carrier.send(b"".join(arriving))
        return len(whole) - len(kept)

    def _disordered(self, packets: Iterable[bytes]) -> list[bytes]:
        arriving: list[bytes] = []
        for packet in packets:
            if self._random.random() < self._troubles.reorder:
                self._late.append((self._troubles.reorder_by, packet))
                continue
            arriving.append(packet)
            if self._random.random() < self._troubles.duplicates:
                arriving.append(packet)
            arriving += self._overtaken()
        return arriving

    def _overtaken(self) -> list[bytes]:
        """The late packets that now come, after enough others."""
        due = [packet for left, packet in self._late if left <= 1]
        self._late = [(left - 1, packet) for left, packet in self._late if left > 1]
        return due

    def _spread(self, packets: list[bytes], over_s: float) -> None:
        step_s = over_s / max(1, len(packets))
        for index, packet in enumerate(packets):
            if index:
                self._later(index * step_s, packet)
            else:
                self.carrier.send(packet)

    def _later(self, delay_s: float, packet: bytes) -> None:
        def send() -> None:
            self._timers.discard(handle)
            self.carrier.send(packet)

        handle = asyncio.get_running_loop().call_later(delay_s, send)
        self._timers.add(handle)

    def junk(self, data: bytes) -> None:
        """Bytes that are no packet; as a datagram where packets are datagrams."""
        self.carrier.send(data if self._ordered else b"$\x00" + len(data).to_bytes(2, "big") + data)

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.carrier.close()
