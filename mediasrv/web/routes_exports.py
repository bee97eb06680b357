"""/api/v1/exports: footage taken out with proof, by whoever may export it at every camera of it, and for them alone."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from aiohttp import hdrs, web

from mediasrv.catalogue.spans import Span
from mediasrv.errors import Conflict, FootageError, InvalidRequest, NotFound, NotPermitted, RequestError
from mediasrv.export import Export
from mediasrv.exporting.manifest import Wish
from mediasrv.media.access_unit import StreamName
from mediasrv.security.access_log import Event
from mediasrv.security.policy import Permission
from mediasrv.web.fields import Fields, format_time, read_fields
from mediasrv.web.ready import HEADERS
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

log = logging.getLogger(__name__)

_START: Final = frozenset({"cameras", "stream", "start", "end", "purpose"})
_MOST_PURPOSE: Final = 400
_DENIED_WINDOW_S: Final = 300.0
_DOWNLOAD_WINDOW_S: Final = 300.0
_RANGE: Final = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?", re.ASCII)


def routes(services: Services) -> list[Route]:
    exports, permission = _Handlers(services), Permission.FOOTAGE_EXPORT
    one = "/api/v1/exports/{export}"
    return [
        Route("GET", "/api/v1/exports", permission, exports.list, Scope.SOMEWHERE),
        Route("POST", "/api/v1/exports", permission, exports.start, Scope.SOMEWHERE),
        Route("GET", one, permission, exports.show, Scope.SOMEWHERE),
        Route("DELETE", one, permission, exports.remove, Scope.SOMEWHERE),
        Route("GET", f"{one}/download", permission, exports.download, Scope.SOMEWHERE),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, request: web.Request, access: Access) -> web.StreamResponse:
        kept = self._services.exports_here().list(access.principal.principal_id)
        return web.json_response({"exports": [export_json(one) for one in kept]})

    async def start(self, request: web.Request, access: Access) -> web.StreamResponse:
        exports = self._services.exports_here()
        fields = await read_fields(request, _START)
        wish = _read_wish(fields, access)
        for camera_id in wish.camera_ids:
            await self._check_camera(camera_id, access)
        return web.json_response(export_json(await exports.start(wish)), status=201)

    async def show(self, request: web.Request, access: Access) -> web.StreamResponse:
        return web.json_response(export_json(self._find(request, access)))

    async def remove(self, request: web.Request, access: Access) -> web.StreamResponse:
        export = self._find(request, access)
        await self._services.access_log.append(access.actor.event("export.removed", export.export_id))
        await self._services.exports_here().remove(export)
        return web.Response(status=204)

    async def download(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The ZIP, or a range of it (RFC 9110, 14): a download that broke off goes on where it was."""
        exports, export = self._services.exports_here(), self._find(request, access)
        if export.package is None:
            raise Conflict("The export is not ready, or it was not made.", code="export_not_ready")
        if not await exports.may_read(export):
            raise await self._denied(access, export.export_id)
        size, etag = export.package.size_bytes, f'"{export.package.digest}"'
        part = _read_range(request, etag, size)
        event = access.actor.event("export.downloaded", export.export_id)
        await self._services.access_log.once(event, _DOWNLOAD_WINDOW_S)
        response = web.StreamResponse(headers=_headers(export, etag))
        start, end = part or (0, size)
        if part is not None:
            response.set_status(206)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{size}"
        response.content_length = end - start
        await response.prepare(request)
        try:
            async for data in exports.read(export, start, end):
                await response.write(data)
        except (FootageError, RequestError) as error:
            log.warning("a download of export %s ended early: %s", export.export_id, error.sentence)
            if request.transport is not None:
                request.transport.abort()  # the client must not take the rest for the end
            return response
        await response.write_eof()
        return response

    def _find(self, request: web.Request, access: Access) -> Export:
        return self._services.exports_here().get(request.match_info["export"], access.principal.principal_id)

    async def _check_camera(self, camera_id: str, access: Access) -> None:
        """A camera that may not be seen is not there, as everywhere."""
        place, who = await self._services.places.find(camera_id), access.principal
        if place is None or not who.may(Permission.CAMERA_VIEW, place.path, access.now_us):
            raise NotFound("There is no such camera.", code="camera_not_found")
        if not who.may(Permission.FOOTAGE_EXPORT, place.path, access.now_us):
            raise await self._denied(access, camera_id)

    async def _denied(self, access: Access, subject: str) -> NotPermitted:
        who = access.principal
        event = Event("access.denied", subject, who.principal_id, who.username, access.remote)
        await self._services.access_log.once(event, _DENIED_WINDOW_S)
        return NotPermitted("Your grants do not allow this.")


def export_json(export: Export) -> dict[str, Any]:
    """docs/api.md, Exports."""
    wish, error, package = export.wish, export.error, export.package
    return {
        "id": export.export_id,
        "state": export.state.value,
        "cameras": list(wish.camera_ids),
        "stream": str(wish.stream),
        "start": format_time(wish.span.start_us),
        "end": format_time(wish.span.end_us),
        "purpose": wish.purpose,
        "started_at": format_time(export.started_us),
        "ended_at": format_time(export.ended_us),
        "done_bytes": export.done_bytes,
        "total_bytes": export.total_bytes,
        "size_bytes": None if package is None else package.size_bytes,
        "entry": export.logged.head.entry,
        "error": None if error is None else {"code": error.code, "sentence": error.sentence},
    }


def _read_wish(fields: Fields, access: Access) -> Wish:
    cameras = fields.texts("cameras")
    if not cameras or len(set(cameras)) != len(cameras):
        raise InvalidRequest("cameras must name each camera once, and one at least.")
    purpose = fields.required_text("purpose", _MOST_PURPOSE).strip()
    if not purpose:
        raise InvalidRequest("An export needs a purpose.", code="purpose_missing")
    start_us, end_us = fields.required_time("start"), fields.required_time("end")
    if start_us < 0 or end_us <= start_us:
        raise InvalidRequest("end must be later than start.", code="time_invalid")
    stream = StreamName(fields.optional_choice("stream", tuple(StreamName)) or "main")
    who = access.principal
    return Wish(tuple(cameras), stream, Span(start_us, end_us), purpose, who.principal_id, who.username, access.remote)


def _headers(export: Export, etag: str) -> dict[str, str]:
    """Never kept by a cache: it would lie plain on a disk that is nobody's."""
    return {
        **HEADERS,
        hdrs.CONTENT_TYPE: "application/zip",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="export-{export.export_id}.zip"',
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: etag,
        hdrs.CACHE_CONTROL: "private, no-store",
    }


def _read_range(request: web.Request, etag: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: all of it. Raises RangeNotSatisfiable.

    A Range of another unit, of several ranges, or for another content (If-Range) is ignored (RFC 9110, 14.2).
    """
    found = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, "").replace(" ", ""))
    if found is None or found[1] is found[2] is None or request.headers.get(hdrs.IF_RANGE, etag) != etag:
        return None
    if found[1] is None:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
        if found[2] is not None and int(found[2]) < start:
            return None
    if start >= end:
        raise web.HTTPRequestRangeNotSatisfiable(headers={hdrs.CONTENT_RANGE: f"bytes */{size}"})
    return start, end
