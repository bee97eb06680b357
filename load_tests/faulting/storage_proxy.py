"""Stands before the real S3 server and fails as servers and networks do."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from aiohttp import ClientSession, web
from multidict import CIMultiDict
from yarl import URL


class Fault(StrEnum):
    """What happens to a request."""

    NONE = "none"
    REFUSE = "refuse"  # nothing listens
    HANG = "hang"  # taken, never answered
    ERROR_500 = "500"
    DENY = "403"
    FULL = "507"
    CUT_BODY = "cut body"  # the connection dies while the body is sent
    LOSE_ANSWER = "lose answer"  # the server does what it was asked, and nobody learns of it
    CORRUPT_READ = "corrupt read"  # one bit of each answer to a GET is another one


_ERRORS = {Fault.ERROR_500: (500, "InternalError"), Fault.DENY: (403, "AccessDenied"), Fault.FULL: (507, "Full")}


class FaultProxy:
    """Forwards everything as it is (signatures hold), unless `fault` says otherwise; `left` bounds how often."""

    def __init__(self, target: str) -> None:
        self.fault = Fault.NONE
        self.left = 1 << 30
        self.seen: Counter[tuple[str, Fault]] = Counter()
        self._target = URL(target)
        self._changed = asyncio.Event()
        self._client: ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def set(self, fault: Fault, left: int = 1 << 30) -> None:
        was, self.fault, self.left = self.fault, fault, left
        self._changed.set()  # what hangs is let go of
        self._changed = asyncio.Event()
        if fault is Fault.REFUSE:
            await self._stop_listening()
        elif was is Fault.REFUSE:
            await self._listen()

    async def start(self) -> None:
        self._client = ClientSession(auto_decompress=False)
        await self._listen()

    async def stop(self) -> None:
        self._changed.set()
        await self._stop_listening()
        if self._client is not None:
            await self._client.close()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self.fault if self.left > 0 else Fault.NONE
        self.left -= fault is not Fault.NONE
        self.seen[request.method, fault] += 1
        if fault in _ERRORS:
            status, code = _ERRORS[fault]
            await request.read()
            return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>")
        if fault is Fault.HANG:
            await self._changed.wait()
            return self._cut(request)
        if fault is Fault.CUT_BODY:
            await request.content.read(1000)
            return self._cut(request)
        answer = await self._forward(request)
        if fault is Fault.CORRUPT_READ and request.method == "GET":
            self._corrupt(answer)
        return self._cut(request) if fault is Fault.LOSE_ANSWER else answer

    async def _forward(self, request: web.Request) -> web.Response:
        assert self._client is not None
        url = self._target.join(URL(request.raw_path, encoded=True))
        headers = CIMultiDict(request.headers)
        body = await request.read()
        data = io.BytesIO(body) if body else None  # aiohttp warns of large bodies in one piece
        skip = ["Content-Type"] if "Content-Type" not in headers else []
        async with self._client.request(
            request.method, url, headers=headers, data=data, skip_auto_headers=skip
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS}
            content = await answer.read()
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=kept, body=content or None)

    @staticmethod
    def _corrupt(answer: web.Response) -> None:
        body = answer.body
        if isinstance(body, bytes) and body:
            at = len(body) // 2
            answer.body = body[:at] + bytes((body[at] ^ 0x04,)) + body[at + 1 :]

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:  # else the client has gone by itself
            request.transport.abort()
        return web.Response()


_HOP_HEADERS = {"transfer-encoding", "connection", "content-length", "server", "date"}


@asynccontextmanager
async def fault_proxy(target: str) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
