"""Queries of principals, their grants and their credentials. No secret comes here: passwords arrive as
argon2id hashes, tokens as SHA-256 of 256 random bits. Times are wall time in microseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, delete, insert, or_, select, update
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from mediasrv.catalogue.tables import credential, grant, place, principal
from mediasrv.clock import from_us, to_us
from mediasrv.errors import Conflict, NotFound

T = TypeVar("T")

_MOST_PARAMETERS: Final = 500


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a machine account. `password_hash` is None for one that cannot log in by password."""

    principal_id: str
    username: str
    password_hash: str | None = field(repr=False)
    disabled: bool


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A role at a place for a time and a purpose, to whom; `place_path` is that of the place."""

    grant_id: int
    principal_id: str
    username: str
    role: str
    place_id: str
    place_path: str
    starts_us: int
    ends_us: int | None
    purpose: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What authenticates: `kind` is session, token, invite or rtsp. `issued_by` is the hash of the token it came from.

    Of an RTSP login: `sealed` holds its name and secret, and `camera_id` is the only camera it opens, None: all.
    """

    token_hash: bytes
    kind: str
    principal_id: str
    name: str | None
    created_us: int
    expires_us: int | None
    issued_by: bytes | None = None
    sealed: bytes | None = field(default=None, repr=False)
    camera_id: str | None = None


_GRANTS: Final = (
    select(grant, principal.c.username, place.c.path)
    .join(place, place.c.place_id == grant.c.place_id)
    .join(principal, principal.c.principal_id == grant.c.principal_id)
    .where(grant.c.revoked_at.is_(None), principal.c.disabled_at.is_(None))
    .order_by(grant.c.grant_id)
)

# --- principals ----------------------------------------------------------------------------------


def add_principal(
    connection: Connection, principal_id: str, username: str, password_hash: str | None, now_us: int
) -> None:
    """Raises Conflict `username_taken`."""
    if find_by_username(connection, username) is not None:
        raise Conflict("This user name is taken.", code="username_taken")
    connection.execute(
        insert(principal).values(
            principal_id=principal_id, username=username, password_hash=password_hash, created_at=from_us(now_us)
        )
    )


def find_by_username(connection: Connection, username: str) -> Principal | None:
    row = connection.execute(select(principal).where(principal.c.username == username)).one_or_none()
    return None if row is None else _as_principal(row)


def get_by_username(connection: Connection, username: str) -> Principal:
    """Raises NotFound `user_not_found`."""
    found = find_by_username(connection, username)
    if found is None:
        raise NotFound("There is no user of this name.", code="user_not_found")
    return found


def list_principals(connection: Connection) -> list[Principal]:
    """Those that have chosen a password or are in use, by name."""
    rows = connection.execute(select(principal).order_by(principal.c.username))
    return [_as_principal(row) for row in rows]


def set_login(connection: Connection, principal_id: str, username: str, password_hash: str) -> None:
    """Gives a principal its name and password. Raises Conflict where another one has the name."""
    other = find_by_username(connection, username)
    if other is not None and other.principal_id != principal_id:
        raise Conflict("This user name is taken.", code="username_taken")
    values = {"username": username, "password_hash": password_hash}
    connection.execute(update(principal).where(principal.c.principal_id == principal_id).values(**values))


def disable_principal(connection: Connection, principal_id: str, now_us: int) -> None:
    """Ends an account; its entries in the access log stay."""
    connection.execute(
        update(principal).where(principal.c.principal_id == principal_id).values(disabled_at=from_us(now_us))
    )


# --- grants --------------------------------------------------------------------------------------


def add_grant(
    connection: Connection,
    principal_id: str,
    role: str,
    place_id: str,
    *,
    purpose: str,
    granted_by: str | None,
    starts_us: int,
    ends_us: int | None,
) -> int:
    """The new grant's id."""
    result = connection.execute(
        insert(grant).values(
            principal_id=principal_id,
            role=role,
            place_id=place_id,
            starts_at=from_us(starts_us),
            ends_at=None if ends_us is None else from_us(ends_us),
            purpose=purpose,
            granted_by=granted_by,
        )
    )
    return int(result.inserted_primary_key[0]) if result.inserted_primary_key else 0


def list_grants(connection: Connection, principal_ids: Collection[str] | None = None) -> list[GrantRow]:
    """Grants that were not revoked, of some principals or of all: also those over or not begun, but none of a
    disabled account."""
    if principal_ids is None:
        return [_as_grant(row) for row in connection.execute(_GRANTS)]
    queries = (_GRANTS.where(grant.c.principal_id.in_(some)) for some in _batches(principal_ids))
    return [_as_grant(row) for query in queries for row in connection.execute(query)]


def find_grant(connection: Connection, grant_id: int) -> GrantRow | None:
    row = connection.execute(_GRANTS.where(grant.c.grant_id == grant_id)).one_or_none()
    return None if row is None else _as_grant(row)


