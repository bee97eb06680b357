"""Who reads a camera over RTSP, and whether they (still) may: the guard of that door, as `web.guard` is of HTTP's.

Closed by default. A camera that a principal may not see answers like one that does not exist; who has not shown who
they are learns not even that. Failed logins are counted and logged as those of the page are.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mediasrv.catalogue.places import CameraPlace
from mediasrv.clock import Clock
from mediasrv.errors import NotAuthenticated, NotFound, NotPermitted
from mediasrv.media.access_unit import StreamRef
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.security.login_limit import LoginGate
from mediasrv.security.policy import Permission
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.security.sessions import Sessions
from mediasrv.settings import SecuritySettings

_DENIED_WINDOW_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who has shown who they are. `camera_id`: the only camera that their login opens, None: all."""

    principal_id: str
    username: str
    login: str
    key: bytes
    camera_id: str | None
    remote: str


class RtspAccess:
    """`find_place` tells where a camera belongs, None where there has never been one; an answer may be 2 s old."""

    def __init__(
        self,
        logins: RtspLogins,
        sessions: Sessions,
        access_log: AccessLog,
        find_place: Callable[[str], Awaitable[CameraPlace | None]],
        clock: Clock,
        settings: SecuritySettings,
    ) -> None:
        self._logins = logins
        self._sessions = sessions
        self._access_log = access_log
        self._find_place = find_place
        self._clock = clock
        self._gate = LoginGate("rtsp", access_log, clock, settings)

    async def authenticate(self, username: str, remote: str, proves: Callable[[str], bool]) -> Visitor:
        """`proves` tells whether the peer has shown that it knows this password; it is asked once, also for a name that
        there is none of. Raises NotAuthenticated or TooManyRequests; both are logged."""
        await self._gate.check(username, remote)
        secret = await self._logins.find(username)
        right = proves(secret.password if secret else secrets.token_urlsafe())
        identity = await self._sessions.recall(secret.key) if secret and right else None
        if secret is None or identity is None:
            await self._gate.refuse(remote)
        self._gate.succeeded(username, remote)
        return Visitor(identity.principal_id, identity.username, username, secret.key, secret.camera_id, remote)

    async def admit(self, visitor: Visitor, camera_id: str) -> None:
        """Raises NotAuthenticated where the login has ended, NotFound for a camera that must stay unseen, or
        NotPermitted, which is logged."""
        identity = await self._sessions.recall(visitor.key)
        if identity is None:
            raise NotAuthenticated("This login has ended.", code="login_failed")
        path = await self._path_of(visitor, camera_id)
        now_us = self._clock.wall_us()
        if path is None or not identity.may(Permission.CAMERA_VIEW, path, now_us):
            raise NotFound("There is no such camera.", code="camera_not_found")
        if not identity.may(Permission.LIVE_VIEW, path, now_us):
            event = self._event("access.denied", camera_id, visitor)
            await self._access_log.once(event, _DENIED_WINDOW_S)
            raise NotPermitted("Your grants do not allow this.")

    async def may_watch(self, visitor: Visitor, camera_id: str) -> bool:
        """Whether a session that runs may go on. Asked of sessions that have been admitted."""
        identity = await self._sessions.recall(visitor.key)
        path = await self._path_of(visitor, camera_id)
        if identity is None or path is None:
            return False
        return identity.may(Permission.LIVE_VIEW, path, self._clock.wall_us())

    async def started(self, visitor: Visitor, ref: StreamRef, by: str) -> None:
        """Returns once this access is durable in the log: no media before. `by` is rtsp or rtsps."""
        await self._access_log.append(self._event("live.started", str(ref), visitor, by))

    async def ended(self, visitor: Visitor, ref: StreamRef) -> None:
        """The right to watch was gone, and the session was ended for it."""
        await self._access_log.append(self._event("live.ended", str(ref), visitor))

    async def _path_of(self, visitor: Visitor, camera_id: str) -> str | None:
        """The place of a camera in service that the login may open at all."""
        if visitor.camera_id not in (None, camera_id):
            return None
        place = await self._find_place(camera_id)
        return None if place is None or place.removed_us is not None else place.path

    @staticmethod
    def _event(action: str, subject: str, visitor: Visitor, by: str = "") -> Event:
        detail = {"login": visitor.login, **({"by": by} if by else {})}
        return Event(action, subject, visitor.principal_id, visitor.username, visitor.remote, detail)
