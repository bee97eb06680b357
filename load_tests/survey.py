"""How long a survey takes: simulated cameras at sites, surveyed by the command line as an operator does.

`python -m load_tests survey --devices 200 --sites 40 --json`. Every device is read over ONVIF and a stream of each is
measured, one at a time a site, which the cameras' own logs of sessions prove. CPU is that of the command's process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load_tests.measure import machine, print_json
from load_tests.reference import LOAD
from load_tests.stack import CameraFarm, running_farm


def main(argv: Sequence[str]) -> int:
    """0 when every device is eligible and no site ever had two streams."""
    parser = argparse.ArgumentParser(prog="python -m load_tests survey", description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20, help="measure each stream for so long")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    shape = {**LOAD, "gop": min(2.0, options.seconds / 2)}
    with (
        tempfile.TemporaryDirectory(prefix="mediasrv-survey-") as name,
        running_farm(Path(name) / "cameras.log", cameras=options.devices, **shape) as farm,
    ):
        result = _survey(farm, Path(name), options)
    print_json(result)
    return 0 if result["eligible"] == options.devices and result["most_streams_a_site"] == 1 else 1


def _survey(farm: CameraFarm, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    sites = {camera["id"]: f"site-{number % options.sites}" for number, camera in enumerate(farm.cameras)}
    config, table, found = directory / "mediasrv.toml", directory / "cameras.csv", directory / "found.json"
    config.write_text('[pull]\nallowed_networks = ["127.0.0.0/8"]\n', encoding="utf-8")
    lines = [
        f"{one.address},{one.username},{one.password},{one.camera_id},{sites[one.camera_id]}\n"
        for one in farm.addresses()
    ]
    table.write_text("address,username,password,name,place\n" + "".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "mediasrv", "survey", str(table), "--config", str(config), "--json", str(found)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    shown = subprocess.DEVNULL if options.json else None
    subprocess.run([*command, "--seconds", f"{options.seconds:g}"], stdout=shown, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    document = json.loads(found.read_text(encoding="utf-8"))
    return {
        "devices": len(document["rows"]),
        "sites": options.sites,
        "seconds": round(seconds, 1),
        "eligible": document["eligible"],
        "most_streams_a_site": most_streams_a_site(farm.state()["cameras"], sites),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "rss_mb": round(after.ru_maxrss / 1024),
        "machine": machine(),
    }


def most_streams_a_site(cameras: Sequence[Mapping[str, Any]], sites: Mapping[str, str]) -> int:
    """How many sessions were open at one moment at any one site, by the cameras' logs."""
    steps: list[tuple[int, int, str]] = []
    for camera in cameras:
        for stream in camera["streams"].values():
            for session in stream["sessions"]:
                steps.append((session["started_us"], 1, sites[camera["id"]]))
                steps.append((session["ended_us"] or sys.maxsize, -1, sites[camera["id"]]))
    now, most = dict.fromkeys(sites.values(), 0), 0
    for _, change, site in sorted(steps):
        now[site] += change
        most = max(most, now[site])
    return most
