"""The page: the build of ui/, read once at the start, so that no path of a request ever meets a file system.

The page's own files are public; they hold nothing but the page.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from mediasrv.errors import Unavailable
from mediasrv.web.middleware import SCRIPT_POLICY, page_policy
from mediasrv.web.routing import PUBLIC, Access, Handler, Route, is_unchanged

_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_REVALIDATE: Final = "no-cache"
_COMPRESSIBLE: Final = ("text/", "application/javascript", "application/json", "image/svg")
_PAGE_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes | None
    content_type: str
    etag: str


def routes(ui_dir: Path | None, frame_ancestors: Sequence[str] = ()) -> list[Route]:
    """Routes for the page, for the invite's page, for the player alone, and for each other file of the build."""
    files = _read(ui_dir)
    page = _page(files.pop("index.html", None), page_policy())
    watch = _page(files.pop("watch.html", None), page_policy(frame_ancestors))
    pages = [Route("GET", path, PUBLIC, page) for path in ("/", "/index.html", "/invite/{token}")]
    pages.append(Route("GET", "/watch/{watched}", PUBLIC, watch))
    return pages + [Route("GET", f"/{name}", PUBLIC, _asset(name, file)) for name, file in sorted(files.items())]


def _read(ui_dir: Path | None) -> dict[str, _File]:
    if ui_dir is None or not ui_dir.is_dir():
        return {}
    paths = (path for path in ui_dir.rglob("*") if path.is_file() and path.suffix != ".map")
    return {path.relative_to(ui_dir).as_posix(): _file(path) for path in paths}


def _file(path: Path) -> _File:
    body = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type == "text/javascript" or path.suffix in (".js", ".mjs"):
        content_type = "text/javascript"
    packed = gzip.compress(body, mtime=0) if content_type.startswith(_COMPRESSIBLE) and len(body) > 1024 else None
    return _File(body, packed, content_type, f'"{hashlib.sha256(body).hexdigest()[:20]}"')


def _page(index: _File | None, policy: Mapping[str, str]) -> Handler:
    headers = {**_PAGE_HEADERS, **policy, hdrs.CACHE_CONTROL: _REVALIDATE}

    async def page(request: web.Request, access: Access) -> web.StreamResponse:
        if index is None:
            raise Unavailable("The page has not been built: see README, make ui.", code="page_missing")
        return _send(request, index, headers)

    return page


def _asset(name: str, file: _File) -> Handler:
    headers: dict[str, str] = {hdrs.CACHE_CONTROL: _IMMUTABLE if name.startswith("assets/") else _REVALIDATE}
    if file.content_type == "text/javascript":
        headers |= SCRIPT_POLICY

    async def asset(request: web.Request, access: Access) -> web.StreamResponse:
        return _send(request, file, headers)

    return asset


def _send(request: web.Request, file: _File, headers: dict[str, str]) -> web.Response:
    headers = headers | {hdrs.ETAG: file.etag, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if is_unchanged(request, file.etag):
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.packed is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        body = file.packed
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    charset = "utf-8" if file.content_type.startswith("text/") else None
    return web.Response(body=body, content_type=file.content_type, charset=charset, headers=headers)
