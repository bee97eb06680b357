"""A recorder to be killed: records made-up pictures in real time and says what is durable.

    python -m tests.integration.kill_child DIRECTORY RUN STORAGE_SETTINGS_JSON KEY_PERIOD_S

prints `session START_US` once, then `received UNTIL_US` after each picture and `durable UNTIL_US` as often as it rises.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from mediasrv.clock import SystemClock
from mediasrv.media.access_unit import AccessUnit, Session
from mediasrv.media.nal import join_avcc
from mediasrv.settings import RecordingSettings, SpoolSettings, StorageSettings
from tests.integration.recording import REF, Recording, Running, new_session
from tests.unit.media.streams import video_units

RATE = 50
UNIT_US = 1_000_000 // RATE
MOST_S = 60.0


def home(directory: Path, storage: StorageSettings, key_period_s: int = 2) -> Recording:
    """Short parts and objects, small files, many keys: as many steps as possible for a kill to fall between."""
    return Recording(
        directory,
        storage,
        RecordingSettings(part_s=0.1, object_s=0.8, key_period_s=key_period_s),
        SpoolSettings(sync_interval_s=0.05, file_bytes=50_000),
    )


def numbered_units(session: Session, run: int) -> Iterator[AccessUnit]:
    """Pictures whose payload says run and number."""
    for number, unit in enumerate(video_units(session, MOST_S, rate=RATE, gop_s=0.4)):
        head = unit.payload[4:5] + run.to_bytes(4, "big") + number.to_bytes(4, "big")
        unit.payload = join_avcc([head.ljust(600, b"\x55")])
        yield unit


def run_and_number(payload: bytes) -> tuple[int, int]:
    return int.from_bytes(payload[5:9], "big"), int.from_bytes(payload[9:13], "big")


async def record(running: Running, run: int) -> None:
    clock = SystemClock()
    running.recorder.start(REF, run + 1)
    session = new_session(secrets.token_hex(8), clock.wall_us(), run + 1)
    running.mountpoint.start_session(session)
    print("session", session.started_us, flush=True)
    said = 0
    for unit in numbered_units(session, run):
        await asyncio.sleep(max(0.0, (unit.arrived_us - clock.wall_us()) / 1e6))
        running.mountpoint.publish(unit)
        print("received", unit.arrived_us + UNIT_US, flush=True)
        durable_us = running.recorder.state(REF).durable_until_us or 0
        if durable_us > max(said, session.started_us):
            said = durable_us
            print("durable", durable_us, flush=True)


async def main() -> None:
    directory, run, storage = Path(sys.argv[1]), int(sys.argv[2]), StorageSettings(**json.loads(sys.argv[3]))
    async with home(directory, storage, int(sys.argv[4])).opened() as running:
        await record(running, run)


if __name__ == "__main__":
    asyncio.run(main())
