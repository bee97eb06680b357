"""/api/v1/cameras/{camera}/events: what a camera told."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.errors import InvalidRequest
from mediasrv.events import StoredEvent
from mediasrv.media.camera_event import EventKind
from mediasrv.security.policy import Permission
from mediasrv.web.fields import format_time, query_int, query_span
from mediasrv.web.routing import Access, Route, Scope
from mediasrv.web.services import Services

READING_WINDOW_S: Final = 300.0
"""The same question of the same person within so long is one entry in the access log."""
MOST_EVENTS: Final = 1000
_USUAL: Final = 200
_HIGHEST_ID: Final = 2**53
"""Whole numbers that a browser counts exactly."""


def routes(services: Services) -> list[Route]:
    events = _Handlers(services)
    return [Route("GET", "/api/v1/cameras/{camera}/events", Permission.EVENT_VIEW, events.find, Scope.FOOTAGE)]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def find(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The first events of the span, and whether there are more; where there are, ask on from the last one.

        `after` is no part of what the access log takes for the question: who follows a day asks once.
        """
        events, span = self._services.events_here(), query_span(request)
        kinds, limit = _query_kinds(request), query_int(request, "limit", _USUAL, 1, MOST_EVENTS) or _USUAL
        after = query_int(request, "after", None, 0, _HIGHEST_ID)
        await self._log(access, span, kinds)
        found = await events.find(access.camera_id, *span, kinds, limit + 1, after)
        shown = [event_json(event) for event in found[:limit]]
        return web.json_response({"events": shown, "more": len(found) > limit})

    async def _log(self, access: Access, span: tuple[int, int], kinds: frozenset[EventKind]) -> None:
        start, end = (format_time(one) for one in span)
        subject = " ".join([f"{access.camera_id} {start} {end}", *sorted(kinds)])
        event = access.actor.event("events.read", subject)
        await self._services.access_log.once(event, READING_WINDOW_S)


def event_json(event: StoredEvent) -> dict[str, Any]:
    """docs/api.md."""
    return {
        "id": event.event_id,
        "at": format_time(event.arrived_us),
        "kind": event.kind,
        "active": event.active,
        "source": event.source,
        "camera_at": format_time(event.camera_us),
    }


def _query_kinds(request: web.Request) -> frozenset[EventKind]:
    """`kind` of the query, once or several times; none means all."""
    try:
        return frozenset(EventKind(name) for name in request.query.getall("kind", []))
    except ValueError as error:
        known = ", ".join(EventKind)
        raise InvalidRequest(f"kind must be one of {known}.", code="event_kind_unknown") from error
