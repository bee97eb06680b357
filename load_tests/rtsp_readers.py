"""Many RTSP readers in one process: each does a real handshake, and then holds every packet against the one before.

Prints a line of JSON once all have a picture; after `start` it counts, and prints the counts after `stop`.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from typing import Final

import uvloop

from load_tests.child import lines_told, say
from mediasrv.wire.rtsp import ResponseReceived, RtspClient
from mediasrv.wire.rtsp_auth import Authenticator
from mediasrv.wire.rtsp_headers import resolve_control
from mediasrv.wire.sdp import parse_sdp

_JOIN_S: Final = 60.0
_AT_ONCE: Final = 20
_READ_BYTES: Final = 262_144
_RECEIVE_BUFFER_BYTES: Final = 1 << 21


class Track:
    """Counts what comes on one track. A picture ends with a marker."""

    def __init__(self) -> None:
        self.packets = self.octets = self.lost = self.marked = 0
        self._expected = -1

    def take(self, data: bytes, start: int, stop: int, now: float) -> int:
        sequence = data[start + 2] << 8 | data[start + 3]
        if self._expected >= 0:
            self.lost += (sequence - self._expected) & 0xFFFF
        self._expected = (sequence + 1) & 0xFFFF
        self.packets += 1
        self.octets += stop - start
        self.marked += data[start + 1] >> 7
        return stop


class Reader:
    """One connection. `first_picture_ms` counts from before it connected."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tracks: list[Track] = []
        self.first_picture_ms = 0.0
        self._options = options
        self._base = f"rtsp://127.0.0.1:{options.port}{options.path}"
        self._client = RtspClient(Authenticator(options.username, options.password), lambda now: None, 65_536)
        self._udp: list[socket.socket] = []

    async def join(self) -> None:
        started = time.monotonic()
        context = _unverified() if self._options.way == "tls" else None
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._options.port, ssl=context, limit=_READ_BYTES
        )
        described = await self._ask("DESCRIBE", self._base)
        base = described.header("content-base") or self._base
        media = parse_sdp(described.body).media[: None if self._options.audio else 1]
        for number, one in enumerate(media):
            await self._ask("SETUP", resolve_control(base, one.control), self._transport(number))
        await self._ask("PLAY", self._base)
        while not self.tracks[0].marked:
            await self._read_once()
        self.first_picture_ms = (time.monotonic() - started) * 1000

    async def read_on(self) -> None:
        while True:
            await self._read_once()

    async def _read_once(self) -> None:
        """Media over UDP comes by itself; the connection then only has to stay."""
        if self._udp:
            await asyncio.sleep(0.05)
            return
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise ConnectionError("the server has ended the connection")
        self._client.receive(data, 0.0)

    async def _ask(self, method: str, url: str, transport: str = "") -> ResponseReceived:
        self._client.request(method, url, 0.0, [("Transport", transport)] if transport else [])
        async with asyncio.timeout(_JOIN_S):
            while True:
                self._writer.write(self._client.data_to_send())
                for event in self._client.receive(await self._reader.read(_READ_BYTES), 0.0):
                    if isinstance(event, ResponseReceived):
                        if event.status != 200:
                            raise RuntimeError(f"{method}: {event.status} {event.reason}")
                        return event

    def _transport(self, number: int) -> str:
        track = Track()
        self.tracks.append(track)
        if self._options.way != "udp":
            self._client.attach(2 * number, track.take)
            return f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
        ports = [self._bind(take) for take in (track.take, None)]
        return f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]}"

    def _bind(self, take: Callable[[bytes, int, int, float], int] | None) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind(("127.0.0.1", 0))
        self._udp.append(sock)

        def readable() -> None:
            try:
                while True:
                    data = sock.recv(2048)
                    if take is not None:
                        take(data, 0, len(data), 0.0)
            except BlockingIOError:
                pass

        asyncio.get_running_loop().add_reader(sock.fileno(), readable)
        return int(sock.getsockname()[1])


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _run(options: argparse.Namespace) -> None:
    readers = [Reader(options) for _ in range(options.readers)]
    for at in range(0, len(readers), _AT_ONCE):
        async with asyncio.timeout(_JOIN_S):
            await asyncio.gather(*(reader.join() for reader in readers[at : at + _AT_ONCE]))
    lines = await lines_told()
    async with asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(reader.read_on()) for reader in readers]
        first_ms = sorted(reader.first_picture_ms for reader in readers)
        say({"first_picture_ms_p50": statistics.median(first_ms), "first_picture_ms_most": first_ms[-1]})
        await lines.readline()
        before = [_counts(reader) for reader in readers]
        await lines.readline()
        counted = [
            [new - old for new, old in zip(_counts(reader), was, strict=True)]
            for reader, was in zip(readers, before, strict=True)
        ]
        say(
            {
                "packets": sum(one[0] for one in counted),
                "octets": sum(one[1] for one in counted),
                "lost": sum(one[2] for one in counted),
                "pictures": sum(one[3] for one in counted),
                "readers_without_media": sum(one[3] == 0 for one in counted),
            }
        )
        for task in reading:
            task.cancel()


def _counts(reader: Reader) -> list[int]:
    tracks = reader.tracks
    return [
        sum(track.packets for track in tracks),
        sum(track.octets for track in tracks),
        sum(track.lost for track in tracks),
        tracks[0].marked,
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--way", choices=("tcp", "udp", "tls"), default="tcp")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--username", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--audio", action="store_true")
    uvloop.run(_run(parser.parse_args()))
