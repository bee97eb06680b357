"""A port that cannot be had is told plainly, whatever it is for."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from mediasrv.errors import SettingsError
from mediasrv.fanout.tcp import listen
from mediasrv.serving.doors import open_listener
from mediasrv.wire.udp import open_socket

KINDS = [
    (open_socket, socket.SOCK_DGRAM, "UDP"),
    (listen, socket.SOCK_STREAM, "TCP"),
    (open_listener, socket.SOCK_STREAM, "RTSP"),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("opener", "kind", "name"), KINDS)
def test_a_port_that_is_taken_is_told(
    opener: Callable[[str, int], socket.socket], kind: socket.SocketKind, name: str, host: str
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as taken:
        taken.bind((host, 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as refused:
            opener(host, port)
    assert refused.value.code == "port_unusable"
    assert refused.value.sentence == f"The {name} port {port} of {host} cannot be opened: Address already in use."
    with opener(host, port) as free:
        assert free.getsockname()[:2] == (host, port)
        assert not free.getblocking()
