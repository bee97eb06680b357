"""What a check shows of itself on a terminal: one line, written over and over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

_EACH_S: Final = 0.25
_CELLS: Final = 24
_ERASE: Final = "\r\x1b[2K"


class CheckBar:
    """Nothing where `out` is no terminal."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._is_terminal = out.isatty()
        self._started_s = clock()
        self._shown_s = float("-inf")
        self._before: int | None = None

    def show(self, done: int, total: int, findings: int) -> None:
        """`done` of about `total` objects."""
        now_s = self._clock()
        if self._before is None:
            self._before, self._started_s = done, now_s
        if not self._is_terminal or now_s - self._shown_s < _EACH_S:
            return
        self._shown_s = now_s
        rate = (done - self._before) / max(0.001, now_s - self._started_s)
        left = f", {_time(max(0, total - done) / rate)} left" if rate else ""
        filled = min(_CELLS, _CELLS * done // max(1, total))
        bar = "#" * filled + "-" * (_CELLS - filled)
        self._out.write(f"{_ERASE}[{bar}] {done:,}/{total:,} objects, {findings} findings, {rate:.0f}/s{left}")
        self._out.flush()

    def end(self) -> None:
        if self._is_terminal:
            self._out.write(_ERASE)
            self._out.flush()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
