"""/api/v1/cameras: what there is, adding, changing and removing, and the timeline."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from aiohttp import web

from mediasrv.cameras.attestation import CURRENT
from mediasrv.cameras.views import CameraChanges, CameraView, NewCamera
from mediasrv.catalogue.places import ROOT_PLACE_ID, get_place, list_places
from mediasrv.clock import SECOND_US
from mediasrv.errors import Conflict, InvalidRequest, SettingsError
from mediasrv.media.access_unit import StreamRef, is_camera_id
from mediasrv.onvif import parse_targets, split_login
from mediasrv.reasons import reason
from mediasrv.security.policy import Permission, permissions_at
from mediasrv.settings import (
    CONTINUOUS,
    GRID_STREAMS,
    RECORD_AUDIO,
    RECORD_STREAMS,
    TRANSPORTS,
    RecordingPlan,
    parse_fingerprint,
    parse_plan,
)
from mediasrv.web.camera_json import camera_json, profile_json
from mediasrv.web.fields import Fields, format_time, query_int, query_span, query_stream, read_fields
from mediasrv.web.routing import ANY_ACCOUNT, Access, Route, Scope
from mediasrv.web.services import Services, TimelineGap, TimelineView
from mediasrv.web.viewers import Viewers

_ADVANCED: Final = frozenset({"transport", "tls_fingerprint", "record_stream", "grid_stream", "record_audio"})
_NEW: Final = _ADVANCED | {
    *("id", "name", "address", "sub_address", "username", "password", "place", "recording", "attested"),
}
_CHANGES: Final = _ADVANCED | {"name", "enabled", "recording", "username", "password"}
_COARSEST_S: Final = 24 * 3600
_MOST_VERSION: Final = 1_000_000


def routes(services: Services, viewers: Viewers) -> list[Route]:
    cameras = _Handlers(services, viewers)
    view, manage, footage = Permission.CAMERA_VIEW, Permission.CAMERA_MANAGE, Permission.FOOTAGE_VIEW
    one = "/api/v1/cameras/{camera}"
    return [
        Route("GET", "/api/v1/cameras", ANY_ACCOUNT, cameras.list),
        Route("POST", "/api/v1/cameras", manage, cameras.add, Scope.SOMEWHERE),
        Route("POST", "/api/v1/cameras/probe", manage, cameras.probe, Scope.SOMEWHERE),
        Route("GET", "/api/v1/discover", manage, cameras.discover, Scope.SOMEWHERE),
        Route("GET", one, view, cameras.show, Scope.CAMERA),
        Route("PATCH", one, manage, cameras.change, Scope.CAMERA),
        Route("DELETE", one, manage, cameras.remove, Scope.CAMERA),
        Route("GET", "/api/v1/attestation", ANY_ACCOUNT, cameras.show_attestation),
        Route("POST", f"{one}/attestation", manage, cameras.attest, Scope.CAMERA),
        Route("GET", f"{one}/timeline", footage, cameras.timeline, Scope.FOOTAGE),
    ]


class _Handlers:
    def __init__(self, services: Services, viewers: Viewers) -> None:
        self._services = services
        self._cameras = services.cameras
        self._viewers = viewers

    async def list(self, request: web.Request, access: Access) -> web.StreamResponse:
        paths = {place.place_id: place.path for place in await self._services.catalogue.read(list_places)}
        viewers = self._viewers.counts()
        shown = []
        for view in self._cameras.list():
            permissions = permissions_at(access.principal.grants, paths.get(view.place_id, ""), access.now_us)
            if Permission.CAMERA_VIEW in permissions:
                shown.append(camera_json(view, permissions, viewers))
        return web.json_response({"cameras": shown})

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        return self._answer(self._cameras.get(access.camera_id), access)

    async def probe(self, request: web.Request, access: Access) -> web.StreamResponse:
        profile = await self._cameras.probe(await self._read_wish(request, access))
        return web.json_response({"profile": profile_json(profile, warned=True)})

    async def discover(self, request: web.Request, access: Access) -> web.StreamResponse:
        text = request.query.get("addresses")
        addresses = () if text is None else parse_targets(text)
        devices = [_device_json(device) for device in await self._cameras.discover(addresses)]
        return web.json_response({"devices": devices})

    async def add(self, request: web.Request, access: Access) -> web.StreamResponse:
        wish = await self._read_wish(request, access)
        view = await self._cameras.add(wish, access.actor)
        self._services.places.forget(view.camera_id)
        place = await self._services.catalogue.read(get_place, view.place_id)
        return self._answer(view, dataclasses.replace(access, place_path=place.path), status=201)

    async def change(self, request: web.Request, access: Access) -> web.StreamResponse:
        changes = _read_changes(await read_fields(request, _CHANGES))
        if self._cameras.get(access.camera_id).origin == "file":
            raise Conflict("This camera comes from the cameras file: change it there.", code="camera_from_file")
        view = await self._cameras.change(access.camera_id, changes, access.actor)
        return self._answer(view, access)

    async def remove(self, request: web.Request, access: Access) -> web.StreamResponse:
        if self._cameras.get(access.camera_id).origin == "file":
            raise Conflict("This camera comes from the cameras file: remove it there.", code="camera_from_file")
        await self._cameras.remove(access.camera_id, access.actor)
        self._services.places.forget(access.camera_id)
        return web.Response(status=204)

    async def show_attestation(self, request: web.Request, access: Access) -> web.StreamResponse:
        return web.json_response(CURRENT._asdict())

    async def attest(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Of any camera, those from the cameras file as well: whoever was there may say what it sees."""
        fields = await read_fields(request, frozenset({"version"}))
        version = fields.optional_int("version", 1, _MOST_VERSION)
        if version is None:
            raise InvalidRequest("version is missing: that of the text which is attested.")
        return self._answer(await self._cameras.attest(access.camera_id, version, access.actor), access)

    async def timeline(self, request: web.Request, access: Access) -> web.StreamResponse:
        start_us, end_us = query_span(request)
        ref = StreamRef(access.camera_id, query_stream(request))
        resolution_s = query_int(request, "resolution", 0, 1, _COARSEST_S) or 0
        found = await self._services.playback_here().timeline(ref, start_us, end_us, resolution_s * SECOND_US)
        return web.json_response(timeline_json(start_us, end_us, found))

    # --- inside ----------------------------------------------------------------------------------

    async def _read_wish(self, request: web.Request, access: Access) -> NewCamera:
        """A new camera from the body, at a place where the principal may manage cameras."""
        fields = await read_fields(request, _NEW)
        place_id = fields.text("place", most=64) or ROOT_PLACE_ID
        place = await self._services.catalogue.read(get_place, place_id)
        access.require(Permission.CAMERA_MANAGE, place.path)
        camera_id = fields.text("id", most=64)
        if camera_id and not is_camera_id(camera_id):
            raise InvalidRequest("A camera id is 1 to 64 of a-z, 0-9 and inner hyphens.", code="camera_id_invalid")
        address, url_username, url_password = split_login(fields.required_text("address").strip())
        return NewCamera(
            address=address,
            name=fields.text("name", most=200).strip(),
            camera_id=camera_id,
            sub_address=split_login(fields.text("sub_address").strip())[0],
            username=fields.text("username", most=200) or url_username,
            password=fields.text("password", most=200) or url_password,
            place_id=place.place_id,
            recording=_read_plan(fields) or CONTINUOUS,
            transport=_read_transport(fields) or "",
            tls_fingerprint=_read_fingerprint(fields) or "",
            record_stream=fields.optional_choice("record_stream", RECORD_STREAMS) or "main",
            grid_stream=fields.optional_choice("grid_stream", GRID_STREAMS) or "",
            record_audio=fields.optional_choice("record_audio", RECORD_AUDIO) or "policy",
            attested=fields.optional_int("attested", 1, _MOST_VERSION) or 0,
        )

    def _answer(self, view: CameraView, access: Access, status: int = 200) -> web.Response:
        permissions = permissions_at(access.principal.grants, access.place_path, access.now_us)
        document = camera_json(view, permissions, self._viewers.counts())
        return web.json_response(document, status=status)


