"""What pulling costs: cameras of video and audio into the hub, with nothing behind it.

`python -m load_tests ingest --cameras 100 --seconds 30 --against ffmpeg --json`. The pulls run in a process of their
own, which is the one that is measured; streams are watched live, or with `--unwatched` read on the beat. Every
access unit that the cameras sent is accounted for, and the way of each from the camera to the hub is timed.
`--one-core` binds the pulls to one core and the cameras to the others. `--against ffmpeg` measures, in the same
minutes, one `ffmpeg -c copy -f null` a camera.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from load_tests.camera_farm.process import expected_counters
from load_tests.child import child_process, read_json, write_line
from load_tests.measure import machine, measure_window, median_of, print_json, rss_bytes
from load_tests.reference import LOAD, measure_ffmpeg
from load_tests.stack import CameraFarm, running_farm, wait_for

SETTLE_S: Final = 8.0
"""A session is read as it comes for its first five seconds, watched or not."""
STARTED_S: Final = 60.0


def main(argv: Sequence[str]) -> int:
    """0 when every access unit is accounted for."""
    parser = argparse.ArgumentParser(prog="python -m load_tests ingest", description=__doc__)
    parser.add_argument("--cameras", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--runs", type=int, default=1, help="the figures are medians of so many")
    parser.add_argument("--unwatched", action="store_true", help="nobody watches: read on the beat")
    parser.add_argument(
        "--no-cache", action="store_true", help="keep no pictures: what is left is the sessions' memory"
    )
    parser.add_argument("--one-core", action="store_true", help="bind the pulls to one core")
    parser.add_argument("--against", choices=["ffmpeg"], help="a reference run in the same minutes")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    say: Callable[[str], None] = (lambda text: None) if options.json else print
    farm = {"cameras": options.cameras, **LOAD}
    runs, references = [], []
    for number in range(1, options.runs + 1):
        say(f"run {number}: {options.cameras} cameras for {options.seconds:.0f} s")
        runs.append(_measure(farm, options))
        if options.against:
            say(f"run {number}: the reference")
            references.append(measure_ffmpeg(farm, options.seconds))
    result = median_of(runs) | {"runs_ms": [round(run["ms_cpu_per_camera_s"], 2) for run in runs]}
    if references:
        result["reference"] = median_of(references)
        pairs = zip(runs, references, strict=True)
        result["ratio"] = statistics.median(a["ms_cpu_per_camera_s"] / b["ms_cpu_per_camera_s"] for a, b in pairs)
    print_json(result)
    return 0 if all(run["lost"] == run["doubled"] == 0 for run in runs) else 1


def _measure(farm_options: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    flags = ["--unwatched"] * options.unwatched + ["--no-cache"] * options.no_cache
    with (
        tempfile.TemporaryDirectory(prefix="mediasrv-ingest-") as name,
        running_farm(Path(name) / "cameras.log", **farm_options) as farm,
        child_process("load_tests.ingest_node", *flags) as node,
    ):
        if options.one_core:
            _part_cores(node.pid, farm.process.pid)
        return _measure_node(farm, node, options)


def _measure_node(farm: CameraFarm, node: subprocess.Popen[str], options: argparse.Namespace) -> dict[str, Any]:
    idle_bytes = read_json(node)["rss_bytes"]
    sources = [farm.source(camera["id"]) for camera in farm.cameras]
    write_line(node, json.dumps(sources))
    wait_for(lambda: all(farm.flows(camera_id) for camera_id, *_ in sources), STARTED_S)
    time.sleep(SETTLE_S)
    memory_bytes = rss_bytes(node.pid) - idle_bytes  # before the node keeps a note of each access unit
    usage, told = measure_window(node.pid, node, options.seconds)
    sessions = {camera["id"]: farm.sessions(camera["id"]) for camera in farm.cameras}
    broken = [camera_id for camera_id, log in sessions.items() if len(log) != 1]
    if broken:
        raise RuntimeError(f"these cameras were connected to more than once: {', '.join(broken)}")
    return {
        "name": "ingest",
        "machine": machine(),
        "cameras": options.cameras,
        "watched": not options.unwatched,
        "seconds": usage.wall_s,
        "ms_cpu_per_camera_s": usage.cpu_s / options.cameras / usage.wall_s * 1000,
        "cores": usage.cpu_s / usage.wall_s,
        "rss_mb_per_camera": memory_bytes / 1e6 / options.cameras,
        **account({camera_id: log[0] for camera_id, log in sessions.items()}, told.pop("counters")),
        **told,
    }


def account(sessions: Mapping[str, dict[str, Any]], taken: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """What each camera sent between the first and the last access unit that was taken of it, against what came.

    `sessions` are the farm's logs of them; a camera of which nothing came has lost one.
    """
    sent = kept = lost = doubled = 0
    for camera_id, session in sessions.items():
        counters = taken.get(camera_id)
        if not counters:
            lost += 1
            continue
        expected = {one for one in expected_counters(session) if counters[0] <= one <= counters[-1]}
        sent += len(expected)
        kept += len(expected & set(counters))
        lost += len(expected - set(counters))
        doubled += len(counters) - len(set(counters))
    return {"access_units_sent": sent, "access_units_kept": kept, "lost": lost, "doubled": doubled}


def _part_cores(node_pid: int, farm_pid: int) -> None:
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(node_pid, {first})
    os.sched_setaffinity(farm_pid, set(others) or {first})
