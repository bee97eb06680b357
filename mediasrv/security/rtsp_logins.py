"""RTSP logins: a random name and a random password for Digest, which other systems are given instead of an account.

Digest wants the password itself, so unlike all others it is kept, sealed by the node's key; it opens RTSP and nothing
else. What it may see are its principal's grants at that moment, or one camera of them. A login that was made with an
API token ends with that token.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, accounts
from mediasrv.catalogue.places import place_of_camera
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import InvalidRequest, NotFound
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.security.sessions import Identity, Sessions, token_id
from mediasrv.security.vault import Vault

KIND: Final = "rtsp"
MOST_LOGINS: Final = 100
PREFIX: Final = "rtsp-"
LONGEST_NAME: Final = 64
_CONTEXT: Final = b"mediasrv rtsp logins v1"
_NAME_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""No two of them look alike: such names are typed into devices."""
_NAME_LENGTH: Final = 10
_PASSWORD_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class RtspLogin:
    """`username` is empty where this node's key does not open the login. `camera_id` None: all of its principal's."""

    login_id: str
    username: str
    name: str
    camera_id: str | None
    created_us: int
    expires_us: int | None


@dataclass(frozen=True, slots=True)
class Secret:
    """What a login is proved by. `key` recalls whose it is."""

    key: bytes
    password: str = field(repr=False)
    camera_id: str | None


class RtspLogins:
    """Makes, lists and revokes logins, and finds the one of a name. `node_seed` is of the node's own."""

    def __init__(
        self, catalogue: Catalogue, access_log: AccessLog, sessions: Sessions, clock: Clock, node_seed: bytes
    ) -> None:
        self._catalogue = catalogue
        self._access_log = access_log
        self._sessions = sessions
        self._clock = clock
        self._vault = Vault(node_seed, _CONTEXT)

    async def create(
        self,
        principal_id: str,
        username: str,
        name: str,
        *,
        ttl_s: int | None = None,
        camera_id: str | None = None,
        issued_by: bytes | None = None,
        remote: str = "",
    ) -> tuple[str, str]:
        """User name and password of a new login of a principal, shown this once.

        Raises InvalidRequest at `MOST_LOGINS` of them, NotFound for a camera that there has never been.
        """
        login, password = _new_name(), secrets.token_urlsafe(_PASSWORD_BYTES)
        key, now_us = login_key(login), self._clock.wall_us()
        expires_us = None if ttl_s is None else now_us + ttl_s * SECOND_US
        sealed = self._vault.seal(key.hex(), json.dumps([login, password]).encode())
        row = accounts.Credential(key, KIND, principal_id, name, now_us, expires_us, issued_by, sealed, camera_id)
        detail = {"name": name, "login": login, **({"camera": camera_id} if camera_id else {})}
        event = Event("rtsp_login.created", token_id(key), principal_id, username, remote, detail)
        await self._access_log.write(event, _add, row, now_us)
        return login, password

    async def create_for(self, account: str, name: str, ttl_s: int | None, camera_id: str | None) -> tuple[str, str]:
        """The same for an account, by the command line. Raises NotFound `user_not_found`, too."""
        found = await self._catalogue.read(accounts.get_by_username, account.strip().lower())
        return await self.create(found.principal_id, found.username, name, ttl_s=ttl_s, camera_id=camera_id)

    async def valid(self, identity: Identity) -> list[RtspLogin]:
        """The caller's valid logins, newest first."""
        found = await self._sessions.credentials(identity, KIND)
        return [
            RtspLogin(
                *(token_id(row.token_hash), self._open(row)[0], row.name or ""),
                *(row.camera_id, row.created_us, row.expires_us),
            )
            for row in found
        ]

    async def revoke(self, identity: Identity, login_id: str, remote: str) -> None:
        """Raises NotFound `rtsp_login_not_found` for one that is not the caller's."""
        if not await self._sessions.revoke(identity, KIND, login_id, "rtsp_login.revoked", remote):
            raise NotFound("There is no such RTSP login of yours.", code="rtsp_login_not_found")

    async def find(self, login: str) -> Secret | None:
        """None where there is none of this name that is valid and that this node's key opens."""
        if not login.startswith(PREFIX) or len(login) > LONGEST_NAME:
            return None
        key = login_key(login)
        row = await self._catalogue.read(accounts.find_credential, key, self._clock.wall_us())
        if row is None or row.kind != KIND:
            return None
        password = self._open(row)[1]
        return Secret(key, password, row.camera_id) if password else None

    def _open(self, row: accounts.Credential) -> tuple[str, str]:
        plain = self._vault.open(row.token_hash.hex(), row.sealed or b"")
        if plain is None:
            return "", ""
        login, password = json.loads(plain)
        return login, password


def login_key(login: str) -> bytes:
    """What a login is kept under; apart from the hashes of tokens, so that a name is never taken for a token."""
    return hashlib.sha256(_CONTEXT + b"\x00" + login.encode("utf-8", "replace")).digest()


def _new_name() -> str:
    return PREFIX + "".join(secrets.choice(_NAME_LETTERS) for _ in range(_NAME_LENGTH))


def _add(connection: Connection, row: accounts.Credential, now_us: int) -> None:
    if len(accounts.list_credentials(connection, row.principal_id, KIND, now_us)) >= MOST_LOGINS:
        raise InvalidRequest(f"There are {MOST_LOGINS} RTSP logins already: revoke one first.", code="too_many_logins")
    if row.camera_id is not None and place_of_camera(connection, row.camera_id) is None:
        raise NotFound("There is no such camera.", code="camera_not_found")
    accounts.add_credential(connection, row)