def revoke_grant(connection: Connection, grant_id: int, now_us: int) -> bool:
    """False where there is none, or it was revoked before."""
    query = update(grant).where(grant.c.grant_id == grant_id, grant.c.revoked_at.is_(None))
    return connection.execute(query.values(revoked_at=from_us(now_us))).rowcount == 1


# --- credentials ---------------------------------------------------------------------------------


def add_credential(connection: Connection, added: Credential) -> None:
    connection.execute(
        insert(credential).values(
            token_hash=added.token_hash,
            kind=added.kind,
            principal_id=added.principal_id,
            name=added.name,
            created_at=from_us(added.created_us),
            expires_at=None if added.expires_us is None else from_us(added.expires_us),
            issued_by=added.issued_by,
            sealed=added.sealed,
            camera_id=added.camera_id,
        )
    )


def find_credential(connection: Connection, token_hash: bytes, now_us: int) -> Credential | None:
    """None where it is unknown, revoked or expired."""
    query = select(credential).where(credential.c.token_hash == token_hash, *_valid(now_us))
    row = connection.execute(query).one_or_none()
    return None if row is None else _as_credential(row)


def list_credentials(connection: Connection, principal_id: str, kind: str, now_us: int) -> list[Credential]:
    """Valid ones of a kind, newest first."""
    query = (
        select(credential)
        .where(credential.c.principal_id == principal_id, credential.c.kind == kind, *_valid(now_us))
        .order_by(credential.c.created_at.desc())
    )
    return [_as_credential(row) for row in connection.execute(query)]


def revoke_credential(connection: Connection, token_hash: bytes, now_us: int) -> bool:
    """False where it was not valid any more: of two that use an invite at once, one gets True."""
    query = update(credential).where(credential.c.token_hash == token_hash, *_valid(now_us))
    return connection.execute(query.values(revoked_at=from_us(now_us))).rowcount == 1


def revoke_credentials(connection: Connection, principal_id: str, kind: str, now_us: int) -> int:
    """How many of a kind were still valid."""
    query = update(credential).where(
        credential.c.principal_id == principal_id, credential.c.kind == kind, *_valid(now_us)
    )
    return connection.execute(query.values(revoked_at=from_us(now_us))).rowcount


def drop_oldest_issued(connection: Connection, issued_by: bytes, keep: int) -> None:
    """Forgets all but the newest sessions that came from a token."""
    issued = (credential.c.issued_by == issued_by, credential.c.kind == "session")
    kept = select(credential.c.token_hash).where(*issued).order_by(credential.c.created_at.desc()).limit(keep)
    connection.execute(delete(credential).where(*issued, credential.c.token_hash.not_in(kept)))


def drop_expired_sessions(connection: Connection, before_us: int) -> None:
    """Forgets sessions that ended before; what they did is in the access log."""
    connection.execute(
        delete(credential).where(credential.c.kind == "session", credential.c.expires_at < from_us(before_us))
    )


def identify(
    connection: Connection, token_hashes: Collection[bytes], now_us: int
) -> dict[bytes, tuple[Credential, str]]:
    """Valid credentials and the names of those they belong to; no invite, and none of a disabled account.

    A session that came from a token is valid only as long as the token is.
    """
    issuer = credential.alias()
    query = (
        select(credential, principal.c.username, issuer.c.token_hash.label("issuer"))
        .join(principal, principal.c.principal_id == credential.c.principal_id)
        .outerjoin(issuer, and_(issuer.c.token_hash == credential.c.issued_by, *_valid(now_us, issuer.c)))
        .where(credential.c.kind != "invite", principal.c.disabled_at.is_(None), *_valid(now_us))
    )
    found = {}
    for some in _batches(token_hashes):
        for row in connection.execute(query.where(credential.c.token_hash.in_(some))):
            if row.issued_by is None or row.issuer is not None:
                found[row.token_hash] = (_as_credential(row), row.username)
    return found


def _batches(items: Collection[T]) -> Iterator[list[T]]:
    """Databases bound the number of a query's parameters."""
    rest = iter(items)
    while some := list(islice(rest, _MOST_PARAMETERS)):
        yield some


def _valid(
    now_us: int, of: ReadOnlyColumnCollection[str, Column[Any]] = credential.c
) -> tuple[ColumnElement[bool], ...]:
    now = from_us(now_us)
    return of.revoked_at.is_(None), or_(of.expires_at.is_(None), of.expires_at > now)


def _as_principal(row: Row[Any]) -> Principal:
    return Principal(row.principal_id, row.username, row.password_hash, row.disabled_at is not None)


def _as_grant(row: Row[Any]) -> GrantRow:
    return GrantRow(
        row.grant_id,
        row.principal_id,
        row.username,
        row.role,
        row.place_id,
        row.path,
        to_us(row.starts_at),
        None if row.ends_at is None else to_us(row.ends_at),
        row.purpose,
    )


def _as_credential(row: Row[Any]) -> Credential:
    expires_us = None if row.expires_at is None else to_us(row.expires_at)
    return Credential(
        row.token_hash,
        row.kind,
        row.principal_id,
        row.name,
        to_us(row.created_at),
        expires_us,
        row.issued_by,
        row.sealed,
        row.camera_id,
    )
