"""/api/v1: API tokens, the access log, places, users and grants."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from mediasrv.catalogue import accounts as rows
from mediasrv.catalogue.places import LEVELS, ROOT_PLACE_ID, Place, add_place, get_place, list_places
from mediasrv.errors import NotFound
from mediasrv.security.access_log import Entry, read_entries, read_head
from mediasrv.security.places import check_place, lies_within
from mediasrv.security.policy import Permission
from mediasrv.security.sessions import token_id
from mediasrv.web.fields import format_time, query_int, read_fields
from mediasrv.web.routing import ANY_ACCOUNT, Access, Route, Scope
from mediasrv.web.services import Services

_TOKEN: Final = frozenset({"name", "expires_at"})
_PLACE: Final = frozenset({"id", "parent", "level", "name"})
_USER: Final = frozenset({"username", "password"})
_GRANT: Final = frozenset({"username", "role", "place", "purpose", "ends_at"})
_MOST_ENTRIES: Final = 1000
_READING_WINDOW_S: Final = 3600.0


def routes(services: Services) -> list[Route]:
    admin, grants = _Handlers(services), Permission.GRANT_MANAGE
    return [
        Route("GET", "/api/v1/tokens", ANY_ACCOUNT, admin.tokens),
        Route("POST", "/api/v1/tokens", ANY_ACCOUNT, admin.create_token),
        Route("DELETE", "/api/v1/tokens/{id}", ANY_ACCOUNT, admin.revoke_token),
        Route("GET", "/api/v1/access-log", Permission.ACCESS_LOG_READ, admin.access_log),
        Route("GET", "/api/v1/places", ANY_ACCOUNT, admin.places),
        Route("POST", "/api/v1/places", grants, admin.add_place, Scope.SOMEWHERE),
        Route("GET", "/api/v1/users", grants, admin.users),
        Route("POST", "/api/v1/users", grants, admin.add_user),
        Route("GET", "/api/v1/grants", grants, admin.grants, Scope.SOMEWHERE),
        Route("POST", "/api/v1/grants", grants, admin.add_grant, Scope.SOMEWHERE),
        Route("DELETE", "/api/v1/grants/{id}", grants, admin.revoke_grant, Scope.SOMEWHERE),
    ]


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._catalogue = services.catalogue

    # --- tokens ----------------------------------------------------------------------------------

    async def tokens(self, request: web.Request, access: Access) -> web.StreamResponse:
        found = await self._services.sessions.tokens(access.principal)
        return web.json_response({"tokens": [_token_json(token) for token in found]})

    async def create_token(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _TOKEN)
        name = fields.required_text("name", 100)
        expires_us, ttl_s = fields.optional_expiry(access.now_us)
        who = access.principal
        token = await self._services.sessions.create_token(who.principal_id, who.username, name, ttl_s, access.remote)
        return web.json_response({"token": token, "name": name, "expires_at": format_time(expires_us)}, status=201)

    async def revoke_token(self, request: web.Request, access: Access) -> web.StreamResponse:
        await self._services.sessions.revoke_token(access.principal, request.match_info["id"], access.remote)
        return web.Response(status=204)

    # --- access log ------------------------------------------------------------------------------

    async def access_log(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Newest first. Reading it is an entry too, one an hour for each reader."""
        limit = query_int(request, "limit", 100, 1, _MOST_ENTRIES) or 100
        before = query_int(request, "before", None, 1, 10**18)
        await self._services.access_log.once(access.actor.event("access_log.read", "access log"), _READING_WINDOW_S)
        entries = await self._catalogue.read(read_entries, limit, before)
        head = await self._catalogue.read(read_head)
        return web.json_response(
            {
                "entries": [_entry_json(entry) for entry in entries],
                "head": {"entry": head.entry, "hash": head.entry_hash.hex()},
            }
        )

    # --- places ----------------------------------------------------------------------------------

    async def places(self, request: web.Request, access: Access) -> web.StreamResponse:
        """The places of the caller's grants, those below, and the way up to the root: no names of others' sites."""
        held = [grant.place_path for grant in access.principal.grants if grant.in_force(access.now_us)]
        shown = [
            _place_json(place)
            for place in await self._catalogue.read(list_places)
            if any(lies_within(place.path, path) or lies_within(path, place.path) for path in held)
        ]
        return web.json_response({"places": shown})

    async def add_place(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _PLACE)
        parent = await self._catalogue.read(get_place, fields.text("parent", ROOT_PLACE_ID, 64))
        access.require(Permission.GRANT_MANAGE, parent.path)
        place_id, level = fields.required_text("id", 64), fields.text("level", LEVELS[-1], 16)
        check_place(place_id, level, parent.level)
        name = fields.text("name", place_id, 200)
        event = access.actor.event("place.added", place_id, parent=parent.place_id, level=level)
        place = await self._services.access_log.write(event, add_place, place_id, parent.place_id, level, name)
        return web.json_response(_place_json(place), status=201)

    # --- users and grants ------------------------------------------------------------------------

    async def users(self, request: web.Request, access: Access) -> web.StreamResponse:
        found = await self._catalogue.read(rows.list_principals)
        return web.json_response({"users": [_user_json(one) for one in found]})

    async def add_user(self, request: web.Request, access: Access) -> web.StreamResponse:
        fields = await read_fields(request, _USER)
        username = fields.required_text("username", 100)
        principal_id = await self._services.accounts.create_user(
            username, fields.optional_text("password"), access.actor
        )
        return web.json_response({"id": principal_id, "username": username.strip().lower()}, status=201)

    async def grants(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Grants at the places where the caller manages them."""
        shown = [
            _grant_json(row)
            for row in await self._catalogue.read(rows.list_grants)
            if access.principal.may(Permission.GRANT_MANAGE, row.place_path, access.now_us)
        ]
        return web.json_response({"grants": shown})

    async def add_grant(self, request: web.Request, access: Access) -> web.StreamResponse:
        """Within the caller's own part of the tree only."""
        fields = await read_fields(request, _GRANT)
        place = await self._catalogue.read(get_place, fields.text("place", ROOT_PLACE_ID, 64))
        access.require(Permission.GRANT_MANAGE, place.path)
        grant_id = await self._services.accounts.grant(
            fields.required_text("username", 100),
            fields.required_text("role", 16),
            place.place_id,
            purpose=fields.required_text("purpose", 400),
            ends_us=fields.optional_time("ends_at"),
            by=access.actor,
        )
        return web.json_response({"id": grant_id}, status=201)

    async def revoke_grant(self, request: web.Request, access: Access) -> web.StreamResponse:
        text = request.match_info["id"]
        grant_id = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
        found = await self._catalogue.read(rows.find_grant, grant_id)
        if found is None or not access.principal.may(Permission.GRANT_MANAGE, found.place_path, access.now_us):
            raise NotFound("There is no such grant.", code="grant_not_found")
        await self._services.accounts.revoke_grant(grant_id, access.actor)
        return web.Response(status=204)


def _token_json(token: rows.Credential) -> dict[str, Any]:
    return {
        "id": token_id(token.token_hash),
        "name": token.name,
        "created_at": format_time(token.created_us),
        "expires_at": format_time(token.expires_us),
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "entry": entry.entry,
        "at": format_time(entry.at_us),
        "username": entry.username,
        "remote": entry.remote,
        "action": entry.action,
        "subject": entry.subject,
        "detail": dict(entry.detail),
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {"id": place.place_id, "parent": place.parent_id, "level": place.level, "name": place.name}


def _user_json(user: rows.Principal) -> dict[str, Any]:
    return {"id": user.principal_id, "username": user.username, "disabled": user.disabled}


def _grant_json(row: rows.GrantRow) -> dict[str, Any]:
    return {
        "id": row.grant_id,
        "username": row.username,
        "role": row.role,
        "place": row.place_id,
        "purpose": row.purpose,
        "starts_at": format_time(row.starts_us),
        "ends_at": format_time(row.ends_us),
    }
