"""What a person sees while a survey runs: a table that grows, and a bar on a terminal alone."""

from __future__ import annotations

import io

from mediasrv.survey.progress import Progress, bar_line
from tests.unit.survey.devices import Network, survey_of, targets


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_gets_a_bar_that_is_erased_before_each_line() -> None:
    out = Terminal()
    await Progress(survey_of(Network(), targets("10.0.0.1", "10.0.0.2")), out, "en").run()
    assert "\r\x1b[2K[------------------------] 0/2" in out.getvalue()
    shown = out.getvalue().rpartition("\x1b[2K")[2].splitlines()
    assert [line.split()[0] for line in shown] == ["10.0.0.1", "10.0.0.2", "2/2:"]


async def test_a_pipe_gets_plain_lines_each_once() -> None:
    out = io.StringIO()
    await Progress(survey_of(Network(), targets("10.0.0.1", "10.0.0.2")), out, "vi").run()
    heading, *rows, summary = out.getvalue().splitlines()
    assert heading.startswith("địa chỉ ")
    assert [row.split()[0] for row in rows] == ["10.0.0.1", "10.0.0.2"]
    assert summary == "2/2: 2 dùng được, 0 chỉ luồng phụ, 0 không dùng được"
    assert "\x1b" not in out.getvalue()


def test_the_bar_fills_and_never_wraps() -> None:
    assert bar_line(0, 0, 80) == "[" + "-" * 24 + "] 0/0"
    assert bar_line(3, 6, 80) == "[" + "#" * 12 + "-" * 12 + "] 3/6"
    assert len(bar_line(100, 1000, 20)) == 19
