"""The least of a client of the simulated cameras: it asks, and keeps every byte that comes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from load_tests.camera_farm.process import FarmProcess

SMALL = {"width": 320, "height": 180, "rate": 25, "bitrate": 300, "gop": 1.0}
OPEN = {**SMALL, "rtsp_auth": "none"}
TCP = "RTP/AVP/TCP;unicast;interleaved={0}-{1}"


async def run(*command: str, timeout_s: float = 30, env: dict[str, str] | None = None) -> tuple[int, bytes, str]:
    """Status, standard output and standard error of a program."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL, env=env
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out, err.decode()


async def ffprobe(url: str) -> tuple[int, list[dict[str, Any]], str]:
    options = ("-v", "warning", "-rtsp_transport", "tcp", "-show_streams", "-of", "json")
    status, out, err = await run("ffprobe", *options, url)
    return status, json.loads(out or b"{}").get("streams", []), err


async def until(condition: Callable[[dict[str, Any]], bool], farm: FarmProcess, camera: str) -> dict[str, Any]:
    """The first state of a camera for which the condition holds."""
    async with asyncio.timeout(10):
        while not condition(state := await farm.camera(camera)):  # noqa: ASYNC110 - its process has no event for us
            await asyncio.sleep(0.02)
    return state


class Puller:
    """One RTSP connection. `received` is everything after the answer to PLAY, or whatever came unasked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url = reader, writer, url
        self.received = bytearray()
        self.session = ""

    async def ask(self, method: str, path: str = "", *headers: str) -> str:
        """The answer; `path` is added to the URL, or stands for it where it is a whole one."""
        url = path if "://" in path else self.url + path
        self.writer.write(("\r\n".join([f"{method} {url} RTSP/1.0", "CSeq: 1", *headers]) + "\r\n\r\n").encode())
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head)
            return head + (await self.reader.readexactly(int(length[1]))).decode() if length else head

    async def set_up(self, track: int, transport: str = TCP) -> str:
        headers = [self.session] if self.session else []
        wish = transport.format(track * 2, track * 2 + 1)
        head = await self.ask("SETUP", f"/trackID={track}", f"Transport: {wish}", *headers)
        if " 200 " in head:
            self.session = "Session: " + head.split("Session: ")[1].split(";")[0]
        return head

    async def play(self, tracks: tuple[int, ...] = (0, 1), transport: str = TCP) -> str:
        await self.ask("DESCRIBE")
        for track in tracks:
            await self.set_up(track, transport)
        return await self.ask("PLAY", "", self.session)

    async def receive(self, seconds: float) -> bool:
        """Collects for a while; False as soon as the camera has closed."""
        try:
            async with asyncio.timeout(seconds):
                while data := await self.reader.read(65536):
                    self.received += data
                return False
        except ConnectionResetError:
            return False
        except TimeoutError:
            return True

    def packets(self, channel: int) -> list[bytes]:
        found, at = [], 0
        while at + 4 <= len(self.received) and self.received[at] == 0x24:
            size = int.from_bytes(self.received[at + 2 : at + 4], "big")
            if self.received[at + 1] == channel and at + 4 + size <= len(self.received):
                found.append(bytes(self.received[at + 4 : at + 4 + size]))
            at += 4 + size
        return found


@contextlib.asynccontextmanager
async def pulling(url: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Puller]:
    host, port = url.split("/")[2].split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except ConnectionError as error:
        raise AssertionError(f"{url} cannot be reached") from error
    try:
        yield Puller(reader, writer, url)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class UdpTrack:
    """Two sockets that a camera sends to; datagrams are kept as they come, with the time of each."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.arrived: list[float] = []
        self._sockets = [_bound(0)]
        self._sockets.append(_bound(self.port + 1))
        self._loop = asyncio.get_running_loop()
        for one, kept in zip(self._sockets, (self.rtp, self.rtcp), strict=True):
            self._loop.add_reader(one, self._read, one, kept)

    @property
    def port(self) -> int:
        port: int = self._sockets[0].getsockname()[1]
        return port

    @property
    def transport(self) -> str:
        return f"RTP/AVP;unicast;client_port={self.port}-{self.port + 1}"

    def _read(self, one: socket.socket, kept: list[bytes]) -> None:
        kept.append(one.recv(65536))
        if kept is self.rtp:
            self.arrived.append(self._loop.time())

    def report_to(self, port: int) -> None:
        """An empty receiver report, to the camera's RTCP port."""
        self._sockets[1].sendto(bytes.fromhex("80c9000112345678"), ("127.0.0.1", port))

    async def until(self, count: int) -> None:
        """Until so many RTP packets have come."""
        async with asyncio.timeout(10):
            while len(self.rtp) < count:  # noqa: ASYNC110 - the camera has no event for us
                await asyncio.sleep(0.02)

    def close(self) -> None:
        for one in self._sockets:
            self._loop.remove_reader(one)
            one.close()


def _bound(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    one.bind(("127.0.0.1", port))
    return one


@contextlib.asynccontextmanager
async def udp_track() -> AsyncIterator[UdpTrack]:
    track = UdpTrack()
    try:
        yield track
    finally:
        track.close()


def sequences(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[2:4], "big") for packet in packets]


def timestamps(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[4:8], "big") for packet in packets]


def steps(numbers: list[int], modulo: int) -> list[int]:
    """From each to the next, wraps counted as steps."""
    return [(later - earlier) % modulo for earlier, later in itertools.pairwise(numbers)]
