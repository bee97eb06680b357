"""Fixtures of more than one file of unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv.catalogue.migrate import upgrade
from tests.databases import url_for
from tests.unit.camera_world import World, supervised, until
from tests.unit.house import House


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    url = url_for(tmp_path)
    await asyncio.to_thread(upgrade, url)
    world = World(url)
    async with supervised(world.cameras):
        await until(lambda: world.cameras._group)
        yield world
    world.catalogue.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.archive.register()
    yield made
    made.archive.catalogue.close()
