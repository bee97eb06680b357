"""Each fault of `python -m load_tests faults` a few times: the short version of the published runs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from load_tests.faulting.archive import ARCHIVE_FAULTS, harm_archive
from load_tests.faulting.disk import DISK_FAULTS, small_disk, spool_on
from load_tests.faulting.live import LIVE, catalogue_locked, stop
from load_tests.faulting.power_cut import power_cuts
from load_tests.faulting.rig import Rig, running_rig
from load_tests.faults import strike
from load_tests.seaweed import SeaweedServer

CUTS = 400
KILLS = 5
ALONE = ("stop", "clock_step", "catalogue_locked")
"""What the shared rig is not for, or what is made shorter here."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def seed() -> int:
    chosen = random.randrange(1 << 32)
    print(f"seed {chosen}")
    return chosen


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, s3: SeaweedServer, seed: int) -> Iterator[Rig]:
    """One server for all faults that leave it as it was."""
    directory = Path(tmp_path_factory.mktemp("faults"))
    with running_rig(directory, random.Random(seed), s3=s3) as shared:
        shared.away_s = 1.0
        yield shared


@pytest.mark.parametrize("name", [name for name in LIVE if name not in ALONE])
def test_a_fault_loses_nothing_durable_and_explains_the_rest(rig: Rig, name: str) -> None:
    strike(name, rig, KILLS if name == "kill" else 1)


def test_a_server_that_stood_still_goes_on_where_it_was(rig: Rig) -> None:
    stop(rig, longest_s=4.0)
    rig.record_on(1.0)
    rig.judge(None)


def test_a_catalogue_that_is_locked_costs_no_footage(rig: Rig) -> None:
    catalogue_locked(rig, for_s=12.0)
    rig.record_on(1.0)
    rig.judge()
    rig.settle()


@pytest.mark.parametrize("name", ARCHIVE_FAULTS)
def test_harm_to_stored_footage_is_refused_and_found(rig: Rig, name: str) -> None:
    (refused,) = asyncio.run(harm_archive(name, rig, 1))
    assert all(refused.values())


def test_a_clock_that_is_set_is_a_gap_and_makes_no_false_promise(tmp_path: Path, s3: SeaweedServer, seed: int) -> None:
    with running_rig(tmp_path, random.Random(seed), s3=s3, settable_clock=True) as rig:
        strike("clock_step", rig, 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, where this process may mount one."""
    with ExitStack() as stack:
        try:
            mounted = stack.enter_context(small_disk(tmp_path / "disk"))
        except RuntimeError as error:
            pytest.skip(str(error))
        yield mounted


@pytest.mark.parametrize("name", DISK_FAULTS)
def test_a_disk_that_fills_is_a_gap_and_loses_nothing_durable(
    tmp_path: Path, s3: SeaweedServer, seed: int, disk: Path, name: str
) -> None:
    spool = spool_on(disk)
    with running_rig(tmp_path / name, random.Random(seed), s3=s3, overrides={"spool": spool}) as rig:
        strike(name, rig, 1)


@pytest.mark.parametrize("failing_syncs", [0.0, 0.5])
async def test_a_power_cut_at_any_moment_loses_nothing_that_was_synced(seed: int, failing_syncs: float) -> None:
    logging.disable(logging.ERROR)  # each cut leaves a torn tail, which is said
    try:
        done = await power_cuts(CUTS, random.Random(seed), print, failing_syncs)
    finally:
        logging.disable(logging.NOTSET)
    assert done["cuts"] == CUTS
    assert done["parts_read_back"] > CUTS
