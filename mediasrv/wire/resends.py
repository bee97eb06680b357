"""How much of what a viewer asks for again it gets: viewers ask anew before the answer could be there, and some lie."""

from __future__ import annotations

from typing import Final

_FEWEST: Final = 20
"""So many packets may be sent again between two ticks; a share of what was sent, where that is more."""
_SHARE: Final = 0.5


class Resends:
    """Sequence numbers are those of 16 bits."""

    def __init__(self) -> None:
        self._left = _FEWEST
        self._sent_s: dict[int, float] = {}

    def is_under_way(self, sequence: int, now_s: float, round_trip_s: float) -> bool:
        """Whether it was sent again so lately that the viewer cannot have it yet."""
        return now_s - self._sent_s.get(sequence, float("-inf")) < round_trip_s

    @property
    def spent(self) -> bool:
        """Whether no more is sent again before the next tick."""
        return self._left <= 0

    def note(self, sequence: int, now_s: float) -> None:
        """It is sent again."""
        self._left -= 1
        self._sent_s[sequence] = now_s

    def tick(self, packets: int, now_s: float, round_trip_s: float) -> None:
        """`packets` were sent since the last tick."""
        self._left = max(_FEWEST, int(packets * _SHARE))
        self._sent_s = {one: at_s for one, at_s in self._sent_s.items() if now_s - at_s < round_trip_s}