def timeline_json(start_us: int, end_us: int, found: TimelineView) -> dict[str, Any]:
    """docs/api.md; a gap that is still open ends where the question ends."""
    return {
        "start": format_time(start_us),
        "end": format_time(end_us),
        "coverage": [_span(span.start_us, span.end_us) for span in found.coverage],
        "gaps": [
            _span(gap.started_us, end_us if gap.ended_us is None else gap.ended_us) | _cause(gap.cause) | _counted(gap)
            for gap in found.gaps
        ],
        "holds": [_span(span.start_us, span.end_us) for span in found.holds],
        "covered_s": found.covered_us / SECOND_US,
    }


def _span(start_us: int, end_us: int) -> dict[str, Any]:
    return {"start": format_time(start_us), "end": format_time(end_us)}


def _counted(gap: TimelineGap) -> dict[str, Any]:
    """Of several that are told as one: how many, and how much is missing by all."""
    return {} if gap.missing_us is None else {"count": gap.count, "missing_s": gap.missing_us / SECOND_US}


def _cause(code: str) -> dict[str, str]:
    known = reason(code)
    return {"cause": code, "sentence": known.sentence, "sentence_vi": known.sentence_vi}


def _read_changes(fields: Fields) -> CameraChanges:
    return CameraChanges(
        name=fields.optional_text("name", 200),
        enabled=fields.optional_flag("enabled"),
        recording=_read_plan(fields),
        username=fields.optional_text("username", 200),
        password=fields.optional_text("password", 200),
        transport=_read_transport(fields),
        tls_fingerprint=_read_fingerprint(fields),
        record_stream=fields.optional_choice("record_stream", RECORD_STREAMS),
        grid_stream=fields.optional_choice("grid_stream", GRID_STREAMS),
        record_audio=fields.optional_choice("record_audio", RECORD_AUDIO),
    )


def _read_plan(fields: Fields) -> RecordingPlan | None:
    document = fields.optional_document("recording")
    try:
        return None if document is None else parse_plan(document)
    except SettingsError as error:
        raise InvalidRequest(error.sentence, code="recording_invalid") from error


def _read_transport(fields: Fields) -> str | None:
    transport = fields.optional_text("transport", 8)
    if transport and transport not in TRANSPORTS:
        raise InvalidRequest("transport must be auto, tcp or udp.")
    return transport


def _read_fingerprint(fields: Fields) -> str | None:
    text = fields.optional_text("tls_fingerprint", 200)
    try:
        return parse_fingerprint(text) if text else text
    except SettingsError as error:
        raise InvalidRequest(error.sentence) from error


def _device_json(device: object) -> dict[str, str]:
    return {name: str(getattr(device, name, "") or "") for name in ("address", "name", "model")}
