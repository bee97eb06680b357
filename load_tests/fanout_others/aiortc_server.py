"""Stock aiortc as a server: one RTCPeerConnection a viewer, each handed the encoded packets as they are.

`python -m load_tests.fanout_others.aiortc_server ADDRESS` prints a line of JSON with its URL, then serves POST /whep.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

import av
import uvloop
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from load_tests.child import say
from load_tests.clip_on_air import RATE, ClipOnAir
from load_tests.media import ALAW_CLOCK_RATE, ALAW_FRAME_BYTES
from mediasrv.media.nal import iter_avcc, join_annexb

Packet: TypeAlias = "av.Packet[Any]"
_QUEUED: Final = 256


class PassedOn(MediaStreamTrack):
    """A track of packets that are not decoded; a viewer that falls behind loses some."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.packets: asyncio.Queue[Packet] = asyncio.Queue(_QUEUED)

    async def recv(self) -> Packet:
        return await self.packets.get()

    def put(self, packet: Packet) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.packets.put_nowait(packet)


class Server:
    def __init__(self, *, audio: bool) -> None:
        self.air = ClipOnAir(audio=audio)
        self._connections: set[RTCPeerConnection] = set()
        self._tracks: dict[str, list[PassedOn]] = {"video": [], "audio": []}

    async def whep(self, request: web.Request) -> web.Response:
        connection = RTCPeerConnection()
        self._connections.add(connection)
        await connection.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        for transceiver in connection.getTransceivers():
            track = PassedOn(transceiver.kind)
            connection.addTrack(track)
            self._tracks[transceiver.kind].append(track)
        await connection.setLocalDescription(await connection.createAnswer())
        return web.Response(status=201, text=connection.localDescription.sdp, content_type="application/sdp")

    def on_picture(self, number: int, keyframe: bool, payload: bytes) -> None:
        self._hand_on("video", join_annexb(iter_avcc(payload)), number * 90_000 // RATE, 90_000)

    def on_sound(self, number: int, payload: bytes) -> None:
        self._hand_on("audio", payload, number * ALAW_FRAME_BYTES, ALAW_CLOCK_RATE)

    def _hand_on(self, kind: str, data: bytes, pts: int, clock_rate: int) -> None:
        packet = av.Packet(data)
        packet.pts, packet.time_base = pts, Fraction(1, clock_rate)
        for track in self._tracks[kind]:
            track.put(packet)


async def _serve(address: str, *, audio: bool) -> None:
    server = Server(audio=audio)
    app = web.Application()
    app.add_routes([web.post("/whep", server.whep)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    host, port = runner.addresses[0]
    say({"url": f"http://{host}:{port}"})
    await server.air.run(server.on_picture, server.on_sound if audio else None)


def serve(argv: Sequence[str]) -> int:
    uvloop.run(_serve(argv[0], audio="--audio" in argv))
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
