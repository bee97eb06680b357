"""The measured side of `ingest`: the real hub and pulls, under the loop that the server runs on.

Prints its memory before the first pull, takes a line of JSON (camera, URL, user name, password of each), then `start`
and `stop`, and prints what came in between. What it keeps of an access unit is where its counter lies, and when it was
published; both are looked at after the measured time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import uvloop

from load_tests.camera_farm.counters import read_counters
from load_tests.child import lines_told, say
from load_tests.measure import percentile, rss_bytes
from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef, TrackKind
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.settings import PullSettings
from mediasrv.waiting import Turns
from mediasrv.web.node_state import LoopWatch

HEAD_BYTES: Final = 300
"""Parameter sets and the counter stand before the slices."""


class Log:
    """What was published since `start`: camera, when, and the head of the picture."""

    def __init__(self) -> None:
        self.is_on = False
        self.pictures: list[tuple[str, int, bytes]] = []
        self.sounds = 0

    def told(self) -> dict[str, Any]:
        counters: dict[str, list[int]] = defaultdict(list)
        latencies_ms = []
        for camera_id, at_ns, head in self.pictures:
            counter = read_counters(head)
            if counter is not None:
                counters[camera_id].append(counter.counter)
                latencies_ms.append(at_ns / 1e6 - counter.wall_us / 1e3)
        return {
            "counters": counters,
            "sounds": self.sounds,
            "latency_ms_p50": percentile(latencies_ms, 50) if latencies_ms else None,
            "latency_ms_p99": percentile(latencies_ms, 99) if latencies_ms else None,
        }


class LoggedMountpoint(Mountpoint):
    """Notes what is published to it; without `keeps` that is all it does."""

    def __init__(self, ref: StreamRef, log: Log, *, keeps: bool) -> None:
        super().__init__(ref, 0.48)
        self._log = log
        self._keeps = keeps

    def publish(self, unit: AccessUnit) -> None:
        log = self._log
        if log.is_on:
            if unit.format.kind is TrackKind.VIDEO:
                log.pictures.append((self.ref.camera_id, time.time_ns(), unit.payload[:HEAD_BYTES]))
            else:
                log.sounds += 1
        if self._keeps:
            super().publish(unit)


class Watcher:
    """Whoever watches live; what it does with the pictures is measured by `fanout`."""

    def on_access_unit(self, unit: AccessUnit) -> None:
        pass

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass


async def run(options: argparse.Namespace) -> None:
    lines = await lines_told()
    say({"rss_bytes": rss_bytes(os.getpid())})
    sources = json.loads(await lines.readline())
    clock, log = SystemClock(), Log()
    watch = LoopWatch(clock)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watch.run())]
        running += [tasks.create_task(_pull(pull)) for pull in _pulls(sources, clock, log, options)]
        await lines.readline()
        log.is_on = True
        await lines.readline()
        log.is_on = False
        say(log.told() | {"loop_late_ms_p99": watch.p99_ms()})
        for task in running:
            task.cancel()


def _pulls(
    sources: list[tuple[str, str, str, str]], clock: SystemClock, log: Log, options: argparse.Namespace
) -> list[RtspPull]:
    settings = PullSettings(allowed_networks=("127.0.0.0/8",))
    gatherer, gate = Gatherer(settings.gather_s), Turns(settings.handshakes, settings.handshakes_per_host)
    pulls = []
    for number, (camera_id, url, username, password) in enumerate(sources):
        mountpoint = LoggedMountpoint(StreamRef(camera_id, StreamName.MAIN), log, keeps=not options.no_cache)
        if not options.unwatched:
            mountpoint.subscribe(Watcher())
        source = RtspSource(url, username, password)
        session = _new_session(mountpoint.ref, number, clock)
        pulls.append(RtspPull(source, mountpoint, session, clock, settings, gatherer, gate))
    return pulls


def _new_session(ref: StreamRef, number: int, clock: SystemClock) -> Callable[[], Session]:
    return lambda: Session(f"session-{number}", ref, 1, clock.wall_us(), clock.monotonic())


async def _pull(pull: RtspPull) -> None:
    with contextlib.suppress(CameraError):  # a camera that is lost shows in the account
        await pull.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unwatched", action="store_true")
    parser.add_argument("--no-cache", action="store_true")
    uvloop.run(run(parser.parse_args()))
