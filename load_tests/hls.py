"""`python -m load_tests hls --viewers 500 --seconds 20 --json`: CPU of one LL-HLS stream for many viewers.

The server is the real one, with a session of its own for each viewer, guard, access log and recording; the viewers
are another process. Only the server's CPU counts. `--against origin` runs, right after, the same viewers against the
barest origin that aiohttp allows (`hls_origin`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from load_tests.child import child_process, read_json, write_line
from load_tests.measure import measure_window, median_of, print_json, viewer_figures
from load_tests.reference import LOAD
from load_tests.server import new_password
from load_tests.stack import Stack, running_stack

ACCOUNTS: Final = 10
_CHEAP_LOGINS: Final = {"argon2_time_cost": 1, "argon2_memory_kib": 64, "argon2_parallelism": 1}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests hls")
    parser.add_argument("--viewers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    parser.add_argument("--against", choices=["origin"], help="a reference run in the same minute")
    options = parser.parse_args(argv)
    farm = {**LOAD, "cameras": 1, "audio": "none"}
    with (
        tempfile.TemporaryDirectory(prefix="mediasrv-hls-") as directory,
        running_stack(Path(directory), farm, {"security": _CHEAP_LOGINS}) as stack,
    ):
        stack.wait_until_recording()
        url = f"{stack.url}/hls/{stack.cameras[0]}/main/video.m3u8"
        cookies = _log_in(stack, options.viewers)
        runs = [_pair(stack.server.pid, url, cookies, options.seconds, options.against) for _ in range(options.runs)]
    result = median_of(runs)
    if not options.json:
        print(f"{options.viewers} viewers: {result['ms_cpu_per_viewer_s']:.2f} ms of CPU per viewer-second")
    print_json(result)
    return 0


def _pair(pid: int, url: str, cookies: Sequence[str], seconds: float, against: str | None) -> dict[str, Any]:
    result = measure(pid, url, cookies, seconds)
    if against:
        with child_process("load_tests.hls_origin") as origin:
            reference = measure(origin.pid, read_json(origin)["url"], [""] * len(cookies), seconds)
        result["reference"] = reference
        result["ratio"] = result["ms_cpu_per_viewer_s"] / reference["ms_cpu_per_viewer_s"]
    return result


def measure(pid: int, url: str, cookies: Sequence[str], seconds: float) -> dict[str, Any]:
    """One run. Raises RuntimeError where not every viewer plays to the end."""
    with child_process("load_tests.hls_viewers", "--url", url) as watching:
        write_line(watching, json.dumps(cookies))
        read_json(watching)
        time.sleep(2.0)  # the last joiners' first segments are through
        usage, counts = measure_window(pid, watching, seconds)
    return {
        **viewer_figures(usage, len(cookies), counts["octets"]),
        "us_cpu_per_request": usage.cpu_s * 1e6 / max(1, counts["playlists"] + counts["parts"]),
        **counts,
    }


def _log_in(stack: Stack, count: int) -> list[str]:
    """The session cookies of so many logins, spread over some accounts."""
    names = [f"viewer-{number}" for number in range(min(count, ACCOUNTS))]
    passwords = {name: new_password() for name in names}
    for name in names:
        stack.server.files.make_account(name, passwords[name], "load", ["viewer"])
    return [_session(stack.url, name, passwords[name]) for name in islice(cycle(names), count)]


def _session(url: str, username: str, password: str) -> str:
    body = json.dumps({"username": username, "password": password}).encode()
    request = urllib.request.Request(f"{url}/api/v1/session", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        return str(answer.headers["Set-Cookie"].partition(";")[0])
