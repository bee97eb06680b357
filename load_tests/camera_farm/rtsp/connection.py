"""One client of a camera's RTSP server: bytes of its TCP or TLS connection as RTSP messages (RFC 2326, 10.12)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final, cast

from load_tests.camera_farm.rtsp.media_session import KINDS
from load_tests.camera_farm.rtsp.messages import Answer, Request, build_request, parse_message
from load_tests.camera_farm.rtsp.service import RtspCamera, RtspService

_MOST_HEAD_BYTES: Final = 64 * 1024
_GRACE_S: Final = 2.0
_WATCH_INTERVAL_S: Final = 1.0


class RtspConnection(asyncio.Protocol):
    """Belongs to `connections` while it is open. `host` is the address at which the camera is reached."""

    def __init__(self, camera: RtspCamera, connections: set[RtspConnection], host: str, *, tls: bool) -> None:
        self._camera, self._connections, self._host, self._tls = camera, connections, host, tls
        self._received = bytearray()
        self._heard = time.monotonic()
        self._timers: set[asyncio.TimerHandle] = set()
        self._requests = 0
        self._accepted = True
        self.is_silent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._service = RtspService(self._camera, self._transport, self._host, self._hear, tls=self._tls)
        self._connections.add(self)
        self._camera.counts.connections += 1
        self._watch = asyncio.get_running_loop().call_later(_WATCH_INTERVAL_S, self._watch_session)
        delay_s = self._camera.troubles.accept_delay_s
        if delay_s:
            # The kernel took the connection; the camera's program comes to it later.
            self._accepted = False
            self._timers.add(asyncio.get_running_loop().call_later(delay_s, self._accept))

    def _accept(self) -> None:
        self._accepted = True
        self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._service.end()
        for timer in (self._watch, *self._timers):
            timer.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def fall_silent(self) -> None:
        """The other end of a connection that is gone without a word: takes nothing in and gives nothing out."""
        self.is_silent = True
        if self._service.session is not None:
            self._service.session.stall(KINDS)
        self._transport.pause_reading()

    @property
    def has_session(self) -> bool:
        return self._service.session is not None

    def ask_client(self, method: str, url: str = "*", headers: Iterable[str] = ()) -> None:
        """A request of the camera to its client (RFC 2326, 10: OPTIONS, GET_PARAMETER, REDIRECT)."""
        self._requests += 1
        self._transport.write(build_request(method, url, self._requests, headers))

    def data_received(self, data: bytes) -> None:
        self._hear()
        self._received += data
        while self._accepted and (size := self._one_message()) > 0:
            del self._received[:size]

    def _one_message(self) -> int:
        """Handles the first message of what was received and returns its size, or 0 while it is not whole."""
        received = self._received
        if received.startswith(b"$"):
            # RTCP of the client: heard, and nothing else.
            size = 4 + int.from_bytes(received[2:4], "big") if len(received) >= 4 else 1 << 16
            return size if len(received) >= size else 0
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > _MOST_HEAD_BYTES:
                self._transport.abort()
            return 0
        message = parse_message(bytes(received[:end]))
        if message is None:
            self._transport.abort()
            return len(received)
        size = end + 4 + message.body_bytes
        if len(received) < size:
            return 0
        if isinstance(message, Answer):
            self._camera.counts.client_answers += 1
        else:
            self._answer(message)
        return size

    def _answer(self, request: Request) -> None:
        delay_s = self._camera.troubles.answer_delay_s
        if not delay_s:
            self._service.answer(request)
            return

        def answer() -> None:
            self._timers.discard(timer)
            self._service.answer(request)

        timer = asyncio.get_running_loop().call_later(delay_s, answer)
        self._timers.add(timer)

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _watch_session(self) -> None:
        """A client that says nothing for the session timeout, and two seconds of grace, is gone."""
        silence_s = time.monotonic() - self._heard
        timeout_s = self._camera.rtsp_style.session_timeout_s + _GRACE_S
        if self.has_session and silence_s > timeout_s and not self.is_silent:
            self._transport.abort()
            return
        self._watch = asyncio.get_running_loop().call_later(_WATCH_INTERVAL_S, self._watch_session)
