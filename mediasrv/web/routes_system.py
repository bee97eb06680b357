"""Liveness, readiness, metrics and the node's status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from mediasrv.cameras.views import CameraView
from mediasrv.security.policy import Permission
from mediasrv.web.camera_json import reason_json
from mediasrv.web.metrics import CONTENT_TYPE, Metric, Sample, render
from mediasrv.web.middleware import RequestCounts
from mediasrv.web.routing import PUBLIC, Access, Route
from mediasrv.web.services import Services
from mediasrv.web.viewers import Viewers

_STATES: Final = ("live", "connecting", "retrying", "idle", "off")


def routes(services: Services, viewers: Viewers, counts: RequestCounts) -> list[Route]:
    system, read = _Handlers(services, viewers, counts), Permission.SYSTEM_READ
    return [
        Route("GET", "/healthz", PUBLIC, system.health),
        Route("GET", "/readyz", read, system.ready, loopback=True),
        Route("GET", "/metrics", read, system.metrics, loopback=True),
        Route("GET", "/api/v1/status", read, system.status),
    ]


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers, counts: RequestCounts) -> None:
        self._services = services
        self._viewers = viewers
        self._counts = counts

    async def health(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The loop turns; nothing more is said to the public."""
        return web.Response(text="ok")

    async def ready(self, request: web.Request, access: Access) -> web.StreamResponse:
        reasons = [reason_json(reason) for reason in await self._services.system.readiness()]
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def metrics(self, request: web.Request, access: Access) -> web.StreamResponse:
        found = [
            *_camera_metrics(self._services.cameras.list()),
            self._viewer_metric(),
            *self._services.system.metrics(),
            *self._counts.metrics(),
        ]
        return web.Response(body=render(found).encode(), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, request: web.Request, access: Access) -> web.StreamResponse:
        return web.json_response(await self._services.system.status())

    def _viewer_metric(self) -> Metric:
        samples = [
            Sample({"camera": ref.camera_id, "stream": str(ref.stream)}, number)
            for ref, number in sorted(self._viewers.counts().items())
        ]
        return Metric("mediasrv_viewers", "gauge", "Live viewers of a stream, WebRTC, HLS and RTSP.", samples)


def _camera_metrics(cameras: Iterable[CameraView]) -> list[Metric]:
    states, recording = [], []
    for camera in cameras:
        for stream, view in camera.streams.items():
            labels = {"camera": camera.camera_id, "stream": str(stream)}
            states += [Sample(labels | {"state": state}, view.state == state) for state in _STATES]
            recording.append(Sample(labels, view.recording.state == "recording"))
    return [
        Metric("mediasrv_stream_state", "gauge", "1 for the state a stream is in.", states),
        Metric("mediasrv_stream_recording", "gauge", "1 while a stream is recorded.", recording),
    ]
