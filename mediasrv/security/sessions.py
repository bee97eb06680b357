"""Who is asking: logins, session and API tokens, and what they may do at this moment.

A token is 256 random bits; only its SHA-256 is kept, so a copy of the catalogue lets nobody in. What a
token stands for is remembered for `CACHE_S`, so a request costs no query, and whatever is revoked, by
whichever process, ends within that time.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, accounts
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import InvalidRequest, NotAuthenticated, NotFound
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.security.login_limit import LoginGate
from mediasrv.security.passwords import Passwords
from mediasrv.security.policy import Grant, Permission, next_change_us, permitted, permitted_somewhere
from mediasrv.settings import SecuritySettings

CACHE_S: Final = 2.0
MOST_CACHED: Final = 10_000
MOST_TOKENS: Final = 100
MOST_ISSUED: Final = 100
"""Sessions that come from one API token; beyond it the oldest ends."""

TOKEN_PREFIX: Final = "msrv_"  # noqa: S105 - lets scanners of leaked secrets recognise ours
_LONGEST_TOKEN: Final = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated principal: what it may do, and by which credential it came."""

    principal_id: str
    username: str
    grants: tuple[Grant, ...]
    token_hash: bytes
    kind: str
    expires_us: int | None
    issued_by: bytes | None = None
    """The hash of the API token that a session came from."""
    _decided: dict[tuple[Permission, str], tuple[bool, float]] = field(default_factory=dict, repr=False, compare=False)

    def may(self, permission: Permission, place_path: str, now_us: int) -> bool:
        """Asked several times a second by each viewer: an answer is kept until a grant begins or ends."""
        known = self._decided.get((permission, place_path))
        if known is not None and now_us < known[1]:
            return known[0]
        answer = permitted(self.grants, permission, place_path, now_us)
        self._decided[permission, place_path] = (answer, next_change_us(self.grants, now_us))
        return answer

    def may_somewhere(self, permission: Permission, now_us: int) -> bool:
        return permitted_somewhere(self.grants, permission, now_us)


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Fast on purpose: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def token_id(token_hash: bytes) -> str:
    """Names an API token without giving it away."""
    return token_hash.hex()[:16]


