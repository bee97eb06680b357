"""CPU and memory of a process from the operating system, and the medians that are quoted."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.child import read_json, say, write_line

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far, in seconds."""
    # Fields are counted after the last parenthesis: a program's name may hold anything (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


@dataclass(slots=True)
class Usage:
    """What a process used between two moments."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0


@contextmanager
def usage_of(pid: int) -> Iterator[Usage]:
    """Measures a process over a `with` block; the values stand when the block has ended."""
    usage = Usage()
    wall, cpu = time.monotonic(), cpu_s(pid)
    yield usage
    usage.wall_s = time.monotonic() - wall
    usage.cpu_s = cpu_s(pid) - cpu
    usage.rss_bytes = rss_bytes(pid)


def measure_window(pid: int, counting: subprocess.Popen[str], seconds: float) -> tuple[Usage, dict[str, Any]]:
    """Has a child count between the lines `start` and `stop`: what `pid` used meanwhile, and the child's counts."""
    write_line(counting, "start")
    with usage_of(pid) as usage:
        time.sleep(seconds)  # the measured time
    write_line(counting, "stop")
    return usage, read_json(counting)


def viewer_figures(usage: Usage, viewers: int, octets: int) -> dict[str, Any]:
    """What a server used for its viewers, who took so many octets together."""
    return {
        "viewers": viewers,
        "seconds": usage.wall_s,
        "ms_cpu_per_viewer_s": usage.cpu_s * 1000 / viewers / usage.wall_s,
        "mbit_s_per_viewer": octets * 8 / viewers / usage.wall_s / 1e6,
        "rss_mb": usage.rss_bytes / 1e6,
    }


def median_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Field by field the median of several runs; what is no number is taken from the last."""
    result = dict(runs[-1])
    for name, value in runs[-1].items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            result[name] = statistics.median(run[name] for run in runs)
    return result


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; nan where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def machine() -> str:
    """One line that says where a figure was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(models, platform.machine())
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


def print_json(result: Mapping[str, Any]) -> None:
    """The last line of every load test."""
    say(_rounded(result))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value
