"""Who is at the other end of an RTSP connection: challenges, and what is answered to them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Protocol

from mediasrv.clock import Clock
from mediasrv.errors import NotAuthenticated
from mediasrv.media.access_unit import StreamRef
from mediasrv.security.rtsp_access import Visitor
from mediasrv.wire.rtsp_challenge import Challenger, Credentials, parse_authorization
from mediasrv.wire.rtsp_server import RequestReceived, RtspRefused

REALM: Final = "mediasrv"
NONCE_S: Final = 300.0


class Access(Protocol):
    """Who may watch what; see `security.rtsp_access`."""

    async def authenticate(self, username: str, remote: str, proves: Callable[[str], bool]) -> Visitor: ...

    async def admit(self, visitor: Visitor, camera_id: str) -> None: ...

    async def started(self, visitor: Visitor, ref: StreamRef, by: str) -> None: ...

    async def ended(self, visitor: Visitor, ref: StreamRef) -> None: ...

    async def may_watch(self, visitor: Visitor, camera_id: str) -> bool: ...


class IdentityDesk:
    """Of one connection from `remote`. Passwords in plain (Basic) are taken over secured connections only."""

    def __init__(self, access: Access, clock: Clock, remote: str, *, secured: bool) -> None:
        self._access = access
        self._clock = clock
        self._remote = remote
        self._secured = secured
        self._challenger = Challenger(REALM, lambda: secrets.token_urlsafe(18), NONCE_S)

    def challenges(self, *, stale: bool) -> list[str]:
        """Values of WWW-Authenticate for a 401."""
        return self._challenger.challenges(self._clock.monotonic(), basic=self._secured, stale=stale)

    async def identify(self, request: RequestReceived, known: Visitor | None) -> Visitor:
        """Raises NotAuthenticated (`nonce_stale` where it is worth repeating), TooManyRequests, or RtspRefused for
        another login than the connection's, `known`."""
        credentials = parse_authorization(request.header("authorization"))
        if credentials is None or (credentials.is_basic and not self._secured):
            raise NotAuthenticated("Log in first.")
        now = self._clock.monotonic()
        if not credentials.is_basic and not self._challenger.check_nonce(credentials, now):
            raise NotAuthenticated("This nonce is not of this connection, or has expired.", code="nonce_stale")
        proof = self._proof(credentials, request)
        visitor = await self._access.authenticate(credentials.username, self._remote, proof)
        if known is not None and known.login != visitor.login:
            raise RtspRefused(403, "One connection is of one login.")
        return visitor

    def _proof(self, credentials: Credentials, request: RequestReceived) -> Callable[[str], bool]:
        return lambda password: self._challenger.proves(credentials, request.method, request.url, password)
