"""SIGKILL at random points of recording: what was said to be durable is there, once, in order; the rest has a cause."""

from __future__ import annotations

import asyncio
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

from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import Session
from mediasrv.settings import SpoolSettings, StorageSettings
from tests.integration.kill_child import REF, UNIT_US, home, run_and_number
from tests.integration.recording import Recording, Running, new_session, now_us
from tests.unit.media.streams import audio_units, video_units

KILLS = 20
LOST_US = 1_000_000
LOST_UNITS = 1
"""Of 125 pictures that are fed at once: the last one waits for its successor."""
NEVER = SpoolSettings(sync_interval_s=3600.0)
"""Nothing becomes durable but by `flush`, so that a test says when."""


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
        kept = check_units(Counter(map(run_and_number, await running.read_back())), runs)
        await check_time_line(running, kept)
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


def check_units(read: Counter[tuple[int, int]], runs: list[Run]) -> list[tuple[int, int]]:
    """The span of what is kept of each run."""
    assert [unit for unit, count in read.items() if count > 1] == []
    spans = []
    for number, run in enumerate(runs):
        kept = sorted(picture for of_run, picture in read if of_run == number)
        assert kept == list(range(len(kept)))
        ended_us = run.started_us + len(kept) * UNIT_US
        assert ended_us >= run.durable_until_us
        assert run.killed_us - ended_us <= LOST_US
        spans.append((run.started_us, ended_us))
    return spans


async def check_time_line(running: Running, kept: list[tuple[int, int]]) -> None:
    """Footage and gaps follow each other from the first start to the last kill, without hole or overlap: from each
    end to the next start the server was down, and since the last one it is.
    """
    gaps = await running.gaps()
    if gaps[0][2] == "connecting":  # the first run was killed before it could take back that it had waited at all
        assert gaps.pop(0)[1] == pytest.approx(kept[0][0], abs=UNIT_US)
    down = list(zip([end for _, end in kept], [*(start for start, _ in kept[1:]), None], strict=True))
    assert [cause for _, _, cause in gaps] == ["server_down"] * KILLS
    assert gaps[-1][1] is None
    for (started_us, ended_us, _), expected in zip(gaps, down, strict=True):
        assert started_us == pytest.approx(expected[0], abs=UNIT_US)
        assert ended_us == (expected[1] and pytest.approx(expected[1], abs=UNIT_US))
    covered = sorted((row.started_us, row.ended_us) for row in await running.rows())
    spans = sorted([*covered, *((start, end) for start, end, _ in gaps if end is not None)])
    for (_, ended), (started, _) in pairwise(spans):
        assert abs(started - ended) <= 1.5 * UNIT_US
    assert running.recorder.state(REF).state == "off"


# --- moments that random kills seldom hit --------------------------------------------------------


@pytest.mark.parametrize("seen_alive", [False, True])
async def test_a_life_whose_parts_were_not_durable_stands_between_two_gaps(
    tmp_path: Path, storage: StorageSettings, seen_alive: bool
) -> None:
    """The catalogue knows of the second session, the spool of nothing of it. Where the server was seen alive after
    that session began, it waited for a keyframe until then, as far as anybody can tell.
    """
    home = Recording(tmp_path, storage, spool_settings=NEVER)
    start_us = now_us() + (-200 if seen_alive else 200) * SECOND_US
    first, second, third = sessions(start_us, 20, 300)
    durable_us = await first_life(home, first)
    async with home.opened(flush=False) as running:
        await running.all_stored()
        await running.spool.flush()
        running.recorder.start(REF, 2)
        # One picture is no part; sound for longer than a part is one.
        await running.feed(second, [*video_units(second, 0.04), *audio_units(second, 0.6)], end=None)
        assert (await running.gaps())[-1] == (second.started_us, None, "waiting_keyframe")
    async with home.opened() as running:
        gaps = await last_life(running, third, durable_us)
        assert {row.session_id for row in await running.rows()} == {first.session_id, third.session_id}
    since_us = second.started_us
    if seen_alive:
        assert gaps.pop(1) == (since_us, gaps[1][0], "waiting_keyframe")
        since_us = gaps[1][0]
    downs = [(durable_us, second.started_us, "server_down"), (since_us, third.started_us, "server_down")]
    assert gaps == downs


async def test_footage_that_was_durable_before_the_catalogue_knew_of_it_ends_the_gap_before_it(
    tmp_path: Path, storage: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Recording(tmp_path, storage, spool_settings=NEVER)
    first, second, third = sessions(now_us() - 100 * SECOND_US, 20, 40)
    durable_us = await first_life(home, first)
    async with home.opened(flush=False) as running:
        monkeypatch.setattr(running.recorder._facts, "_write", lambda _: asyncio.Event().wait())
        running.recorder.start(REF, 2)
        await running.feed(second, video_units(second, 5.0, start_s=0.5), end=None)
        await running.spool.flush()
        lost_at_us = running.recorder.state(REF).durable_until_us
    async with home.opened() as running:
        gaps = await last_life(running, third, durable_us)
        assert len(await running.read_back()) == 3 * 125 - 2 * LOST_UNITS
    assert gaps == [
        (durable_us, second.started_us + 500_000, "server_down"),
        (lost_at_us, third.started_us, "server_down"),
    ]


def sessions(start_us: int, *later_s: int) -> list[Session]:
    return [new_session(name * 16, start_us + at * SECOND_US) for name, at in zip("abc", (0, *later_s), strict=True)]


async def first_life(home: Recording, session: Session) -> int:
    """Five seconds of footage, then a kill; until when it was durable."""
    async with home.opened(flush=False) as running:
        running.recorder.start(REF, 1)
        await running.feed(session, video_units(session, 5.0), end=None)
        await running.spool.flush()
        await running.recorder._facts.drained()
        return running.recorder.state(REF).durable_until_us or 0


async def last_life(running: Running, session: Session, since_us: int) -> list[tuple[int, int | None, str]]:
    """Five seconds of footage, all stored; the gaps from `since_us` to its beginning."""
    running.recorder.start(REF, 3)
    await running.feed(session, video_units(session, 5.0))
    await running.spool.flush()
    gaps = await running.gaps()
    await running.all_stored()
    return [gap for gap in gaps if since_us <= gap[0] < session.started_us]
