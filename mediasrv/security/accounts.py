"""Accounts and grants: what an administrator, the command line and the one-time link of the first start do.

Every change here is in the access log, in the same transaction.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, places
from mediasrv.catalogue import accounts as rows
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import InvalidRequest, NotAuthenticated, NotFound
from mediasrv.security.access_log import AccessLog, Event, append_events
from mediasrv.security.passwords import Passwords, check_password
from mediasrv.security.policy import ROLES
from mediasrv.security.sessions import Sessions, hash_token, new_token
from mediasrv.settings import SecuritySettings

ADMINISTRATOR: Final = "administrator"
_USERNAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,98}[a-z0-9])?")
_INVITED: Final = "(invited) "


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, for the log; the command line acts without a principal."""

    principal_id: str | None = None
    username: str = "(command line)"
    remote: str = ""

    def event(self, action: str, subject: str, **detail: object) -> Event:
        return Event(action, subject, self.principal_id, self.username, self.remote, detail)


COMMAND_LINE: Final = Actor()


def check_username(username: str) -> str:
    """The name in lower case. Raises InvalidRequest `username_invalid`."""
    name = username.strip().lower()
    if _USERNAME.fullmatch(name) is None:
        raise InvalidRequest(
            "A user name is 1 to 100 of a-z, 0-9, dot, hyphen, underscore and @, and begins and ends with a letter "
            "or digit.",
            code="username_invalid",
        )
    return name


class Accounts:
    """Users, grants, places and invites."""

    def __init__(
        self,
        catalogue: Catalogue,
        access_log: AccessLog,
        passwords: Passwords,
        sessions: Sessions,
        clock: Clock,
        settings: SecuritySettings,
    ) -> None:
        self._catalogue = catalogue
        self._access_log = access_log
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock
        self._settings = settings

    async def create_user(self, username: str, password: str | None, by: Actor = COMMAND_LINE) -> str:
        """The new principal's id. Without a password it is a machine account, for API tokens."""
        name = check_username(username)
        password_hash = None
        if password is not None:
            check_password(password, name)
            password_hash = await self._passwords.hash(password)
        principal_id = secrets.token_hex(8)
        event = by.event("user.created", name)
        await self._access_log.write(
            event, rows.add_principal, principal_id, name, password_hash, self._clock.wall_us()
        )
        return principal_id

    async def set_password(self, username: str, password: str, by: Actor = COMMAND_LINE) -> None:
        """Gives an account a new password and ends its sessions. Raises NotFound `user_not_found`."""
        name = check_username(username)
        check_password(password, name)
        password_hash = await self._passwords.hash(password)
        event = by.event("user.password_set", name)
        await self._access_log.write(event, _set_password, name, password_hash, self._clock.wall_us())
        self._sessions.forget()

    async def disable_user(self, username: str, by: Actor = COMMAND_LINE) -> None:
        """Ends an account and all it has open. Raises NotFound `user_not_found`."""
        name = username.strip().lower()
        event = by.event("user.disabled", name)
        await self._access_log.write(event, _disable, name, self._clock.wall_us())
        self._sessions.forget()

    async def create_token(self, username: str, name: str, ttl_s: int | None = None) -> str:
        """An API token for an account, by the command line. Raises NotFound `user_not_found`."""
        found = await self._catalogue.read(rows.get_by_username, username.strip().lower())
        return await self._sessions.create_token(found.principal_id, found.username, name, ttl_s)

    # --- grants ----------------------------------------------------------------------------------

    async def grant(
        self,
        username: str,
        role: str,
        place_id: str = places.ROOT_PLACE_ID,
        *,
        purpose: str,
        ends_us: int | None = None,
        by: Actor = COMMAND_LINE,
    ) -> int:
        """Gives a role at a place and below, from now. Raises InvalidRequest or NotFound."""
        if role not in ROLES:
            raise InvalidRequest(f"There is no such role; known are {', '.join(ROLES)}.", code="role_invalid")
        if not 1 <= len(purpose.strip()) <= 400:
            raise InvalidRequest("A grant needs a purpose of 1 to 400 characters.", code="purpose_missing")
        now_us = self._clock.wall_us()
        if ends_us is not None and ends_us <= now_us:
            raise InvalidRequest("The end of the grant has passed.", code="ends_at_invalid")
        detail = {"role": role, "place": place_id, "purpose": purpose, "ends_us": ends_us}
        name = username.strip().lower()
        grant_id = await self._access_log.write(
            by.event("grant.given", name, **detail),
            _add_grant,
            name,
            role,
            place_id,
            purpose,
            by.principal_id,
            now_us,
            ends_us,
        )
        self._sessions.forget()
        return grant_id

    async def revoke_grant(self, grant_id: int, by: Actor = COMMAND_LINE) -> None:
        """Ends what it allowed within seconds, open streams too. Raises NotFound `grant_not_found`."""
        found = await self._catalogue.read(rows.find_grant, grant_id)
        if found is None:
            raise NotFound("There is no such grant.", code="grant_not_found")
        event = by.event("grant.revoked", found.username, role=found.role, place=found.place_id)
        await self._access_log.write(event, rows.revoke_grant, grant_id, self._clock.wall_us())
        self._sessions.forget()

    # --- the first administrator -----------------------------------------------------------------

    async def first_invite(self) -> str | None:
        """A fresh token for the one-time link `/invite/TOKEN`; None where an administrator exists.

        Earlier links stop working.
        """
        token, now_us = new_token(), self._clock.wall_us()
        expires_us = now_us + self._settings.invite_s * SECOND_US
        made = await self._access_log.transact(_make_invite, hash_token(token), now_us, expires_us)
        return token if made else None

    async def accept_invite(self, token: str, username: str, password: str, remote: str) -> str:
        """Uses up the link, names the account and logs it in: the session's token.

        Raises NotAuthenticated `invite_invalid` where the link is unknown, used or too old.
        """
        name = check_username(username)
        check_password(password, name)
        token_hash = hash_token(token)
        # Asked before the costly hash, since anybody may call this, and again when the link is used up.
        principal_id = await self._catalogue.read(_invited, token_hash, self._clock.wall_us())
        password_hash = await self._passwords.hash(password)
        event = Event("invite.accepted", ADMINISTRATOR, principal_id, name, remote)
        await self._access_log.write(event, _accept, token_hash, name, password_hash, self._clock.wall_us())
        self._sessions.forget()
        return await self._sessions.open_session(principal_id, name, remote)


