"""The checker of live HLS finds each way in which a server can be wrong that it is there for."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from load_tests.hls_check import check_server
from mediasrv.clock import SystemClock
from mediasrv.errors import MediasrvError
from mediasrv.hls import HlsService
from mediasrv.hub import Hub
from mediasrv.media.access_unit import TrackKind
from mediasrv.media.playlist import Manner
from mediasrv.settings import HlsSettings
from tests.unit.media.streams import AAC, REF, audio_units, interleave, session, video_units

NO_STORE = {"Cache-Control": "no-store"}
WATCHED_S = 2.5
Spoil = Callable[[str, web.Response], web.Response]


class Origin:
    """Our own HLS; `spoil` may change what is answered to a path with its query, `spoil_text` a playlist before."""

    def __init__(self, spoil: Spoil | None, spoil_text: Callable[[str], str] | None, forget_part: bool) -> None:
        self.hub = Hub()
        self._service = HlsService(self.hub, HlsSettings(), SystemClock())
        self._spoil = spoil or (lambda path, answer: answer)
        self._spoil_text = spoil_text or (lambda text: text)
        self._forget_part = forget_part

    async def serve(self, request: web.Request) -> web.Response:
        try:
            answer = await self._answer(request)
        except MediasrvError as error:
            answer = web.Response(status=error.status, text=error.sentence, headers=NO_STORE)
        return self._spoil(request.path_qs, answer)

    async def _answer(self, request: web.Request) -> web.Response:
        names = request.path.strip("/").split("/")
        if names == ["index.m3u8"]:
            return self._text(await self._service.master(REF))
        track = TrackKind[names[1].removesuffix(".m3u8").upper()]
        if len(names) == 2:
            query = request.query
            msn, part = (int(query[name]) if name in query else None for name in ("_HLS_msn", "_HLS_part"))
            if part is not None and msn is None:
                return web.Response(status=400, headers=NO_STORE)
            if self._forget_part and msn is not None:
                self._service._known(REF).window.reached(track, msn, part)
                msn = part = None
            manner = Manner(skip=query.get("_HLS_skip") == "YES")
            return self._text(await self._service.media_playlist(REF, track, msn, part, manner))
        return await self._media(track, names[2])

    async def _media(self, track: TrackKind, name: str) -> web.Response:
        if name.startswith("init-"):
            body = self._service.init(REF, track, int(name[5:-4]))
        else:
            numbers = [int(word) for word in name.removesuffix(".m4s").split(".")]
            ask = self._service.part if len(numbers) == 2 else self._service.segment
            body = await ask(REF, track, *numbers)  # type: ignore[operator]
        return web.Response(body=body, content_type=f"{track.name.lower()}/mp4")

    def _text(self, text: bytes) -> web.Response:
        body = gzip.compress(self._spoil_text(text.decode()).encode())
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=body, content_type="application/vnd.apple.mpegurl", headers=headers)


@asynccontextmanager
async def served(origin: Origin) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", origin.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    camera = asyncio.create_task(broadcast(origin.hub))
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/index.m3u8"
    finally:
        camera.cancel()
        await runner.cleanup()


async def broadcast(hub: Hub) -> None:
    """A camera that has been live for six seconds."""
    mountpoint, loop = hub.mountpoint(REF), asyncio.get_running_loop()
    one = session("s", SystemClock.wall_us() - 6_000_000)
    mountpoint.start_session(one)
    begun = loop.time() - 6.0
    for unit in interleave(video_units(one, 60.0, gop_s=1.0), audio_units(one, 60.0, format=AAC)):
        ahead_s = begun + (unit.arrived_us - one.started_us) / 1e6 - loop.time()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        mountpoint.publish(unit)


async def broken(
    spoil: Spoil | None = None, spoil_text: Callable[[str], str] | None = None, *, forget_part: bool = False
) -> str:
    async with served(Origin(spoil, spoil_text, forget_part)) as url:
        return "\n".join((await check_server(url, WATCHED_S, again_s=0.2)).broken)


async def test_our_own_is_not_wrong() -> None:
    assert await broken() == ""


async def test_a_url_that_means_something_else_later_is_found() -> None:
    asked: dict[str, int] = {}

    def other_time(path: str, answer: web.Response) -> web.Response:
        asked[path] = asked.get(path, 0) + 1
        if path.endswith(".m4s") and asked[path] > 1 and isinstance(answer.body, bytes):
            answer.body = answer.body[:-1] + b"\0"
        return answer

    assert "means something else now" in await broken(other_time)


async def test_a_reload_that_is_answered_too_soon_is_found() -> None:
    assert "answered before its part was there" in await broken(forget_part=True)


@pytest.mark.parametrize(
    ("spoil_text", "found"),
    [
        (lambda text: text.replace("#EXT-X-TARGETDURATION:1", "#EXT-X-TARGETDURATION:0"), "check"),
        (lambda text: text.replace(",INDEPENDENT=YES", ""), "INDEPENDENT is not true"),
        (lambda text: text.replace("DURATION=0.48000", "DURATION=0.47000"), "last as long as the playlist says"),
        (lambda text: text.replace("PART-HOLD-BACK=1.", "PART-HOLD-BACK=0."), "check"),
        (lambda text: text.replace('URI="audio.m3u8",LAST-MSN=1', 'URI="audio.m3u8",LAST-MSN=9'), "rendition report"),
        (lambda text: text.replace("RESOLUTION=640x360,", ""), "without RESOLUTION"),
    ],
)
async def test_a_playlist_that_is_not_true_is_found(spoil_text: Callable[[str], str], found: str) -> None:
    assert found in await broken(spoil_text=spoil_text)


async def test_numbers_that_run_backwards_are_found() -> None:
    count = itertools.count()

    def restless(text: str) -> str:
        head, tag, rest = text.partition("#EXT-X-MEDIA-SEQUENCE:")
        if not tag:
            return text
        number, _, rest = rest.partition("\n")
        return f"{head}{tag}{int(number) - next(count)}\n{rest}"

    assert "check_next" in await broken(spoil_text=restless)


async def test_a_refusal_that_is_none_and_one_that_caches_keep_are_found() -> None:
    def friendly(path: str, answer: web.Response) -> web.Response:
        if answer.status == 400:
            return web.Response(text="whatever", headers={"Vary": "Accept-Encoding"})
        return answer

    def forgetful(path: str, answer: web.Response) -> web.Response:
        answer.headers.pop("Cache-Control", None)
        return answer

    assert "200 where 400 was due" in await broken(friendly)
    assert "may be kept by caches" in await broken(forgetful)
