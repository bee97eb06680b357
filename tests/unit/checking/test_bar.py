"""The line that a check shows of itself."""

from __future__ import annotations

import io

from mediasrv.checking.bar import CheckBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_says_how_far_it_is_how_fast_and_how_long_it_will_take() -> None:
    out, now = Terminal(), [100.0]
    bar = CheckBar(out, lambda: now[0])
    bar.show(1000, 100_000, 0)
    now[0] += 10
    bar.show(3000, 100_000, 2)
    line = out.getvalue().rpartition("\x1b[2K")[2]
    assert line.endswith("3,000/100,000 objects, 2 findings, 200/s, 8 min left")


def test_elsewhere_it_says_nothing() -> None:
    out = io.StringIO()
    bar = CheckBar(out)
    bar.show(1, 2, 0)
    bar.end()
    assert out.getvalue() == ""
