"""`python -m load_tests faults --fault kill --times 200 --seed 7 --json`: nothing that was received is lost.

Against the real server, a real S3 server and simulated cameras, each fault is followed by the same questions: what was
said to be locally durable is readable; no access unit is there twice; each that is missing lies in a gap with a cause;
`mediasrv check` finds nothing once all is stored; and at most a second of what was received is lost. `power_cut` runs
in memory, on the spool alone. Without `--fault`, or with `--all`, every fault has its turn.

The seed makes every choice; timing is the machine's. `--history FILE` keeps what happened, line by line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from load_tests.faulting.archive import ARCHIVE_FAULTS, harm_archive
from load_tests.faulting.disk import DISK_FAULTS, small_disk, spool_on
from load_tests.faulting.live import LIVE
from load_tests.faulting.power_cut import power_cuts
from load_tests.faulting.reckoning import Reckoning
from load_tests.faulting.rig import FaultFound, Rig, running_rig
from load_tests.measure import machine, print_json
from load_tests.seaweed import SeaweedServer, seaweed

CUTS: Final = 1500
FAULTS: Final = (*LIVE, *DISK_FAULTS, *ARCHIVE_FAULTS, "power_cut")
_JUDGED_EVERY: Final = 10
"""Reading everything back after each of many faults would take longer than the faults."""
Say = Callable[[str], None]


def main(argv: Sequence[str]) -> int:
    """0 when all that must hold held."""
    parser = argparse.ArgumentParser(prog="python -m load_tests faults", description=__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="may be given several times")
    parser.add_argument("--all", action="store_true", help="every fault")
    parser.add_argument("--times", type=int, default=3, help="how often each; of power cuts 500 times as many")
    parser.add_argument("--away", type=float, help="seconds that the store is away at most, such as 1200")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--history", type=Path, help="write what happened to this file")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    names = FAULTS if options.all or not options.fault else tuple(options.fault)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    say: Say = (lambda text: None) if options.json else print
    say(f"seed {seed}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mediasrv-faults-")))
        s3 = stack.enter_context(seaweed(directory / "s3")) if names != ("power_cut",) else None
        places = {name: _Place(directory / name, s3) for name in names}
        results = {name: _run(name, options, place, f"{seed} {name}", say) for name, place in places.items()}
    failed = [name for name, one in results.items() if "found" in one]
    lost = [one["worst_lost_s"] for one in results.values() if "worst_lost_s" in one]
    print_json(
        {
            "name": "faults",
            "machine": machine(),
            "seed": seed,
            "failed": failed,
            "worst_lost_s": max(lost, default=0.0),
            "faults": results,
        }
    )
    return 1 if failed else 0


class _Place(NamedTuple):
    """Where a fault has its turn, and the store that all share."""

    directory: Path
    s3: SeaweedServer | None


def _run(name: str, options: argparse.Namespace, place: _Place, seed: str, say: Say) -> dict[str, Any]:
    """What is to be said of one fault; `found` is what did not hold."""
    dice = random.Random(seed)
    say(f"{name}, {options.times} times")
    began = time.monotonic()
    try:
        result = (
            _power_cuts(options.times, dice, say) if name == "power_cut" else _live(name, options, place, dice, say)
        )
    except (FaultFound, RuntimeError) as error:
        say(f"FOUND: {error}")
        result = {"found": str(error)}
    return {"times": options.times, **result, "seconds": time.monotonic() - began}


def _power_cuts(times: int, dice: random.Random, say: Say) -> dict[str, Any]:
    # Each power cut makes the spool say that it has found a torn tail.
    logging.disable(logging.ERROR)
    try:
        cuts = times * CUTS // 3
        good = asyncio.run(power_cuts(cuts, dice, say))
        return good | {"with_failing_syncs": asyncio.run(power_cuts(cuts, dice, say, failing_syncs=0.5))}
    finally:
        logging.disable(logging.NOTSET)


def _live(name: str, options: argparse.Namespace, place: _Place, dice: random.Random, say: Say) -> dict[str, Any]:
    with ExitStack() as stack:
        overrides: dict[str, dict[str, Any]] = {}
        if name in DISK_FAULTS:
            disk = stack.enter_context(small_disk(place.directory / "disk"))
            overrides["spool"] = spool_on(disk)
        rig = stack.enter_context(
            running_rig(
                place.directory,
                dice,
                say,
                cameras=options.cameras,
                s3=place.s3,
                overrides=overrides,
                settable_clock=name == "clock_step",
            )
        )
        if options.away is not None:
            rig.away_s = options.away
        if options.history:
            stack.callback(_keep_history, rig, options.history)
        if name in ARCHIVE_FAULTS:
            return {"refused": asyncio.run(harm_archive(name, rig, options.times))}
        return strike(name, rig, options.times).as_json()


def strike(name: str, rig: Rig, times: int) -> Reckoning:
    """One fault of a running server so many times, judged in between and at the end. Raises FaultFound."""
    act, lost_most_s = (LIVE | DISK_FAULTS)[name]
    for number in range(1, times + 1):
        act(rig)
        rig.record_on(1.0)
        if number % _JUDGED_EVERY == 0 or number == 1:
            rig.judge(lost_most_s)
    found = rig.judge(lost_most_s)
    rig.settle()
    return found


def _keep_history(rig: Rig, path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in rig.history)
