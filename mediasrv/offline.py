"""What stands on the catalogue and the key files alone: for commands that may run beside a server, and for the server.

Kept apart from app.py so that a command does not load the whole server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.migrate import upgrade
from mediasrv.clock import Clock, SystemClock
from mediasrv.security.access_log import AccessLog
from mediasrv.security.accounts import Accounts
from mediasrv.security.passwords import Passwords
from mediasrv.security.rtsp_logins import RtspLogins
from mediasrv.security.sessions import Sessions
from mediasrv.settings import Settings
from mediasrv.storage.keys import Identity, NodeKey

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
    await asyncio.to_thread(upgrade, url)
    clock = SystemClock()
    catalogue = Catalogue(url, settings.catalogue.busy_timeout_s)
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
    """The node's key, made where there is none."""
    return NodeKey.load_or_create(settings.data_path(settings.sealing.node_key_file, "node.key"))


def make_rtsp_logins(parts: Offline, key: NodeKey, clock: Clock) -> RtspLogins:
    """Logins of RTSP readers, whose secrets are sealed by the node's key."""
    return RtspLogins(parts.catalogue, parts.access_log, parts.sessions, clock, key.derive(_RTSP_LOGINS))


def create_keys(settings: Settings) -> dict[str, str]:
    """Makes the node key and, with the role `unseal`, the identities where they are missing; their public halves."""
    settings.data_path("", "").mkdir(mode=0o700, parents=True, exist_ok=True)
    node_key = load_node_key(settings)
    found = {"node": node_key.public.hex()}
    if "unseal" not in settings.server.roles:
        return found
    return found | {path.name: Identity.load_or_create(path).recipient for path in identity_files(settings)}


def identity_files(settings: Settings) -> list[Path]:
    """Where the keys lie that open footage: as configured, or `identity.key` in the data directory."""
    configured = [Path(name) for name in settings.sealing.identity_files]
    return configured or [settings.data_path("", "identity.key")]
