"""The reference of `hls`: the barest LL-HLS origin that aiohttp allows, without accounts, rights, log or camera.

`python -m load_tests.hls_origin` prints a line of JSON with the URL of its media playlist. Each 0.48 s there is a part
more; all viewers get the same bytes, of the size that a stream of 2.05 Mbit/s has.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from typing import Final

import uvloop
from aiohttp import web

from load_tests.child import say

PART_S: Final = 0.48
PART_BYTES: Final = 123_000
_FILLING: Final = "".join(f'#EXT-X-PART:DURATION=0.48000,URI="video/0.{n}.m4s"\n' for n in range(20))


class Origin:
    def __init__(self) -> None:
        self._number = 0
        self._changed = asyncio.Event()
        self._part = bytes(PART_BYTES)
        self._text = b""

    async def make_parts(self) -> None:
        started = time.monotonic()
        while True:
            newest, following = f"video/1.{self._number}.m4s", f"video/1.{self._number + 1}.m4s"
            text = (
                f'#EXTM3U\n{_FILLING}#EXT-X-PART:DURATION=0.48000,URI="{newest}"\n'
                f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{following}"\n'
            )
            self._text = gzip.compress(text.encode(), 6)
            self._number += 1
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(max(0.0, started + self._number * PART_S - time.monotonic()))

    async def playlist(self, request: web.Request) -> web.Response:
        wanted = int(request.query.get("_HLS_part", 0))
        while self._number <= wanted:
            await self._changed.wait()
        return web.Response(
            body=self._text, headers={"Content-Encoding": "gzip", "Content-Type": "application/vnd.apple.mpegurl"}
        )

    async def part(self, request: web.Request) -> web.Response:
        return web.Response(body=self._part, content_type="video/mp4")


async def _serve() -> None:
    origin = Origin()
    app = web.Application()
    app.add_routes([web.get("/main/video.m3u8", origin.playlist), web.get("/main/video/{file}", origin.part)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/main/video.m3u8"})
    await origin.make_parts()


if __name__ == "__main__":
    sys.exit(uvloop.run(_serve()))
