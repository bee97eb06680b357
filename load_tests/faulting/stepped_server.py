"""`mediasrv` whose wall clock can be set: `python -m load_tests.faulting.stepped_server FILE serve --config …`.

The first eight bytes of FILE are what its clock is ahead of the machine's, in microseconds. Only the wall clock moves,
as when somebody sets the clock of a machine; monotonic time goes on.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

from mediasrv.cli import main
from mediasrv.clock import SystemClock

_OFFSET = struct.Struct("<q")


def set_clock(path: Path, ahead_us: int) -> None:
    """From now on the server's clock is so far ahead. In one write: nobody sees half of it."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(_OFFSET.pack(ahead_us))


def _step(path: str) -> None:
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)

    def wall_us() -> int:
        ahead_us: int = _OFFSET.unpack_from(data)[0]
        return time.time_ns() // 1000 + ahead_us

    SystemClock.wall_us = staticmethod(wall_us)  # type: ignore[method-assign]


if __name__ == "__main__":
    _step(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
