"""The server's side of RTSP 1.0 with media interleaved in its TCP connection (RFC 2326, 10.12). Sans-IO.

`receive(data)` takes bytes as they come and gives events. What is answered is the caller's to write, in the order of
the requests. A peer that breaks the protocol gets one plain answer, and nothing after it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mediasrv.errors import ProtocolError
from mediasrv.wire.rtsp_messages import Headers, content_length, parse_header

MOST_HEADER_BYTES: Final = 8192
MOST_BODY_BYTES: Final = 4096
MOST_URL_BYTES: Final = 1024

_DOLLAR: Final = 0x24
_LINE_END: Final = b"\r\n"
_LETTERS: Final = range(ord("A"), ord("Z") + 1)
_REQUEST: Final = re.compile(r"([A-Z_]{3,20}) ([!-~]+) RTSP/(\d)\.\d")
_SEQUENCE: Final = re.compile(r"\d{1,10}", re.ASCII)


class RtspRefused(ProtocolError):
    """A request that is answered with `rtsp_status`; the connection goes on."""

    def __init__(self, rtsp_status: int, sentence: str) -> None:
        super().__init__(sentence, code="rtsp_request_refused")
        self.rtsp_status = rtsp_status


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A whole request. `cseq` is empty where it has none that could be answered."""

    method: str
    url: str
    headers: Headers
    body: bytes
    cseq: str

    def header(self, name: str) -> str:
        """The first value of this header, empty where there is none."""
        return self.headers.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """What came interleaved: of a reader, RTCP."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ProtocolBroken:
    """The stream cannot be followed any more: answer `status` and close."""

    status: int


Event = RequestReceived | PacketReceived | ProtocolBroken


class RtspServer:
    """One connection. Never holds more than one unfinished message or packet."""

    def __init__(self) -> None:
        self._rest = b""
        self._broken = False

    def receive(self, data: bytes) -> list[Event]:
        """The events in these bytes and what was left before; after a ProtocolBroken, none. Never raises."""
        events: list[Event] = []
        data, at = self._rest + data, 0
        while at < len(data) and not self._broken:
            if data[at] in _LINE_END:  # some clients send an empty line to keep the connection alive
                at += 1
                continue
            event, at_next = self._take(data, at)
            if event is None:
                break
            events.append(event)
            at = at_next
        self._rest = b"" if self._broken else data[at:]
        return events

    def _take(self, data: bytes, at: int) -> tuple[Event | None, int]:
        """The event that begins at `at` and where it ends; None where it has not ended yet."""
        if data[at] == _DOLLAR:
            stop = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            if at + 4 > len(data) or stop > len(data):
                return None, at
            return PacketReceived(data[at + 1], data[at + 4 : stop]), stop
        if data[at] not in _LETTERS:
            return self._break(400), at
        header_end = data.find(b"\r\n\r\n", at, at + MOST_HEADER_BYTES)
        if header_end < 0:
            return (self._break(400), at) if len(data) - at >= MOST_HEADER_BYTES else (None, at)
        first, headers = parse_header(data[at:header_end])
        length = content_length(headers)
        if length is None or length > MOST_BODY_BYTES:
            return self._break(400 if length is None else 413), at
        stop = header_end + 4 + length
        if stop > len(data):
            return None, at
        return self._request(first, headers, data[header_end + 4 : stop]), stop

    def _request(self, first: str, headers: Headers, body: bytes) -> Event:
        parsed = _REQUEST.fullmatch(first)
        if parsed is None:
            return self._break(400)
        if parsed[3] != "1":
            return self._break(505)
        if len(parsed[2]) > MOST_URL_BYTES:
            return self._break(414)
        cseq = headers.get("cseq", [""])[0]
        return RequestReceived(parsed[1], parsed[2], headers, body, cseq if _SEQUENCE.fullmatch(cseq) else "")

    def _break(self, status: int) -> ProtocolBroken:
        self._broken = True
        return ProtocolBroken(status)
