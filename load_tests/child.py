"""A process of its own that is spoken to in lines: JSON out of it, words into it. Both ends of that, and its end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

_END_S: Final = 10.0
_LINE_BYTES: Final = 1 << 24


@contextmanager
def child_process(module: str, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """`python -m module …`, ended with the block; `prefix` goes before it, as one that runs it elsewhere."""
    with child_program(*prefix, sys.executable, "-m", module, *arguments) as process:
        yield process


@contextmanager
def child_program(*command: str) -> Iterator[subprocess.Popen[str]]:
    """The same of any program."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def end(process: subprocess.Popen[Any], timeout_s: float = _END_S) -> int:
    """SIGTERM, then waits; kills after `timeout_s`. Returns the exit status, also of one that has ended before."""
    process.terminate()
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


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


def say(told: object) -> None:
    """The child's side of `read_json`."""
    print(json.dumps(told), flush=True)


async def lines_told() -> asyncio.StreamReader:
    """The child's side of `write_line`."""
    lines = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines
