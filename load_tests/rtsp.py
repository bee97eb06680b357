"""`python -m load_tests rtsp --readers 100 --seconds 15 --json`: CPU of one stream sent to many RTSP readers.

The server and the readers are processes of their own; only the server's CPU counts. Every reader does a real handshake
(Digest) and holds every packet against the one before. `--against gstreamer` runs, right after, the same clip served by
gst-rtsp-server as one shared media to as many readers.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from load_tests.child import child_process, read_json, write_line
from load_tests.measure import measure_window, median_of, print_json, viewer_figures
from load_tests.reference_rtsp import gstreamer_server


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests rtsp")
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--runs", type=int, default=1, help="medians of so many runs are told")
    parser.add_argument("--way", choices=("tcp", "udp", "tls"), default="tcp")
    parser.add_argument("--audio", action="store_true", help="G.711 beside the pictures")
    parser.add_argument("--next-keyframe", action="store_true", help="readers begin there, not with what is cached")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    parser.add_argument("--against", choices=["gstreamer"], help="a reference run in the same minute")
    options = parser.parse_args(argv)
    results, references = [], []
    for _ in range(options.runs):
        results.append(measure(options))
        if options.against:
            references.append(measure_reference(options))
    result = median_of(results)
    if references:
        result["reference"] = median_of(references) | {"name": "gst-rtsp-server, one shared media"}
        result["ratio"] = result["ms_cpu_per_viewer_s"] / result["reference"]["ms_cpu_per_viewer_s"]
    if not options.json:
        print(f"{options.readers} readers: {result['ms_cpu_per_viewer_s']:.3f} ms of CPU per reader-second")
    print_json(result)
    return 0 if not (result["lost"] or result["overruns"] or result["readers_without_media"]) else 1


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One run. Raises RuntimeError where a process does not come up or a reader gets no picture."""
    flags = ["--audio"] * options.audio + ["--next-keyframe"] * options.next_keyframe
    with child_process("load_tests.rtsp_server", *flags) as server:
        told = read_json(server)
        port = told["tls_port"] if options.way == "tls" else told["port"]
        login = ("--username", told["username"], "--password", told["password"])
        with _readers(options, port, told["path"], *login) as reading:
            joined = read_json(reading)
            time.sleep(1.0)  # the last joiners' cached pictures are through
            before = _stats(server)
            measured = _window(server.pid, reading, options)
            after = _stats(server)
    return {
        **measured,
        **joined,
        "access_units_sent": (after["access_units"] - before["access_units"]) * options.readers,
        "loop_late_ms_p99": after["loop_late_ms_p99"],
        "overruns": after["counters"]["overruns"],
    }


def measure_reference(options: argparse.Namespace) -> dict[str, Any]:
    with gstreamer_server(audio=options.audio) as (pid, port, path), _readers(options, port, path) as reading:
        joined = read_json(reading)
        time.sleep(1.0)
        return {**_window(pid, reading, options), **joined}


def _readers(
    options: argparse.Namespace, port: int, path: str, *login: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    wanted = ("--readers", str(options.readers), "--way", options.way, *(("--audio",) if options.audio else ()))
    return child_process("load_tests.rtsp_readers", *wanted, "--port", str(port), "--path", path, *login)


def _window(server_pid: int, reading: subprocess.Popen[str], options: argparse.Namespace) -> dict[str, Any]:
    usage, counts = measure_window(server_pid, reading, options.seconds)
    return {
        **viewer_figures(usage, options.readers, counts["octets"]),
        "way": options.way,
        "us_cpu_per_packet": usage.cpu_s * 1e6 / counts["packets"] if counts["packets"] else 0.0,
        **counts,
    }


def _stats(server: subprocess.Popen[str]) -> dict[str, Any]:
    write_line(server, "stats")
    return read_json(server)
