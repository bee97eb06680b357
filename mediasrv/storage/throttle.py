"""A bound on the bytes a second that go to storage, so that catching up leaves a thin line to live pictures."""

from __future__ import annotations

import asyncio


class Throttle:
    """Lets bytes pass at a rate, in the order in which they were asked for. A rate of 0 is no bound."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at_s = 0.0

    async def take(self, size_bytes: int) -> None:
        """Returns when so many bytes may be sent."""
        if not self._bytes_per_s:
            return
        now_s = asyncio.get_running_loop().time()
        start_s = max(now_s, self._free_at_s)
        self._free_at_s = start_s + size_bytes / self._bytes_per_s
        if start_s > now_s:
            await asyncio.sleep(start_s - now_s)
