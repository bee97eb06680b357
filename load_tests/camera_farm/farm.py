"""Cameras, and the farm that starts and stops them."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from load_tests.camera_farm.discovery import Announcement, DiscoveryResponder, start_discovery
from load_tests.camera_farm.http_auth import Authenticator
from load_tests.camera_farm.media_session import MediaSession
from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.onvif_server import DEVICE_PATH, OnvifFace, OnvifService
from load_tests.camera_farm.rtsp_server import RtspConnection
from load_tests.camera_farm.scenes import SCENES, LiveSource
from load_tests.camera_farm.sources import AudioSource, ClipSource, PictureSource, packed_clip
from load_tests.camera_farm.streams import AudioKind, VideoShape

_BACKLOG: Final = 64


@dataclass(frozen=True, slots=True)
class FarmPlan:
    """What the command line asks for. A port of 0 is chosen by the system; camera n gets port + n - 1 otherwise.

    `discovery_port` below 0 means none. `audio` is an AudioKind, or `mixed`: G.711 and AAC in turn.
    """

    cameras: int
    mode: str
    main: VideoShape
    sub: VideoShape
    host: str = "127.0.0.1"
    rtsp_port: int = 0
    onvif_port: int = 0
    control_port: int = 0
    discovery_port: int = 0
    username: str = "admin"
    password: str = "camera-farm"
    key: bytes = b""
    audio: str = "pcma"
    rtsp_auth: tuple[str, ...] = ("digest", "basic")
    onvif_auth: frozenset[str] = frozenset({"wsse", "digest"})
    session_timeout_s: int = 60
    clock_offset_s: float = 0.0
    reported_host: str = ""
    until_stdin_ends: bool = False

    def audio_of(self, number: int) -> AudioKind:
        if self.audio == "mixed":
            return AudioKind.PCMA if number % 2 else AudioKind.AAC
        return AudioKind(self.audio)


class SimulatedCamera:
    """One camera: its streams, its two doors and what is wrong with it. `number` counts from 1."""

    def __init__(self, number: int, plan: FarmPlan, key: bytes) -> None:
        self.number, self.plan, self.key = number, plan, key
        self.camera_id = f"cam-{number}"
        self.run = secrets.token_hex(8)
        scene = SCENES[(number - 1) % len(SCENES)]
        self.name = scene.name if plan.mode == "demo" else f"Camera {number}"
        self.face = OnvifFace(
            camera_id=self.camera_id,
            name=self.name,
            username=plan.username,
            password=plan.password,
            auth_kinds=plan.onvif_auth,
            clock_offset_s=plan.clock_offset_s,
            reported_host=plan.reported_host,
        )
        self.session_timeout_s = plan.session_timeout_s
        self.rtsp_auth: Authenticator | None = None
        if plan.rtsp_auth:
            self.rtsp_auth = Authenticator(
                self.camera_id, plan.username, plan.password, schemes=plan.rtsp_auth, qop=False
            )
        self.rtsp_port = self.onvif_port = 0
        self.wrong_password = False
        self.status: str | None = None
        self.online = False
        self.streams: dict[str, StreamOnAir] = {
            "main": self._new_stream("main", plan.main),
            "sub": self._new_stream("sub", plan.sub),
        }
        self._connections: set[RtspConnection] = set()
        self._rtsp: asyncio.Server | None = None
        self._onvif: web.AppRunner | None = None

    def _new_stream(self, name: str, shape: VideoShape) -> StreamOnAir:
        kind = self.plan.audio_of(self.number)
        load = self.plan.mode == "load"
        audio = None if kind is AudioKind.NONE else AudioSource(kind, self.number, counted=load)
        source: PictureSource
        if load:
            # Sevenths of a GOP: cameras of a site do not send their keyframes at one moment.
            source = ClipSource(shape, phase=round(self.number * shape.rate * shape.gop_s / 7))
        else:
            source = LiveSource(SCENES[(self.number - 1) % len(SCENES)], self.name, shape)
        offset_s = -(self.number * 0.0137 % (1 / shape.rate))
        return StreamOnAir(f"{self.camera_id}/{name}", source, audio, self.key, self.run, offset_s)

    @property
    def sessions(self) -> list[MediaSession]:
        return [session for stream in self.streams.values() for session in stream.sessions.values()]

    def stream(self, name: str) -> StreamOnAir | None:
        return self.streams.get(name)

    def refuses_credentials(self) -> bool:
        return self.wrong_password

    def rtsp_status(self) -> str | None:
        return self.status

    async def go_online(self) -> None:
        """Opens both doors, on the ports they had before."""
        if self.online:
            return
        self.online = True
        await self._open_rtsp()
        await self._open_onvif()

    async def go_offline(self) -> None:
        """Closes both doors and breaks every connection, as a pulled plug does."""
        self.online = False
        if self._rtsp is not None:
            self._rtsp.close()
        for connection in tuple(self._connections):
            connection.abort()
        if self._onvif is not None:
            await self._onvif.cleanup()

    async def _open_rtsp(self) -> None:
        port = self.rtsp_port or _port_of(self.plan.rtsp_port, self.number)
        self._rtsp = await asyncio.get_running_loop().create_server(
            lambda: RtspConnection(self, self._connections), self.plan.host, port, backlog=_BACKLOG
        )
        self.rtsp_port = self._rtsp.sockets[0].getsockname()[1]

    async def _open_onvif(self) -> None:
        self._onvif = web.AppRunner(OnvifService(self).application(), access_log=None, shutdown_timeout=0.1)
        await self._onvif.setup()
        port = self.onvif_port or _port_of(self.plan.onvif_port, self.number)
        await web.TCPSite(self._onvif, self.plan.host, port, backlog=_BACKLOG).start()
        self.onvif_port = self._onvif.addresses[0][1]

    async def fault(self, kind: str, options: dict[str, Any]) -> None:
        """Makes something go wrong, or right again. Raises KeyError for a kind that is none of FAULTS."""
        await FAULTS[kind](self, options)

    def announcement(self) -> Announcement:
        xaddr = f"http://{self.plan.reported_host or self.plan.host}:{self.onvif_port}{DEVICE_PATH}"
        return Announcement(self.camera_id, self.name, self.face.model, xaddr)

    def describe(self) -> dict[str, Any]:
        """The camera's part of what the control door shows."""
        return {
            "id": self.camera_id,
            "number": self.number,
            "name": self.name,
            "run": self.run,
            "online": self.online,
            "username": self.plan.username,
            "password": self.plan.password,
            "onvif_address": f"{self.plan.host}:{self.onvif_port}",
            "onvif_port": self.onvif_port,
            "rtsp_port": self.rtsp_port,
            "streams": {name: self._describe_stream(name, stream) for name, stream in self.streams.items()},
        }

    def _describe_stream(self, name: str, stream: StreamOnAir) -> dict[str, Any]:
        logs = list(stream.logs)
        return {
            "url": f"rtsp://{self.plan.host}:{self.rtsp_port}/{name}",
            "width": stream.source.shape.width,
            "height": stream.source.shape.height,
            "rate": stream.source.shape.rate,
            "audio": stream.audio.kind if stream.audio else AudioKind.NONE,
            "sessions_now": len(stream.sessions),
            "sessions_total": stream.sessions_total,
            "sessions_most": stream.sessions_most,
            "units_sent": sum(log.video_count for log in logs),
            "bytes_sent": sum(log.bytes for log in logs),
            "sessions": [dataclasses.asdict(log) for log in logs],
        }


