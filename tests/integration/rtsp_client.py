"""The least RTSP client that can also misbehave: writes what it is told, reads answers, and drops what is between."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from mediasrv.wire.rtsp_auth import Authenticator

INTERLEAVED = "RTP/AVP/TCP;unicast;interleaved={}-{}"


@dataclass
class Answer:
    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        return self.headers.get(name, [""])[0]


@dataclass
class Client:
    """`packets` are (channel, data) of what came interleaved so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    base: str
    authenticator: Authenticator
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    session: str = ""
    cseq: int = 0

    async def ask(self, method: str, path: str = "", body: bytes = b"", **headers: str) -> Answer:
        """With Digest, also the second time where the first is refused."""
        answer = await self.ask_once(method, path, body, **headers)
        if answer.status == 401 and self.authenticator.adopt(answer.headers["www-authenticate"], authorised=False):
            answer = await self.ask_once(method, path, body, **headers)
        return answer

    async def ask_once(self, method: str, path: str = "", body: bytes = b"", **headers: str) -> Answer:
        self.writer.write(self.request(method, path, body, **headers))
        return await self.answer()

    def request(self, method: str, path: str = "", body: bytes = b"", **headers: str) -> bytes:
        self.cseq += 1
        url = self.base + path
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self.cseq}"]
        authorization = self.authenticator.authorization(method, url)
        if authorization and "Authorization" not in headers:
            lines.append(f"Authorization: {authorization}")
        if self.session and "Session" not in headers:
            lines.append(f"Session: {self.session}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    async def answer(self) -> Answer:
        """The next one; packets before it are kept aside. Raises IncompleteReadError at the end, or TimeoutError."""
        async with asyncio.timeout(10):
            while True:
                first = await self.reader.readexactly(1)
                if first != b"$":
                    break
                await self._read_packet()
            head = first + await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        body = await self.reader.readexactly(int(headers.get("content-length", ["0"])[0]))
        if "session" in headers:
            self.session = headers["session"][0].partition(";")[0]
        return Answer(int(status.split(" ")[1]), headers, body)

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def go_on_reading(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def read_packets(self, count: int) -> None:
        async with asyncio.timeout(10):
            for _ in range(count):
                assert await self.reader.readexactly(1) == b"$"
                await self._read_packet()

    async def _read_packet(self) -> None:
        head = await self.reader.readexactly(3)
        self.packets.append((head[0], await self.reader.readexactly(int.from_bytes(head[1:], "big"))))

    async def play(self, transport: str = INTERLEAVED) -> Answer:
        """From DESCRIBE to PLAY, all tracks."""
        described = await self.ask("DESCRIBE")
        assert described.status == 200, described
        for number, control in enumerate(re.findall(rb"a=control:(track\d)", described.body)):
            ways = transport.format(2 * number, 2 * number + 1)
            answer = await self.ask("SETUP", f"/{control.decode()}", Transport=ways)
            assert answer.status == 200, answer
        return await self.ask("PLAY")

    async def at_end(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read(-1)


@contextlib.asynccontextmanager
async def connecting(
    port: int, username: str, password: str, path: str = "/gate-1/main", *, narrow: bool = False
) -> AsyncIterator[Client]:
    """`narrow`: hardly anything waits at this end of the connection."""
    sock = socket.socket()
    sock.setblocking(False)
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024 if narrow else 1 << 16)
    try:
        yield Client(reader, writer, f"rtsp://127.0.0.1:{port}{path}", Authenticator(username, password))
    finally:
        writer.transport.abort()
