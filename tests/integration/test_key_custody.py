"""Wrapping data keys anew and destroying them: a real catalogue, a key bucket in memory, a crash at every step."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mediasrv.catalogue import data_keys, recordings
from mediasrv.catalogue.data_keys import KeyChoice
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.catalogue.tables import access_log, data_key, gap, recording
from mediasrv.clock import SECOND_US
from mediasrv.errors import Conflict, KeyUnavailable, NotFound, SettingsError, StorageError
from mediasrv.key_custody import Custody, RewrapReport
from mediasrv.security.access_log import AccessLog, verify
from mediasrv.settings import SealingSettings, Settings, StorageSettings
from mediasrv.storage.footage import KeyRing
from mediasrv.storage.identities import HeldIdentities
from mediasrv.storage.keys import Identity, NodeKey, parse_key_record
from mediasrv.storage.object_store import Head, crc32c_of
from mediasrv.storage.receipts import verify_receipt
from mediasrv.storage.recipients import Recipient, RecipientRole, Recipients
from tests.archive import Archive
from tests.clocks import SimulatedClock
from tests.integration.test_retention_steps import KEYS, Crash, MemoryStore, rows, session
from tests.unit.media.streams import REF, STARTED_US, video_units

HOUR_US = 3600 * SECOND_US


class KeyStore(MemoryStore):
    """Also what custody needs; dies before or after its n-th change where told so."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at: tuple[int, bool] | None = None
        self.changes = 0

    async def replace(self, key: str, body: bytes, crc32c: int, *, bucket: str | None = None) -> None:
        assert crc32c == crc32c_of([body])
        self._step(before=True)
        self.objects[bucket, key] = body
        self._step(before=False)

    async def delete(self, key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        self._step(before=True)
        await super().delete(key, version_id, bucket=bucket)
        self._step(before=False)

    async def head(self, key: str, *, version_id: str | None = None, bucket: str | None = None) -> Head | None:
        found = self.objects.get((bucket, key))
        return None if found is None else Head(len(found), crc32c_of([found]), None)

    def _step(self, *, before: bool) -> None:
        self.changes += before
        if self.dies_at == (self.changes, before):
            raise Crash


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    made = Archive(tmp_path, KeyStore(), KEYS, SimulatedClock(STARTED_US))
    await made.register()
    yield made
    made.catalogue.close()


def custody(archive: Archive, node_key: NodeKey | None = None) -> Custody:
    settings = dataclasses.replace(
        Settings(), storage=StorageSettings(key_bucket=KEYS), sealing=SealingSettings(backup_days=30.0)
    )
    return Custody(
        settings,
        archive.catalogue,
        AccessLog(archive.catalogue, archive.clock),
        archive.store,  # type: ignore[arg-type]
        node_key or archive.node_key,
        archive.clock,
        "lan",
    )


def recipients(tmp_path: Path, *identities: Identity) -> Recipients:
    made = Recipients(tmp_path / "recipients.json")
    for identity in identities:
        made.add(Recipient(identity.recipient, "one", RecipientRole.PLACE, "2026-05-01T00:00:00+00:00"))
    return made


def held(archive: Archive, *identities: Identity) -> HeldIdentities:
    return HeldIdentities(identities or (archive.identity,), archive.clock)


def store_of(archive: Archive) -> KeyStore:
    assert isinstance(archive.store, KeyStore)
    return archive.store


async def three_hours(archive: Archive) -> list[str]:
    """Three data keys of one stream, an object under each; their ids in order of time."""
    for hour in range(3):
        started_us = STARTED_US + hour * HOUR_US
        await archive.record(video_units(session(started_us=started_us, name=f"s{hour}"), 5))
    return [key.key_id for key in sorted(archive.keys.values(), key=lambda key: key.record.period_us)]


def both_copies(archive: Archive, key_id: str, catalogued: dict[str, bytes]) -> list[set[str]]:
    in_bucket = next(
        data for (bucket, key), data in store_of(archive).objects.items() if bucket == KEYS and key.endswith(key_id)
    )
    return [set(parse_key_record(data).wrapped) for data in (in_bucket, catalogued[key_id])]


async def catalogued(archive: Archive) -> dict[str, bytes]:
    return {row.key_id: row.record for row in await rows(archive, data_key)}


# --- wrapping anew -------------------------------------------------------------------------------


async def test_keys_are_wrapped_to_the_present_recipients_in_both_places(archive: Archive, tmp_path: Path) -> None:
    key_ids, new, authority = await three_hours(archive), Identity.generate(), Identity.generate()
    secrets = {key.key_id: key.secret for key in archive.keys.values()}
    seen: list[tuple[int, int]] = []
    report = await custody(archive).rewrap(
        KeyChoice(), held(archive), recipients(tmp_path, new, authority), lambda *count: seen.append(count)
    )
    assert (report, seen) == (RewrapReport(3, 3), [(3, 3)])
    kept = await catalogued(archive)
    ring = KeyRing([new], CatalogueKeys(archive.catalogue), archive.clock, 300.0)
    for key_id in key_ids:
        assert both_copies(archive, key_id, kept) == [{new.recipient, authority.recipient}] * 2
        assert await ring.data_key(key_id) == secrets[key_id]  # the node's signature holds, too
    with pytest.raises(KeyUnavailable):
        await KeyRing([archive.identity], CatalogueKeys(archive.catalogue), archive.clock, 300.0).data_key(key_ids[0])
    entry = (await rows(archive, access_log))[-1]
    assert (entry.action, entry.username) == ("keys.rewrapped", "lan")
    assert (await custody(archive).rewrap(KeyChoice(), held(archive), recipients(tmp_path))).rewrapped == 0


async def test_only_what_was_chosen_is_wrapped_anew(archive: Archive, tmp_path: Path) -> None:
    key_ids, new = await three_hours(archive), Identity.generate()
    period_us = min(key.record.period_us for key in archive.keys.values())
    choice = KeyChoice(REF.camera_id, "main", period_us + HOUR_US + 1, period_us + 2 * HOUR_US)
    report = await custody(archive).rewrap(choice, held(archive), recipients(tmp_path, new))
    assert (report.seen, report.rewrapped) == (1, 1)
    kept = await catalogued(archive)
    assert [set(parse_key_record(kept[key_id]).wrapped) == {new.recipient} for key_id in key_ids] == [
        False,
        True,
        False,
    ]
    other = await custody(archive).rewrap(KeyChoice("other-1"), held(archive), recipients(tmp_path))
    assert other.seen == 0


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", [1, 2, 3])
async def test_a_crash_at_any_step_loses_no_key_and_the_next_run_goes_on(
    archive: Archive, tmp_path: Path, step: int, before: bool
) -> None:
    key_ids, new = await three_hours(archive), Identity.generate()
    secrets = {key.key_id: key.secret for key in archive.keys.values()}
    store_of(archive).dies_at = (step, before)
    chosen = recipients(tmp_path, new)
    with pytest.raises(Crash):
        await custody(archive).rewrap(KeyChoice(), held(archive), chosen)
    store_of(archive).dies_at = None
    kept = await catalogued(archive)
    for key_id in key_ids:
        for wrapped, data in zip(both_copies(archive, key_id, kept), (None, kept[key_id]), strict=True):
            assert wrapped in ({new.recipient}, {archive.identity.recipient})
            if data is not None:
                assert parse_key_record(data).unwrap([new, archive.identity]) == secrets[key_id]
    await custody(archive).rewrap(KeyChoice(), held(archive), chosen)
    kept = await catalogued(archive)
    assert all(both_copies(archive, key_id, kept) == [{new.recipient}] * 2 for key_id in key_ids)


async def test_a_key_that_was_destroyed_meanwhile_does_not_come_back(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_ids = await three_hours(archive)
    store = store_of(archive)
    replace = store.replace

    async def destroyed_before(key: str, body: bytes, crc32c: int, *, bucket: str | None = None) -> None:
        if key.endswith(key_ids[0]):
            await archive.catalogue.write(_forget, key_ids[0])
        await replace(key, body, crc32c, bucket=bucket)

    monkeypatch.setattr(store, "replace", destroyed_before)
    report = await custody(archive).rewrap(KeyChoice(), held(archive), recipients(tmp_path, Identity.generate()))
    assert report.rewrapped == 2
    assert await archive.catalogue.read(recordings.key_record, key_ids[0]) is None
    assert not [key for bucket, key in store.objects if bucket == KEYS and key.endswith(key_ids[0])]


def _forget(connection: Any, key_id: str) -> None:
    connection.execute(data_key.update().where(data_key.c.key_id == key_id).values(record=None))


async def test_what_no_identity_opens_and_what_is_forged_stays_as_it_is(archive: Archive, tmp_path: Path) -> None:
    key_ids = await three_hours(archive)
    forged = dataclasses.replace(next(iter(archive.keys.values())).record, signature=bytes(64))
    await archive.catalogue.write(
        lambda connection: connection.execute(
            data_key.update().where(data_key.c.key_id == forged.key_id).values(record=forged.to_bytes())
        )
    )
    before = await catalogued(archive)
    stranger = Identity.generate()
    report = await custody(archive).rewrap(KeyChoice(), held(archive, stranger), recipients(tmp_path, stranger))
    assert report == RewrapReport(3, 0, 2, 1)
    assert await catalogued(archive) == before
    assert set(before) == set(key_ids)


async def test_a_node_that_nobody_knows_signs_nothing(archive: Archive, tmp_path: Path) -> None:
    await three_hours(archive)
    with pytest.raises(SettingsError) as refused:
        await custody(archive, NodeKey.generate()).rewrap(KeyChoice(), held(archive), recipients(tmp_path))
    assert refused.value.code == "node_unknown"


# --- destroying ----------------------------------------------------------------------------------


async def destroy(
    archive: Archive, choice: KeyChoice, spooled: Sequence[str] = (), *, with_footage: bool = False
) -> list[dict[str, str]]:
    made = custody(archive).destroy(choice, "a court", spooled, with_footage=with_footage)
    return [receipt async for receipt in made]


async def test_a_destroyed_key_is_in_no_place_and_its_receipt_in_the_access_log(archive: Archive) -> None:
    key_ids = await three_hours(archive)
    (record,) = [key.record for key in archive.keys.values() if key.key_id == key_ids[1]]
    needle = base64.b64encode(record.wrapped[archive.identity.recipient])
    assert needle in archive.catalogue_path.read_bytes() + _wal(archive)
    archive.clock.advance(86_400)
    (receipt,) = await destroy(archive, KeyChoice(key_id=key_ids[1]), with_footage=True)
    document = verify_receipt(receipt, archive.node_key.public)
    assert (document["key_id"], document["recordings_deleted"]) == (key_ids[1], 1)
    assert len(document["copies_destroyed"]) == 2
    assert await archive.catalogue.read(recordings.key_record, key_ids[1]) is None
    assert needle not in archive.catalogue_path.read_bytes()
    assert not [key for _, key in store_of(archive).objects if key_ids[1] in key]
    entries = await rows(archive, access_log)
    assert [entry.action for entry in entries] == ["retention.deleted", "keys.destroyed"]
    assert {entry.username for entry in entries} == {"lan"}
    assert receipt["signature"] in entries[-1].detail
    assert await archive.catalogue.read(verify) is None
    assert [row.cause for row in await rows(archive, gap)] == ["destroyed"]
    left = [row.key_id for row in await rows(archive, recording)]
    assert sorted(left) == sorted([key_ids[0], key_ids[2]])


def _wal(archive: Archive) -> bytes:
    path = archive.catalogue_path.with_name("catalogue.db-wal")
    return path.read_bytes() if path.exists() else b""


async def test_a_key_that_recordings_need_stays_unless_they_go_too(archive: Archive) -> None:
    key_ids = await three_hours(archive)
    archive.clock.advance(86_400)
    before = dict(store_of(archive).objects)
    with pytest.raises(Conflict) as refused:
        await destroy(archive, KeyChoice(REF.camera_id))
    assert refused.value.code == "key_needed"
    await archive.place_hold(REF.camera_id, STARTED_US + HOUR_US, STARTED_US + HOUR_US + 1)
    with pytest.raises(Conflict) as refused:
        await destroy(archive, KeyChoice(REF.camera_id), with_footage=True)
    assert refused.value.code == "key_held"
    # One of three may not go: so none has.
    assert store_of(archive).objects == before
    assert len(await rows(archive, recording)) == 3
    await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    assert len(await rows(archive, recording)) == 2


async def test_a_key_in_use_is_not_destroyed(archive: Archive) -> None:
    key_ids = await three_hours(archive)
    with pytest.raises(Conflict) as refused:  # its period is not over
        await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    assert refused.value.code == "key_in_use"
    archive.clock.advance(86_400)
    with pytest.raises(Conflict) as refused:  # an object of it waits in the spool
        await destroy(archive, KeyChoice(key_id=key_ids[0]), [key_ids[0]], with_footage=True)
    assert refused.value.code == "key_in_use"
    period_us = min(key.record.period_us for key in archive.keys.values())
    with pytest.raises(NotFound):  # no period lies wholly in it
        await destroy(archive, KeyChoice(REF.camera_id, start_us=period_us + 1, end_us=period_us + HOUR_US + 1))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", [1, 2])
async def test_a_crash_while_destroying_is_finished_by_the_same_command(
    archive: Archive, step: int, before: bool
) -> None:
    key_ids = await three_hours(archive)
    archive.clock.advance(86_400)
    store_of(archive).dies_at = (step, before)
    with pytest.raises(Crash):
        await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    store_of(archive).dies_at = None
    # Until its receipt is written the catalogue has it: nothing is gone that nobody signed for.
    assert await archive.catalogue.read(recordings.key_record, key_ids[0]) is not None
    assert len(await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)) == 1
    assert await archive.catalogue.read(recordings.key_record, key_ids[0]) is None
    assert not [key for _, key in store_of(archive).objects if key_ids[0] in key]


async def test_a_hold_that_comes_in_between_keeps_the_key_in_both_places(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the transaction."""
    key_ids = await three_hours(archive)
    archive.clock.advance(86_400)
    query = select(recording).where(recording.c.key_id == key_ids[0])
    one = await archive.catalogue.read(lambda connection: connection.execute(query).one())
    head = store_of(archive).head

    async def needed_again(key: str, *, version_id: str | None = None, bucket: str | None = None) -> Head | None:
        await archive.catalogue.write(lambda connection: connection.execute(recording.insert().values(**one._mapping)))
        return await head(key, version_id=version_id, bucket=bucket)

    monkeypatch.setattr(store_of(archive), "head", needed_again)
    with pytest.raises(Conflict) as refused:
        await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    assert refused.value.code == "key_needed"
    kept = await catalogued(archive)
    assert len(both_copies(archive, key_ids[0], kept)) == 2


async def test_storage_that_is_away_destroys_nothing(archive: Archive) -> None:
    key_ids = await three_hours(archive)
    archive.clock.advance(86_400)
    store_of(archive).away = True
    with pytest.raises(StorageError):
        await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    assert await archive.catalogue.read(recordings.key_record, key_ids[0]) is not None


async def test_keys_are_counted_by_month_and_by_whom_they_are_wrapped_to(archive: Archive) -> None:
    key_ids = await three_hours(archive)
    archive.clock.advance(86_400)
    await destroy(archive, KeyChoice(key_id=key_ids[0]), with_footage=True)
    (month,) = await archive.catalogue.read(data_keys.by_month)
    assert (month.month, month.kept, month.destroyed) == ("2026-09", 2, 1)
    own, other = archive.identity.recipient, Identity.generate().recipient
    counts = await archive.catalogue.read(data_keys.count_wrapped, [own], [own])
    assert (counts.kept, counts.present, counts.others, counts.opened) == (2, 2, 0, 2)
    counts = await archive.catalogue.read(data_keys.count_wrapped, [own, other], [other])
    assert (counts.kept, counts.present, counts.others, counts.opened) == (2, 0, 2, 0)