def _port_of(first: int, number: int) -> int:
    return first + number - 1 if first else 0


Fault = Callable[[SimulatedCamera, dict[str, Any]], Coroutine[Any, Any, None]]


async def _drop(camera: SimulatedCamera, _options: dict[str, Any]) -> None:
    for session in camera.sessions:
        session.drop()


async def _stall(camera: SimulatedCamera, options: dict[str, Any]) -> None:
    for session in camera.sessions:
        session.stalled = bool(options.get("on", True))


async def _junk(camera: SimulatedCamera, options: dict[str, Any]) -> None:
    for session in camera.sessions:
        session.send_junk(int(options.get("bytes", 777)))


async def _lose(camera: SimulatedCamera, options: dict[str, Any]) -> None:
    for session in camera.sessions:
        session.lose_packets = int(options.get("packets", 1))


async def _wrong_password(camera: SimulatedCamera, options: dict[str, Any]) -> None:
    camera.wrong_password = bool(options.get("on", True))


async def _stale_nonce(camera: SimulatedCamera, _options: dict[str, Any]) -> None:
    if camera.rtsp_auth is not None:
        camera.rtsp_auth.expire_nonce()


async def _status(camera: SimulatedCamera, options: dict[str, Any]) -> None:
    camera.status = str(options.get("status", "503 Service Unavailable")) if options.get("on", True) else None


async def _resolution_change(camera: SimulatedCamera, _options: dict[str, Any]) -> None:
    for stream in camera.streams.values():
        # The other clip may have to be encoded first; the cameras go on meanwhile.
        await asyncio.to_thread(stream.source.prepare_resolution_change)
        stream.source.change_resolution()


async def _offline(camera: SimulatedCamera, _options: dict[str, Any]) -> None:
    await camera.go_offline()


async def _online(camera: SimulatedCamera, _options: dict[str, Any]) -> None:
    await camera.go_online()


FAULTS: Final[dict[str, Fault]] = {
    "drop": _drop,
    "stall": _stall,
    "junk": _junk,
    "lose": _lose,
    "wrong_password": _wrong_password,
    "stale_nonce": _stale_nonce,
    "status": _status,
    "503": _status,
    "resolution_change": _resolution_change,
    "offline": _offline,
    "online": _online,
}
"""`on: false` takes back those that last; `bytes`, `packets` and `status` say how much or which."""


class Farm:
    """All cameras of one process."""

    def __init__(self, plan: FarmPlan) -> None:
        self.plan = plan
        self.key = plan.key or secrets.token_bytes(32)
        self.cameras: dict[str, SimulatedCamera] = {}
        self.discovery_port: int | None = None
        self._discovery: DiscoveryResponder | None = None

    async def start(self) -> None:
        """Encodes what is needed (minutes of pictures the very first time, else from the cache) and goes online."""
        if self.plan.mode == "load":
            for shape in (self.plan.main, self.plan.sub):
                await asyncio.to_thread(packed_clip, shape)
        for number in range(1, self.plan.cameras + 1):
            camera = SimulatedCamera(number, self.plan, self.key)
            self.cameras[camera.camera_id] = camera
            await camera.go_online()
        if self.plan.discovery_port >= 0:
            started = await start_discovery(self.plan.host, self.plan.discovery_port, self._announcements)
            if started is not None:
                self._discovery, self.discovery_port = started

    async def stop(self) -> None:
        if self._discovery is not None:
            self._discovery.close()
        for camera in self.cameras.values():
            await camera.go_offline()

    def describe(self) -> dict[str, Any]:
        """What the control door answers to `GET /cameras`."""
        return {
            "key": self.key.hex(),
            "mode": self.plan.mode,
            "username": self.plan.username,
            "password": self.plan.password,
            "discovery_port": self.discovery_port,
            "cameras": [camera.describe() for camera in self.cameras.values()],
        }

    def _announcements(self) -> list[Announcement]:
        return [camera.announcement() for camera in self.cameras.values() if camera.online]