class Sessions:
    """Logs in and out, issues and revokes tokens, and tells who a token belongs to."""

    def __init__(
        self,
        catalogue: Catalogue,
        access_log: AccessLog,
        passwords: Passwords,
        clock: Clock,
        settings: SecuritySettings,
    ) -> None:
        self._catalogue = catalogue
        self._access_log = access_log
        self._passwords = passwords
        self._clock = clock
        self._settings = settings
        self._gate = LoginGate("session", access_log, clock, settings)
        self._known: OrderedDict[bytes, tuple[float, Identity | None]] = OrderedDict()
        self._waiting: set[bytes] = set()
        self._asking = asyncio.Lock()
        self._forgotten = 0

    async def login(self, username: str, password: str, remote: str) -> str:
        """A new session's token. Raises NotAuthenticated `login_failed` or TooManyRequests; both are logged."""
        username = username.strip().lower()
        await self._gate.check(username, remote)
        found = await self._catalogue.read(accounts.find_by_username, username)
        password_hash = None if found is None or found.disabled else found.password_hash
        right = await self._passwords.verify(password_hash, password)
        if found is None or not right:
            known = () if found is None else (found.principal_id, found.username)
            await self._gate.refuse(remote, *known)
        self._gate.succeeded(username, remote)
        event = Event("login", "session", found.principal_id, found.username, remote)
        return await self._open(found.principal_id, event, self._settings.session_s)

    async def open_session(self, principal_id: str, username: str, remote: str) -> str:
        """A session for somebody who has just proved who they are in another way (an invite)."""
        event = Event("login", "session", principal_id, username, remote)
        return await self._open(principal_id, event, self._settings.session_s)

    async def exchange(self, token: str, present: str | None, remote: str) -> tuple[str, int] | None:
        """A session for whoever shows an API token: its own token, and how many seconds it lasts at most.

        It never outlives the API token, and ends when that one is revoked. None where `present`, the session that the
        caller has, came from this token already. Raises NotAuthenticated, also for a token that is itself a session's.
        """
        identity = await self.identify(token)
        if identity.kind != "token":
            raise NotAuthenticated("Only an API token may stand in a URL.", code="token_in_url")
        known = None if present is None else await self.recall(hash_token(present))
        if known is not None and known.issued_by == identity.token_hash:
            return None
        event = Event(
            *("login", "session", identity.principal_id, identity.username, remote),
            detail={"token": token_id(identity.token_hash)},
        )
        left_s = self._settings.session_s
        if identity.expires_us is not None:
            left_s = min(left_s, (identity.expires_us - self._clock.wall_us()) // SECOND_US)
        return await self._open(identity.principal_id, event, left_s, identity.token_hash), left_s

    async def logout(self, identity: Identity, remote: str) -> None:
        event = Event("logout", identity.kind, identity.principal_id, identity.username, remote)
        await self._access_log.write(event, accounts.revoke_credential, identity.token_hash, self._clock.wall_us())
        self.forget()

    async def identify(self, token: str) -> Identity:
        """Raises NotAuthenticated for a token that is unknown, expired or revoked."""
        if len(token) > _LONGEST_TOKEN:
            raise _not_authenticated()
        identity = await self.recall(hash_token(token))
        if identity is None or identity.kind == "rtsp":  # opens RTSP alone, and shows its secret there
            raise _not_authenticated()
        return identity

    async def recall(self, token_hash: bytes) -> Identity | None:
        """Who a token belongs to now, at most `CACHE_S` old; None where it opens nothing any more."""
        identity = self._cached(token_hash)
        if identity is _UNKNOWN:
            identity = await self._ask(token_hash)
        if identity is None or (identity.expires_us is not None and identity.expires_us <= self._clock.wall_us()):
            return None
        return identity

    def forget(self) -> None:
        """Drops what is remembered: what was revoked here ends at once."""
        self._known.clear()
        self._forgotten += 1

    # --- API tokens ------------------------------------------------------------------------------

    async def create_token(
        self, principal_id: str, username: str, name: str, ttl_s: int | None, remote: str = ""
    ) -> str:
        """An API token of a principal, shown this once. Raises InvalidRequest at `MOST_TOKENS` of them."""
        token, now_us = new_token(), self._clock.wall_us()
        expires_us = None if ttl_s is None else now_us + ttl_s * SECOND_US
        row = accounts.Credential(hash_token(token), "token", principal_id, name, now_us, expires_us)
        event = Event("token.created", token_id(row.token_hash), principal_id, username, remote, {"name": name})
        await self._access_log.write(event, _add_token, row, now_us)
        return token

    async def tokens(self, identity: Identity) -> list[accounts.Credential]:
        """The caller's valid API tokens, newest first."""
        return await self.credentials(identity, "token")

    async def revoke_token(self, identity: Identity, wanted_id: str, remote: str) -> None:
        """Raises NotFound `token_not_found` for one that is not the caller's."""
        if not await self.revoke(identity, "token", wanted_id, "token.revoked", remote):
            raise NotFound("There is no such token of yours.", code="token_not_found")

    # --- credentials of any kind -----------------------------------------------------------------

    async def credentials(self, identity: Identity, kind: str) -> list[accounts.Credential]:
        """The caller's valid ones of a kind, newest first."""
        now_us = self._clock.wall_us()
        return await self._catalogue.read(accounts.list_credentials, identity.principal_id, kind, now_us)

    async def revoke(self, identity: Identity, kind: str, wanted_id: str, action: str, remote: str) -> bool:
        """Ends one of the caller's at once, and `action` is in the log; False where it is not one of theirs."""
        for row in await self.credentials(identity, kind):
            if token_id(row.token_hash) == wanted_id:
                event = Event(action, wanted_id, identity.principal_id, identity.username, remote)
                await self._access_log.write(event, accounts.revoke_credential, row.token_hash, self._clock.wall_us())
                self.forget()
                return True
        return False

    # --- inside ----------------------------------------------------------------------------------

    async def _open(self, principal_id: str, event: Event, lasts_s: int, issued_by: bytes | None = None) -> str:
        token, now_us = new_token(), self._clock.wall_us()
        expires_us = now_us + lasts_s * SECOND_US
        row = accounts.Credential(hash_token(token), "session", principal_id, None, now_us, expires_us, issued_by)
        await self._access_log.write(event, _add_session, row, now_us)
        return token

    def _cached(self, token_hash: bytes) -> Identity | None:
        asked_at, identity = self._known.get(token_hash, (None, None))
        if asked_at is None or self._clock.monotonic() - asked_at > CACHE_S:
            return _UNKNOWN
        return identity

    async def _ask(self, token_hash: bytes) -> Identity | None:
        """One query for all who wait: while one is under way, those who come gather for the next."""
        self._waiting.add(token_hash)
        async with self._asking:
            identity = self._cached(token_hash)
            if identity is not _UNKNOWN:
                self._waiting.discard(token_hash)
                return identity
            asked, self._waiting = self._waiting | {token_hash}, set()
            found = await self._ask_for(asked)
            return found.get(token_hash)

    async def _ask_for(self, token_hashes: set[bytes]) -> dict[bytes, Identity]:
        asked_at, forgotten = self._clock.monotonic(), self._forgotten
        found = await self._catalogue.read(_identities, token_hashes, self._clock.wall_us())
        if forgotten == self._forgotten:  # else it may be what was revoked meanwhile
            for token_hash in token_hashes:
                self._known[token_hash] = (asked_at, found.get(token_hash))
                self._known.move_to_end(token_hash)
            while len(self._known) > MOST_CACHED:
                self._known.popitem(last=False)
        return found


_UNKNOWN: Final = Identity("", "", (), b"", "", 0)
"""Marks what must be asked; never leaves this module, and it has expired anyway."""


def _not_authenticated() -> NotAuthenticated:
    return NotAuthenticated("Log in first: the session or token is missing, unknown, expired or revoked.")


def _identities(connection: Connection, token_hashes: set[bytes], now_us: int) -> dict[bytes, Identity]:
    found = accounts.identify(connection, token_hashes, now_us)
    grants: dict[str, list[Grant]] = {}
    for row in accounts.list_grants(connection, {one.principal_id for one, _ in found.values()}):
        one = Grant(row.role, row.place_id, row.place_path, row.starts_us, row.ends_us, row.purpose)
        grants.setdefault(row.principal_id, []).append(one)
    held = {principal_id: tuple(all_of_it) for principal_id, all_of_it in grants.items()}
    return {
        token_hash: Identity(
            credential.principal_id,
            username,
            held.get(credential.principal_id, ()),
            token_hash,
            credential.kind,
            credential.expires_us,
            credential.issued_by,
        )
        for token_hash, (credential, username) in found.items()
    }


def _add_session(connection: Connection, row: accounts.Credential, now_us: int) -> None:
    accounts.drop_expired_sessions(connection, now_us)
    if row.issued_by is not None:
        accounts.drop_oldest_issued(connection, row.issued_by, MOST_ISSUED - 1)
    accounts.add_credential(connection, row)


def _add_token(connection: Connection, row: accounts.Credential, now_us: int) -> None:
    if len(accounts.list_credentials(connection, row.principal_id, "token", now_us)) >= MOST_TOKENS:
        raise InvalidRequest(f"There are {MOST_TOKENS} tokens already: revoke one first.", code="too_many_tokens")
    accounts.add_credential(connection, row)
