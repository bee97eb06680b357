"""The control door: HTTP on loopback, for tests and load tests.

GET  /cameras              everything about every camera, and the key of the counters
GET  /cameras/{id}         one camera
POST /cameras/{id}/fault   {"kind": "drop"}; see `faults.FAULTS`, and `for_s` there
POST /cameras/{id}/event   {"topic": "motion", "state": true}; see `events.TOPICS`
GET  /faults               every kind of fault, with what it does
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from load_tests.camera_farm.camera import SimulatedCamera
from load_tests.camera_farm.events import TOPICS
from load_tests.camera_farm.farm import Farm
from load_tests.camera_farm.faults import FAULTS


class ControlDoor:
    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/cameras", self._all_cameras)
        app.router.add_get("/cameras/{camera}", self._one_camera)
        app.router.add_post("/cameras/{camera}/fault", self._fault)
        app.router.add_post("/cameras/{camera}/event", self._event)
        app.router.add_get("/faults", self._faults)
        return app

    def _camera_of(self, request: web.Request) -> SimulatedCamera:
        camera = self._farm.cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="There is no such camera.")
        return camera

    async def _all_cameras(self, _request: web.Request) -> web.Response:
        return web.json_response(self._farm.describe())

    async def _one_camera(self, request: web.Request) -> web.Response:
        return web.json_response(self._camera_of(request).describe())

    async def _fault(self, request: web.Request) -> web.Response:
        camera = self._camera_of(request)
        options: dict[str, Any] = await request.json()
        try:
            await self._farm.faults.apply(camera.camera_id, str(options.get("kind")), options)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(camera.describe())

    async def _event(self, request: web.Request) -> web.Response:
        camera = self._camera_of(request)
        wish: dict[str, Any] = await request.json()
        if wish.get("topic") not in TOPICS:
            raise web.HTTPBadRequest(text=f"The topics are {', '.join(TOPICS)}.")
        camera.events.order(wish["topic"], bool(wish.get("state", True)))
        return web.json_response(camera.describe())

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response({kind: {"lasting": one.lasting, "says": one.says} for kind, one in FAULTS.items()})


def control_application(farm: Farm) -> web.Application:
    return ControlDoor(farm).application()
