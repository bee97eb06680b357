"""Limits guessing of passwords. Pure: `now` is monotonic seconds; memory is bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

MOST_KEYS: Final = 10_000
REMOTE_FACTOR: Final = 5
"""An address may fail this many times as often as one user name from it: people share addresses."""


class LoginLimit:
    """Counts attempts of a user name from an address, and of the address, in a sliding window.

    An attempt is counted before its password is checked, so that parallel attempts cannot overtake the
    count; a success takes its own attempt back and clears the user name.
    """

    def __init__(self, attempts: int, window_s: float, most_keys: int = MOST_KEYS) -> None:
        self._attempts = attempts
        self._window_s = window_s
        self._most_keys = most_keys
        self._counted: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def attempt(self, remote: str, username: str, now: float) -> float:
        """Counts an attempt: 0.0 where it may go on, else the seconds after which to try again."""
        keys = ((remote, username), (remote, ""))
        limits = (self._attempts, self._attempts * REMOTE_FACTOR)
        wait_s = max(self._wait(key, most, now) for key, most in zip(keys, limits, strict=True))
        if wait_s <= 0.0:
            for key, most in zip(keys, limits, strict=True):
                self._count(key, most, now)
        return wait_s

    def succeeded(self, remote: str, username: str) -> None:
        """Forgets the user name's attempts, and one of the address."""
        self._counted.pop((remote, username), None)
        of_remote = self._counted.get((remote, ""))
        if of_remote:
            of_remote.pop()

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        times = self._counted.get(key)
        if times is None or len(times) < most:
            return 0.0
        return max(0.0, times[0] + self._window_s - now)

    def _count(self, key: tuple[str, str], most: int, now: float) -> None:
        times = self._counted.setdefault(key, deque(maxlen=most))
        times.append(now)
        self._counted.move_to_end(key)
        while len(self._counted) > self._most_keys:
            self._counted.popitem(last=False)
