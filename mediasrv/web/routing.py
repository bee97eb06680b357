"""What a route is: a method, a path, who may use it and what answers. Every route declares its permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiohttp import hdrs, web

from mediasrv.errors import NotPermitted
from mediasrv.security.accounts import Actor
from mediasrv.security.policy import Permission
from mediasrv.security.sessions import Identity


class Requirement(Enum):
    """For routes that ask for less than a permission."""

    PUBLIC = "public"
    ANY_ACCOUNT = "any account"


PUBLIC: Final = Requirement.PUBLIC
ANY_ACCOUNT: Final = Requirement.ANY_ACCOUNT


class Scope(Enum):
    """Where the permission must be held."""

    ROOT = "root"
    """At the root of the tree: what it shows is about everything."""
    CAMERA = "camera"
    """At the place of the path's `{camera}`, which must be in service."""
    FOOTAGE = "footage"
    """The same for a camera that may be out of service: its footage outlives it."""
    SOMEWHERE = "somewhere"
    """Anywhere; the handler asks again for the place in the request (`Access.require`)."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who came through the door, and how. `identity` is None on public routes, and for loopback."""

    identity: Identity | None
    remote: str
    now_us: int
    camera_id: str = ""
    place_path: str = ""
    by_path: bool = False
    """The right came by a token in the path."""

    @property
    def principal(self) -> Identity:
        """The principal of a route that is not public."""
        if self.identity is None:
            raise NotPermitted("This needs an account.")
        return self.identity

    @property
    def actor(self) -> Actor:
        return Actor(self.principal.principal_id, self.principal.username, self.remote)

    def require(self, permission: Permission, place_path: str) -> None:
        """Raises NotPermitted where the principal does not hold `permission` at this place."""
        if not self.principal.may(permission, place_path, self.now_us):
            raise NotPermitted("Your grants do not allow this at that place.")


Handler = Callable[[web.Request, Access], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`loopback` also lets in a caller on this machine without an account (health and metrics); `by_path` one that
    brings no credential but a token in the path's `{token}`.

    `cross_origin` lets pages of the allowed origins use it, by token. Its OPTIONS route lets in preflights, and these
    alone, without an account: browsers send them without credentials.
    """

    method: str
    path: str
    permission: Permission | Requirement
    handler: Handler
    scope: Scope = Scope.ROOT
    loopback: bool = False
    cross_origin: bool = False
    by_path: bool = False

    def __post_init__(self) -> None:
        needs_camera = self.scope in (Scope.CAMERA, Scope.FOOTAGE)
        if needs_camera != ("{camera}" in self.path):
            raise ValueError(f"{self.path}: the scope and the path disagree about a camera")


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks before it sends what another site's page wants (Fetch standard, CORS-preflight)."""
    headers = request.headers
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers
        and hdrs.AUTHORIZATION not in headers
    )


def is_unchanged(request: web.Request, etag: str) -> bool:
    """Whether the client has what this entity tag (quoted) names, and says so (RFC 9110, 13.1.2). Hot."""
    known = request.headers.get(hdrs.IF_NONE_MATCH)
    return known is not None and etag in (one.strip() for one in known.split(","))
