"""What recording costs: cameras of video and audio through the whole chain into a real S3 server.

`python -m load_tests record --cameras 60 --seconds 30 --json`. CPU is that of the server's process over the
window; the window opens once every camera has been recording for longer than a recording object runs, so
that uploads are in it as in everyday life, and LL-HLS windows are kept for every camera. Afterwards all
footage is read back and every access unit that the cameras sent is accounted for. `--against ffmpeg` then
measures how much ffmpeg needs to pull the same cameras.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from load_tests.measure import Usage, machine, print_json, rss_bytes, usage_of
from load_tests.readback import Account, account_for, played_units
from load_tests.reference import LOAD, measure_ffmpeg
from load_tests.stack import Stack, running_stack, wait_for

STORED_S: Final = 120.0
_HLS_EVERY_S: Final = 10.0


def main(argv: Sequence[str]) -> int:
    """0 when every access unit is accounted for."""
    parser = argparse.ArgumentParser(prog="python -m load_tests record", description=__doc__)
    parser.add_argument("--cameras", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--warm-up", type=float, default=70, help="seconds of recording before the window opens")
    parser.add_argument("--no-hls", action="store_true", help="keep no LL-HLS windows")
    parser.add_argument("--skip-readback", action="store_true", help="do not account for the access units")
    parser.add_argument("--against", choices=["ffmpeg"], help="a reference run in the same minute")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    say: Callable[[str], None] = (lambda text: None) if options.json else print
    farm = {"cameras": options.cameras, **LOAD}
    with tempfile.TemporaryDirectory(prefix="mediasrv-record-") as name, running_stack(Path(name), farm) as stack:
        result, account = _measure(stack, options, say)
    if options.against:
        say("measuring the reference")
        result["reference"] = reference = measure_ffmpeg(farm, options.seconds)
        result["ratio"] = result["ms_cpu_per_camera_s"] / reference["ms_cpu_per_camera_s"]
    print_json(result)
    return 0 if options.skip_readback or (account.ok and account.tail <= LOAD["rate"]) else 1


def _measure(stack: Stack, options: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], Account]:
    say(f"{options.cameras} cameras; waiting until all record")
    stack.wait_until_recording()
    say(f"warming up for {options.warm_up:.0f} s")
    _watch_for(stack, options.warm_up, not options.no_hls)
    say(f"measuring for {options.seconds:.0f} s")
    with usage_of(stack.server.pid) as usage:
        _watch_for(stack, options.seconds, not options.no_hls)
    status = stack.client.get("/api/v1/status")
    result = _figures(stack, options, usage) | {"loop_late_ms_p99": status["node"]["loop_late_ms_p99"]}
    account = Account()
    if not options.skip_readback:
        say("reading everything back")
        account = read_back(stack)
        result |= {
            "access_units_sent": account.sent,
            "access_units_kept": account.kept,
            "lost": len(account.missing),
            "doubled": len(account.doubled),
            "badly_signed": account.badly_signed,
            "cut_off_at_the_end": account.tail,
        }
    return result, account


def _figures(stack: Stack, options: argparse.Namespace, usage: Usage) -> dict[str, Any]:
    camera_s = options.cameras * usage.wall_s
    return {
        "name": "record",
        "machine": machine(),
        "cameras": options.cameras,
        "seconds": usage.wall_s,
        "ms_cpu_per_camera_s": usage.cpu_s / camera_s * 1000,
        "rss_mb": rss_bytes(stack.server.pid) / 1e6,
        "rss_mb_per_camera": rss_bytes(stack.server.pid) / 1e6 / options.cameras,
    }


def _watch_for(stack: Stack, seconds: float, hls: bool) -> None:
    """Lets time pass; where `hls`, asks for a playlist of every camera often enough that its window is kept."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if hls:
            for camera_id in stack.cameras:
                stack.client.fetch(f"/hls/{camera_id}/main/video.m3u8")
        time.sleep(max(0.0, min(left, _HLS_EVERY_S, until - time.monotonic())))


def read_back(stack: Stack) -> Account:
    """Stops the cameras, waits until what they sent is durable, and reads it."""
    for camera_id in stack.cameras:
        stack.farm.fault(camera_id, "offline")
    wait_for(lambda: _none_recording(stack), STORED_S, lambda: "cameras are still recording")
    end = datetime.now(UTC) + timedelta(seconds=1)
    with ThreadPoolExecutor(2) as pool:
        accounts = pool.map(lambda camera_id: _account(stack, camera_id, end), stack.cameras)
    return sum(accounts, Account())


def _none_recording(stack: Stack) -> bool:
    return all(one["streams"]["main"]["state"] != "live" for one in stack.client.cameras().values())


def _account(stack: Stack, camera_id: str, end: datetime) -> Account:
    start = end - timedelta(hours=1)
    units = played_units(stack.client, camera_id, start, end)
    return account_for(units, stack.farm.sessions(camera_id), stack.farm.key)
