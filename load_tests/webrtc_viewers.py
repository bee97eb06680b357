"""Many cheap WebRTC viewers in a process of their own: `python -m load_tests.webrtc_viewers --url URL --viewers N`.

Prints a line of JSON when all have a picture, counts from the line `start` on its standard input to the line
`stop`, prints the counts as a line of JSON and ends. With `--pause` it waits for a line after the first viewer; with
`--joins-per-s` viewers come at that rate until a line comes, and each leaves after `--stay` seconds.
"""

from __future__ import annotations

import argparse
import select
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from load_tests.child import say
from load_tests.measure import percentile
from load_tests.signalling import Signalling, signalling
from load_tests.webrtc_client import Received, WebRtcClient

JOIN_S: Final = 30.0
_TIMER_S: Final = 0.1
_READ_S: Final = 0.01
"""While it counts, sockets are read each 10 ms and not at each datagram: on one machine the viewers must not compete
with the server for its core just while it sends, as no real viewer does. When a picture came the kernel tells."""
_JOINS_AT_ONCE: Final = 16


class Viewers:
    """Joins viewers one after another and reads for all of them in one loop."""

    def __init__(self, door: Signalling, audio: bool, sample: int) -> None:
        self.clients: dict[int, WebRtcClient] = {}
        self.batched = False
        self.first_picture_ms: list[float] = []
        """Of those that have left; see `leave`."""
        self._door = door
        self._audio = audio
        self._sample = sample
        self._joined_s: dict[int, float] = {}
        self._poll = select.epoll()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._next_timer_s = 0.0

    def join(self) -> None:
        client = self.new_client()
        self._door.join(client, self._audio)
        self.admit(client)

    def new_client(self) -> WebRtcClient:
        client = WebRtcClient(self._sample, timed=True)
        self._joined_s[client.sock.fileno()] = time.monotonic()
        return client

    def admit(self, client: WebRtcClient) -> None:
        """Reads for a client that has its answer."""
        number = client.sock.fileno()
        self.clients[number] = client
        self._poll.register(number, select.EPOLLIN)
        client.on_time(time.monotonic())

    def leave(self, client: WebRtcClient, *, goodbye: bool = True) -> None:
        number = client.sock.fileno()
        self._poll.unregister(number)
        del self.clients[number]
        joined_s = self._joined_s.pop(number)
        if client.first_picture_s is not None:
            self.first_picture_ms.append((client.first_picture_s - joined_s) * 1000)
        if goodbye:
            client.leave()
        else:
            client.close()

    def run(self, timeout_s: float) -> bool:
        """Serves all viewers for so long, or until a line waits on the standard input (True)."""
        end_s = time.monotonic() + timeout_s
        while (now_s := time.monotonic()) < end_s:
            if now_s >= self._next_timer_s:
                self._next_timer_s = now_s + _TIMER_S
                for client in self.clients.values():
                    client.on_time(now_s)
            if self.batched:
                time.sleep(_READ_S)
            for number, _ in self._poll.poll(0 if self.batched else min(_TIMER_S, end_s - now_s)):
                client_or_none = self.clients.get(number)
                if client_or_none is None:
                    return True
                client_or_none.on_readable(time.monotonic())
        return False

    def wait_for_pictures(self) -> bool:
        end_s = time.monotonic() + JOIN_S
        while any(client.first_picture_s is None for client in self.clients.values()):
            if time.monotonic() > end_s:
                return False
            self.run(0.05)
        return True

    def waits_ms(self) -> list[float]:
        """From the offer to the first picture, of each viewer that has one or had one."""
        waits = [
            (client.first_picture_s - self._joined_s[number]) * 1000
            for number, client in self.clients.items()
            if client.first_picture_s is not None
        ]
        return self.first_picture_ms + waits

    def counts(self) -> dict[str, Any]:
        received = [client.received for client in self.clients.values()]
        return {
            "packets": sum(each.packets for each in received),
            "octets": sum(each.octets for each in received),
            "access_units_kept": sum(each.pictures for each in received),
            "audio_packets": sum(each.audio_packets for each in received),
            "lost": sum(each.lost for each in received),
            "opened": sum(each.opened for each in received),
            "not_authentic": sum(each.not_authentic for each in received),
            "faults": sum(len(each.faults) for each in received),
            "viewers_without_media": sum(not each.packets for each in received),
            **_times(received),
        }


def _times(received: Sequence[Received]) -> dict[str, float]:
    """How late pictures were at the viewers, and how long after they were published."""
    late, behind = array("f"), array("f")
    for each in received:
        late += each.late_ms
        behind += each.behind_ms
    return {
        "pictures_timed": len(late),
        "late_ms_p50": percentile(late, 50),
        "late_ms_p99": percentile(late, 99),
        "late_ms_p999": percentile(late, 99.9),
        "late_ms_max": max(late, default=float("nan")),
        "latency_ms_p50": percentile(behind, 50),
        "latency_ms_p99": percentile(behind, 99),
    }


