"""`python -m load_tests joins --count 10000 --json`: what is left in the server after so many viewers came and left.

Of each four three say goodbye and one vanishes, which costs the server its consent time. Before and after, with nobody
watching and all garbage collected, it is asked for its live objects by type, tasks, open files and memory, and its CPU
is measured.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

from load_tests.child import child_process, read_json
from load_tests.clip_on_air import GOP
from load_tests.measure import print_json, usage_of
from load_tests.stack import wait_for

_CONSENT_S: Final = 4.0
_STAY_S: Final = 0.3
_WARM: Final = 500
"""Joins before the first look: what is taken once and for all is taken by then."""
_IDLE_S: Final = 3.0
_EMPTY_S: Final = 30.0
_HANDFUL: Final = 8
"""What two looks may differ by, by themselves."""
_CACHED: Final = {"mediasrv.media.access_unit.AccessUnit": GOP}
"""The GOP cache fills and empties whether anybody watches or not."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests joins")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="joins a second")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    options = parser.parse_args(argv)
    result = measure(options.count, options.rate)
    if not options.json:
        print(f"after {result['joins']} joins: {result['grown_kb']:+.0f} KB, {result['grown']} left over")
    print_json(result)
    return 0 if not result["grown"] and not result["joins_refused"] else 1


def measure(count: int, rate: float) -> dict[str, Any]:
    """`grown` names what there is more of than before: types of objects, tasks, files.

    `held_mb` is the memory before the allocator was told to give back what is free, `rss_mb` and `grown_kb` after it.
    """
    with child_process("load_tests.fanout_server", "--consent", str(_CONSENT_S)) as server:
        url = read_json(server)["url"]
        _come_and_leave(url, _WARM, rate)
        before, idle_before = _remains(url), _idle_ms_s(server.pid)
        with usage_of(server.pid) as usage:
            came = _come_and_leave(url, count, rate)
        after, idle_after = _remains(url), _idle_ms_s(server.pid)
    return {
        **came,
        "seconds": usage.wall_s,
        "ms_cpu_per_join": usage.cpu_s * 1000 / count,
        "grown_kb": (after["rss_bytes"] - before["rss_bytes"]) / 1000,
        "rss_mb": after["rss_bytes"] / 1e6,
        "held_mb": after["held_bytes"] / 1e6,
        "idle_ms_cpu_per_s_before": idle_before,
        "idle_ms_cpu_per_s_after": idle_after,
        "grown": _grown(before, after),
    }


def _come_and_leave(url: str, count: int, rate: float) -> dict[str, Any]:
    options = ["--joins-per-s", str(rate), "--joins", str(count), "--stay", str(_STAY_S), "--vanishing", "1"]
    with child_process("load_tests.webrtc_viewers", "--url", f"{url}/whep", *options) as coming:
        came = read_json(coming)
    wait_for(lambda: _get(f"{url}/stats")["viewers"] == 0, _EMPTY_S)
    return came


def _remains(url: str) -> dict[str, Any]:
    time.sleep(1.0)  # the last connections of the door are closed
    return _get(f"{url}/remains")


def _idle_ms_s(pid: int) -> float:
    with usage_of(pid) as usage:
        time.sleep(_IDLE_S)  # the measured time
    return usage.cpu_s * 1000 / usage.wall_s


def _grown(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """By how many there are more, where it is more than by chance."""
    kinds = after["objects"].keys() | before["objects"].keys()
    more = {kind: after["objects"].get(kind, 0) - before["objects"].get(kind, 0) for kind in kinds}
    more |= {name: after[name] - before[name] for name in ("tasks", "files", "viewers")}
    return {kind: count for kind, count in sorted(more.items()) if count > _CACHED.get(kind, _HANDFUL)}


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own server
        answer: dict[str, Any] = json.load(response)
        return answer
