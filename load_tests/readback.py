"""Recorded footage read back as a person's player would, and every access unit in it accounted for.

The cameras of the farm sign a counter into every access unit; what playback returns is held against what
the farm says it sent.
"""

from __future__ import annotations

import re
from collections import Counter as Counted
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote, urljoin

from load_tests.camera_farm.counters import Counter, read_counters, verify
from load_tests.camera_farm.process import expected_counters
from load_tests.server import ApiClient
from mediasrv.media.fmp4 import ReadSample, read_samples

_VIDEO_ENTRY: Final = re.compile(r"^[^#]*video\.m3u8\S*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PlayedUnit:
    """A video access unit as playback returned it."""

    counter: Counter | None
    keyframe: bool


@dataclass(slots=True)
class Account:
    """What became of the access units that the cameras sent. `ok` when nothing is wrong.

    `sent` and `missing` reach to the last one kept of each session: what a broken connection took with it is
    `tail`, the largest number of access units that the farm had sent after that.
    """

    sent: int = 0
    kept: int = 0
    missing: list[tuple[str, int]] = field(default_factory=list)
    doubled: list[tuple[str, int]] = field(default_factory=list)
    out_of_order: int = 0
    badly_signed: int = 0
    unmarked: int = 0
    tail: int = 0

    @property
    def ok(self) -> bool:
        return not (self.missing or self.doubled or self.out_of_order or self.badly_signed or self.unmarked)

    def __add__(self, other: Account) -> Account:
        total = Account(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))
        total.tail = max(self.tail, other.tail)
        return total


def played_units(
    client: ApiClient, camera_id: str, start: datetime, end: datetime, stream: str = "main"
) -> Iterator[PlayedUnit]:
    """All video access units of a camera's stream between two times, in playback's order."""
    for sample in _played_samples(client, camera_id, start, end, stream):
        yield PlayedUnit(read_counters(sample.payload), sample.keyframe)


def played_payloads(client: ApiClient, camera_id: str, start: datetime, end: datetime) -> Iterator[bytes]:
    """Those of the main stream as bytes: length-prefixed NAL units."""
    for sample in _played_samples(client, camera_id, start, end, "main"):
        yield sample.payload


def _played_samples(
    client: ApiClient, camera_id: str, start: datetime, end: datetime, stream: str
) -> Iterator[ReadSample]:
    base = f"/playback/{camera_id}/index.m3u8"
    query = f"?start={_iso(start)}&end={_iso(end)}&stream={stream}"
    entry = _VIDEO_ENTRY.search(client.fetch(base + query).decode())
    if entry is None:
        return
    playlist_url = urljoin(base, entry.group())
    for line in client.fetch(playlist_url).decode().splitlines():
        if line and not line.startswith("#"):
            yield from read_samples(client.fetch(urljoin(playlist_url, line)))


def account_for(units: Iterator[PlayedUnit], sessions: list[dict[str, Any]], key: bytes) -> Account:
    """Holds what was played against the farm's log of one stream: from the first keyframe of each session on."""
    account = Account()
    played: dict[str, list[int]] = {}
    for unit in units:
        if unit.counter is None:
            account.unmarked += 1
        elif not verify(unit.counter, key):
            account.badly_signed += 1
        else:
            played.setdefault(unit.counter.run, []).append(unit.counter.counter)
    for log in sessions:
        _account_session(account, log, played)
    return account


def _account_session(account: Account, log: dict[str, Any], played: dict[str, list[int]]) -> None:
    run, first, last = log["run"], log["first"], log["last"]
    mine = [counter for counter in played.get(run, []) if first is not None and first <= counter <= last]
    kept = set(mine)
    everything = expected_counters(log)
    reached = max(kept, default=-1)
    expected = [counter for counter in everything if counter <= reached]
    account.sent += len(expected)
    account.kept += len(kept)
    account.tail = max(account.tail, len(everything) - len(expected))
    account.missing += [(run, counter) for counter in expected if counter not in kept]
    account.doubled += [(run, counter) for counter, times in Counted(mine).items() if times > 1]
    account.out_of_order += sum(later <= earlier for earlier, later in pairwise(mine))


def _iso(at: datetime) -> str:
    return quote(at.isoformat())
