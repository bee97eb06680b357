"""Answers that many get alike, such as a part of a live stream: headers and body are made once and sent in one write.

aiohttp builds the headers of each response anew, which is a third of what such a request costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11
from aiohttp.web_request import BaseRequest

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not say otherwise. Footage is never stored by a cache: it would lie there unsealed."""

_KEEP: Final = b"\r\n\r\n"
_CLOSE: Final = b"\r\nConnection: close\r\n\r\n"


class ReadyResponse(web.StreamResponse):
    """`head` is what `ready_head` made for a body of this length; `status` is the one it was made for."""

    def __init__(self, head: bytes, body: bytes, status: int = 200) -> None:
        super().__init__(status=status)
        self._head = head
        self._ready_body = body
        self._request: BaseRequest | None = None

    @property
    def keep_alive(self) -> bool:
        return self._request is not None and _is_kept(self._request)

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        self._request = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Raises ConnectionResetError where the client has gone."""
        request = self._request
        transport = None if request is None else request.transport
        if request is None or transport is None:
            raise ConnectionResetError("The client has gone.")
        end = _KEEP if _is_kept(request) else _CLOSE
        transport.writelines((self._head, _date(int(time.time())), end, self._ready_body))
        # A client that reads slowly holds one answer here, and gets no other before it took that.
        await request.writer.drain()


def _is_kept(request: BaseRequest) -> bool:
    """HTTP/1.0 would need to be told so: its connections end."""
    return request.keep_alive and request.version == HttpVersion11


@lru_cache(maxsize=512)
def ready_head(status_line: str, length: int, *headers: tuple[str, str]) -> bytes:
    """Status line and headers as far as the date, which is that of the moment of sending."""
    everything = {**HEADERS, hdrs.SERVER: SERVER_SOFTWARE, **dict(headers)}
    if not status_line.startswith("304"):
        everything[hdrs.CONTENT_LENGTH] = str(length)
    lines = [f"HTTP/1.1 {status_line}", *(f"{name}: {value}" for name, value in everything.items()), "Date: "]
    return "\r\n".join(lines).encode("ascii")


@lru_cache(maxsize=2)
def _date(_second: int) -> bytes:
    return rfc822_formatted_time().encode("ascii")
