"""Messages of RTSP 1.0 as text, as both of its sides read and write them (RFC 2326, 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

Headers = dict[str, list[str]]
"""Names in small letters, each with its values in order."""

_REASONS: Final = {
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}
"""Those that HTTP does not know, or knows otherwise (RFC 2326, 7.1.1)."""


def parse_header(header: bytes) -> tuple[str, Headers]:
    """The first line and the headers of a message, without the empty line behind them. Never raises."""
    first, *lines = header.decode("utf-8", "replace").split("\r\n")
    headers: Headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), []).append(value.strip())
    return first, headers


def content_length(headers: Headers) -> int | None:
    """How many bytes follow the headers: 0 where they do not say, None where what they say is no number."""
    text = headers.get("content-length", ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def build_response(status: int, cseq: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """`cseq` is that of the request, empty where it had none."""
    lines = [f"RTSP/1.0 {status} {_REASONS.get(status) or HTTPStatus(status).phrase}"]
    if cseq:
        lines.append(f"CSeq: {cseq}")
    lines += ["Server: mediasrv", *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
