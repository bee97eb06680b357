"""The measured side of `fanout`: the real hub and WebRTC service, fed with one pre-encoded stream in real time.

`python -m load_tests.fanout_server` prints a line of JSON with its URL, then serves POST /whep, /stats and /remains.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import dataclasses
import gc
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pylibsrtp
import uvloop
from aiohttp import web

from load_tests.child import say
from load_tests.clip_on_air import RATE, SOUND_S, ClipOnAir
from load_tests.measure import rss_bytes
from load_tests.media import ALAW_CLOCK_RATE, ALAW_FRAME_BYTES
from mediasrv.clock import SystemClock
from mediasrv.errors import MediasrvError
from mediasrv.fanout import port
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Format, Session, StreamName, StreamRef
from mediasrv.media.nal import iter_avcc, parameter_sets, video_format
from mediasrv.settings import WebRtcSettings
from mediasrv.webrtc import WebRtcService
from mediasrv.wire import rtp_sources
from mediasrv.wire.ice import Path
from mediasrv.wire.srtp import SrtpKeys
from mediasrv.wire.udp import UdpTransport

REF: Final = StreamRef("load-1", StreamName.MAIN)
_WATCHED: Final = ("mediasrv.", "OpenSSL.", "uvloop.", "asyncio.", "aiohttp.")
_ALAW: Final = AudioFormat(Codec.PCMA, ALAW_CLOCK_RATE, 1)


class Publisher:
    """Publishes the clip in a loop, each access unit at its time."""

    def __init__(self, mountpoint: Mountpoint, *, audio: bool) -> None:
        self.air = ClipOnAir(audio=audio)
        self._mountpoint = mountpoint
        sets = parameter_sets(iter_avcc(self.air.first))
        assert sets is not None, "a clip begins with a keyframe"
        self._video = video_format(*sets)
        self._session = _session()

    async def run(self) -> None:
        self._session = _session()
        self._mountpoint.start_session(self._session)
        await self.air.run(self._on_picture, self._on_sound)

    def _on_picture(self, number: int, keyframe: bool, payload: bytes) -> None:
        ticks = number * 90_000 // RATE
        self._publish(self._video, ticks, number / RATE, keyframe, payload)

    def _on_sound(self, number: int, payload: bytes) -> None:
        self._publish(_ALAW, number * ALAW_FRAME_BYTES, number * SOUND_S, True, payload)

    def _publish(self, form: Format, ticks: int, due_s: float, keyframe: bool, payload: bytes) -> None:
        at_us = self._session.started_us + round(due_s * 1e6)
        self._mountpoint.publish(AccessUnit(self._session, form, ticks, ticks, at_us, keyframe, payload))


def _session() -> Session:
    return Session("load", REF, 1, time.time_ns() // 1000, time.monotonic())


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
        return web.json_response(
            {
                "access_units": self._publisher.air.pictures,
                "loop_late_ms_p99": self._publisher.air.take_late_ms_p99(),
                "viewers": len(self._service.viewers()),
                "counters": dataclasses.asdict(self._service.counters),
            }
        )

    async def remains(self, request: web.Request) -> web.Response:
        """What is there once all garbage is gone: live objects of ours and of what we stand on, files, memory."""
        gc.collect()
        held_bytes = rss_bytes(os.getpid())
        # What is freed but kept by the allocator is no leak, and may be much: it is told by itself.
        ctypes.CDLL(None).malloc_trim(0)
        kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
        return web.json_response(
            {
                "objects": {kind: count for kind, count in kinds.items() if kind.startswith(_WATCHED)},
                "tasks": len(asyncio.all_tasks()),
                "files": len(os.listdir("/proc/self/fd")),
                "viewers": len(self._service.viewers()),
                "rss_bytes": rss_bytes(os.getpid()),
                "held_bytes": held_bytes,
            }
        )


class LibsrtpSender:
    """The reference: each packet protected by libsrtp, as C servers and aiortc do. Stands for `SrtpSender`."""

    def __init__(self, keys: SrtpKeys, ssrc: int, payload_type: int, extension: bytes = b"") -> None:
        profile = pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND
        self._protect = pylibsrtp.Session(
            pylibsrtp.Policy(key=keys.key + keys.salt, ssrc_type=kind, srtp_profile=profile)
        ).protect
        self._ssrc = ssrc
        self._payload_type = payload_type

    def protect_run(
        self, index: int, payloads: list[bytes], timestamp: int, marked: bool, extended: bool = False
    ) -> bytes:
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
    vars(rtp_sources)["SrtpSender"] = LibsrtpSender
    vars(port)["UdpTransport"] = PlainTransport


async def _serve(settings: WebRtcSettings, *, audio: bool) -> None:
    hub = Hub()
    service = WebRtcService(hub, settings, SystemClock(), None)
    publisher = Publisher(hub.mountpoint(REF), audio=audio)
    door = Door(service, publisher)
    app = web.Application()
    app.add_routes([web.post("/whep", door.whep), web.get("/stats", door.stats), web.get("/remains", door.remains)])
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
            say({"url": f"http://{host}:{port}"})
    finally:
        await runner.cleanup()


def serve(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load_tests.fanout_server")
    parser.add_argument("--payload-bytes", type=int, default=WebRtcSettings().payload_bytes)
    parser.add_argument("--burst-packets", type=int, default=WebRtcSettings().burst_packets)
    parser.add_argument("--pace", type=float, default=WebRtcSettings().pace_s, help="seconds between two bursts")
    parser.add_argument("--reference", action="store_true", help="libsrtp and one sendto a packet instead")
    parser.add_argument("--audio", action="store_true", help="G.711 beside the pictures")
    parser.add_argument("--consent", type=float, default=WebRtcSettings().consent_s, help="seconds")
    options = parser.parse_args(argv)
    if options.reference:
        become_reference()
    settings = WebRtcSettings(
        port=0,
        joins_per_minute=0,  # all viewers are of one account
        payload_bytes=options.payload_bytes,
        burst_packets=options.burst_packets,
        pace_s=options.pace,
        consent_s=options.consent,
    )
    uvloop.run(_serve(settings, audio=options.audio))
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
