"""One simulated camera: its streams, its doors, and what is wrong with it."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from load_tests.camera_farm.certificate import Certificate, make_certificate
from load_tests.camera_farm.clock import CameraClock
from load_tests.camera_farm.counts import CallCounts
from load_tests.camera_farm.discovery import Announcement
from load_tests.camera_farm.doors import CameraDoors, Ports
from load_tests.camera_farm.drawing.scenes import SCENES, LiveSource
from load_tests.camera_farm.events import EventBoard
from load_tests.camera_farm.http_auth import Authenticator
from load_tests.camera_farm.on_air import StreamMakeup, StreamOnAir
from load_tests.camera_farm.onvif.face import DEVICE_PATH, OnvifFace
from load_tests.camera_farm.onvif.server import OnvifServer
from load_tests.camera_farm.plan import CameraPlan
from load_tests.camera_farm.ptz import PtzHead
from load_tests.camera_farm.rtsp.connection import RtspConnection
from load_tests.camera_farm.rtsp.media_session import MediaSession
from load_tests.camera_farm.rtsp.sdp import SdpSets
from load_tests.camera_farm.rtsp.service import RtspStyle
from load_tests.camera_farm.rtsp.urls import stream_path
from load_tests.camera_farm.tracks.shapes import AudioKind, VideoShape
from load_tests.camera_farm.tracks.sound import AudioSource
from load_tests.camera_farm.tracks.sources import ClipSource, PictureSource, packed_clip
from load_tests.camera_farm.troubles import Troubles


@dataclass(frozen=True, slots=True)
class Place:
    """Where a camera stands in its farm; `number` counts from 1, `siblings` are all cameras by their ids.

    `replan` is that of FarmPlan.
    """

    number: int
    mode: str
    host: str
    key: bytes
    siblings: Mapping[str, SimulatedCamera]
    replan: Callable[[int, Mapping[str, str]], CameraPlan]


def prepare_clips(mode: str, plan: CameraPlan) -> None:
    """Encodes what a camera of this plan replays, or finds it: seconds the very first time, so not in the loop."""
    for shape in (plan.main, plan.sub):
        if mode == "load":
            packed_clip(shape)
        if plan.rtsp.sdp.sets is SdpSets.OTHER:
            packed_clip(shape.halved())


class SimulatedCamera:
    """Online or offline; what is chosen anew at a power cycle is not kept: subscriptions, sessions, connections."""

    def __init__(self, place: Place, plan: CameraPlan, ports: Ports) -> None:
        self.place, self._ports = place, ports
        self.camera_id = f"cam-{place.number}"
        self.run = secrets.token_hex(8)
        self._scene = SCENES[(place.number - 1) % len(SCENES)]
        self.name = self._scene.name if place.mode == "demo" else f"Camera {place.number}"
        self._loop = asyncio.get_running_loop()
        self.clock = CameraClock(self._loop.time(), time.time(), plan.clock_offset_s)
        self.events = EventBoard(self.now)
        self.ptz = PtzHead()
        self.troubles = Troubles()
        self.counts = CallCounts()
        self.online = False
        self.certificate: Certificate | None = None
        self._tls: ssl.SSLContext | None = None
        self._motion: asyncio.TimerHandle | None = None
        self._build(plan)

    def _build(self, plan: CameraPlan) -> None:
        self.plan = plan
        self.face = OnvifFace(
            camera_id=self.camera_id,
            name=self.name,
            username=plan.username,
            password=plan.password,
            auth_kinds=plan.onvif_auth,
            reported_host=plan.reported_host,
            media_services=plan.media_services,
            has_events=plan.events,
            has_ptz=plan.ptz,
        )
        self.rtsp_auth = self._new_authenticator()
        self.streams = {"main": self._new_stream("main", plan.main), "sub": self._new_stream("sub", plan.sub)}
        if plan.tls and self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.renew_certificate()
        self._onvif = OnvifServer(self)
        tls = self._tls if plan.tls else None
        self._doors = CameraDoors(self.place.host, self._ports, self._connect, self._onvif.application, tls)

    def _new_authenticator(self) -> Authenticator | None:
        plan = self.plan
        if not plan.rtsp_auth:
            return None
        return Authenticator(
            self.camera_id,
            plan.username,
            plan.password,
            schemes=plan.rtsp_auth,
            qop=plan.rtsp_qop,
            nonce_life_s=plan.nonce_life_s,
        )

    def _new_stream(self, name: str, shape: VideoShape) -> StreamOnAir:
        number, plan = self.place.number, self.plan
        load = self.place.mode == "load"
        audio = None if plan.audio is AudioKind.NONE else AudioSource(plan.audio, number, counted=load)
        source: PictureSource
        if load:
            # Sevenths of a GOP: cameras of a site do not send their keyframes at one moment.
            phase = round(number * shape.gop / 7)
            source = ClipSource(shape, phase, keyframe_first=plan.keyframe_first)
        else:
            source = LiveSource(self._scene, self.name, shape)
        makeup = StreamMakeup(
            name=f"{self.camera_id}/{name}",
            source=source,
            audio=audio,
            events=self.events if plan.metadata else None,
            phase_s=number * 0.0137 % (1 / shape.rate),
            rtcp=plan.rtcp,
            paced=plan.paced,
        )
        return StreamOnAir(makeup, self.clock, self.place.key, self.run)

    def _connect(self, connections: set[RtspConnection], tls: bool) -> RtspConnection:
        return RtspConnection(self, connections, self.place.host, tls=tls)

    # --- what its servers ask --------------------------------------------------------------------------

    @property
    def rtsp_style(self) -> RtspStyle:
        return self.plan.rtsp

    @property
    def sessions(self) -> list[MediaSession]:
        """Those that play."""
        return [session for stream in self.streams.values() for session in stream.sessions.values()]

    @property
    def sessions_open(self) -> int:
        return sum(connection.has_session for connection in self._doors.connections)

    @property
    def connections(self) -> list[RtspConnection]:
        return list(self._doors.connections)

    @property
    def onvif_port(self) -> int:
        return self._ports.onvif

    def stream(self, name: str) -> StreamOnAir | None:
        return self.streams.get(name)

    def now(self) -> datetime:
        return self.clock.now(self._loop.time())

    def stream_url(self, name: str, host: str, *, tls: bool = False) -> str:
        scheme, port = ("rtsps", self._ports.rtsps) if tls and self._ports.rtsps else ("rtsp", self._ports.rtsp)
        return f"{scheme}://{host}:{port}/{stream_path(name, self.plan.url_style)}"

    # --- what befalls it -------------------------------------------------------------------------------

    async def go_online(self) -> None:
        """Opens its doors, on the ports they had before."""
        if self.online:
            return
        self.online = True
        await self._doors.open()
        if self.plan.motion_every_s:
            self._motion = self._loop.call_later(self.plan.motion_every_s, self._move, True)

    async def go_offline(self) -> None:
        """Closes its doors and breaks every connection, as a pulled plug does."""
        await self._leave()
        await self._doors.close()

    async def vanish(self) -> None:
        """Answers nothing any more, and leaves connections open that lead nowhere."""
        await self._leave()
        await self._doors.vanish()

    async def _leave(self) -> None:
        self.online = False
        if self._motion is not None:
            self._motion.cancel()
        self._onvif.forget_subscribers()

    async def reconfigure(self, plan: CameraPlan) -> None:
        """Becomes a camera of another plan, as after a change in its menus: everybody is thrown out for a moment."""
        await asyncio.to_thread(prepare_clips, self.place.mode, plan)
        await self.go_offline()
        self._build(plan)
        await self.go_online()

    def renew_certificate(self) -> None:
        """A new key, as after a reset; whoever pinned the old one must refuse it."""
        if self._tls is not None:
            self.certificate = make_certificate(self.camera_id, self.place.host, self.plan.certificate)
            self.certificate.load_into(self._tls)

    def set_drift(self, ppm: float) -> None:
        self.clock.set_drift(ppm, self._loop.time())
        for stream in self.streams.values():
            stream.reschedule()

    def show_time(self, wall_s: float) -> None:
        self.clock.show(wall_s, self._loop.time())

    async def change_resolution(self) -> None:
        for stream in self.streams.values():
            # The other clip may have to be encoded first; the cameras go on meanwhile.
            await asyncio.to_thread(stream.source.prepare_resolution_change)
            stream.source.change_resolution()

    def _move(self, begins: bool) -> None:
        """Something moves before the camera, again and again."""
        self.events.order("motion", begins)
        every_s, for_s = self.plan.motion_every_s, self.plan.motion_for_s
        delay_s = for_s if begins else max(0.1, every_s - for_s)
        self._motion = self._loop.call_later(delay_s, self._move, not begins)

    # --- what it shows ---------------------------------------------------------------------------------

    def announcement(self) -> Announcement:
        xaddr = f"http://{self.plan.reported_host or self.place.host}:{self._ports.onvif}{DEVICE_PATH}"
        return Announcement(self.camera_id, self.name, self.face.model, xaddr, self.face.profiles)

    def ready(self) -> dict[str, Any]:
        """The camera's part of the line that says that the farm is ready."""
        line = {
            "id": self.camera_id,
            "name": self.name,
            "onvif_address": f"{self.place.host}:{self._ports.onvif}",
            "urls": {name: self.stream_url(name, self.place.host) for name in self.streams},
        }
        if self.certificate is not None:
            line["rtsps_urls"] = {name: self.stream_url(name, self.place.host, tls=True) for name in self.streams}
            line["certificate_sha256"] = self.certificate.sha256
        return line

    def describe(self) -> dict[str, Any]:
        """The camera's part of what the control door shows."""
        now = self._loop.time()
        pem = {"certificate_pem": self.certificate.pem} if self.certificate else {}
        return {
            **self.ready(),
            **pem,
            "number": self.place.number,
            "run": self.run,
            "online": self.online,
            "username": self.plan.username,
            "password": self.plan.password,
            "onvif_port": self._ports.onvif,
            "rtsp_port": self._ports.rtsp,
            "rtsps_port": self._ports.rtsps,
            "streams": {
                name: {"url": self.stream_url(name, self.place.host), **stream.describe()}
                for name, stream in self.streams.items()
            },
            "sessions_now": len(self.sessions),
            "counts": self.counts.describe(),
            "clock": {
                "now": self.now().isoformat(),
                "offset_s": round(self.clock.shown_wall_s(self.clock.elapsed_s(now)) - time.time(), 3),
                "drift_ppm": round(self.clock.drift_ppm, 3),
            },
            "events": {"states": self.events.states(), "ordered": self.events.ordered},
            "onvif": self._onvif.describe(),
            "ptz": {
                "position": {axis: round(value, 4) for axis, value in self.ptz.position(now).items()},
                "moving": any(self.ptz.moving(now).values()),
                "presets": {token: name for token, (name, _) in self.ptz.presets.items()},
            },
        }
