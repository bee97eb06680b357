"""The measured side of `fanout`: the real hub and WebRTC service, fed with one pre-encoded stream in real time.

`python -m load_tests.fanout_server` prints a line of JSON with its URL, then serves POST /whep and GET /stats.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import pylibsrtp
import uvloop
from aiohttp import web

from load_tests.media import encoded_clip
from mediasrv.clock import SystemClock
from mediasrv.errors import MediasrvError
from mediasrv.fanout import port
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef
from mediasrv.media.nal import NAL_PPS, NAL_SPS, iter_avcc, nal_type, video_format
from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import WebRtcService
from mediasrv.wire import webrtc_peer
from mediasrv.wire.ice import Path
from mediasrv.wire.srtp import SrtpKeys
from mediasrv.wire.udp import UdpTransport

REF: Final = StreamRef("load-1", StreamName.MAIN)
WIDTH: Final = 1280
HEIGHT: Final = 720
RATE: Final = 25
BITRATE_KBPS: Final = 2050
GOP_S: Final = 2.0


class Publisher:
    """Publishes the clip in a loop, each access unit at its time, and remembers how late it was."""

    def __init__(self, mountpoint: Mountpoint) -> None:
        self._mountpoint = mountpoint
        self._clip = encoded_clip(WIDTH, HEIGHT, RATE, BITRATE_KBPS, GOP_S, 10.0)
        self.sent = 0
        self.late_ms: deque[float] = deque(maxlen=100_000)

    async def run(self) -> None:
        nals = {nal_type(nal): nal for nal in iter_avcc(self._clip[0])}
        video = video_format(nals[NAL_SPS], nals[NAL_PPS])
        gop = round(GOP_S * RATE)
        session = Session("load", REF, 1, time.time_ns() // 1000, time.monotonic())
        self._mountpoint.start_session(session)
        while True:
            due_s = self.sent / RATE
            delay_s = session.started_monotonic + due_s - time.monotonic()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            self.late_ms.append((time.monotonic() - session.started_monotonic - due_s) * 1000)
            at_us, ticks = session.started_us + round(due_s * 1e6), round(due_s * 90_000)
            payload = self._clip[self.sent % len(self._clip)]
            self._mountpoint.publish(AccessUnit(session, video, ticks, ticks, at_us, self.sent % gop == 0, payload))
            self.sent += 1


class Door:
    """The least HTTP that joins viewers and tells what happened."""

    def __init__(self, service: WebRtcService, publisher: Publisher) -> None:
        self._service = service
        self._publisher = publisher

    async def whep(self, request: web.Request) -> web.Response:
        try:
            joined = await self._service.join(REF, await request.text(), "load")
        except MediasrvError as refused:
            return web.Response(status=refused.status, text=refused.sentence)
        return web.Response(status=201, text=joined.answer_sdp, content_type="application/sdp")

    async def stats(self, request: web.Request) -> web.Response:
        """Counters; the list of delays begins anew with each call."""
        late = sorted(self._publisher.late_ms)
        self._publisher.late_ms.clear()
        return web.json_response(
            {
                "access_units": self._publisher.sent,
                "loop_late_ms_p99": late[int(len(late) * 0.99)] if late else 0.0,
                "viewers": len(self._service.viewers()),
                "counters": dataclasses.asdict(self._service.counters),
            }
        )


class LibsrtpSender:
    """The reference: each packet protected by libsrtp, as C servers and aiortc do. Stands for `SrtpSender`."""

    def __init__(self, keys: SrtpKeys, ssrc: int, payload_type: int) -> None:
        profile = pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND
        self._protect = pylibsrtp.Session(
            pylibsrtp.Policy(key=keys.key + keys.salt, ssrc_type=kind, srtp_profile=profile)
        ).protect
        self._ssrc = ssrc
        self._payload_type = payload_type

    def protect_run(self, index: int, payloads: list[bytes], timestamp: int, marked: bool) -> bytes:
        last = len(payloads) - 1
        datagrams = []
        for place, payload in enumerate(payloads):
            kind = self._payload_type | (0x80 if marked and place == last else 0)
            header = struct.pack(">BBHII", 0x80, kind, index + place & 0xFFFF, timestamp & 0xFFFFFFFF, self._ssrc)
            datagrams.append(self._protect(header + payload))
        return b"".join(datagrams)


class PlainTransport(UdpTransport):
    """The reference: one system call a packet."""

    def send_run(self, joined: bytes, size: int, path: Path) -> None:
        self._send_each(joined, size, path)


def become_reference() -> None:
    """Everything stays the same but the two steps that the fan-out is fast by."""
    vars(webrtc_peer)["SrtpSender"] = LibsrtpSender
    vars(port)["UdpTransport"] = PlainTransport


async def _serve(settings: WebRtcSettings) -> None:
    hub = Hub()
    service = WebRtcService(hub, settings, SystemClock(), None)
    publisher = Publisher(hub.mountpoint(REF))
    door = Door(service, publisher)
    app = web.Application()
    app.add_routes([web.post("/whep", door.whep), web.get("/stats", door.stats)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run())
            await service.bound.wait()
            tasks.create_task(publisher.run())
            host, port = runner.addresses[0]
            print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)
    finally:
        await runner.cleanup()


def serve(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests.fanout_server")
    parser.add_argument("--payload-bytes", type=int, default=WebRtcSettings().payload_bytes)
    parser.add_argument("--burst-packets", type=int, default=WebRtcSettings().burst_packets)
    parser.add_argument("--pace", type=float, default=WebRtcSettings().pace_s, help="seconds between two bursts")
    parser.add_argument("--reference", action="store_true", help="libsrtp and one sendto a packet instead")
    options = parser.parse_args(argv)
    if options.reference:
        become_reference()
    settings = WebRtcSettings(
        port=0, payload_bytes=options.payload_bytes, burst_packets=options.burst_packets, pace_s=options.pace
    )
    uvloop.run(_serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
