"""Sockets on configured ports."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mediasrv.errors import SettingsError


@contextmanager
def opening(kind: socket.SocketKind, host: str, port: int, name: str) -> Iterator[socket.socket]:
    """A non-blocking socket to be prepared and bound in the block; whoever then has it closes it.

    Raises SettingsError where that fails; `name` is what the port is for, in its sentence.
    """
    sock = socket.socket(socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6, kind)
    try:
        sock.setblocking(False)
        yield sock
    except OSError as error:
        sock.close()
        raise SettingsError(
            f"The {name} port {port} of {host} cannot be opened: {error.strerror}.", code="port_unusable"
        ) from error
