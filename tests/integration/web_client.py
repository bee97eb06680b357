"""The HTTP side on a loopback port, listening as the server does, as clients meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from mediasrv.settings import ServerSettings
from mediasrv.web.application import build_app, serve
from tests.unit.web.fakes import World, make_world


@dataclass
class Site:
    """A world and a client with a cookie jar of its own."""

    world: World
    client: aiohttp.ClientSession
    app: web.Application
    port: int

    async def call(self, method: str, path: str, token: str | None = None, **options: Any) -> tuple[int, Any]:
        """Status, and the JSON document or the bytes."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.client.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            body = await response.read()
            is_json = response.content_type.endswith("json")
            return response.status, (await response.json(content_type=None) if is_json else body)


@asynccontextmanager
async def make_site(
    directory: Path, *, ui_dir: Path | None = None, server: ServerSettings | None = None
) -> AsyncIterator[Site]:
    async with make_world(directory, ui_dir=ui_dir, server=server) as world:
        app = build_app(world.services)
        runner = await serve(app, "127.0.0.1", 0, 1.0)
        port = runner.addresses[0][1]
        jar = aiohttp.CookieJar(unsafe=True)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as client:
                yield Site(world, client, app, port)
        finally:
            await runner.cleanup()
