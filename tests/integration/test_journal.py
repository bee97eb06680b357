"""The journal in a real bucket: nothing that changed goes untold, whatever happens between two steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, select

from mediasrv.catalogue import Catalogue, journalling, places
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.tables import gap, row_change
from mediasrv.clock import SystemClock, from_us
from mediasrv.errors import Conflict, StorageError
from mediasrv.journal import Journal, Segment, read_journal, segment_key
from mediasrv.settings import JournalSettings, StorageSettings
from mediasrv.storage.documents import DocumentHead
from mediasrv.storage.keys import Identity, NodeKey
from mediasrv.storage.object_store import ObjectStore, crc32c_of

NODE, IDENTITY = NodeKey.generate(), Identity.generate()


@pytest_asyncio.fixture
async def store(storage: StorageSettings) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        yield store


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    upgrade(url)
    return Catalogue(url)


def journal_of(catalogue: Catalogue, store: ObjectStore) -> Journal:
    return Journal(catalogue, store, "node-1", NODE, [IDENTITY.recipient], SystemClock(), JournalSettings())


async def read(store: ObjectStore) -> list[Segment]:
    async def unwrap(head: DocumentHead) -> bytes:
        return head.unwrap([IDENTITY])

    return [segment async for segment in read_journal(store, "node-1", NODE.public, unwrap)]


async def add_gap(catalogue: Catalogue, cause: str) -> None:
    values = {"camera_id": "gate-1", "stream": "main", "started_at": from_us(1), "ended_at": None, "cause": cause}
    await catalogue.write(lambda connection: connection.execute(insert(gap).values(values)) and None)


def told(segments: list[Segment]) -> dict[tuple[str, str], Any]:
    """What is told last of each row."""
    return {(entry["table"], entry["key"]): entry["row"] for one in segments for entry in one.entries}


async def test_each_change_is_told_as_the_row_then_is_and_once(catalogue: Catalogue, store: ObjectStore) -> None:
    journal = journal_of(catalogue, store)
    await add_gap(catalogue, "camera_lost")
    await journal.write_all()
    await catalogue.write(places.add_place, "hue", "root", "province", "Huế")
    await catalogue.write(lambda connection: connection.execute(gap.update().values(cause="server_down")) and None)
    await journal.write_all()
    await catalogue.write(lambda connection: connection.execute(gap.delete()) and None)
    await journal.write_all()
    await journal.write_all()

    segments = await read(store)

    assert [(one.number, one.follows, one.refused) for one in segments] == [(n, True, "") for n in (1, 2, 3)]
    assert told(segments[:1])["gap", "1"]["cause"] == "camera_lost"
    assert told(segments[:2])["gap", "1"]["cause"] == "server_down"
    assert told(segments)["gap", "1"] is None
    assert told(segments)["place", "hue"]["name"] == "Huế"
    assert await catalogue.read(lambda connection: connection.execute(select(row_change)).all()) == []


async def test_what_is_changed_in_a_transaction_that_fails_is_not_told(
    catalogue: Catalogue, store: ObjectStore
) -> None:
    def fail(connection: Any) -> None:
        connection.execute(insert(gap).values(camera_id="x", stream="main", started_at=from_us(1), cause="y"))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        await catalogue.write(fail)
    await journal_of(catalogue, store).write_all()
    assert ("gap", "1") not in told(await read(store))


async def test_a_crash_behind_a_stored_segment_tells_its_changes_again(
    catalogue: Catalogue, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(catalogue, store)
    await journal.write_all()
    await add_gap(catalogue, "camera_lost")

    def crash(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(journalling, "note_segment", crash)
        with pytest.raises(ConnectionError):
            await journal.write_all()
    await add_gap(catalogue, "server_down")
    await journal_of(catalogue, store).write_all()

    segments = await read(store)

    assert [(one.number, one.follows) for one in segments] == [(1, True), (2, True), (3, True)]
    assert told(segments[:2]).keys() >= {("gap", "1")}
    assert told(segments[2:]).keys() == {("gap", "1"), ("gap", "2")}


async def test_a_strangers_segment_is_passed_over_and_named(catalogue: Catalogue, store: ObjectStore) -> None:
    journal = journal_of(catalogue, store)
    await journal.write_all()
    body = [b"forged"]
    await store.put(segment_key("node-1", 2), body, crc32c_of(body))
    await add_gap(catalogue, "camera_lost")
    await journal.write_all()

    segments = await read(store)

    assert [bool(one.refused) for one in segments] == [False, True, False]
    assert all(one.follows for one in segments)
    assert told(segments)["gap", "1"]["cause"] == "camera_lost"


async def test_a_segment_that_is_missing_shows(catalogue: Catalogue, store: ObjectStore) -> None:
    journal = journal_of(catalogue, store)
    for cause in ("a", "b", "c"):
        await add_gap(catalogue, cause)
        await journal.write_all()
    await store.delete(segment_key("node-1", 2))
    assert [one.follows for one in await read(store)] == [True, False]


async def test_an_empty_catalogue_begins_no_second_journal(
    catalogue: Catalogue, store: ObjectStore, tmp_path: Path
) -> None:
    await journal_of(catalogue, store).write_all()
    url = f"sqlite:///{tmp_path / 'anew.db'}"
    upgrade(url)
    with pytest.raises(Conflict) as lost:
        await journal_of(Catalogue(url), store).write_all()
    assert lost.value.code == "catalogue_lost"


async def test_while_storage_is_away_changes_wait(catalogue: Catalogue, storage: StorageSettings) -> None:
    await add_gap(catalogue, "camera_lost")
    async with ObjectStore(storage) as store:
        with pytest.raises(StorageError):  # no bucket yet
            await journal_of(catalogue, store).write_all()
        await store.ensure_buckets()
        await journal_of(catalogue, store).write_all()
        assert told(await read(store))["gap", "1"]["cause"] == "camera_lost"
