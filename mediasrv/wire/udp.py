"""A UDP socket of media: runs of packets in one system call, replies from the address that was asked.

It is handed a loop's readiness by its owner and never waits; the rest of `wire` does not know that it exists.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import Final, Protocol

from mediasrv.wire.ice import Path, PathKey
from mediasrv.wire.ports import opening

_DATAGRAM_BYTES: Final = 2048
_SOCKET_BUFFER_BYTES: Final = 4 * 1024 * 1024
_CONTROLS: Final = 8192

# linux/udp.h, linux/in.h, linux/in6.h: not in Python's socket module.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DONT: Final = 0
_NO_SEGMENTATION: Final = (errno.EIO, errno.EINVAL, errno.EMSGSIZE)

_Control = list[tuple[int, int, bytes]]


class SendCounters(Protocol):
    """Datagrams that were lost here, and addresses for which the kernel does not segment."""

    blocked: int
    send_errors: int
    unsegmented: int


class UdpTransport:
    """One non-blocking UDP socket. Runs of packets leave in one call (UDP GSO), one by one where that fails.

    On a wildcard address, media leaves from the address a check came to (IP_PKTINFO); `Path.local` carries it.
    """

    def __init__(self, sock: socket.socket, counters: SendCounters) -> None:
        self._sock = sock
        self._counters = counters
        self._wildcard = ipaddress.ip_address(sock.getsockname()[0]).is_unspecified
        self._controls: dict[tuple[int, bytes], _Control] = {}

    def receive(self) -> tuple[bytes, PathKey] | None:
        """A datagram and the path it came by, or None when nothing waits. Our own address counts on a wildcard only."""
        try:
            if not self._wildcard:
                data, address = self._sock.recvfrom(_DATAGRAM_BYTES)
                return data, (address, b"")
            data, control, _, address = self._sock.recvmsg(_DATAGRAM_BYTES, socket.CMSG_SPACE(20))
        except OSError:  # nothing waits, or the network's complaint about something we sent
            return None
        return data, (address, _local_address(control))

    def send(self, datagram: bytes, path: Path) -> None:
        try:
            if path.local:
                self._sock.sendmsg((datagram,), self._control(0, path.local), 0, path.address)
            else:
                self._sock.sendto(datagram, path.address)
        except BlockingIOError:
            self._counters.blocked += 1
        except OSError:
            self._counters.send_errors += 1

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        if len(joined) <= size or not path.segmented:
            self._send_each(joined, size, path)
            return
        try:
            self._sock.sendmsg((joined,), self._control(size, path.local), 0, path.address)
        except BlockingIOError:
            self._counters.blocked += 1
        except OSError as error:
            if error.errno not in _NO_SEGMENTATION:
                self._counters.send_errors += 1
                return
            # No checksum offload on the way out (EIO), no such option (EINVAL), a segment above the MTU (EMSGSIZE).
            path.segmented = False
            self._counters.unsegmented += 1
            self._send_each(joined, size, path)

    def _send_each(self, joined: bytes, size: int, path: Path) -> None:
        for start in range(0, len(joined), size):
            self.send(joined[start : start + size], path)

    def _control(self, size: int, local: bytes) -> _Control:
        """Control messages of a send. Kept: there are few sizes and few local addresses."""
        found = self._controls.get((size, local))
        if found is None:
            if len(self._controls) >= _CONTROLS:
                self._controls.clear()
            found = _local_control(local)
            if size:
                found.append((_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size)))
            self._controls[size, local] = found
        return found


def open_socket(host: str, port: int) -> socket.socket:
    """A bound non-blocking socket; the caller closes it. `::` takes IPv4 too.

    Raises SettingsError where the port cannot be had.
    """
    with opening(socket.SOCK_DGRAM, host, port, "UDP") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        _set_ip_options(sock, ipaddress.ip_address(host).is_unspecified)
        sock.bind((host, port))
    return sock


def _set_ip_options(sock: socket.socket, wildcard: bool) -> None:
    # A path with a small MTU gets fragments rather than nothing: media is not sent again in smaller pieces.
    sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        if wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    elif wildcard:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _local_address(control: _Control) -> bytes:
    """Our address that a datagram was sent to, packed: 4 bytes, or 16 (ip(7), ipv6(7))."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return data[4:8]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return data[:16]
    return b""


def _local_control(local: bytes) -> _Control:
    """The control message that makes a datagram leave from `local`; routing chooses the interface."""
    if len(local) == 4:
        return [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=I4s4x", 0, local))]
    if len(local) == 16:
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", local, 0))]
    return []
