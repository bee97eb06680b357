"""The viewers of `hls`: each asks as hls.js does, a blocking reload and the part that it tells of, side by side.

`python -m load_tests.hls_viewers --url URL` reads one line of JSON from standard input, a list of the cookies of its
viewers, and prints `{"playing": N}` once each of them has a part. It counts from the line `start` to the line `stop`;
where one viewer is refused anything it ends with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gzip
import json
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import uvloop

from load_tests.child import say
from load_tests.measure import percentile

TIMEOUT_S: Final = 15.0
JOIN_S: Final = 60.0
_AT_ONCE: Final = 50
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HINT: Final = re.compile(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="(\w+/(\d+)\.(\d+)\.m4s)"')
_PART: Final = re.compile(r'#EXT-X-PART:DURATION=[\d.]+,URI="([^"]+)"')


@dataclass(slots=True)
class Counts:
    """What all viewers saw between `start` and `stop`."""

    playlists: int = 0
    parts: int = 0
    octets: int = 0
    skipped_parts: int = 0
    first_seen: dict[str, float] = field(default_factory=dict)
    behind_first_ms: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that is kept: a request at a time, bodies with a Content-Length."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need:
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            found = _LENGTH.search(self._buffer, 0, end + 2)
            self._need = end + 4 + (int(found[1]) if found else 0)
        if len(self._buffer) >= self._need and self._answer is not None:
            status, body_at = int(self._buffer[9:12]), self._buffer.find(_HEAD_END) + 4
            body = bytes(memoryview(self._buffer)[body_at : self._need])
            del self._buffer[: self._need]
            self._need = 0
            if not self._answer.done():
                self._answer.set_result((status, body))

    async def get(self, path: str, headers: str) -> tuple[int, bytes]:
        """Status and body as sent. Raises TimeoutError, ConnectionError."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
        async with asyncio.timeout(TIMEOUT_S):
            return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a viewer needs of a media playlist: its newest part, and the one to ask for next."""

    newest: str
    next_msn: int
    next_part: int


@functools.lru_cache(maxsize=64)
def read_playlist(body: bytes) -> Seen:
    """Once for all viewers who got the same bytes: these are no measure of anything."""
    text = (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()
    hint, parts = _HINT.search(text), _PART.findall(text)
    assert hint is not None, text
    return Seen(parts[-1] if parts else "", int(hint[2]), int(hint[3]))


class Viewer:
    """Plays one track of one stream for as long as it is let."""

    def __init__(self, url: str, cookie: str, counts: Counts) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path
        self._headers = (
            f"Host: {parts.netloc}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
            "Accept-Language: vi,en;q=0.9\r\nConnection: keep-alive\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 "
            "Safari/537.36\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
            f"Referer: http://{parts.netloc}/\r\n"
        ) + (f"Cookie: {cookie}\r\n" if cookie else "")
        self._counts = counts
        self.playing = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        _, reloads = await loop.create_connection(Connection, self._host, self._port)
        _, parts = await loop.create_connection(Connection, self._host, self._port)
        try:
            seen = read_playlist(await self._get(reloads, self._path))
            while True:
                query = f"?_HLS_msn={seen.next_msn}&_HLS_part={seen.next_part}&_HLS_skip=YES"
                _, body = await asyncio.gather(self._part(parts, seen.newest), self._get(reloads, self._path + query))
                self._counts.playlists += 1
                after = read_playlist(body)
                self._counts.skipped_parts += after.newest == seen.newest
                now = time.perf_counter()
                self._counts.behind_first_ms.append(
                    (now - self._counts.first_seen.setdefault(after.newest, now)) * 1000
                )
                seen = after
        finally:
            reloads.close()
            parts.close()

    async def _part(self, connection: Connection, uri: str) -> None:
        body = await self._get(connection, urljoin(self._path, uri))
        self._counts.parts += 1
        self._counts.octets += len(body)
        self.playing.set()

    async def _get(self, connection: Connection, path: str) -> bytes:
        status, body = await connection.get(path, self._headers)
        if status != 200:
            raise ConnectionError(f"{path}: {status} {body[:300]!r}")
        return body


async def _serve(url: str, cookies: Sequence[str]) -> None:
    counts = Counts()
    viewers = [Viewer(url, cookie, counts) for cookie in cookies]
    async with asyncio.TaskGroup() as tasks:
        watching = []
        for number in range(0, len(viewers), _AT_ONCE):
            batch = viewers[number : number + _AT_ONCE]
            watching += [tasks.create_task(viewer.run()) for viewer in batch]
            async with asyncio.timeout(JOIN_S):
                await asyncio.gather(*(viewer.playing.wait() for viewer in batch))
        say({"playing": len(viewers)})
        await asyncio.to_thread(sys.stdin.readline)
        _reset(counts)
        await asyncio.to_thread(sys.stdin.readline)
        say(_report(counts))
        for task in watching:
            task.cancel()


def _reset(counts: Counts) -> None:
    counts.playlists = counts.parts = counts.octets = counts.skipped_parts = 0
    counts.behind_first_ms.clear()


def _report(counts: Counts) -> dict[str, Any]:
    late = counts.behind_first_ms or [0.0]
    return {
        "playlists": counts.playlists,
        "parts": counts.parts,
        "octets": counts.octets,
        "playlists_without_news": counts.skipped_parts,
        "behind_first_ms_p50": statistics.median(late),
        "behind_first_ms_p99": percentile(late, 99),
    }


def main_viewers(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests.hls_viewers")
    parser.add_argument("--url", required=True, help="of the media playlist")
    options = parser.parse_args(argv)
    uvloop.run(_serve(options.url, json.loads(sys.stdin.readline())))
    return 0


if __name__ == "__main__":
    sys.exit(main_viewers(sys.argv[1:]))
