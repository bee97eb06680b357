"""What others take for the same cameras: one `ffmpeg -c copy -f null` a camera, which pulls and keeps nothing."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

from load_tests.measure import cpu_s, rss_bytes
from load_tests.stack import CameraFarm, running_farm, wait_for

LOAD: Final[dict[str, Any]] = {
    "mode": "load",
    "audio": "pcma",
    "width": 1280,
    "height": 720,
    "rate": 25,
    "bitrate": 2050,
    "gop": 2,
}
"""What the cameras of load tests send, so that their figures can be held against each other."""

_STARTED_S: Final = 60.0
_MOST_S: Final = 15.0


def measure_ffmpeg(farm_options: Mapping[str, object], seconds: float) -> dict[str, Any]:
    """Pulls every camera of a farm of its own with a process each, for 15 s at most. CPU is that of all together."""
    with (
        tempfile.TemporaryDirectory(prefix="mediasrv-reference-") as directory,
        running_farm(Path(directory) / "cameras.log", **farm_options) as farm,
    ):
        return _measure(farm, min(seconds, _MOST_S))


def _measure(farm: CameraFarm, seconds: float) -> dict[str, Any]:
    urls = [farm.url(camera["id"]) for camera in farm.cameras]
    with _pulling(urls) as processes:
        wait_for(lambda: all(farm.flows(camera["id"]) for camera in farm.cameras), _STARTED_S)
        started, before = time.monotonic(), _cpu_s(processes)
        time.sleep(seconds)  # the measured time
        used_s, took_s = _cpu_s(processes) - before, time.monotonic() - started
        memory_bytes = sum(rss_bytes(process.pid) for process in processes)
    return {
        "name": "ffmpeg -c copy -f null, one process a camera",
        "cameras": len(urls),
        "seconds": took_s,
        "ms_cpu_per_camera_s": used_s / len(urls) / took_s * 1000,
        "rss_mb_per_camera": memory_bytes / 1e6 / len(urls),
    }


def _cpu_s(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    return sum(cpu_s(process.pid) for process in processes)


@contextmanager
def _pulling(urls: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp"]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for url in urls:
            arguments = [*command, "-i", url, "-map", "0", "-c", "copy", "-f", "null", "-"]
            processes.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL))
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
