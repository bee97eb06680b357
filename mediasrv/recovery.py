"""Backups, and the two ways back from a lost catalogue: a backup, or the bucket alone. For the command line.

A server must not run on the data directory meanwhile: its lock is held here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from mediasrv.backup import BackupFacts, make_backup, read_backup_head, restore_backup
from mediasrv.catalogue import generations
from mediasrv.catalogue.ownership import locked
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.check import Checker, Report, read_spool
from mediasrv.clock import SystemClock
from mediasrv.errors import SettingsError
from mediasrv.key_custody import list_identities
from mediasrv.offline import Offline, load_node_key, offline, open_identities
from mediasrv.rebuild import RebuildReport, explain_missing, restore_from_journals
from mediasrv.security.accounts import COMMAND_LINE
from mediasrv.settings import Settings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import ObjectStore

Say = Callable[[str], None]


async def backup(settings: Settings, path: Path, recipients: Sequence[str]) -> BackupFacts:
    """May run beside the server. Without `recipients` it opens with this node's identities."""
    recipients = recipients or [one.public_key for one in list_identities(settings) if one.public_key]
    if not recipients:
        raise SettingsError("There is no identity here: say who can open the backup, by --recipient.")
    async with offline(settings) as base:
        node_key, now_us = load_node_key(settings), SystemClock().wall_us()
        facts = await make_backup(base.catalogue, path, settings.server.node_name, node_key, recipients, now_us)
        await base.access_log.append(COMMAND_LINE.event("backup.made", path.name, rows=facts.rows))
    return facts


async def restore(settings: Settings, path: Path, trust: str, say: Say) -> tuple[int, RebuildReport]:
    """The backup, and what the journal of its node says since. `trust` is the fingerprint of the key that signed it;
    empty: this data directory's own signing key.
    """
    head = read_backup_head(path)
    key_path = None if settings.sealing.node_key else settings.data_path("", "node.key")
    if not trust and key_path is not None and not await asyncio.to_thread(key_path.exists):
        raise SettingsError("Say by --trust which key signed the backup: `mediasrv backup` printed it.")
    public_key = _parse_key(trust) if trust else load_node_key(settings).public
    identities = open_identities(settings, SystemClock())
    async with _alone(settings) as base, ObjectStore(settings.storage) as store:
        secret = await identities.unwrap(head)
        count = await restore_backup(base.catalogue, path, secret, public_key, key_path)
        say(f"{count} rows of the backup")
        trusted = {head.node_id: public_key}
        report = await restore_from_journals(
            base.catalogue, store, trusted, identities.unwrap, SystemClock(), "restore", say
        )
        await _adopt(settings, base, store, report)
        await base.access_log.append(COMMAND_LINE.event("catalogue.restored", path.name, rows=count))
    return count, report


async def rebuild(settings: Settings, trust: Mapping[str, str], say: Say) -> tuple[RebuildReport, Report]:
    """The catalogue out of the bucket. `trust` are further nodes and their public keys (64 hex digits)."""
    own = {settings.server.node_name: load_node_key(settings).public}
    trusted = own | {node_id: _parse_key(key) for node_id, key in trust.items()}
    identities = open_identities(settings, SystemClock())
    async with _alone(settings) as base, ObjectStore(settings.storage) as store:
        report = await restore_from_journals(
            base.catalogue, store, trusted, identities.unwrap, SystemClock(), "rebuild", say
        )
        say(f"{report.segments} segments of the journal, {report.rows} rows")
        found = await _adopt(settings, base, store, report)
        await base.access_log.append(
            COMMAND_LINE.event("catalogue.rebuilt", settings.server.node_name, objects=found.objects)
        )
    return report, found


async def confirm_holds(settings: Settings, by: str) -> None:
    """Retention may delete again. Raises Conflict where nothing waits to be confirmed."""
    async with offline(settings) as base:
        now_us = SystemClock().wall_us()
        await base.access_log.write(COMMAND_LINE.event("retention.confirmed", by), generations.confirm, by, now_us)


async def _adopt(settings: Settings, base: Offline, store: ObjectStore, report: RebuildReport) -> Report:
    """Objects get their rows, and what is missing its gaps."""
    clock = SystemClock()
    spool = await asyncio.to_thread(read_spool, settings.data_path(settings.spool.directory, "spool"))
    footage = Footage(
        store,
        None,
        KeyRing([], CatalogueKeys(base.catalogue), clock, settings.sealing.key_cache_s),
    )
    try:
        checker = Checker(base.catalogue, store, footage, settings.storage.key_bucket, spool, clock, _no_sweep)
        found = await checker.adopt()
    finally:
        footage.close()
    await explain_missing(base.catalogue, report)
    return found


async def _no_sweep() -> None:
    """Nothing is deleted in a recovery."""


@contextlib.asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[Offline]:
    """Raises SettingsError `data_dir_in_use` while a server runs."""
    with locked(settings.data_path("", "")):
        async with offline(settings) as base:
            yield base


def _parse_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise SettingsError(f"{text[:80]!r} is no public key: 64 hex digits.")
    return key
