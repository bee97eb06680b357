"""Limits guessing of passwords, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NoReturn

from mediasrv.clock import Clock
from mediasrv.errors import NotAuthenticated, TooManyRequests
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.settings import SecuritySettings

MOST_KEYS: Final = 10_000
REMOTE_FACTOR: Final = 5
"""An address may fail this many times as often as one user name from it: people share addresses."""

_LIMITED_WINDOW_S: Final = 300.0


class LoginLimit:
    """Counts attempts of a user name from an address, and of the address, in a sliding window. Pure: `now` is monotonic
    seconds.

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


class LoginGate:
    """The limit of one door, and what becomes of logins there in the access log; `subject` names the door."""

    def __init__(self, subject: str, access_log: AccessLog, clock: Clock, settings: SecuritySettings) -> None:
        self._subject = subject
        self._access_log = access_log
        self._clock = clock
        self._limit = LoginLimit(settings.login_attempts, settings.login_window_s)

    async def check(self, username: str, remote: str) -> None:
        """Counts an attempt. Raises TooManyRequests, which is logged."""
        wait_s = self._limit.attempt(remote, username, self._clock.monotonic())
        if wait_s > 0.0:
            await self._access_log.once(Event("login.limited", self._subject, remote=remote), _LIMITED_WINDOW_S)
            raise TooManyRequests("Too many failed logins: wait a while.", retry_after_s=int(wait_s) + 1)

    async def refuse(self, remote: str, principal_id: str | None = None, username: str = "") -> NoReturn:
        """Raises NotAuthenticated `login_failed`, which is logged. An unknown name may be a password, mistyped: give
        the name of an account only."""
        await self._access_log.append(Event("login.failed", self._subject, principal_id, username, remote))
        raise NotAuthenticated("The user name or the password is wrong.", code="login_failed")

    def succeeded(self, username: str, remote: str) -> None:
        self._limit.succeeded(remote, username)
