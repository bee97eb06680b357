"""Signed heads of the access log, kept in a second place."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, update

from mediasrv.catalogue.tables import access_log
from mediasrv.clock import from_us
from mediasrv.errors import FootageRefused, StorageError
from mediasrv.security import head_witness
from mediasrv.security.access_log import Event, Head, Tampering
from mediasrv.security.head_witness import PREFIX, HeadWitness, build_signed_head, list_copies, parse_signed_head
from mediasrv.settings import StorageSettings
from mediasrv.storage.object_store import Listed, ObjectStore, Put
from tests.unit.web.fakes import World, make_world

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
HEAD = Head(7, bytes(range(32)))
QUICK = StorageSettings(retry_first_s=0.001, retry_most_s=0.002)


def public_key(node_id: str) -> bytes | None:
    return KEY.public_key().public_bytes_raw() if node_id == "node-1" else None


class FakeStore:
    """A bucket in memory; `away` is raised instead, `locked` refuses to delete."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away: StorageError | None = None
        self.locked = False
        self.puts = 0

    async def put(self, key: str, body: list[bytes], crc32c: int) -> Put:
        self.puts += 1
        if self.away is not None:
            raise self.away
        assert key not in self.objects
        self.objects[key] = b"".join(body)
        return Put("v1")

    async def delete(self, key: str, version_id: str | None) -> None:
        if self.away is not None or self.locked:
            raise StorageError("locked", code="storage_refused")
        assert version_id == "v1"
        del self.objects[key]

    async def list(self, prefix: str) -> AsyncIterator[Listed]:
        for key, data in self.objects.items():
            if key.startswith(prefix):
                yield Listed(key, len(data), from_us(0), None)

    @property
    def entries(self) -> list[int]:
        return [parse_signed_head(data, public_key).entry for data in self.objects.values()]


