"""The socket's edge: segmentation and its fallback, full buffers, addresses. On a socket that is none."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest

from mediasrv.wire.ice import Path
from mediasrv.wire.udp import UdpTransport
from mediasrv.wire.webrtc_peer import Counters
from tests.unit.wire.peer_rig import Outbox

REMOTE = ("192.0.2.7", 5000)
SEGMENT = (17, 103)
NOWHERE = Outbox()


class FakeSocket:
    """Keeps what is sent; `sendmsg` fails with `error` where it is set and segmentation is asked for."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.error: OSError | None = None
        self.sent: list[bytes] = []
        self.control: list[list[tuple[int, int, bytes]]] = []
        self.waiting: list[tuple[Any, ...]] = []

    def getsockname(self) -> tuple[str, int]:
        return self.host, 8189

    def sendto(self, datagram: bytes, address: tuple[str, int]) -> None:
        if isinstance(self.error, BlockingIOError):
            raise self.error
        self.sent.append(datagram)

    def sendmsg(self, buffers: Any, control: Any, flags: int, address: Any) -> None:
        if self.error is not None and any(each[:2] == SEGMENT for each in control):
            raise self.error
        self.control.append(list(control))
        self.sent.append(b"".join(buffers))

    def recvmsg(self, size: int, control_size: int) -> tuple[Any, ...]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)

    recvfrom = recvmsg


def transport(fake: FakeSocket) -> tuple[UdpTransport, Counters]:
    counters = Counters()
    return UdpTransport(fake, counters), counters  # type: ignore[arg-type]


def test_a_run_leaves_in_one_call_with_its_segment_size() -> None:
    fake = FakeSocket()
    ours, _ = transport(fake)
    ours.send_run(b"a" * 10 + b"b" * 10 + b"c" * 3, 10, Path(REMOTE, b"", NOWHERE, 0.0))
    assert fake.sent == [b"a" * 10 + b"b" * 10 + b"c" * 3]
    assert fake.control == [[(*SEGMENT, struct.pack("=H", 10))]]


def test_a_single_packet_needs_no_segmentation() -> None:
    fake = FakeSocket()
    ours, _ = transport(fake)
    ours.send_run(b"a" * 7, 10, Path(REMOTE, b"", NOWHERE, 0.0))
    assert (fake.sent, fake.control) == ([b"a" * 7], [])


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_where_segmentation_fails_packets_leave_one_by_one_from_then_on(number: int) -> None:
    fake = FakeSocket()
    fake.error = OSError(number, "no")
    ours, counters = transport(fake)
    path, other = Path(REMOTE, b"", NOWHERE, 0.0), Path(("192.0.2.8", 1), b"", NOWHERE, 0.0)
    for _ in range(2):
        ours.send_run(b"aabbc", 2, path)
    assert fake.sent == [b"aa", b"bb", b"c"] * 2
    assert counters.unsegmented == 1
    assert other.segmented


@pytest.mark.parametrize(
    ("error", "counted"), [(BlockingIOError(), "blocked"), (OSError(errno.ENETUNREACH, "no"), "send_errors")]
)
def test_what_cannot_be_sent_now_is_counted_and_nothing_else(error: OSError, counted: str) -> None:
    fake = FakeSocket()
    fake.error = error
    ours, counters = transport(fake)
    path = Path(REMOTE, b"", NOWHERE, 0.0)
    ours.send_run(b"aabbc", 2, path)
    assert getattr(counters, counted) == 1
    assert path.segmented


def test_on_a_wildcard_address_media_leaves_from_the_address_the_check_came_to() -> None:
    fake = FakeSocket("0.0.0.0")  # noqa: S104 - no socket is opened
    packet_info = struct.pack("=I4s4s", 3, bytes((10, 0, 0, 5)), bytes((10, 0, 0, 5)))
    fake.waiting = [(b"hello", [(socket.IPPROTO_IP, 8, packet_info)], 0, REMOTE)]
    ours, _ = transport(fake)
    received = ours.receive()
    assert received is not None
    data, (address, local) = received
    assert (data, address, local) == (b"hello", REMOTE, bytes((10, 0, 0, 5)))
    ours.send_run(b"aabb", 2, Path(address, local, NOWHERE, 0.0))
    ours.send(b"x", Path(address, local, NOWHERE, 0.0))
    leave_from = (socket.IPPROTO_IP, 8, struct.pack("=I4s4x", 0, bytes((10, 0, 0, 5))))
    assert fake.control == [[leave_from, (*SEGMENT, struct.pack("=H", 2))], [leave_from]]
    assert ours.receive() is None
