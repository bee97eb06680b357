"""RTSP/1.0 messages (RFC 2326) as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """Header names are in small letters."""

    method: str
    url: str
    headers: dict[str, str]

    @property
    def body_bytes(self) -> int:
        return int(self.headers.get("content-length", "0"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A client's answer to a request of ours."""

    status: int
    headers: dict[str, str]

    @property
    def body_bytes(self) -> int:
        return int(self.headers.get("content-length", "0"))


def parse_message(head: bytes) -> Request | Answer | None:
    """A head without its empty line; None for what is no RTSP."""
    first, *rest = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if not headers.get("content-length", "0").isdigit():
        return None
    words = first.split(" ", 2)
    if len(words) >= 2 and words[0].startswith("RTSP/") and words[1].isdigit():
        return Answer(int(words[1]), headers)
    if len(words) == 3 and words[2].startswith("RTSP/"):
        return Request(words[0], words[1], headers)
    return None


def build_answer(request: Request, status: str, headers: Iterable[str] = (), body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', '0')}", "Server: camera-farm", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def build_request(method: str, url: str, sequence: int, headers: Iterable[str] = ()) -> bytes:
    lines = [f"{method} {url} RTSP/1.0", f"CSeq: {sequence}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
