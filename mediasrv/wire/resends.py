"""How much of what a viewer asks for again it gets: viewers ask anew before the answer could be there, and some lie."""

from __future__ import annotations

from typing import Final

_FIRST: Final = 20
_FEWEST: Final = 8
"""So many packets may be sent again before the first tick, and between two; a share of what was sent, where that is
more.
"""
_SHARE: Final = 0.5
_SHARE_OF_CONGESTED: Final = 0.2
"""What a full line loses is lost for the most part by what is sent too much: all of it again, and it stays full."""
_ASKED_AGAIN_S: Final = 0.09
"""Browsers, which do not know the round trip, ask each 100 ms."""


class Resends:
    """Sequence numbers are those of 16 bits."""

    def __init__(self) -> None:
        self._left = _FIRST
        self._sent_s: dict[int, float] = {}

    def is_under_way(self, sequence: int, now_s: float, round_trip_s: float) -> bool:
        """Whether it was sent again so lately that the viewer cannot have it yet."""
        return _is_lately(self._sent_s.get(sequence, float("-inf")), now_s, round_trip_s)

    @property
    def spent(self) -> bool:
        """Whether no more is sent again before the next tick."""
        return self._left <= 0

    def note(self, sequence: int, now_s: float) -> None:
        """It is sent again."""
        self._left -= 1
        self._sent_s[sequence] = now_s

    def tick(self, packets: int, now_s: float, round_trip_s: float, *, congested: bool) -> None:
        """`packets` were sent since the last tick."""
        self._left = max(_FEWEST, int(packets * (_SHARE_OF_CONGESTED if congested else _SHARE)))
        self._sent_s = {one: at_s for one, at_s in self._sent_s.items() if _is_lately(at_s, now_s, round_trip_s)}


def _is_lately(sent_s: float, now_s: float, round_trip_s: float) -> bool:
    return now_s - sent_s < max(_ASKED_AGAIN_S, round_trip_s)
