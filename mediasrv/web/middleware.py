"""What every request goes through: URL tokens are exchanged, errors become problems, answers get their headers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import OperationalError

from mediasrv.errors import MediasrvError, NotAuthenticated, Unavailable
from mediasrv.web import problems
from mediasrv.web.guard import read_session_cookie, set_session_cookie
from mediasrv.web.metrics import Metric, Sample
from mediasrv.web.ready import HEADERS, ReadyResponse
from mediasrv.web.remote import Remotes
from mediasrv.web.services import Services

log = logging.getLogger(__name__)

_CSP: Final = "Content-Security-Policy"
_CSP_PAGE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors "
)
SCRIPT_POLICY: Final = {_CSP: "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'"}
"""A worker obeys the policy that its own script came with."""
_UNFRAMED: Final = {"X-Frame-Options": "DENY"}
"""The same as `frame-ancestors 'none'`, for browsers that do not know that."""
_BESIDE_A_POLICY: Final = {name: value for name, value in HEADERS.items() if name not in _UNFRAMED}
"""Who sets a policy says there who may frame it."""


def page_policy(frame_ancestors: Sequence[str] = ()) -> Mapping[str, str]:
    """The security policy of a page that only the pages of these origins may show in a frame; empty: nobody."""
    if frame_ancestors:
        return {_CSP: _CSP_PAGE + " ".join(frame_ancestors)}
    return {_CSP: _CSP_PAGE + "'none'", **_UNFRAMED}


class RequestCounts:
    """Requests by route and status, for the metrics. Routes are patterns: their number is bounded, no id is in them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()

    def count(self, request: web.Request, status: int) -> None:
        self._counts[(request.method, route_pattern(request), status)] += 1

    def metrics(self) -> Iterable[Metric]:
        samples = [
            Sample({"method": method, "route": route, "status": str(status)}, number)
            for (method, route, status), number in sorted(self._counts.items())
        ]
        return [Metric("mediasrv_http_requests_total", "counter", "HTTP requests by route and status.", samples)]


def route_pattern(request: web.Request) -> str:
    """The route without ids, tokens and times: the only form of a path that is logged or counted."""
    resource = request.match_info.route.resource
    return "(unknown)" if resource is None else resource.canonical


def outermost(counts: RequestCounts, services: Services) -> Middleware:
    """The middleware around everything."""
    exchange = _exchange(services)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "token=" in request.rel_url.raw_query_string and "token" in request.query:
            handler = exchange
        response = await _answer(request, handler)
        if not isinstance(response, ReadyResponse):
            headers = response.headers
            for name, value in (_BESIDE_A_POLICY if _CSP in headers else HEADERS).items():
                if name not in headers:
                    headers[name] = value
        counts.count(request, response.status)
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The last resort of a request: whatever happens becomes an answer, and what was unforeseen is logged."""
    try:
        return await handler(request)
    except MediasrvError as error:
        if error.status >= 500:
            log.warning("%s %s: %s: %s", request.method, route_pattern(request), error.code, error.sentence)
        return problems.from_error(error)
    except web.HTTPException as error:
        return problems.from_http(error)
    except OperationalError as error:
        log.warning("%s %s: catalogue_failed: %s", request.method, route_pattern(request), error)
        return problems.from_error(Unavailable("The catalogue does not answer now.", code="catalogue_failed"))
    except Exception:
        log.exception("%s %s failed", request.method, route_pattern(request))
        return problems.internal()


def _exchange(services: Services) -> Handler:
    """Answers a request with `?token=`: a session's cookie instead, and the token is out of URL, history and logs."""
    remotes, security = Remotes(services.settings.server), services.settings.security

    async def exchange(request: web.Request) -> web.StreamResponse:
        token = request.query["token"]
        if request.method != "GET":
            raise NotAuthenticated(
                "A token in the URL is only exchanged by GET: send it as Bearer.", code="token_in_url"
            )
        if request.match_info.http_exception is not None:  # no redirect to a path that is not ours (`//elsewhere/`)
            raise request.match_info.http_exception
        issued = await services.sessions.exchange(token, read_session_cookie(request), remotes.address(request))
        target = request.rel_url.with_query([pair for pair in request.query.items() if pair[0] != "token"])
        response = web.Response(status=303, headers={hdrs.LOCATION: str(target)})
        if issued is not None:
            set_session_cookie(response, *issued, secure=security.cookie_secure)
        return response

    return exchange
