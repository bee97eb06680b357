"""An RTSP camera that misbehaves to order, on a port of loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load_tests.camera_farm.counters import CounterSigner
from load_tests.media import encoded_clip, split_avcc
from mediasrv.media.rtp import packetize_h264

RATE = 50
GOP = 10
RUN = "bad0" * 4
CLIP = (320, 180, RATE, 400, GOP / RATE, 1.0)
OTHER_CLIP = (160, 120, RATE, 200, GOP / RATE, 1.0)


@dataclass(frozen=True)
class Fault:
    """What goes wrong. Counts are in pictures; without any, the camera behaves."""

    greeting: bytes = b""
    status: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: Sequence[str] = ()
    close_on: str = ""
    sdp: bytes | None = None
    described_sets: bool = True
    carried_sets: bool = True
    first_channel: int | None = None
    media_before_answer: bool = False
    stop_after: int | None = None
    close_after: int | None = None
    junk_after: int | None = None
    only_junk_after: int | None = None
    lose_after: int | None = None
    cut_after: int | None = None
    change_after: int | None = None
    session_timeout_s: int = 60


class BadCamera:
    """`async with BadCamera(Fault(...)) as camera:` serves `camera.url` and writes down what it was asked.

    With a `key` each picture carries a signed counter, as those of the camera farm do, and `logs` says of each
    session what was sent in it, for `load_tests.readback.account_for`. A keyframe without parameter sets is none.
    """

    def __init__(self, fault: Fault, key: bytes = b"", host: str = "127.0.0.1") -> None:
        self.fault = fault
        self._host = host
        self.logs: list[dict[str, Any]] = []
        self.methods: list[str] = []
        self.urls: list[str] = []
        self.connections = 0
        self.accepted = 0
        self.pictures = 0
        self._pictures_of = [split_avcc(unit) for unit in encoded_clip(*CLIP)]
        self._others = [split_avcc(unit) for unit in encoded_clip(*OTHER_CLIP)]
        self._sequences = itertools.count(65_500)
        self._signer = CounterSigner(key, "bad/main", RUN) if key else None
        self._counters = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def change(self, fault: Fault) -> None:
        """Another trouble from now on, or none: connections end, after all that was sent, and the next ones have it."""
        self.fault = fault
        for writer in self._writers:
            writer.close()

    async def __aenter__(self) -> BadCamera:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"rtsp://{self._host}:{self.port}/cam?channel=1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        self.connections += 1
        try:
            async with asyncio.TaskGroup() as group:
                writer.write(self.fault.greeting)
                while header := await reader.readuntil(b"\r\n\r\n"):
                    if not self._answer(header.decode(), writer, group):
                        break
                raise EOFError
        except* (EOFError, ConnectionError):  # the client left, or the fault is to leave
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.connections -= 1

    def _answer(self, header: str, writer: asyncio.StreamWriter, group: asyncio.TaskGroup) -> bool:
        method, url, _ = header.split(" ", 2)
        sequence = next(line.split(":")[1].strip() for line in header.split("\r\n") if line.startswith("CSeq"))
        self.methods.append(method)
        self.urls.append(url)
        if method == self.fault.close_on:
            return False
        if method in self.fault.silent:
            return True
        if method == "PLAY" and self.fault.media_before_answer:
            self._send_picture(writer, 0)
        body = self._describe() if method == "DESCRIBE" else b""
        lines = [f"RTSP/1.0 {self.fault.status.get(method, '200 OK')}", f"CSeq: {sequence}", *self._headers(method)]
        writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        if method == "PLAY" and method not in self.fault.status:
            group.create_task(self._play(writer))
        return method != "TEARDOWN"

    def _headers(self, method: str) -> list[str]:
        if method in self.fault.headers:
            return [self.fault.headers[method]]
        if method == "OPTIONS":
            return ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"]
        if method == "SETUP":
            channel = self._channel
            return [
                f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}",
                f"Session: 5A;timeout={self.fault.session_timeout_s}",
            ]
        return []

    @property
    def _channel(self) -> int:
        return self.fault.first_channel or 0

    def _describe(self) -> bytes:
        if self.fault.sdp is not None:
            return self.fault.sdp
        sps, pps = (base64.b64encode(nal).decode() for nal in self._pictures_of[0][:2])
        sets = f";sprop-parameter-sets={sps},{pps}" if self.fault.described_sets else ""
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=bad\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
            f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1{sets}\r\na=control:track1\r\n"
        ).encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        fault = self.fault
        self.logs.append({"run": RUN, "first": None, "first_keyframe": None, "last": 0, "left_out": [], "damaged": []})
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        for index in itertools.count(1 if fault.media_before_answer else 0):
            await asyncio.sleep(max(0.0, started_at + index / RATE - loop.time()))
            if index == fault.stop_after or writer.is_closing():
                return
            if index == fault.close_after:
                writer.transport.abort()
                return
            if index == fault.junk_after:
                writer.write(b"junk $\x00\xff in the stream" * 30)
            if fault.only_junk_after is not None and index >= fault.only_junk_after:
                writer.write(b"nothing but junk " * 4096)
            else:
                self._send_picture(writer, index)
            await writer.drain()

    def _send_picture(self, writer: asyncio.StreamWriter, index: int) -> None:
        fault = self.fault
        changed = fault.change_after is not None and index >= fault.change_after
        clip = self._others if changed else self._pictures_of
        nals = [nal for nal in clip[index % len(clip)] if fault.carried_sets or nal[0] & 31 not in (7, 8)]
        if self._signer is not None:
            nals.insert(-1, self._count(self._signer, any(nal[0] & 31 == 5 for nal in nals)))
        payloads = packetize_h264(b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals), 400)
        for place, payload in enumerate(payloads):
            marker = 0x80 if place == len(payloads) - 1 else 0
            packet = self._packet(payload, marker, index)
            if index == fault.lose_after and place == 0:
                continue
            if index == fault.cut_after and place == 0:
                packet = packet[:-20]
            writer.write(packet)
        self.pictures += 1

    def _count(self, signer: CounterSigner, keyframe: bool) -> bytes:
        """The picture's counter as a NAL unit; what is sent is noted in the session's log."""
        counter, log = next(self._counters), self.logs[-1]
        log["first"], log["last"] = log["first"] or counter, counter
        if keyframe and (self.fault.described_sets or self.fault.carried_sets):
            log["first_keyframe"] = log["first_keyframe"] or counter
        return signer.sei(counter, keyframe, time.time_ns() // 1000)

    def _packet(self, payload: bytes, marker: int, index: int) -> bytes:
        timestamp = (0xFFFF0000 + index * 90_000 // RATE) & 0xFFFFFFFF
        header = struct.pack("!BBHII", 0x80, 96 | marker, next(self._sequences) & 0xFFFF, timestamp, 0xBAD)
        return struct.pack("!BBH", 0x24, self._channel, len(header) + len(payload)) + header + payload
