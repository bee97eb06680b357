"""A measured process of its own that is spoken to in lines: JSON out of it, words into it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

_END_S: Final = 10.0


@contextmanager
def child_process(module: str, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """`python -m module …`, ended with the block; `prefix` goes before it, as one that runs it elsewhere."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def read_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line it prints. Raises RuntimeError where it has ended."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{process.args!r} ended without a word")
    answer: dict[str, Any] = json.loads(line)
    return answer


def write_line(process: subprocess.Popen[str], line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
