"""The HTTP side of a camera: SOAP requests to their services, snapshots, and answers that faults spoil."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element

from aiohttp import web

from load_tests.camera_farm.onvif import spoiled
from load_tests.camera_farm.onvif.access import PRE_AUTH, Access
from load_tests.camera_farm.onvif.device import DeviceService
from load_tests.camera_farm.onvif.events import EventService
from load_tests.camera_farm.onvif.face import OnvifCamera, service_url
from load_tests.camera_farm.onvif.media import SNAPSHOT_PATH, MediaService
from load_tests.camera_farm.onvif.media2 import Media2Service
from load_tests.camera_farm.onvif.ptz import PtzService
from load_tests.camera_farm.onvif.soap import (
    WSNT,
    Call,
    Service,
    SoapFault,
    build_envelope,
    build_fault,
    local_name,
    namespace_of,
    operation_of,
    parse_envelope,
)

_MOST_BODY_BYTES: Final = 256 * 1024


class OnvifServer:
    """One camera's services; its state outlives the doors that are opened and closed."""

    def __init__(self, camera: OnvifCamera) -> None:
        self._camera = camera
        self._access = Access(camera)
        self._events = EventService(camera)
        face = camera.face
        media: dict[str, type[MediaService | Media2Service]] = {"media": MediaService, "media2": Media2Service}
        self._services: list[Service] = [DeviceService(camera, self._offered)]
        self._services += [media[name](camera) for name in face.media_services]
        self._services += [self._events] if face.has_events else []
        self._services += [PtzService(camera)] if face.has_ptz else []

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        for service in self._services:
            app.router.add_post(service.path, self._answer)
        app.router.add_get(f"{SNAPSHOT_PATH}/{{stream}}", self._snapshot)
        app.router.add_get(spoiled.DTD_PATH, self._dtd)
        return app

    def forget_subscribers(self) -> None:
        """As a camera does that loses its power."""
        self._events.close()

    def describe(self) -> dict[str, Any]:
        """The services' part of what the control door shows."""
        return {"services": [service.name for service in self._offered()], "pull_points": self._events.pull_points}

    def _offered(self) -> Sequence[Service]:
        return [service for service in self._services if service.name not in self._camera.troubles.onvif.missing]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            envelope = parse_envelope(await request.read())
            operation = operation_of(envelope)
        except SoapFault as fault:
            return _response(fault.status, build_envelope(build_fault(fault)))
        name = local_name(operation)
        self._camera.counts.onvif[name] += 1
        troubles = self._camera.troubles.onvif
        meant = not troubles.only or name in troubles.only
        if meant and troubles.delay_s:
            await asyncio.sleep(troubles.delay_s)
        service = self._service_of(request, operation)
        if service is None:
            raise web.HTTPNotFound(text="There is no such service.")
        try:
            text = build_envelope(await self._call(request, envelope, service))
        except SoapFault as fault:
            return _response(fault.status, build_envelope(build_fault(fault)), fault.challenges)
        return await self._deliver(request, text, service, meant=meant)

    def _service_of(self, request: web.Request, operation: Element) -> Service | None:
        """By namespace: some clients send everything to one address. None where it is missing."""
        namespace = namespace_of(operation)
        for service in self._offered():
            if namespace == service.namespace or (namespace == WSNT and service is self._events):
                return service
        known = any(namespace == service.namespace for service in self._services)
        return None if known else next((one for one in self._offered() if one.path == request.path), None)

    async def _call(self, request: web.Request, envelope: Element, service: Service) -> str:
        operation = operation_of(envelope)
        name = local_name(operation)
        if name not in PRE_AUTH:
            self._access.check_call(request, envelope)
        handler = service.operations.get(name)
        if handler is None:
            raise SoapFault(400, "ter:ActionNotSupported", f"{name} is not supported.")
        host = self._camera.face.reported_host or request.url.host or "127.0.0.1"
        answer = handler(Call(operation, host, request.query))
        return await answer if inspect.isawaitable(answer) else answer

    async def _deliver(self, request: web.Request, text: str, service: Service, *, meant: bool) -> web.StreamResponse:
        troubles = self._camera.troubles.onvif
        if troubles.undeclared:
            text = spoiled.undeclared(text)
        if service.name in troubles.broken:
            text = spoiled.truncated(text)
        if not (troubles.bomb and meant):
            return _response(200, text)
        response = web.StreamResponse(headers={"Content-Type": "application/soap+xml; charset=utf-8"})
        await response.prepare(request)
        dtd_url = service_url(self._camera, spoiled.DTD_PATH, request.url.host or "127.0.0.1")
        try:
            async for chunk in spoiled.BOMBS[troubles.bomb](text, dtd_url):
                await response.write(chunk)
        except ConnectionError:
            pass  # who had enough has gone
        return response

    async def _dtd(self, _request: web.Request) -> web.Response:
        """Fetched by nobody who reads XML with care, and counted."""
        self._camera.counts.onvif["external.dtd"] += 1
        return web.Response(text='<!ENTITY outside "fetched">', content_type="application/xml-dtd")

    async def _snapshot(self, request: web.Request) -> web.Response:
        challenges = self._access.snapshot_challenges(request)
        if challenges:
            return web.Response(status=401, headers=_challenge_headers(challenges))
        stream = self._camera.streams.get(request.match_info["stream"])
        if stream is None:
            raise web.HTTPNotFound(text="There is no such stream.")
        self._camera.counts.snapshots += 1
        return web.Response(body=stream.source.snapshot(), content_type="image/jpeg")


def _response(status: int, text: str, challenges: Sequence[str] = ()) -> web.Response:
    return web.Response(
        status=status,
        text=text,
        content_type="application/soap+xml",
        charset="utf-8",
        headers=_challenge_headers(challenges),
    )


def _challenge_headers(challenges: Sequence[str]) -> list[tuple[str, str]]:
    return [("WWW-Authenticate", challenge) for challenge in challenges]
