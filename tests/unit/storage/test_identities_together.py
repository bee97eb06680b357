"""Many who open footage at once, while the identities are being read."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mediasrv.clock import SystemClock
from mediasrv.storage.identities import Identities
from mediasrv.storage.keys import Identity, create_data_key
from tests.unit.storage.sealed import NODE


async def test_who_comes_when_a_reading_has_just_ended_takes_it_from_nobody(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    identity = Identity.load_or_create(path)
    key = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, [identity.recipient])
    identities = Identities(lambda: [f"file:{path}"], SystemClock(), 300.0)
    waiting = [asyncio.create_task(identities.unwrap(key.record))]
    try:
        while not waiting[0].done():
            await asyncio.sleep(0)  # the very turn of the loop in which a reading ends is what is tried
            if identities._reading is not None and identities._reading.done():
                waiting.append(asyncio.create_task(identities.unwrap(key.record)))
        assert set(await asyncio.gather(*waiting)) == {key.secret}
    finally:
        identities.close()
