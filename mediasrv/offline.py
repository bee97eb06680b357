"""What stands on the catalogue and the key files alone: for commands that may run beside a server, and for the server.

Kept apart from app.py so that a command does not load the whole server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.migrate import upgrade
from mediasrv.clock import Clock, SystemClock, from_us
from mediasrv.errors import SettingsError
from mediasrv.security.access_log import AccessLog
from mediasrv.security.accounts import Accounts
from mediasrv.security.passwords import Passwords
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.security.sessions import Sessions
from mediasrv.settings import Settings
from mediasrv.storage.identities import Identities, describe, read_reference
from mediasrv.storage.keys import Identity, NodeKey, parse_recipient, read_private
from mediasrv.storage.recipients import Recipient, RecipientRole, Recipients

_RTSP_LOGINS: Final = b"mediasrv rtsp logins"


@dataclass(frozen=True, slots=True)
class Offline:
    """Parts that need the catalogue only."""

    catalogue: Catalogue
    access_log: AccessLog
    accounts: Accounts
    sessions: Sessions


@contextlib.asynccontextmanager
async def offline(settings: Settings) -> AsyncIterator[Offline]:
    """The catalogue, brought to the present schema, and what stands on it alone."""
    settings.data_path("", "").mkdir(mode=0o700, parents=True, exist_ok=True)
    url = settings.catalogue.url or f"sqlite:///{settings.data_path('', 'catalogue.db')}"
    await asyncio.to_thread(upgrade, url, settings.catalogue)
    clock = SystemClock()
    catalogue = Catalogue(url, settings.catalogue)
    passwords = Passwords(settings.security)
    try:
        access_log = AccessLog(catalogue, clock)
        sessions = Sessions(catalogue, access_log, passwords, clock, settings.security)
        accounts = Accounts(catalogue, access_log, passwords, sessions, clock, settings.security)
        yield Offline(catalogue, access_log, accounts, sessions)
    finally:
        passwords.close()
        catalogue.close()


def load_node_key(settings: Settings) -> NodeKey:
    """The node's key; where none is configured, that of the data directory, made where there is none."""
    reference = settings.sealing.node_key
    if not reference:
        return NodeKey.load_or_create(settings.data_path("", "node.key"))
    return NodeKey.from_pem(read_reference(reference, settings.sealing.identity_timeout_s), "sealing.node_key")


def make_rtsp_logins(parts: Offline, key: NodeKey, clock: Clock) -> RtspLogins:
    """Logins of RTSP readers, whose secrets are sealed by the node's key."""
    return RtspLogins(parts.catalogue, parts.access_log, parts.sessions, clock, key.derive(_RTSP_LOGINS))


def create_keys(settings: Settings) -> dict[str, str]:
    """Makes the node key, and an identity where nobody could open footage yet; the public halves of all."""
    settings.data_path("", "").mkdir(mode=0o700, parents=True, exist_ok=True)
    found = {"node": load_node_key(settings).public.hex()}
    if "unseal" not in settings.server.roles:
        return found
    open_recipients(settings)
    for reference in identity_references(settings):
        pem = read_reference(reference, settings.sealing.identity_timeout_s)
        found[_name(reference)] = Identity.from_pem(pem, describe(reference)).recipient
    return found


def identity_references(settings: Settings) -> list[str]:
    """Where the keys lie that open footage: as configured, or the identity files of the data directory."""
    if settings.sealing.identities:
        return list(settings.sealing.identities)
    directory = settings.data_path("", "")
    files = [directory / "identity.key", *sorted(directory.glob("identity-*.key"))]
    return [f"file:{path}" for path in files if path.exists()]


def open_identities(settings: Settings, clock: Clock, further: Sequence[str] = ()) -> Identities:
    """Those that this process may use: none without the role `unseal`, but for `further` references.

    Raises SettingsError for a file that others may read. What is missing is no error: it may come back.
    """
    sealing = settings.sealing

    def references() -> list[str]:
        own = identity_references(settings) if "unseal" in settings.server.roles else []
        return [*own, *further]

    for reference in references():
        scheme, _, name = reference.partition(":")
        if scheme == "file" and Path(name).exists():
            read_private(Path(name))
    return Identities(references, clock, sealing.key_cache_s, sealing.identity_timeout_s)


def open_recipients(settings: Settings) -> Recipients:
    """Whom new data keys are wrapped to. Where nobody is named yet, a node with `unseal` names its own identity, and
    makes one where it has none. Raises SettingsError where nobody could open what is recorded.
    """
    sealing, path = settings.sealing, recipients_path(settings)
    recipients = Recipients(path, [_checked(key) for key in sealing.recipients])
    if recipients.present():
        return recipients
    if "unseal" not in settings.server.roles:
        raise SettingsError(
            "sealing.recipients is empty, and there is no identity here: nobody could open the footage."
        )
    if not identity_references(settings):
        Identity.load_or_create(settings.data_path("", "identity.key"))
    at = from_us(SystemClock().wall_us()).isoformat(timespec="seconds")
    for reference in identity_references(settings):
        identity = Identity.from_pem(read_reference(reference, sealing.identity_timeout_s), describe(reference))
        recipients.add(Recipient(identity.recipient, settings.server.node_name, RecipientRole.PLACE, at))
    return recipients


def recipients_path(settings: Settings) -> Path:
    return settings.data_path(settings.sealing.recipients_file, "recipients.json")


def _checked(public_key: str) -> str:
    parse_recipient(public_key)
    return public_key


def _name(reference: str) -> str:
    scheme, _, name = reference.partition(":")
    return Path(name).name if scheme == "file" else describe(reference)