class Storm:
    """Viewers that come at an even rate and leave after a while. Offers are posted beside, so that none waits.

    Of each four that leave, `vanishing` do so without a word.
    """

    def __init__(
        self,
        viewers: Viewers,
        door: Signalling,
        audio: bool,
        joins_per_s: float,
        stay_s: float,
        most: int,
        vanishing: int,
    ) -> None:
        self.joins = 0
        self.refused = 0
        self._viewers = viewers
        self._door = door
        self._audio = audio
        self._every_s = 1 / joins_per_s
        self._stay_s = stay_s
        self._most = most
        self._vanishing = vanishing
        self._left = 0
        self._asked: deque[tuple[Future[None], WebRtcClient]] = deque()
        self._there: deque[tuple[float, WebRtcClient]] = deque()

    def run(self) -> float:
        """Until a line comes, or all have come and left; the seconds that it took."""
        started_s = time.monotonic()
        with ThreadPoolExecutor(_JOINS_AT_ONCE) as posting:
            while True:
                now_s = time.monotonic()
                if self._is_due(now_s - started_s):
                    client = self._viewers.new_client()
                    self._asked.append((posting.submit(self._door.join, client, self._audio), client))
                    self.joins += 1
                self._take(now_s)
                if self._viewers.run(0.005) or (self._most and self._left + self.refused == self._most):
                    return now_s - started_s

    def _is_due(self, since_s: float) -> bool:
        more = not self._most or self.joins < self._most
        return more and self.joins * self._every_s <= since_s and len(self._asked) < 4 * _JOINS_AT_ONCE

    def _take(self, now_s: float) -> None:
        while self._asked and self._asked[0][0].done():
            asked, client = self._asked.popleft()
            if asked.exception() is None:
                self._viewers.admit(client)
                self._there.append((now_s + self._stay_s, client))
            else:
                self.refused += 1
                client.close()
        while self._there and self._there[0][0] <= now_s:
            self._viewers.leave(self._there.popleft()[1], goodbye=self._left % 4 >= self._vanishing)
            self._left += 1


def watch(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests.webrtc_viewers")
    parser.add_argument("--url", required=True)
    parser.add_argument("--signalling", choices=["whep", "janus"], default="whep")
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--token", default="", help="sent as a Bearer token")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--sample", type=int, default=50, help="decrypt every so many packets")
    parser.add_argument("--join-interval", type=float, default=0.02)
    parser.add_argument("--pause", action="store_true", help="wait for a line after the first")
    parser.add_argument("--joins-per-s", type=float, default=0.0)
    parser.add_argument("--stay", type=float, default=1.0, help="seconds, with --joins-per-s")
    parser.add_argument("--joins", type=int, default=0, help="with --joins-per-s: so many in all, then the end")
    parser.add_argument("--vanishing", type=int, default=0, help="with --joins-per-s: of four leave so many unsaid")
    options = parser.parse_args(argv)
    door = signalling(options.signalling, options.url, options.token)
    viewers = Viewers(door, options.audio, options.sample)
    if options.joins_per_s:
        pace = (options.joins_per_s, options.stay, options.joins, options.vanishing)
        return _storm(Storm(viewers, door, options.audio, *pace), viewers, waits=not options.joins)
    for number in range(options.viewers):
        viewers.join()
        viewers.run(options.join_interval)
        if not number and options.pause:
            _report(viewers)
            _serve_until_line(viewers)
    _report(viewers)
    viewers.batched = True
    _serve_until_line(viewers)
    for client in viewers.clients.values():
        client.restart_counts()
    _serve_until_line(viewers)
    say(viewers.counts())
    for client in list(viewers.clients.values()):
        viewers.leave(client)
    return 0


def _report(viewers: Viewers) -> None:
    complete = viewers.wait_for_pictures()
    say({"complete": complete, **_waits(viewers)})


def _waits(viewers: Viewers) -> dict[str, float]:
    waits = viewers.waits_ms()
    return {"first_picture_ms_p50": percentile(waits, 50), "first_picture_ms_p95": percentile(waits, 95)}


def _storm(storm: Storm, viewers: Viewers, *, waits: bool) -> int:
    took_s = storm.run()
    if waits:
        sys.stdin.readline()
    seen = len(viewers.waits_ms())
    say({"joins": storm.joins, "joins_per_s": storm.joins / took_s, "joins_refused": storm.refused} | _waits(viewers))
    return 0 if seen else 1


def _serve_until_line(viewers: Viewers) -> None:
    while not viewers.run(1.0):
        pass
    sys.stdin.readline()


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1:]))
