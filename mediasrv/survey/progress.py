"""A survey followed by a person: a table that grows, and on a terminal a bar below it."""

from __future__ import annotations

import asyncio
import shutil
from typing import Final, TextIO

from mediasrv.survey.report import heading_line, row_line, summary_line
from mediasrv.survey.runner import Row, Survey

_REFRESH_S: Final = 0.25
_BAR_CELLS: Final = 24
_ERASE: Final = "\r\x1b[2K"


class Progress:
    """Writes each row once it has its verdict. On a terminal the last line is a bar; elsewhere there is none."""

    def __init__(self, survey: Survey, out: TextIO, language: str) -> None:
        self._survey = survey
        self._out = out
        self._language = language
        self._is_terminal = out.isatty()
        self._shown: set[int] = set()

    async def run(self) -> None:
        """Runs the survey, and shows it until it ends; what it found so far is shown too where it is cancelled."""
        self._out.write(heading_line(self._language) + "\n")
        try:
            async with asyncio.TaskGroup() as group:
                surveying = group.create_task(self._survey.run())
                while not surveying.done():
                    self._show()
                    await asyncio.wait({surveying}, timeout=_REFRESH_S)
        finally:
            self._show(last=True)

    def _show(self, *, last: bool = False) -> None:
        erase = _ERASE if self._is_terminal else ""
        text = "".join(f"{row_line(row, self._language)}\n" for row in self._new_rows())
        if last:
            text += summary_line(self._survey, self._language) + "\n"
        elif self._is_terminal:
            text += bar_line(self._survey.done, len(self._survey.rows), shutil.get_terminal_size().columns)
        if text:
            self._out.write(erase + text)
            self._out.flush()

    def _new_rows(self) -> list[Row]:
        new = [row for row in self._survey.rows if row.judgement is not None and row.number not in self._shown]
        self._shown.update(row.number for row in new)
        return new


def bar_line(done: int, devices: int, columns: int) -> str:
    """`[#####-----] 12/30`, cut where the terminal is narrow."""
    filled = _BAR_CELLS * done // max(1, devices)
    return f"[{'#' * filled}{'-' * (_BAR_CELLS - filled)}] {done}/{devices}"[: max(1, columns - 1)]
