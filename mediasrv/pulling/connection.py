"""The asyncio shell around the RTSP client core (`wire.rtsp`): one TCP or TLS connection, requests and answers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

from mediasrv.clock import Clock
from mediasrv.errors import CameraError, MediasrvError
from mediasrv.pulling.gather import Gatherer
from mediasrv.pulling.refusals import Redirected
from mediasrv.pulling.tls import TlsTrust, tls_failure
from mediasrv.wire.rtsp import EndRequested, Event, Request, ResponseReceived, RtspClient

log = logging.getLogger(__name__)

READ_BYTES: Final = 256 * 1024
MOST_READS: Final = 16
"""A beat: 4 MiB in 0.2 s is 170 Mbit/s, more than any camera sends, and less than would keep the others waiting."""
_SESSION_NOT_FOUND: Final = 454
_NOT_KNOWN: Final = frozenset((405, 501, 551))


class RtspConnection(asyncio.Protocol):
    """`connect`, then `start`. `ended` is done once `failure` is known, `closed` set once the socket is gone."""

    def __init__(self, client: RtspClient, clock: Clock, response_timeout_s: float) -> None:
        self.client = client
        self.peer = ""
        """The address and port that it is connected to."""
        self.reads = 0
        self.received_bytes = 0
        self.round_trip_s: float | None = None
        """The shortest answer so far."""
        self.failure: CameraError | None = None
        self.unknown_methods: set[str] = set()
        """Keepalives that the camera answered with "not implemented"."""
        self.local_host = ""
        self.ended = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self._clock = clock
        self._response_timeout_s = response_timeout_s
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._gatherer: Gatherer | None = None
        self._answers: dict[Request, asyncio.Future[ResponseReceived]] = {}

    async def connect(self, address: str, port: int) -> None:
        """Connects to a numeric address; nothing is sent or read yet. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connecting, (address, port))
        except BaseException:
            connecting.close()
            raise
        self.local_host = connecting.getsockname()[0]
        self._socket = connecting
        self.peer = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    async def start(self, trust: TlsTrust | None, timeout_s: float) -> None:
        """Begins to talk, secured where there is `trust`. Raises CameraError where TLS fails."""
        connected, loop = self._socket, asyncio.get_running_loop()
        if connected is None:
            raise RuntimeError("start comes after connect")
        if trust is None:
            await loop.create_connection(lambda: self, sock=connected)
            return
        address, port = connected.getpeername()[:2]
        self._socket = None  # what can be read from it is not what was sent: never gathered
        try:
            transport, _ = await loop.create_connection(
                lambda: self,
                sock=connected,
                ssl=trust.context,
                server_hostname=trust.host,
                ssl_handshake_timeout=timeout_s,
            )
        except OSError as error:  # ssl.SSLError and time-outs are OSErrors
            connected.close()
            self.closed.set()
            raise await tls_failure(error, trust, address, port, timeout_s) from error
        trust.check(transport.get_extra_info("ssl_object"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hot: some 75 calls per camera-second while somebody watches, 20 otherwise."""
        self.reads += 1
        self.received_bytes += len(data)
        try:
            events = self.client.receive(data, self._clock.monotonic())
        except MediasrvError as error:
            self.fail(error)
            return
        for event in events:
            self._handle(event)
        if self.client.has_data_to_send:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gather(None)
        self.fail(_lost())
        self.closed.set()

    @property
    def gathered(self) -> bool:
        """Whether what arrives waits for a beat."""
        return self._gatherer is not None

    def gather(self, gatherer: Gatherer | None) -> None:
        """From now on what arrives is read in the turns of `gatherer`; None, and always over TLS: as it comes."""
        if gatherer is self._gatherer or self._transport is None or self._socket is None:
            return
        if self._gatherer is not None:
            self._gatherer.remove(self._read)
            self._gatherer = None
        if self._transport.is_closing():
            return
        if gatherer is None:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
            gatherer.add(self._read)
            self._gatherer = gatherer

    def fail(self, error: MediasrvError) -> None:
        """Ends the connection for this reason; the first one counts."""
        if self.failure is None:
            self.failure = error if isinstance(error, CameraError) else CameraError(error.sentence, code=error.code)
            self.failure.__cause__ = error if self.failure is not error else None
        if not self.ended.done():
            self.ended.set_result(None)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self.failure)
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._socket is not None:
            self._socket.close()
            self.closed.set()

    def send(self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()) -> Request:
        request = self.client.request(method, url, self._clock.monotonic(), headers)
        self._flush()
        return request

    async def ask(self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()) -> ResponseReceived:
        """The answer to a request, whatever its status. Raises CameraError where none comes in time or ever."""
        if self.failure is not None:
            raise self.failure
        request = self.send(method, url, headers)
        answer: asyncio.Future[ResponseReceived] = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        try:
            async with asyncio.timeout(self._response_timeout_s):
                return await answer
        except TimeoutError as late:
            waited = f"{self._response_timeout_s:g} s"
            raise CameraError(f"The camera did not answer {method} within {waited}.", code="host_unreachable") from late
        finally:
            del self._answers[request]

    def guard(self, call: Callable[[], None]) -> None:
        """Runs what a timer calls: a surprise in it ends this connection, with its reason, and nobody else's."""
        try:
            call()
        except MediasrvError as error:
            self.fail(error)
        except Exception:
            log.exception("the pull from %s failed unexpectedly", self.peer)
            self.fail(CameraError("The server failed while pulling this camera; see its log."))

    def _read(self) -> None:
        """The turn of a gatherer."""
        self.guard(self._read_all)

    def _read_all(self) -> None:
        """What has arrived."""
        for _ in range(MOST_READS):
            if self._socket is None or self._transport is None or self._transport.is_closing():
                return
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.fail(_lost())
                return
            self.data_received(data)
            if len(data) < READ_BYTES:
                return

    def _flush(self) -> None:
        outgoing = self.client.data_to_send()
        if outgoing and self._transport is not None:
            self._transport.write(outgoing)

    def _handle(self, event: Event) -> None:
        if isinstance(event, EndRequested):
            if event.location:
                self.fail(Redirected(event.location))
            self.fail(CameraError("The camera ended the session.", code="camera_lost"))
            return
        self.round_trip_s = min(event.round_trip_s, self.round_trip_s or event.round_trip_s)
        answer = self._answers.get(event.request)
        if answer is None:
            self._handle_keepalive(event)
        elif not answer.done():
            answer.set_result(event)

    def _handle_keepalive(self, answer: ResponseReceived) -> None:
        """A session that is gone ends the connection; a method that the camera does not know is not sent again."""
        if answer.status in _NOT_KNOWN:
            self.unknown_methods.add(answer.request.method)
        if answer.status == _SESSION_NOT_FOUND:
            self.fail(CameraError("The camera has forgotten the session.", code="camera_lost"))


def _lost() -> CameraError:
    return CameraError("The connection to the camera was lost.", code="camera_lost")
