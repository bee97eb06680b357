"""Caddy with the example configuration, in a process of its own, before a server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from load_tests.child import end
from load_tests.ports import free_ports

CONFIG: Final = Path(__file__).resolve().parent.parent / "config" / "Caddyfile"
START_S: Final = 15.0
_END_S: Final = 5.0


@contextmanager
def caddy(directory: Path, upstream: str) -> Iterator[str]:
    """Its URL, whose certificate nobody signed that anybody trusts. Raises RuntimeError where it does not come up."""
    (port,) = free_ports(1)
    environment = os.environ | {
        "MEDIASRV_SITE": f"https://localhost:{port}",
        "MEDIASRV_UPSTREAM": upstream.removeprefix("http://"),
        "MEDIASRV_CADDY_OPTIONS": "auto_https disable_redirects",
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
    }
    directory.mkdir(parents=True, exist_ok=True)
    log_path = directory / "caddy.log"
    # The wheel puts the program beside Python.
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--config", str(CONFIG), "--adapter", "caddyfile"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until_it_listens(port, process, log_path)
        yield f"https://localhost:{port}"
    finally:
        end(process, _END_S)


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"Caddy did not come up:\n{log_path.read_text()[-2000:]}")
