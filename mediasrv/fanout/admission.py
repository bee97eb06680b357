"""Who may join now. Pure: `now_s` (monotonic) is an argument, memory is bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mediasrv.errors import TooManyRequests

_MOST_KEPT: Final = 10_000


class JoinRate:
    """Offers and ICE restarts of a principal: `per_minute` at once, then one each 60 / `per_minute` seconds."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._per_s = per_minute / 60
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left of it, and as of when; who has all left is not in here for long."""

    def take(self, principal_id: str, now_s: float) -> None:
        """Counts one. Raises TooManyRequests `joins_too_fast`, with how long to wait."""
        if not self._most:
            return
        left, at_s = self._left.get(principal_id, (self._most, now_s))
        left = min(self._most, left + (now_s - at_s) * self._per_s)
        if left < 1:
            wait_s = int((1 - left) / self._per_s) + 1
            raise TooManyRequests("You join too often; wait a moment.", code="joins_too_fast", retry_after_s=wait_s)
        self._left[principal_id] = (left - 1, now_s)
        self._left.move_to_end(principal_id)
        if len(self._left) > _MOST_KEPT:
            self._left.popitem(last=False)


def check_handshakes(connecting: list[str], principal_id: str, most: int) -> None:
    """`connecting` are the principals of viewers that are not connected yet: `most` in all, half of them of one.

    Raises TooManyRequests `handshakes_full`.
    """
    if len(connecting) >= most or connecting.count(principal_id) >= max(1, most // 2):
        raise TooManyRequests("Too many viewers are connecting at this moment.", code="handshakes_full")
