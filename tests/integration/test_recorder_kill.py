"""SIGKILL at random points of recording: what was said to be durable is there, once, in order; the rest has a cause."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from load_tests.seaweed import SeaweedServer
from load_tests.stack import wait_for
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
ONE_KEY_S = 24 * 3600
"""A new key would have to be catalogued before the object that it seals is stored."""
NEVER = SpoolSettings(sync_interval_s=3600.0)
"""Nothing becomes durable but by `flush`, so that a test says when."""


@dataclass
class Run:
    """What a killed child had said."""

    started_us: int
    durable_until_us: int
    received_until_us: int


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
        await check_footers(running)
        listed = sorted([item.key async for item in running.store.list()])
        assert listed == sorted(row.object_key for row in await running.rows())


class Child:
    """A recorder in a process of its own, as of `__init__` with durable footage."""

    def __init__(self, directory: Path, storage: StorageSettings, number: int, key_period_s: int = 2) -> None:
        settings = json.dumps(dataclasses.asdict(storage))
        arguments = (str(directory), str(number), settings, str(key_period_s))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kill_child", *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._started_us = int(self._process.stdout.readline().split()[1])
        self._first = ""
        while "durable" not in self._first:
            self._first += self._process.stdout.readline() or "durable 0"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:  # which waits and closes its pipe
            pass

    def kill(self) -> Run:
        self._process.kill()
        # A line that was cut off by the kill was not said.
        lines = (self._first + self._process.communicate()[0]).rpartition("\n")[0].splitlines()
        said = dict(line.split() for line in lines)  # the last of each word counts
        return Run(self._started_us, int(said["durable"]), int(said["received"]))


def record_and_kill(directory: Path, storage: StorageSettings, number: int, dice: random.Random) -> Run:
    with Child(directory, storage, number) as child:
        time.sleep(dice.uniform(0.0, 1.5))  # the random point: the very time is what is tried
        return child.kill()


def check_units(read: Counter[tuple[int, int]], runs: list[Run]) -> list[tuple[int, int]]:
    """The span of what is kept of each run."""
    assert [unit for unit, count in read.items() if count > 1] == []
    spans = []
    for number, run in enumerate(runs):
        kept = sorted(picture for of_run, picture in read if of_run == number)
        assert kept == list(range(len(kept)))
        ended_us = run.started_us + len(kept) * UNIT_US
        assert ended_us >= run.durable_until_us
        assert run.received_until_us - ended_us <= LOST_US
        spans.append((run.started_us, ended_us))
    return spans


async def check_footers(running: Running) -> None:
    """What was being recorded when the kill came says so; all before it ended as it should."""
    by_session: dict[str, list[str]] = {}
    for row in await running.rows():
        by_session.setdefault(row.session_id, []).append(row.ended)
    assert len(by_session) == KILLS
    for footers in by_session.values():
        assert footers == ["closed"] * (len(footers) - 1) + ["recovered"]


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


async def test_an_object_that_was_stored_and_not_yet_catalogued_is_neither_lost_nor_doubled(
    tmp_path: Path, storage: StorageSettings, s3: SeaweedServer
) -> None:
    run = record_and_kill_before_a_row(tmp_path, storage, s3)
    async with home(tmp_path, storage).opened() as running:
        await running.all_stored()
        check_units(Counter(map(run_and_number, await running.read_back())), [run])
        listed = sorted([item.key async for item in running.store.list()])
        assert listed == sorted(row.object_key for row in await running.rows())


def record_and_kill_before_a_row(directory: Path, storage: StorageSettings, s3: SeaweedServer) -> Run:
    """The kill comes when an object is in the bucket and a locked catalogue has not taken its row."""
    bucket = s3.client()

    def stored() -> int:
        return len(list(bucket.list_objects(storage.bucket, recursive=True)))

    with Child(directory, storage, 0, ONE_KEY_S) as child:
        wait_for(stored, 20, step_s=0.01)
        with closing(sqlite3.connect(directory / "catalogue.db", isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            before = stored()
            wait_for(lambda: stored() > before, 20, step_s=0.01)
            time.sleep(0.5)  # ten syncs of the spool: what it released too early would be gone for good
            return child.kill()


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
        # Not what the recorder says: of times yet to come it says nothing.
        return max(item.span_us[1] for item in running.spool.objects() if item.span_us)


async def last_life(running: Running, session: Session, since_us: int) -> list[tuple[int, int | None, str]]:
    """Five seconds of footage, all stored; the gaps from `since_us` to its beginning."""
    running.recorder.start(REF, 3)
    await running.feed(session, video_units(session, 5.0))
    await running.spool.flush()
    gaps = await running.gaps()
    await running.all_stored()
    return [gap for gap in gaps if since_us <= gap[0] < session.started_us]
