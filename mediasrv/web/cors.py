"""Pages of other sites that may use a route: by Bearer token alone, never by cookie (Fetch standard, CORS protocol).

No answer carries Access-Control-Allow-Credentials, and the cookie is SameSite=Strict: so a page of an allowed origin
has what its own token grants, and nothing of whoever looks at it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from mediasrv.web.routing import Route, is_preflight

_EXPOSED: Final = "Location, ETag, Link, Accept-Patch, Retry-After"
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, If-Match"
_REMEMBER_S: Final = 600


def cross_origin(origins: Collection[str], declared: Mapping[object, Route]) -> Middleware:
    """The middleware that tells browsers so, on answers of routes that are declared `cross_origin`. Origins may be
    `*`: whoever has a token may use it from anywhere."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        route = declared.get(request.match_info.handler)
        if route is not None and route.cross_origin:
            response.headers[hdrs.VARY] = hdrs.ORIGIN
            origin = request.headers.get(hdrs.ORIGIN, "")
            if origin in origins or (origin and "*" in origins):
                _allow(request, response, origin)
        return response

    return middleware


def _allow(request: web.Request, response: web.StreamResponse, origin: str) -> None:
    headers = response.headers
    headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
    if is_preflight(request):
        headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = headers.get(hdrs.ALLOW, "")
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOWED_HEADERS
        headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(_REMEMBER_S)
