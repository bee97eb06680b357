"""The control door: HTTP on loopback, for tests and load tests.

GET  /cameras              everything about every camera, and the key of the counters
GET  /cameras/{id}         one camera
POST /cameras/{id}/fault   {"kind": "drop"}; see `farm.FAULTS`
"""

from __future__ import annotations

from aiohttp import web

from load_tests.camera_farm.farm import FAULTS, Farm, SimulatedCamera


def control_application(farm: Farm) -> web.Application:
    def camera_of(request: web.Request) -> SimulatedCamera:
        camera = farm.cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="There is no such camera.")
        return camera

    async def all_cameras(_request: web.Request) -> web.Response:
        return web.json_response(farm.describe())

    async def one_camera(request: web.Request) -> web.Response:
        return web.json_response(camera_of(request).describe())

    async def fault(request: web.Request) -> web.Response:
        camera = camera_of(request)
        options = await request.json()
        kind = options.get("kind")
        if kind not in FAULTS:
            raise web.HTTPBadRequest(text=f"The kinds of fault are {', '.join(FAULTS)}.")
        await camera.fault(kind, options)
        return web.json_response(camera.describe())

    app = web.Application()
    app.router.add_get("/cameras", all_cameras)
    app.router.add_get("/cameras/{camera}", one_camera)
    app.router.add_post("/cameras/{camera}/fault", fault)
    return app
