"""Ports for servers that are started in a moment."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Final

OWN_PORTS: Final = range(10_000, 32_000)
"""Below the ports that systems hand out to outgoing connections (32768 and up on Linux, 49152 elsewhere): one of
those may be taken between the look and the start, by the very server's own connections too.
"""


def free_ports(count: int, kind: int = socket.SOCK_STREAM) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now. Raises OSError where there are not so many."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
            sock = held.enter_context(socket.socket(socket.AF_INET, kind))
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"there are no {count} free ports")
