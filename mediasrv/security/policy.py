"""Who may do what where, as pure functions: no clock, no database, no request.

A grant gives a role at a place, and so at every place below, for a time. No role sees all footage by
default: an administrator manages, and watches only with a further grant that the access log shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mediasrv.security.places import lies_within


class Permission(StrEnum):
    """What a route can ask for. The values are part of the API."""

    CAMERA_VIEW = "camera.view"
    CAMERA_MANAGE = "camera.manage"
    LIVE_VIEW = "live.view"
    FOOTAGE_VIEW = "footage.view"
    FOOTAGE_EXPORT = "footage.export"
    EVENT_VIEW = "event.view"
    PTZ_CONTROL = "ptz.control"
    GRANT_MANAGE = "grant.manage"
    SYSTEM_READ = "system.read"
    ACCESS_LOG_READ = "access_log.read"
    HOLD_MANAGE = "hold.manage"


ROLES: Final[Mapping[str, frozenset[Permission]]] = MappingProxyType(
    {
        "administrator": frozenset(
            {
                Permission.CAMERA_VIEW,
                Permission.CAMERA_MANAGE,
                Permission.GRANT_MANAGE,
                Permission.SYSTEM_READ,
                Permission.ACCESS_LOG_READ,
                Permission.HOLD_MANAGE,
            }
        ),
        "viewer": frozenset({Permission.CAMERA_VIEW, Permission.LIVE_VIEW}),
        "operator": frozenset(
            {
                Permission.CAMERA_VIEW,
                Permission.CAMERA_MANAGE,
                Permission.LIVE_VIEW,
                Permission.EVENT_VIEW,
                Permission.PTZ_CONTROL,
            }
        ),
        "auditor": frozenset(
            {
                Permission.CAMERA_VIEW,
                Permission.FOOTAGE_VIEW,
                Permission.FOOTAGE_EXPORT,
                Permission.EVENT_VIEW,
                Permission.ACCESS_LOG_READ,
                Permission.HOLD_MANAGE,
            }
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role at a place and below it, from `starts_us` until before `ends_us` (None: until revoked)."""

    role: str
    place_id: str
    place_path: str
    starts_us: int
    ends_us: int | None
    purpose: str

    def in_force(self, now_us: int) -> bool:
        return self.starts_us <= now_us and (self.ends_us is None or now_us < self.ends_us)


def permitted(grants: Iterable[Grant], permission: Permission, place_path: str, now_us: int) -> bool:
    """Whether some grant in force gives `permission` at this place. An unknown role gives nothing."""
    return any(
        grant.in_force(now_us)
        and lies_within(place_path, grant.place_path)
        and permission in ROLES.get(grant.role, frozenset())
        for grant in grants
    )


def next_change_us(grants: Iterable[Grant], now_us: int) -> float:
    """Until when the answers of today hold: the next time that a grant begins or ends, or infinity."""
    edges = (edge for grant in grants for edge in (grant.starts_us, grant.ends_us) if edge is not None)
    return min((edge for edge in edges if edge > now_us), default=math.inf)


def permitted_somewhere(grants: Iterable[Grant], permission: Permission, now_us: int) -> bool:
    """Whether some grant in force gives `permission` at any place."""
    return any(grant.in_force(now_us) and permission in ROLES.get(grant.role, frozenset()) for grant in grants)


def permissions_at(grants: Iterable[Grant], place_path: str, now_us: int) -> frozenset[Permission]:
    """All that the grants in force give at this place."""
    found: frozenset[Permission] = frozenset()
    for grant in grants:
        if grant.in_force(now_us) and lies_within(place_path, grant.place_path):
            found |= ROLES.get(grant.role, frozenset())
    return found


def permissions_anywhere(grants: Iterable[Grant], now_us: int) -> frozenset[Permission]:
    """All that the grants in force give at some place: what a page may offer at all."""
    found: frozenset[Permission] = frozenset()
    for grant in grants:
        if grant.in_force(now_us):
            found |= ROLES.get(grant.role, frozenset())
    return found