def _invite_invalid() -> NotAuthenticated:
    return NotAuthenticated("This link has been used or is too old.", code="invite_invalid")


def _set_password(connection: Connection, username: str, password_hash: str, now_us: int) -> None:
    found = rows.get_by_username(connection, username)
    rows.set_login(connection, found.principal_id, username, password_hash)
    rows.revoke_credentials(connection, found.principal_id, "session", now_us)


def _disable(connection: Connection, username: str, now_us: int) -> None:
    rows.disable_principal(connection, rows.get_by_username(connection, username).principal_id, now_us)


def _add_grant(
    connection: Connection,
    username: str,
    role: str,
    place_id: str,
    purpose: str,
    granted_by: str | None,
    starts_us: int,
    ends_us: int | None,
) -> int:
    principal_id = rows.get_by_username(connection, username).principal_id
    place = places.get_place(connection, place_id)
    return rows.add_grant(
        connection,
        principal_id,
        role,
        place.place_id,
        purpose=purpose,
        granted_by=granted_by,
        starts_us=starts_us,
        ends_us=ends_us,
    )


def _make_invite(connection: Connection, token_hash: bytes, now_us: int, expires_us: int) -> bool:
    administrators = [row for row in rows.list_grants(connection) if row.role == ADMINISTRATOR]
    invited = None
    for row in administrators:
        if row.ends_us is not None and row.ends_us <= now_us:
            continue
        if not row.username.startswith(_INVITED):
            return False
        invited = row.principal_id
    if invited is None:
        invited = _add_invited(connection, now_us)
    rows.revoke_credentials(connection, invited, "invite", now_us)
    rows.add_credential(connection, rows.Credential(token_hash, "invite", invited, None, now_us, expires_us))
    append_events(connection, [COMMAND_LINE.event("invite.created", ADMINISTRATOR)], now_us)
    return True


def _add_invited(connection: Connection, now_us: int) -> str:
    """A principal that nobody can log in as until the link gives it a name and a password."""
    principal_id = secrets.token_hex(8)
    rows.add_principal(connection, principal_id, f"{_INVITED}{principal_id}", None, now_us)
    rows.add_grant(
        connection,
        principal_id,
        ADMINISTRATOR,
        places.ROOT_PLACE_ID,
        purpose="first administrator",
        granted_by=None,
        starts_us=now_us,
        ends_us=None,
    )
    return principal_id


def _invited(connection: Connection, token_hash: bytes, now_us: int) -> str:
    found = rows.find_credential(connection, token_hash, now_us)
    if found is None or found.kind != "invite":
        raise _invite_invalid()
    return found.principal_id


def _accept(connection: Connection, token_hash: bytes, username: str, password_hash: str, now_us: int) -> None:
    principal_id = _invited(connection, token_hash, now_us)
    if not rows.revoke_credential(connection, token_hash, now_us):  # of two at once, one gets in
        raise _invite_invalid()
    rows.set_login(connection, principal_id, username, password_hash)
