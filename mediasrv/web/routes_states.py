"""/api/v1/camera-states: the cameras of an account and what changes about them, as server-sent events (HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import hdrs, web

from mediasrv.clock import Clock
from mediasrv.errors import TooManyRequests
from mediasrv.security.sessions import Identity
from mediasrv.settings import ServerSettings
from mediasrv.web.camera_states import CameraFollower, CameraStates
from mediasrv.web.ready import HEADERS
from mediasrv.web.routing import ANY_ACCOUNT, Access, Route
from mediasrv.web.services import Services

RETRY_MS: Final = 3000
HEARTBEAT_S: Final = 15.0
_BEAT: Final = "event: beat\ndata: {}\n\n"
"""An event rather than a comment: so a page can tell silence from a connection that is dead."""
WRITE_S: Final = 10.0
"""A reader that takes nothing for so long is left."""
_HEADERS: Final = {
    **HEADERS,
    hdrs.CONTENT_TYPE: "text/event-stream",
    "X-Accel-Buffering": "no",  # a proxy that gathers answers would gather this one for ever
}


def routes(services: Services, states: CameraStates) -> list[Route]:
    return [Route("GET", "/api/v1/camera-states", ANY_ACCOUNT, _Handlers(services, states).follow)]


class _Handlers:
    def __init__(self, services: Services, states: CameraStates) -> None:
        self._services = services
        self._clock: Clock = services.clock
        self._states = states
        self._places = _Places(services.settings.server)

    async def follow(self, request: web.Request, access: Access) -> web.StreamResponse:
        """All cameras first, whatever `Last-Event-ID` says, then what changes; ends with the right to ask."""
        with self._places.taken(access.principal.principal_id):
            response = web.StreamResponse(headers=_HEADERS)
            self._states.follow()
            try:
                if not self._states.fresh:
                    await self._states.beat()
                await response.prepare(request)
                await self._send_until_gone(request, response, access.principal.token_hash)
            except (TimeoutError, ConnectionError):
                if request.transport is not None:
                    request.transport.abort()
            finally:
                self._states.leave()
        return response

    async def _send_until_gone(self, request: web.Request, response: web.StreamResponse, token_hash: bytes) -> None:
        follower, sent_at = CameraFollower(self._states), self._clock.monotonic()
        await _write(response, f"retry: {RETRY_MS}\n\n")
        while not self._states.ended and request.transport is not None and not request.transport.is_closing():
            identity = await self._services.sessions.recall(token_hash)
            if identity is None:
                return
            text = self._news(follower, identity)
            if not text and self._clock.monotonic() - sent_at >= HEARTBEAT_S:
                text = _BEAT
            if text:
                await _write(response, text)
                sent_at = self._clock.monotonic()
            await self._states.beat()

    def _news(self, follower: CameraFollower, identity: Identity) -> str:
        changes = follower.changes(identity, self._clock.wall_us())
        revision = self._states.revision
        return "".join(f"event: {name}\nid: {revision}\ndata: {data}\n\n" for name, data in changes)


class _Places:
    """How many may follow at once."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._of_account: Counter[str] = Counter()

    @contextmanager
    def taken(self, principal_id: str) -> Iterator[None]:
        """Raises TooManyRequests `state_streams_full`."""
        settings, mine = self._settings, self._of_account
        if mine.total() >= settings.state_streams or mine[principal_id] >= settings.state_streams_per_account:
            raise TooManyRequests(
                "As many follow the states of cameras as may: ask for the list of cameras instead.",
                code="state_streams_full",
                retry_after_s=30,
            )
        mine[principal_id] += 1
        try:
            yield
        finally:
            mine[principal_id] -= 1
            if not mine[principal_id]:
                del mine[principal_id]


async def _write(response: web.StreamResponse, text: str) -> None:
    """Raises TimeoutError for a reader that does not read."""
    async with asyncio.timeout(WRITE_S):
        await response.write(text.encode())
