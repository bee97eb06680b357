"""An archive on S3, and a web server that plays it over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.clock import SECOND_US, from_us, to_us
from mediasrv.errors import MediasrvError
from mediasrv.playback import Playback
from mediasrv.retrieval.playlists import Choice, Rendition
from mediasrv.settings import HlsSettings, StorageSettings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import ObjectStore
from mediasrv.transcoding.recorded import RecordedTranscoder
from mediasrv.web.media_responses import read_recorded
from tests.archive import Archive
from tests.clocks import SimulatedClock
from tests.unit.media.streams import REF, STARTED_US
from tests.vod import MediaPlaylist, read_playlist


@dataclass
class Site:
    """An archive on S3 and a web server that plays it."""

    archive: Archive
    store: ObjectStore
    playback: Playback
    url: str
    http: aiohttp.ClientSession

    async def fetch(self, uri: str) -> bytes:
        async with self.http.get(f"{self.url}/{uri}") as answer:
            answer.raise_for_status()
            return await answer.read()

    async def playlist(self, rendition: Rendition, end_s: float, start_s: float = 0.0) -> MediaPlaylist:
        async with self.http.get(self.playlist_url(f"{rendition}.m3u8", end_s, start_s)) as answer:
            answer.raise_for_status()
            return read_playlist(await answer.text())

    def playlist_url(self, name: str, end_s: float, start_s: float = 0.0) -> str:
        start, end = (
            from_us(STARTED_US + round(one * SECOND_US)).isoformat().replace("+00:00", "Z") for one in (start_s, end_s)
        )
        return f"{self.url}/{name}?start={start}&end={end}"


@asynccontextmanager
async def open_site(
    directory: Path, storage: StorageSettings, maker: RecordedTranscoder | None = None
) -> AsyncIterator[Site]:
    clock = SimulatedClock(STARTED_US + 3600 * SECOND_US)
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        archive = Archive(directory, store, storage.key_bucket, clock)
        await archive.register()
        keyring = KeyRing([archive.identity], CatalogueKeys(archive.catalogue), clock, 300.0)
        footage = Footage(store, None, keyring)
        playback = Playback(archive.catalogue, footage, HlsSettings(), clock, maker)
        runner = web.AppRunner(_app(playback))
        await runner.setup()
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as http:
                yield Site(archive, store, playback, f"http://127.0.0.1:{port}/playback/gate-1", http)
        finally:
            await runner.cleanup()
            footage.close()
            archive.catalogue.close()


def _app(playback: Playback) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            return web.Response(body=await _body(playback, request, name))
        except MediasrvError as error:
            return web.Response(status=error.status, text=error.sentence)

    app = web.Application()
    app.router.add_get("/playback/gate-1/{name:.*}", answer)
    return app


async def _body(playback: Playback, request: web.Request, name: str) -> bytes:
    if name.endswith(".m3u8"):
        start_us, end_us = (to_us(datetime.fromisoformat(request.query[key])) for key in ("start", "end"))
        if name == "index.m3u8":
            return await playback.master(REF, start_us, end_us, Choice(request.query.get("codec", "any")))
        return await playback.media_playlist(REF, Rendition(name.removesuffix(".m3u8")), start_us, end_us)
    object_id, rendition, file = name.split("/")
    return await read_recorded(playback, "gate-1", object_id, Rendition(rendition), file)
