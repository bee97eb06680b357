"""The client's side of RTSP 1.0 with media interleaved in its TCP connection (RFC 2326, 10.12). Sans-IO.

`receive(data, now)` takes bytes as they come. Control messages come out as events. Interleaved packets go straight to
the sink of their channel, in place, without an object for each: a camera sends hundreds a second, and this loop is the
greater part of what pulling it costs. `data_to_send()` gives what is to be written.

Responses are matched by CSeq; a 401 that can be answered is answered here and never seen outside; so are requests of
the server. Where the stream holds something that is neither packet nor message, it is searched for the next plausible
start; before any channel is attached, such bytes are an error at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.wire.rtsp_auth import Authenticator
from mediasrv.wire.rtsp_messages import content_length, parse_header

Sink = Callable[[bytes, int, int, float], int]
"""`(data, start, stop, now)` takes the packet `data[start:stop]`. It answers where the next one's frame begins: `stop`,
or further on if it took packets behind it too. A negative answer says that it is none: the stream is out of step.
"""

DEFAULT_TIMEOUT_S: Final = 60
"""How long a session lives without a request where the server does not say (RFC 2326, 12.37)."""
MOST_HEADER_BYTES: Final = 16_384
MOST_JUNK_BYTES: Final = 262_144
MOST_PENDING: Final = 8
MOST_ATTEMPTS: Final = 3

_DOLLAR: Final = 0x24
_LINE_END: Final = b"\r\n"
_MESSAGE_STARTS: Final = (
    b"RTSP/1.",
    b"ANNOUNCE ",
    b"GET_PARAMETER ",
    b"OPTIONS ",
    b"REDIRECT ",
    b"SET_PARAMETER ",
    b"TEARDOWN ",
)
_LONGEST_START: Final = max(map(len, _MESSAGE_STARTS))
_AFTER_PACKET: Final = frozenset(b"$\r\n" + bytes(start[0] for start in _MESSAGE_STARTS))
_ENDS: Final = frozenset(("REDIRECT", "TEARDOWN"))


@dataclass(slots=True, eq=False)
class Request:
    """One request and its repetitions after a 401; compared by identity. `sent_at` is that of the last, monotonic."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    sent_at: float
    attempts: int = 0
    authorised: bool = False


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The final answer to `request`. Header names are in small letters, each with its values in order."""

    request: Request
    status: int
    reason: str
    headers: dict[str, list[str]]
    body: bytes
    round_trip_s: float

    def header(self, name: str) -> str:
        """The first value of this header, empty where there is none."""
        return self.headers.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class EndRequested:
    """The server asks the client to leave (REDIRECT), to `location` where it names one, or ends the session itself
    (TEARDOWN)."""

    method: str
    location: str = ""


Event = ResponseReceived | EndRequested


class RtspClient:
    """One connection. `on_junk(now)` is called when the stream falls out of step, before what follows is delivered.

    `most_body_bytes` bounds the body of a message. Never holds more than one unfinished packet or message.
    """

    def __init__(self, authenticator: Authenticator, on_junk: Callable[[float], None], most_body_bytes: int) -> None:
        self.resyncs = 0
        self.session_id = ""
        self.timeout_s = DEFAULT_TIMEOUT_S
        self._authenticator = authenticator
        self._on_junk = on_junk
        self._most_body_bytes = most_body_bytes
        self._rest = b""
        self._outgoing: list[bytes] = []
        self._events: list[Event] = []
        self._sequence = 0
        self._pending: dict[int, Request] = {}
        self._sinks: list[Sink] = [_pass_over] * 256
        self._channels: set[int] = set()
        self._plausible: re.Pattern[bytes] | None = None
        self._junk_bytes = 0
        self._taken = 0
        self._taken_at_junk = -1

    def attach(self, channel: int, sink: Sink) -> None:
        """Packets of this interleaved channel go to `sink`. Raises ProtocolError where it is taken or no channel."""
        if not 0 <= channel <= 255 or channel in self._channels:
            raise ProtocolError("The camera gave two tracks the same interleaved channel.")
        self._channels.add(channel)
        self._sinks[channel] = sink
        self._plausible = _plausible_starts(self._channels)

    def detach(self) -> None:
        """From now on packets are counted and dropped; messages go on."""
        self._sinks = [_pass_over] * 256

    def request(self, method: str, url: str, now: float, headers: Sequence[tuple[str, str]] = ()) -> Request:
        """Queues a request. The oldest unanswered one is forgotten where too many wait."""
        request = Request(method, url, tuple(headers), now)
        if len(self._pending) >= MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._send(request, now)
        return request

    @property
    def has_data_to_send(self) -> bool:
        return bool(self._outgoing)

    def data_to_send(self) -> bytes:
        """What is to be written now; empty mostly."""
        outgoing = b"".join(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """Takes bytes that arrived at `now` (monotonic seconds); the events in them, mostly none.

        Raises ProtocolError where the stream cannot be followed any more; the connection is then to be closed.
        """
        if self._rest:
            data = self._rest + data
        sinks = self._sinks
        at, end = 0, len(data)
        while end - at >= 4:
            if data[at] != _DOLLAR:
                following = self._receive_text(data, at, now)
                if following < 0:
                    break
                at = following
                continue
            start = at + 4
            stop = start + (data[at + 2] << 8 | data[at + 3])
            if stop > end:
                if self._is_waited_for(data, at):
                    break
                at = self._skip_junk(data, at, now)
                continue
            if stop < end and data[stop] != _DOLLAR and data[stop] not in _AFTER_PACKET:
                # A packet with junk behind it may be a cut one that was filled up with what followed: rather a lost
                # packet, which is noticed, than a wrong one, which is not.
                at = self._skip_junk(data, at, now)
                continue
            following = sinks[data[at + 1]](data, start, stop, now)
            if following >= 0:
                self._taken += 1
                at = following
            else:
                at = self._skip_junk(data, at, now)
        self._rest = data[at:]
        if not self._events:
            return ()
        events, self._events = self._events, []
        return events

    def _send(self, request: Request, now: float) -> None:
        self._sequence += 1
        self._pending[self._sequence] = request
        authorization = self._authenticator.authorization(request.method, request.url)
        request.sent_at = now
        request.attempts += 1
        request.authorised = authorization is not None
        lines = [f"{request.method} {request.url} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: mediasrv"]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        if self.session_id:
            lines.append(f"Session: {self.session_id}")
        lines += [f"{name}: {value}" for name, value in request.headers]
        self._outgoing.append(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _is_waited_for(self, data: bytes, at: int) -> bool:
        """Junk that looks like the head of a long packet would swallow half a second of stream: the version of RTP
        tells, and in the midst of junk a channel that nobody set up."""
        if data[at + 1] not in self._channels:
            return self._taken != self._taken_at_junk
        return len(data) - at == 4 or data[at + 4] >> 6 == 2

    def _receive_text(self, data: bytes, at: int, now: float) -> int:
        """Where the message or the junk at `at` ends; negative while a message is incomplete."""
        if data[at] in _LINE_END:
            return at + 1
        start = data[at : at + _LONGEST_START]
        if not start.startswith(_MESSAGE_STARTS):
            incomplete = any(known.startswith(start) for known in _MESSAGE_STARTS)
            return -1 if incomplete else self._skip_junk(data, at, now)
        header_end = data.find(b"\r\n\r\n", at, at + MOST_HEADER_BYTES)
        if header_end < 0:
            return -1 if len(data) - at < MOST_HEADER_BYTES else self._skip_junk(data, at, now)
        first, headers = parse_header(data[at:header_end])
        body = header_end + 4
        end = body + self._body_bytes(headers)
        if end > len(data):
            return -1
        if start.startswith(b"RTSP/"):
            self._receive_response(first, headers, data[body:end], now)
        else:
            self._answer_server(first.split(" ", 1)[0], headers)
        return end

    def _body_bytes(self, headers: dict[str, list[str]]) -> int:
        length = content_length(headers)
        if length is None:
            raise ProtocolError("The camera sent a message with a length that is no number.")
        if length > self._most_body_bytes:
            raise ProtocolError(f"The camera sent a message of more than {self._most_body_bytes} bytes.")
        return length

    def _receive_response(self, first: str, headers: dict[str, list[str]], body: bytes, now: float) -> None:
        status, reason = _parse_status(first)
        request = self._pending.pop(self._sequence_of(headers), None) if status >= 200 else None
        if request is None:
            return
        if status == 401 and request.attempts < MOST_ATTEMPTS:
            challenges = headers.get("www-authenticate", [])
            if self._authenticator.adopt(challenges, authorised=request.authorised):
                self._send(request, now)
                return
        if status == 200:
            if request.authorised:
                self._authenticator.accepted()
            self._adopt_session(headers.get("session", [""])[0])
        round_trip_s = now - request.sent_at
        self._events.append(ResponseReceived(request, status, reason, headers, body, round_trip_s))

    def _sequence_of(self, headers: dict[str, list[str]]) -> int:
        text = headers.get("cseq", [""])[0]
        if text.isascii() and text.isdigit() and len(text) <= 9:
            return int(text)
        # A camera that forgets CSeq can only mean the one request that waits.
        return next(iter(self._pending)) if len(self._pending) == 1 else -1

    def _adopt_session(self, header: str) -> None:
        identifier, *parameters = (word.strip() for word in header.split(";"))
        if not re.fullmatch(r"[!-~]{1,256}", identifier):
            return
        self.session_id = identifier
        for parameter in parameters:
            timeout = re.fullmatch(r"(?i)timeout\s*=\s*(\d{1,6})", parameter)
            if timeout:
                self.timeout_s = int(timeout[1]) or DEFAULT_TIMEOUT_S

    def _answer_server(self, method: str, headers: dict[str, list[str]]) -> None:
        sequence = re.sub(r"\D", "", headers.get("cseq", ["0"])[0])[:9]
        self._outgoing.append(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n\r\n".encode())
        if method in _ENDS:
            self._events.append(EndRequested(method, headers.get("location", [""])[0]))

    def _skip_junk(self, data: bytes, at: int, now: float) -> int:
        """The next plausible start after `at`, else the end of the data."""
        if self._plausible is None:
            raise ProtocolError("What the camera sends is not RTSP.")
        candidates = (match.start() for match in self._plausible.finditer(data, at + 1))
        following = next((start for start in candidates if _confirmed(data, start)), len(data))
        if self._taken != self._taken_at_junk:
            self._taken_at_junk = self._taken
            self._junk_bytes = 0
            self.resyncs += 1
            self._on_junk(now)
        self._junk_bytes += following - at
        if self._junk_bytes > MOST_JUNK_BYTES:
            raise ProtocolError("What the camera sends is not RTSP any more.")
        return following


def _pass_over(data: bytes, start: int, stop: int, now: float) -> int:
    """Some cameras send on channels that nobody set up."""
    return stop


def _plausible_starts(channels: set[int]) -> re.Pattern[bytes]:
    """Matches, without width, where a packet of these channels (RTP and RTCP are both version 2) or a response may
    begin, also where the end of the data cuts it short."""
    known = b"".join(re.escape(bytes((channel,))) for channel in sorted(channels))
    packet = rb"\$(?:[" + known + rb"](?:..[\x80-\xbf]|.{0,2}\Z)|\Z)"
    response = rb"RTSP/1\.|R(?:T(?:S(?:P(?:/1?)?)?)?)?\Z"
    return re.compile(rb"(?=" + packet + rb"|" + response + rb")", re.DOTALL)


def _confirmed(data: bytes, start: int) -> bool:
    """Whether what follows a plausible packet begins as something known, as far as it is there."""
    if data[start] != _DOLLAR or len(data) - start < 4:
        return True
    end = start + 4 + (data[start + 2] << 8 | data[start + 3])
    return end >= len(data) or data[end] in _AFTER_PACKET


def _parse_status(first: str) -> tuple[int, str]:
    match = re.fullmatch(r"RTSP/1\.\d (\d{3})(?: (.*))?", first)
    if match is None:
        raise ProtocolError("The camera sent a status line that is none.")
    return int(match[1]), re.sub(r"[^ -~]", "", match[2] or "")[:80].strip()