@dataclasses.dataclass
class Rig:
    world: World
    store: FakeStore

    def witness(self, interval_s: float = 60.0) -> HeadWitness:
        services, store = self.world.services, cast(ObjectStore, self.store)
        return HeadWitness(services.catalogue, store, "node-1", KEY.sign, self.world.clock, interval_s, QUICK)

    async def log(self, *subjects: str) -> None:
        for subject in subjects:
            self.world.clock.advance(1.0)
            await self.world.services.access_log.append(Event("login", subject))

    async def tamper(self, *statements: Any) -> None:
        def run(connection: Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        await self.world.services.catalogue.write(run)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_world(tmp_path) as made:
        yield Rig(made, FakeStore())


def test_a_signed_head_is_read_back() -> None:
    assert parse_signed_head(build_signed_head("node-1", HEAD, 5, KEY.sign), public_key) == HEAD


def test_an_altered_foreign_or_unregistered_head_is_refused() -> None:
    signed = build_signed_head("node-1", HEAD, 5, KEY.sign)
    outer = json.loads(signed)
    outer["document"] = outer["document"].replace('"entry": 7', '"entry": 6')
    for bad in (
        json.dumps(outer).encode(),
        build_signed_head("node-1", HEAD, 5, OTHER.sign),
        build_signed_head("node-2", HEAD, 5, KEY.sign),
    ):
        with pytest.raises(FootageRefused) as refused:
            parse_signed_head(bad, public_key)
        assert refused.value.code == "signature_wrong"


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(FootageRefused):
        parse_signed_head(data, public_key)


async def test_a_copy_is_made_when_the_log_has_moved_and_the_former_one_goes(rig: Rig) -> None:
    witness = rig.witness()
    await witness.copy_head()
    assert rig.store.entries == []  # an empty log has no head
    await rig.log("one", "two")
    await witness.copy_head()
    await witness.copy_head()
    assert (rig.store.entries, rig.store.puts) == ([2], 1)
    await rig.log("three")
    await witness.copy_head()
    assert rig.store.entries == [3]
    copies = await list_copies(cast(ObjectStore, rig.store))
    assert [copy.key for copy in copies] == [f"{PREFIX}node-1/000000000003-{rig.world.clock.wall_us()}"]
    assert (witness.state.copied and witness.state.copied.entry, witness.state.broken) == (3, None)


async def test_each_run_of_the_server_leaves_its_last_copy(rig: Rig) -> None:
    for subject in ("one", "two"):
        witness = rig.witness()
        await rig.log(subject)
        await witness.copy_head()
    assert rig.store.entries == [1, 2]


async def test_a_truncation_while_the_server_runs_is_found_and_its_evidence_stays(rig: Rig) -> None:
    witness = rig.witness()
    await rig.log("one", "two", "three")
    await witness.copy_head()
    await rig.tamper(delete(access_log).where(access_log.c.entry > 1))
    await witness.copy_head()
    assert witness.state.broken is not None
    assert witness.state.broken.tampering is Tampering.TRUNCATED
    await rig.log("two again")
    await witness.copy_head()
    assert 3 in rig.store.entries


async def test_a_fork_while_the_server_runs_is_found_and_its_evidence_stays(rig: Rig) -> None:
    witness = rig.witness()
    await rig.log("one", "two", "three")
    await witness.copy_head()
    await rig.tamper(delete(access_log).where(access_log.c.entry > 1))
    await rig.log("two again", "three again", "four")
    await witness.copy_head()
    assert witness.state.broken is not None
    assert witness.state.broken.tampering is Tampering.FORKED
    assert rig.store.entries == [3, 4]


async def test_an_edit_after_the_last_copy_is_found_before_the_next_one_takes_its_place(rig: Rig) -> None:
    """Else a head would be signed over the edit, and the last one without it would be gone."""
    witness = rig.witness()
    await rig.log("one", "two")
    await witness.copy_head()
    await rig.log("three", "four")
    await rig.tamper(update(access_log).where(access_log.c.entry == 3).values(previous_hash=bytes(32)))
    await witness.copy_head()
    assert witness.state.broken is not None
    assert (witness.state.broken.entry, witness.state.broken.tampering) == (3, Tampering.EDITED)
    assert rig.store.entries == [2, 4]


async def test_what_was_found_is_remembered(rig: Rig) -> None:
    witness = rig.witness()
    await rig.log("one", "two")
    await witness.copy_head()
    await rig.tamper(delete(access_log).where(access_log.c.entry == 2))
    await rig.log("two again")
    await witness.copy_head()
    await rig.log("three")
    await witness.copy_head()
    assert witness.state.broken is not None


async def test_while_storage_is_away_it_is_tried_again(rig: Rig) -> None:
    witness = rig.witness()
    await rig.log("one")
    rig.store.away = StorageError("away", code="storage_unreachable")
    running = asyncio.create_task(witness.run())
    try:
        async with asyncio.timeout(5):
            while rig.store.puts < 4:  # noqa: ASYNC110 - the state of the fake has no event
                await asyncio.sleep(0.001)
            assert witness.state.reason_code == "storage_unreachable"
            rig.store.away = None
            while not rig.store.entries:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (rig.store.entries, witness.state.reason_code) == ([1], None)


async def test_a_copy_that_object_lock_keeps_does_no_harm(rig: Rig) -> None:
    witness = rig.witness()
    rig.store.locked = True
    for subject in ("one", "two"):
        await rig.log(subject)
        await witness.copy_head()
    assert rig.store.entries == [1, 2]


async def test_the_last_copy_waits_for_nobody(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_witness, "LAST_S", 0.01)

    async def hang(*_: object) -> Put:
        await asyncio.Event().wait()
        raise AssertionError

    await rig.log("one")
    monkeypatch.setattr(rig.store, "put", hang)
    await rig.witness().copy_last()
    rig.store.away = StorageError("away")
    monkeypatch.undo()
    await rig.witness().copy_last()
    rig.store.away = None
    await rig.witness().copy_last()
    assert rig.store.entries == [1]
