"""S3 servers beside SeaweedFS, each in a process of its own, with credentials of no worth."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from load_tests.child import end
from load_tests.ports import free_ports

START_S = 30.0
ACCESS_KEY, SECRET_KEY = "conformance", "conformance-secret"


class OtherS3(NamedTuple):
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY


@contextmanager
def moto() -> Iterator[OtherS3]:
    """The S3 of moto, whose measure is that of AWS; it keeps all in memory."""
    [port] = free_ports(1)
    with _running("moto_server", "-H", "127.0.0.1", "-p", str(port), port=port) as server:
        yield server


@contextmanager
def rclone(directory: Path) -> Iterator[OtherS3]:
    """`rclone serve s3` over a directory: a store that says checksums back unread and overwrites what is there."""
    [port] = free_ports(1)
    address, login = f"127.0.0.1:{port}", f"{ACCESS_KEY},{SECRET_KEY}"
    with _running("rclone", "serve", "s3", str(directory), "--addr", address, "--auth-key", login, port=port) as server:
        yield server


@contextmanager
def _running(program: str, *arguments: str, port: int) -> Iterator[OtherS3]:
    command = [str(Path(sys.executable).parent / program), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(port, process)
        yield OtherS3(f"http://127.0.0.1:{port}")
    finally:
        end(process)


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        return
    raise RuntimeError(f"{process.args!r} does not listen")
