"""SIGKILL at random points of recording: what was said to be durable is there, once, in order; the rest has a cause."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from mediasrv.settings import StorageSettings
from tests.integration.kill_child import REF, UNIT_US, home, run_and_number
from tests.integration.recording import Running

KILLS = 20
LOST_US = 1_000_000


@dataclass
class Run:
    """What a killed child had said."""

    started_us: int
    durable_until_us: int
    killed_us: int


@pytest.mark.timeout(240)
async def test_what_was_durable_survives_twenty_kills_and_nothing_is_doubled(
    tmp_path: Path, storage: StorageSettings
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    runs = [record_and_kill(tmp_path, storage, number, dice) for number in range(KILLS)]
    async with home(tmp_path, storage).opened() as running:
        await running.all_stored()
        check_units(Counter(map(run_and_number, await running.read_back())), runs)
        await check_time_line(running, runs)
        listed = sorted([item.key async for item in running.store.list()])
        assert listed == sorted(row.object_key for row in await running.rows())


def record_and_kill(directory: Path, storage: StorageSettings, number: int, dice: random.Random) -> Run:
    command = [sys.executable, "-m", "tests.integration.kill_child", str(directory), str(number)]
    arguments = json.dumps(dataclasses.asdict(storage))
    child = subprocess.Popen([*command, arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        started_us = int(child.stdout.readline().split()[1])
        first = child.stdout.readline()
        time.sleep(dice.uniform(0.0, 1.5))  # the random point: the very time is what is tried
    finally:
        child.kill()
        killed_us = time.time_ns() // 1000
    # A line that was cut off by the kill was not said.
    said = (first + child.stdout.read()).rpartition("\n")[0].splitlines()
    child.stdout.close()
    child.wait()
    return Run(started_us, int(said[-1].split()[1]), killed_us)


def check_units(read: Counter[tuple[int, int]], runs: list[Run]) -> None:
    assert [unit for unit, count in read.items() if count > 1] == []
    for number, run in enumerate(runs):
        kept = sorted(picture for of_run, picture in read if of_run == number)
        assert kept == list(range(len(kept)))
        assert len(kept) * UNIT_US >= run.durable_until_us - run.started_us
        lost_us = run.killed_us - (run.started_us + len(kept) * UNIT_US)
        assert lost_us <= LOST_US


async def check_time_line(running: Running, runs: list[Run]) -> None:
    """Footage and gaps follow each other from the first start to the last kill, without hole or overlap."""
    gaps = await running.gaps()
    assert {cause for _, _, cause in gaps} <= {"server_down", "waiting_keyframe", "connecting"}
    assert [cause for _, _, cause in gaps].count("server_down") == KILLS
    open_gaps = [gap for gap in gaps if gap[1] is None]
    assert [cause for _, _, cause in open_gaps] == ["server_down"]
    covered = [(row.started_us, row.ended_us) for row in await running.rows()]
    spans = sorted([*covered, *((start, end) for start, end, _ in gaps if end is not None)])
    assert spans[0][0] <= runs[0].started_us
    for (_, ended), (started, _) in pairwise(spans):
        assert abs(started - ended) <= 1.5 * UNIT_US
    assert abs(open_gaps[0][0] - spans[-1][1]) <= 1.5 * UNIT_US
    assert running.recorder.state(REF).state == "off"
