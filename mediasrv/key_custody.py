"""The keeping of keys: who may open what is recorded from now on, wrapping data keys anew, destroying them.

For the command line, beside a running server. Every change stands in the access log.

Wrapping anew writes the key bucket first and the catalogue last: a key whose catalogue row is still the old one is
done again by the next run, and either record opens the same footage. Destroying is in the order of retention: the
bucket's copy, then the catalogue's, in one transaction with the receipt. So a crash between any two steps leaves what
`check` finds, and the same command finishes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final

from mediasrv.catalogue import Catalogue, data_keys, footage_queries, recordings
from mediasrv.catalogue.data_keys import KeyChoice
from mediasrv.clock import SECOND_US, Clock, SystemClock, from_us
from mediasrv.errors import Conflict, FootageRefused, KeyUnavailable, NotFound, SettingsError
from mediasrv.offline import Offline, identity_references, load_node_key, offline, open_identities, open_recipients
from mediasrv.retention import KEY_MARGIN_S, RetentionTask
from mediasrv.retention.policies import Defaults
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.settings import Settings
from mediasrv.storage.identities import Identities, describe, read_reference
from mediasrv.storage.keys import Identity, KeyRecord, NodeKey, parse_key_record, rewrap, write_private
from mediasrv.storage.object_store import ObjectStore, crc32c_of
from mediasrv.storage.receipts import build_receipt
from mediasrv.storage.recipients import Recipient, RecipientRole, Recipients

_PAGE: Final = 500
_PARALLEL: Final = 8

Progress = Callable[[int, int], None]


# --- recipients ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rotated:
    """`path` is where the new identity lies; None where it was made elsewhere."""

    public_key: str
    path: Path | None
    retired: Sequence[str]


class RecipientDesk:
    """Changes of who may open what is recorded. `by` is the person who asks for them."""

    def __init__(self, settings: Settings, access_log: AccessLog, clock: Clock, by: str) -> None:
        self.recipients = open_recipients(settings)
        self._settings = settings
        self._access_log = access_log
        self._clock = clock
        self._by = by

    async def add(self, public_key: str, label: str, role: RecipientRole) -> None:
        """New data keys are wrapped to it too. Raises Conflict, SettingsError."""
        new = Recipient(public_key.strip().lower(), label, role, self._now())
        self.recipients.check(new)
        await self._log("keys.recipient_added", new.public_key, label=label, role=str(role))
        self.recipients.add(new)

    async def retire(self, public_key: str) -> None:
        """New data keys are no longer wrapped to it. Raises NotFound, Conflict."""
        await self._log("keys.recipient_retired", public_key)
        self.recipients.retire(public_key, self._now())

    async def escrow(self, label: str, path: Path | None) -> bytes:
        """Makes an identity to be kept away. Its private half is in the answer, and in the file, and nowhere else."""
        identity = Identity.generate()
        if path is not None:
            _write_new(path, identity)
        await self.add(identity.recipient, label, RecipientRole.ESCROW)
        return identity.to_pem()

    async def rotate(self, path: Path | None, public_key: str = "") -> Rotated:
        """A new identity, to which new data keys are wrapped instead of the place's present ones.

        Those stay where they are: they open what was wrapped to them. `public_key` is of an identity made elsewhere.
        The new identity is written before it is named: footage is never sealed to a key that was lost in a crash.
        """
        if not public_key:
            path = path or self._default_path()
            identity = Identity.generate()
            _write_new(path, identity)
            public_key = identity.recipient
        before = self._place_recipients()
        await self.add(public_key, self._settings.server.node_name, RecipientRole.PLACE)
        for old in before:
            await self.retire(old)
        return Rotated(public_key.strip().lower(), path, before)

    def _default_path(self) -> Path:
        if "unseal" not in self._settings.server.roles:
            raise SettingsError(
                "This node may not open footage: make the identity where it may, and name its --public-key here."
            )
        if self._settings.sealing.identities:
            raise SettingsError(
                "sealing.identities is configured: name --out FILE, or --public-key of an identity made elsewhere."
            )
        stamp = from_us(self._clock.wall_us()).astimezone(UTC).strftime("%Y%m%dT%H%M%S")
        return self._settings.data_path("", f"identity-{stamp}.key")

    def _place_recipients(self) -> list[str]:
        """Those of the file, and configured ones that an identity here opens."""
        own = {identity.public_key for identity in list_identities(self._settings)}
        present = self.recipients.present()
        return [
            one.public_key
            for one in self.recipients.all()
            if one.public_key in present and (one.role is RecipientRole.PLACE or one.public_key in own)
        ]

    async def _log(self, action: str, subject: str, **detail: object) -> None:
        await self._access_log.append(Event(action, subject, username=self._by, detail=detail))

    def _now(self) -> str:
        return from_us(self._clock.wall_us()).isoformat(timespec="seconds")


def _write_new(path: Path, identity: Identity) -> None:
    if path.exists():
        raise SettingsError(f"{path} is there already.", code="key_file_exists")
    try:
        write_private(path, identity.to_pem())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", code="key_file_missing") from error


@dataclass(frozen=True, slots=True)
class FoundIdentity:
    """A configured identity: its public half, or a sentence that says why it is not to be had."""

    source: str
    public_key: str = ""
    trouble: str = ""


def list_identities(settings: Settings) -> list[FoundIdentity]:
    """Of this node, as they are now; none without the role `unseal`. Blocks where they come from commands."""
    if "unseal" not in settings.server.roles:
        return []
    found = []
    for reference in identity_references(settings):
        source = describe(reference)
        try:
            pem = read_reference(reference, settings.sealing.identity_timeout_s)
            found.append(FoundIdentity(source, Identity.from_pem(pem, source).recipient))
        except SettingsError as error:
            found.append(FoundIdentity(source, trouble=error.sentence))
    return found


# --- wrapped data keys ---------------------------------------------------------------------------


@dataclass(slots=True)
class RewrapReport:
    """How many keys were looked at and what became of them. `not_opened` names what no identity here opens."""

    seen: int = 0
    rewrapped: int = 0
    not_opened: int = 0
    refused: int = 0


@dataclass(slots=True)
class Custody:
    """Wrapped data keys, in the catalogue and in the key bucket."""

    settings: Settings
    catalogue: Catalogue
    access_log: AccessLog
    store: ObjectStore
    node_key: NodeKey
    clock: Clock
    by: str

    async def rewrap(
        self, choice: KeyChoice, identities: Identities, recipients: Recipients, progress: Progress = lambda *_: None
    ) -> RewrapReport:
        """Wraps the chosen keys to the present recipients and to nobody else, where they are not. May be repeated.

        Raises StorageError where storage is away: what was done is done, and the next run goes on.
        """
        await self._require_registered()
        present, report = recipients.present(), RewrapReport()
        total = await self.catalogue.read(data_keys.count_kept, choice)
        last, limit = "", asyncio.Semaphore(_PARALLEL)

        async def one(key_id: str, data: bytes) -> None:
            async with limit:
                await self._rewrap_one(key_id, data, identities, present, report)

        try:
            while page := await self.catalogue.read(data_keys.kept_records, choice, last, _PAGE):
                last = page[-1][0]
                meant = [item for item in page if _touches(choice, item[1])]
                outcomes = await asyncio.gather(*(one(*item) for item in meant), return_exceptions=True)
                for outcome in outcomes:
                    if outcome is not None:
                        raise outcome
                report.seen += len(meant)
                progress(report.seen, total)
        finally:
            if report.rewrapped:
                await self._log_rewrapped(choice, report, present)
        return report

    async def _rewrap_one(
        self, key_id: str, data: bytes, identities: Identities, present: Sequence[str], report: RewrapReport
    ) -> None:
        try:
            record = await self._verified(key_id, data)
            if set(record.wrapped) == set(present):
                return
            secret = await identities.unwrap(record)
        except KeyUnavailable:
            report.not_opened += 1
            return
        except FootageRefused:
            report.refused += 1
            return
        new = rewrap(record, secret, self.settings.server.node_name, self.node_key, present)
        body, bucket = new.to_bytes(), self.settings.storage.key_bucket
        await self.store.replace(new.bucket_key, body, crc32c_of([body]), bucket=bucket)
        if await self.catalogue.write(data_keys.replace_record, key_id, data, body):
            report.rewrapped += 1
        elif await self.catalogue.read(recordings.key_record, key_id) is None:
            # Destroyed meanwhile: it must not live on where it was just put.
            await self.store.delete(new.bucket_key, bucket=bucket)

    async def _log_rewrapped(self, choice: KeyChoice, report: RewrapReport, present: Sequence[str]) -> None:
        detail = {"keys": report.rewrapped, "not_opened": report.not_opened, "recipients": list(present)}
        await self.access_log.append(
            Event("keys.rewrapped", choice.camera_id or "all cameras", username=self.by, detail=detail)
        )

    async def destroy(
        self, choice: KeyChoice, reason: str, spooled: Collection[str], *, with_footage: bool
    ) -> AsyncIterator[dict[str, str]]:
        """Destroys the keys whose whole period is chosen, and gives each one's receipt.

        Nothing is destroyed where any of them may not be. Raises Conflict: `key_in_use` (its period is not over, or
        objects wait in the spool), `key_held`, `key_needed` (recordings, unless `with_footage`); NotFound.
        """
        await self._require_registered()
        records = await self._destroyable(choice, spooled, with_footage=with_footage)
        if not records:
            raise NotFound("No data key lies wholly in what was named.", code="key_not_found")
        for record in records:
            yield await self._destroy_one(record, reason)

    async def _destroyable(self, choice: KeyChoice, spooled: Collection[str], *, with_footage: bool) -> list[KeyRecord]:
        found: list[KeyRecord] = []
        last = ""
        while page := await self.catalogue.read(data_keys.kept_records, choice, last, _PAGE):
            last = page[-1][0]
            records = [await self._verified(*item) for item in page]
            found += [one for one in records if choice.holds(one.period_us, one.period_s)]
        for record in found:
            await self._require_unneeded(record, spooled, with_footage=with_footage)
        return sorted(found, key=lambda one: (one.period_us, one.key_id))

    async def _require_unneeded(self, record: KeyRecord, spooled: Collection[str], *, with_footage: bool) -> None:
        name = f"Data key {record.key_id} of {record.camera}/{record.stream}"
        over_us = record.period_us + (record.period_s + KEY_MARGIN_S) * SECOND_US
        if record.key_id in spooled or over_us > self.clock.wall_us():
            raise Conflict(f"{name} is in use: its period, or what waits in the spool, is not over.", code="key_in_use")
        need = await self.catalogue.read(data_keys.needs, record.key_id, self.clock.wall_us())
        if need.held:
            raise Conflict(f"{name} is needed by {need.held} recordings under a hold.", code="key_held")
        if need.recordings and not with_footage:
            raise Conflict(
                f"{name} is needed by {need.recordings} recordings; --with-footage deletes them too.", code="key_needed"
            )

    async def _destroy_one(self, record: KeyRecord, reason: str) -> dict[str, str]:
        deleted = await self._delete_footage(record)
        need = await self.catalogue.read(data_keys.needs, record.key_id, self.clock.wall_us())
        if need.held:
            raise Conflict(f"Data key {record.key_id} has come under a hold.", code="key_held")
        if need.recordings or need.garbage:
            raise Conflict(f"Storage does not let go of all that needs data key {record.key_id}.", code="key_needed")
        settings, bucket = self.settings, self.settings.storage.key_bucket
        await self.store.delete(record.bucket_key, bucket=bucket)
        if await self.store.head(record.bucket_key, bucket=bucket) is not None:
            raise Conflict(f"The key bucket still has data key {record.key_id}.", code="key_bucket_keeps")
        now_us = self.clock.wall_us()
        receipt = build_receipt(
            record,
            [f"key bucket {bucket}: {record.bucket_key}", "catalogue: data_key"],
            deleted,
            now_us,
            self.by,
            reason,
            settings.sealing.backup_days,
            settings.sealing.key_cache_s,
            settings.server.node_name,
            self.node_key,
        )
        detail = {
            "key_id": record.key_id,
            "period": from_us(record.period_us).isoformat(),
            "objects": deleted,
            "reason": reason,
            "receipt": receipt,
        }
        event = Event("keys.destroyed", f"{record.camera}/{record.stream}", username=self.by, detail=detail)
        try:
            await self.access_log.write(event, footage_queries.destroy_key, record.key_id, now_us)
        except Conflict:
            body = record.to_bytes()  # it is needed again: it must lie in both places
            await self.store.replace(record.bucket_key, body, crc32c_of([body]), bucket=bucket)
            raise
        return receipt

    async def _delete_footage(self, record: KeyRecord) -> int:
        """What is under a hold by then stays."""
        settings = self.settings
        retention = RetentionTask(
            self.catalogue, self.store, settings.storage.key_bucket, frozenset, self.access_log, self.clock,
            settings.retention, Defaults.of(settings.retention, settings.storage),
        )  # fmt: skip
        return await retention.delete_under(record.key_id, "order", "destroyed", self.by)

    async def _verified(self, key_id: str, data: bytes) -> KeyRecord:
        """Raises FootageRefused for a record that no registered node made for this key."""
        record = parse_key_record(data)
        public_key = await self.catalogue.read(recordings.node_public_key, record.node_id)
        if public_key is None or record.key_id != key_id:
            raise FootageRefused(f"Data key {key_id} was made by no registered node.", code="signer_unknown")
        record.verify(public_key)
        return record

    async def _require_registered(self) -> None:
        """What this node signs must be taken by all others."""
        name = self.settings.server.node_name
        if await self.catalogue.read(recordings.node_public_key, name) != self.node_key.public:
            raise SettingsError(
                f"The catalogue does not know {name} by the key of this node: start its server once.",
                code="node_unknown",
            )


def _touches(choice: KeyChoice, data: bytes) -> bool:
    record = parse_key_record(data)
    return choice.touches(record.period_us, record.period_s)


@contextlib.asynccontextmanager
async def open_custody(settings: Settings, by: str) -> AsyncIterator[Custody]:
    async with offline(settings) as base, ObjectStore(settings.storage) as store:
        yield _custody(settings, base, store, by)


def _custody(settings: Settings, base: Offline, store: ObjectStore, by: str) -> Custody:
    return Custody(settings, base.catalogue, base.access_log, store, load_node_key(settings), SystemClock(), by)


def identities_with(settings: Settings, further: Sequence[str], clock: Clock) -> Identities:
    """This node's own and those that a person brings along. Raises SettingsError where one of those cannot be read."""
    for reference in further:
        Identity.from_pem(read_reference(reference, settings.sealing.identity_timeout_s), describe(reference))
    return open_identities(settings, clock, further)
