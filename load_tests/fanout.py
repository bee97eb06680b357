"""`python -m load_tests fanout --viewers 100 --seconds 15 --json`: CPU of one stream sent to many WebRTC viewers.

The server and the viewers are processes of their own; only the server's CPU counts. Every viewer does a real
handshake, checks the continuity of what it receives and decrypts a sample of it. `--against libsrtp` runs, right
after, the same server with libsrtp and one `sendto` a packet in place of AES-GCM in one call and GSO.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from load_tests.child import child_process, read_json, write_line
from load_tests.measure import print_json, usage_of


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests fanout")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    parser.add_argument("--against", choices=["libsrtp"], help="a reference run in the same minute")
    options = parser.parse_args(argv)
    result = measure(options.viewers, options.seconds)
    if options.against:
        reference = measure(options.viewers, options.seconds, "--reference")
        result["reference"] = reference
        result["ratio"] = result["ms_cpu_per_viewer_s"] / reference["ms_cpu_per_viewer_s"]
    if not options.json:
        print(f"{options.viewers} viewers: {result['ms_cpu_per_viewer_s']:.2f} ms of CPU per viewer-second")
    print_json(result)
    sound = not (result["lost"] or result["not_authentic"] or result["faults"] or result["viewers_without_media"])
    return 0 if sound else 1


def measure(viewers: int, seconds: float, *server_options: str) -> dict[str, Any]:
    """One run. Raises RuntimeError where a process does not come up or viewers get no picture."""
    with child_process("load_tests.fanout_server", *server_options) as server:
        url = read_json(server)["url"]
        with child_process("load_tests.webrtc_viewers", "--url", f"{url}/whep", "--viewers", str(viewers)) as watching:
            joined = read_json(watching)
            if not joined["complete"]:
                raise RuntimeError("not every viewer got a picture")
            return _measure_window(server.pid, url, watching, joined, viewers, seconds)


def _measure_window(
    server_pid: int, url: str, watching: subprocess.Popen[str], joined: dict[str, Any], viewers: int, seconds: float
) -> dict[str, Any]:
    time.sleep(1.0)  # the last joiners' cached pictures are through
    before = _stats(url)
    write_line(watching, "start")
    with usage_of(server_pid) as usage:
        time.sleep(seconds)
    after = _stats(url)
    write_line(watching, "stop")
    counts = read_json(watching)
    packets = after["counters"]["packets"] - before["counters"]["packets"]
    return {
        "viewers": viewers,
        "seconds": usage.wall_s,
        "ms_cpu_per_viewer_s": usage.cpu_s * 1000 / viewers / usage.wall_s,
        "us_cpu_per_packet": usage.cpu_s * 1e6 / packets if packets else 0.0,
        "mbit_s_per_viewer": counts["octets"] * 8 / viewers / usage.wall_s / 1e6,
        "access_units_sent": (after["access_units"] - before["access_units"]) * viewers,
        "loop_late_ms_p99": after["loop_late_ms_p99"],
        "rss_mb": usage.rss_bytes / 1e6,
        "first_picture_ms_p50": joined["first_picture_ms_p50"],
        "send_blocked": after["counters"]["blocked"] - before["counters"]["blocked"],
        "unsegmented": after["counters"]["unsegmented"],
        **counts,
    }


def _stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as response:  # noqa: S310 - our own server
        answer: dict[str, Any] = json.load(response)
        return answer
