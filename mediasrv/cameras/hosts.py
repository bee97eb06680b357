"""What the streams of one host share: a recorder with 32 channels that is down is asked by one of them at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final
from weakref import WeakValueDictionary

from mediasrv.backoff import Backoff
from mediasrv.clock import Clock
from mediasrv.settings import PullSettings
from mediasrv.waiting import wait_for_event
from mediasrv.wire.addresses import host_of

UNREACHED: Final = "host_unreachable"
"""The one reason that says something of all streams of a host: a closed port may be another camera's behind NAT."""


class Host:
    """After a failure to reach it, streams take turns, with pauses that grow; once one has reached it, all may go."""

    def __init__(self, clock: Clock, first_s: float, most_s: float) -> None:
        self._clock = clock
        self._backoff = Backoff(first_s, most_s)
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._standing = 0
        self._next_at = 0.0

    def failed(self) -> None:
        """A stream did not reach it. What others are connected to is up all the same."""
        if not self._standing and self._reachable.is_set():
            self._reachable.clear()
            self._next_at = self._clock.monotonic() + self._backoff.next_s()

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """While a connection to it stands."""
        self._standing += 1
        self._backoff.reset()
        self._reachable.set()
        try:
            yield
        finally:
            self._standing -= 1

    async def turn(self) -> None:
        """Returns when the caller may try to connect."""
        while not self._reachable.is_set():
            now = self._clock.monotonic()
            if now >= self._next_at:
                self._next_at = now + self._backoff.next_s()  # the others wait for what comes of this
                return
            await wait_for_event(self._reachable, self._next_at - now)


class Hosts:
    """One `Host` for each name or address, as long as a stream of it is supervised."""

    def __init__(self, clock: Clock, settings: PullSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._hosts: WeakValueDictionary[str, Host] = WeakValueDictionary()

    def of(self, address: str) -> Host:
        """`address` is a host, or a URL of any scheme."""
        name = host_of(address) or address  # what no URL can hold names itself
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(self._clock, self._settings.backoff_first_s, self._settings.backoff_most_s)
        return host
