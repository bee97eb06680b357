"""Errors as RFC 9457 problem details: a stable code, one plain sentence, and nothing that was secret."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from mediasrv.errors import MediasrvError, RequestError, TooManyRequests
from mediasrv.reasons import reason

CONTENT_TYPE: Final = "application/problem+json"
_OF_STATUS: Final = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This method is not allowed here."),
    411: ("length_required", "The request must say how long it is."),
    413: ("request_too_large", "The request is too large."),
    415: ("media_type_unsupported", "This kind of content is not understood here."),
    416: ("range_invalid", "What is asked for lies beyond the end."),
}
_KEPT: Final = frozenset({"Allow", "Content-Range"})
_INTERNAL: Final = ("internal_error", "Something went wrong on the server; it has been logged.")


def problem(
    status: int, code: str, detail: str, *, detail_vi: str | None = None, retry_after_s: int | None = None
) -> web.Response:
    """A problem details response (RFC 9457, 3)."""
    document: dict[str, Any] = {
        "type": f"urn:mediasrv:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if detail_vi is not None:
        document["detail_vi"] = detail_vi
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return web.Response(status=status, body=body, content_type=CONTENT_TYPE, headers=headers)


def from_error(error: MediasrvError) -> web.Response:
    """The problem of an error of ours; the Vietnamese sentence comes along where the code has one."""
    retry_after_s = error.retry_after_s if isinstance(error, TooManyRequests) else None
    has_reason = isinstance(error, TooManyRequests) or not isinstance(error, RequestError)
    vietnamese = reason(error.code).sentence_vi if has_reason else None
    if vietnamese == error.code:
        vietnamese = None
    response = problem(error.status, error.code, error.sentence, detail_vi=vietnamese, retry_after_s=retry_after_s)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def from_http(error: web.HTTPException) -> web.Response:
    """The problem of an error that aiohttp found (unknown path, method, size)."""
    code, detail = _OF_STATUS.get(error.status, (f"http_{error.status}", HTTPStatus(error.status).phrase + "."))
    response = problem(error.status, code, detail)
    for name in _KEPT & error.headers.keys():
        response.headers[name] = error.headers[name]
    return response


def internal() -> web.Response:
    """An error of the server's own, without detail: what happened is in its log."""
    return problem(500, *_INTERNAL)
