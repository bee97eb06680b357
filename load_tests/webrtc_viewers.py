"""Many cheap WebRTC viewers in a process of their own: `python -m load_tests.webrtc_viewers --url URL --viewers N`.

Prints a line of JSON when all have a picture, counts from the line `start` on its standard input to the line
`stop`, prints the counts as a line of JSON and ends.
"""

from __future__ import annotations

import argparse
import json
import select
import statistics
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

from load_tests.webrtc_client import WebRtcClient

JOIN_S: Final = 30.0
_TIMER_S: Final = 0.1
_READ_S: Final = 0.01
"""While it counts, sockets are read each 10 ms and not at each datagram: on one machine the viewers must not compete
with the server for its core just while it sends, as no real viewer does."""


class Viewers:
    """Joins viewers one after another and reads for all of them in one loop."""

    def __init__(self, url: str, headers: dict[str, str], audio: bool, sample: int) -> None:
        self.clients: dict[int, WebRtcClient] = {}
        self.batched = False
        self._url = url
        self._headers = headers
        self._audio = audio
        self._sample = sample
        self._joined_s: dict[int, float] = {}
        self._poll = select.epoll()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._next_timer_s = 0.0

    def join(self) -> None:
        client = WebRtcClient(self._sample)
        number = client.sock.fileno()
        self._joined_s[number] = time.monotonic()
        headers = {"Content-Type": "application/sdp", **self._headers}
        request = urllib.request.Request(self._url, client.offer(audio=self._audio).encode(), headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - the caller's own URL
            client.accept(response.read().decode())
        self.clients[number] = client
        self._poll.register(number, select.EPOLLIN)
        client.on_time(time.monotonic())

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

    def first_picture_ms_p50(self) -> float:
        waits = [
            (client.first_picture_s - self._joined_s[number]) * 1000
            for number, client in self.clients.items()
            if client.first_picture_s is not None
        ]
        return statistics.median(waits) if waits else float("nan")

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
        }


def watch(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests.webrtc_viewers")
    parser.add_argument("--url", required=True)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--token", default="", help="sent as a Bearer token")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--sample", type=int, default=50, help="decrypt every so many packets")
    parser.add_argument("--join-interval", type=float, default=0.02)
    options = parser.parse_args(argv)
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    viewers = Viewers(options.url, headers, options.audio, options.sample)
    for _ in range(options.viewers):
        viewers.join()
        viewers.run(options.join_interval)
    complete = viewers.wait_for_pictures()
    print(json.dumps({"complete": complete, "first_picture_ms_p50": viewers.first_picture_ms_p50()}), flush=True)
    viewers.batched = True
    _serve_until_line(viewers)
    for client in viewers.clients.values():
        client.restart_counts()
    _serve_until_line(viewers)
    print(json.dumps(viewers.counts()), flush=True)
    return 0


def _serve_until_line(viewers: Viewers) -> None:
    while not viewers.run(1.0):
        pass
    sys.stdin.readline()


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1:]))
