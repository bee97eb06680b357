"""The HTTP side on a loopback port, listening as the server does, as clients meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

from mediasrv.settings import ServerSettings, StorageSettings, WebRtcSettings
from mediasrv.web.application import build_app, serve
from tests.unit.web.fakes import NORTH, World, make_world

SPAN: Final = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:10:00Z"
SDP: Final = {"Content-Type": "application/sdp"}


@dataclass
class Site:
    """A world and a client with a cookie jar of its own."""

    world: World
    client: aiohttp.ClientSession
    app: web.Application
    port: int

    async def call(self, method: str, path: str, token: str | None = None, **options: Any) -> tuple[int, Any]:
        """Status, and the JSON document or the bytes; of a stream that does not end the status alone."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.client.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            if response.content_type == "text/event-stream":
                return response.status, b""
            body = await response.read()
            is_json = response.content_type.endswith("json")
            return response.status, (await response.json(content_type=None) if is_json else body)

    async def problem(self, method: str, path: str, token: str | None, **options: Any) -> tuple[int, str]:
        """Status and code of a problem document."""
        status, body = await self.call(method, path, token, **options)
        return status, body["code"]

    async def join(self, token: str, camera: str = NORTH) -> str:
        """Watches by WHEP; the path of the new viewer."""
        headers = {"Authorization": f"Bearer {token}"} | SDP
        async with self.client.post(f"/whep/{camera}", data="v=0\r\n", headers=headers) as response:
            assert response.status == 201, await response.text()
            return response.headers["Location"].partition("/whep/")[2]


@asynccontextmanager
async def make_site(
    directory: Path,
    *,
    ui_dir: Path | None = None,
    server: ServerSettings | None = None,
    webrtc: WebRtcSettings | None = None,
    storage: StorageSettings | None = None,
) -> AsyncIterator[Site]:
    async with make_world(directory, ui_dir=ui_dir, server=server, webrtc=webrtc, storage=storage) as world:
        app = build_app(world.services)
        runner = await serve(app, "127.0.0.1", 0, 1.0)
        port = runner.addresses[0][1]
        jar = aiohttp.CookieJar(unsafe=True)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as client:
                yield Site(world, client, app, port)
        finally:
            await runner.cleanup()
