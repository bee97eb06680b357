"""Ownership on one machine: one process a data directory, epochs that only rise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.ownership import FileLockOwnership
from mediasrv.catalogue.tables import camera_epoch, generation, incarnation, metadata
from mediasrv.clock import from_us, to_us
from mediasrv.errors import SettingsError
from tests.clocks import SimulatedClock
from tests.databases import url_for

PUBLIC_KEY = bytes(range(32))
START_US = 1_790_000_000_000_000


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    made = Catalogue(url_for(tmp_path))
    await made.write(metadata.create_all)
    yield made
    made.close()


def ownership(tmp_path: Path, catalogue: Catalogue, key: bytes = PUBLIC_KEY) -> FileLockOwnership:
    return FileLockOwnership(tmp_path, catalogue, "node-1", key, SimulatedClock(START_US))


async def test_a_second_process_on_the_same_data_is_refused_until_the_first_has_left(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    first, second = ownership(tmp_path, catalogue), ownership(tmp_path, catalogue)
    await first.join()
    with pytest.raises(SettingsError) as refused:
        await second.join()
    assert refused.value.code == "data_dir_in_use"
    await first.leave()
    assert await second.join() != first.incarnation
    await second.leave()


async def test_each_claim_of_a_camera_has_a_higher_epoch_than_any_before(tmp_path: Path, catalogue: Catalogue) -> None:
    first = ownership(tmp_path, catalogue)
    await first.join()
    epochs = [await first.claim("gate-1"), await first.claim("gate-1"), await first.claim("gate-2")]
    assert epochs == [(1 << 48) + 1, (1 << 48) + 2, (1 << 48) + 1]
    await first.leave()
    second = ownership(tmp_path, catalogue)
    await second.join()
    assert await second.claim("gate-1") == (1 << 48) + 3
    await second.leave()


async def test_a_restored_database_begins_a_generation_above_all_epochs_ever_granted(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    node = ownership(tmp_path, catalogue)
    await node.join()
    before = await node.claim("gate-1")
    await catalogue.write(
        lambda connection: connection.execute(insert(generation).values(generation=2, at=from_us(START_US)))
    )
    assert await node.claim("gate-1") == (2 << 48) + 1 > before
    await node.leave()


async def test_the_history_of_epochs_says_when_and_why_each_ended(tmp_path: Path, catalogue: Catalogue) -> None:
    node = ownership(tmp_path, catalogue)
    await node.join()
    await node.claim("gate-1")
    await node.claim("gate-1")
    await node.claim("gate-2")
    await node.release("gate-2", "camera_removed")
    await node.leave()

    def history(connection: Connection) -> list[tuple[str, int, str | None]]:
        rows = connection.execute(select(camera_epoch).order_by(camera_epoch.c.camera_id, camera_epoch.c.epoch))
        return [(row.camera_id, row.epoch & 0xFFFF, row.reason) for row in rows]

    assert await catalogue.read(history) == [
        ("gate-1", 1, "owner_change"),
        ("gate-1", 2, "server_down"),
        ("gate-2", 1, "camera_removed"),
    ]


async def test_a_sign_of_life_is_renewed_and_an_orderly_end_is_said(tmp_path: Path, catalogue: Catalogue) -> None:
    clock = SimulatedClock(START_US)
    node = FileLockOwnership(tmp_path, catalogue, "node-1", PUBLIC_KEY, clock)
    await node.join()
    clock.advance(5.0)
    await node.renew()

    def times(connection: Connection) -> tuple[int, bool]:
        row = connection.execute(select(incarnation)).one()
        return to_us(row.alive_at) - START_US, row.ended_at is not None

    assert await catalogue.read(times) == (5_000_000, False)
    await node.leave()
    assert await catalogue.read(times) == (5_000_000, True)


async def test_a_node_that_comes_with_another_key_is_refused(tmp_path: Path, catalogue: Catalogue) -> None:
    first = ownership(tmp_path, catalogue)
    await first.join()
    await first.leave()
    with pytest.raises(SettingsError) as refused:
        await ownership(tmp_path, catalogue, bytes(32)).join()
    assert refused.value.code == "node_key_changed"
