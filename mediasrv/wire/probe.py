"""Packets that fill a line for a while, to see whether it carries more than it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mediasrv.wire.pacer import Timer

_INTERVAL_S: Final = 0.02


class Probe:
    """Calls `send` with the number of bits that are due, each 20 ms, while a rate is set."""

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], Timer], send: Callable[[float], float]
    ) -> None:
        self._call_later = call_later
        self._send = send
        self._timer: Timer | None = None
        self._due_bits = 0.0
        self.bits_per_s = 0.0

    def run(self, bits_per_s: float) -> None:
        """From now on at this rate; 0 ends it."""
        self.bits_per_s = bits_per_s
        if not bits_per_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due_bits = None, 0.0
        elif self._timer is None:
            self._step()

    def _step(self) -> None:
        self._due_bits += self.bits_per_s * _INTERVAL_S
        self._due_bits -= self._send(self._due_bits)
        self._timer = self._call_later(_INTERVAL_S, self._step)
