"""Faults that strike a running server. Each returns once the server is itself again; the rig judges."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from load_tests.faulting.reckoning import LOST_MOST_S
from load_tests.faulting.rig import Rig, Strike, pause
from load_tests.faulting.storage_proxy import Fault
from load_tests.stack import wait_for

SEEN_S: Final = 30.0
STOP_S: Final = (1.0, 30.0)
LOCKED_S: Final = 20.0
STEP_MOST_S: Final = 120.0


def kill(rig: Rig) -> None:
    """SIGKILL at a random point of a life that has durable footage."""
    after_s = rig.dice.uniform(0.0, 1.5)
    pause(after_s)
    rig.promise()
    rig.stack.server.kill()
    rig.note(fault="kill", after_s=round(after_s, 3))
    rig.stack.server.start()


def stop(rig: Rig, longest_s: float = STOP_S[1]) -> None:
    """The process stands still for 1 to 30 s, as under a debugger, a frozen disk or a suspended machine."""
    for_s = rig.dice.uniform(STOP_S[0], longest_s)
    rig.promise()
    os.kill(rig.stack.server.pid, signal.SIGSTOP)
    try:
        pause(for_s)
    finally:
        os.kill(rig.stack.server.pid, signal.SIGCONT)
    rig.note(fault="stop", for_s=round(for_s, 3))


def storage_fault(fault: Fault, code: str) -> Strike:
    """The store fails in one way, is named in the API while it does, and is caught up with afterwards."""

    def strike(rig: Rig) -> None:
        stored = rig.status["storage"]["objects_stored"]
        rig.fail_storage(fault)
        rig.end_objects()
        try:
            wait_for(lambda: rig.status["storage"]["condition"] == "failing", SEEN_S, lambda: str(rig.status))
            rig.record_on()
            wait_for(lambda: _reasons(rig) == {code}, SEEN_S, lambda: f"{fault}: the API says {_reasons(rig)}")
            pause(rig.dice.uniform(rig.away_s / 2, rig.away_s))
            rig.promise()
        finally:
            rig.fail_storage(Fault.NONE)
        rig.note(fault=str(fault), said=code)
        enough = stored + len(rig.stack.cameras)
        wait_for(lambda: _stored_again(rig, enough), SEEN_S + rig.away_s, lambda: str(rig.status))

    return strike


def _reasons(rig: Rig) -> set[str]:
    """Why footage is not stored, as the cameras' states say."""
    reasons = (main["recording"]["reason"] for main in rig.mains().values())
    return {reason["code"] for reason in reasons if reason}


def lost_answer(rig: Rig) -> None:
    """The store does what it was asked; nobody learns of it, nor of what was looked up then."""
    stored, seen = rig.status["storage"]["objects_stored"], rig.proxy.seen["PUT", Fault.LOSE_ANSWER]
    rig.fail_storage(Fault.LOSE_ANSWER)
    rig.end_objects()
    try:
        wait_for(lambda: rig.proxy.seen["PUT", Fault.LOSE_ANSWER] >= seen + 2, SEEN_S)
        pause(rig.dice.uniform(0.0, 2.0))
        rig.promise()
    finally:
        rig.fail_storage(Fault.NONE)
    rig.note(fault="s3_lost_answer", puts=rig.proxy.seen["PUT", Fault.LOSE_ANSWER] - seen)
    wait_for(lambda: _stored_again(rig, stored + len(rig.stack.cameras)), SEEN_S, lambda: str(rig.status))


def _stored_again(rig: Rig, objects: int) -> bool:
    storage = rig.status["storage"]
    return storage["condition"] == "ok" and bool(storage["objects_stored"] >= objects)


def catalogue_locked(rig: Rig, for_s: float = LOCKED_S) -> None:
    """Another process holds SQLite's write lock for 20 s, twice as long as a writer waits; sessions end meanwhile."""
    path = rig.stack.directory / "server" / "data" / "catalogue.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        rig.end_objects()
        rig.promise()
        pause(for_s)
        rig.promise()
        with contextlib.suppress(sqlite3.OperationalError):
            blocker.execute("ROLLBACK")
    rig.note(fault="catalogue_locked", for_s=for_s)


def clock_step(rig: Rig) -> None:
    """Somebody sets the server's clock, forward or back, by more than a second and less than what S3 bears, and back
    again. Never to before the grants were made by which this asks.
    """
    back = (datetime.now(UTC) - rig.began - timedelta(seconds=5)).total_seconds()
    by_s = rig.dice.choice(
        (rig.dice.uniform(2.0, STEP_MOST_S), -rig.dice.uniform(2.0, max(3.0, min(back, STEP_MOST_S))))
    )
    by = timedelta(seconds=by_s)
    rig.promise()
    for ahead in (by, timedelta()):
        rig.set_clock(ahead)
        rig.note(fault="clock_step", ahead_s=round(ahead.total_seconds(), 3))
        now = datetime.now(UTC) + timedelta(seconds=1.5)
        wait_for(lambda now=now: rig.durable_since(now), SEEN_S, lambda: str(rig.mains()))  # type: ignore[misc]
        rig.promise()


LIVE: Final[dict[str, tuple[Strike, float | None]]] = {
    "kill": (kill, LOST_MOST_S),
    # What the kernel took while the process stood still was not received by the process.
    "stop": (stop, None),
    "s3_down": (storage_fault(Fault.REFUSE, "storage_unreachable"), LOST_MOST_S),
    "s3_500": (storage_fault(Fault.ERROR_500, "storage_failed"), LOST_MOST_S),
    "s3_timeout": (storage_fault(Fault.HANG, "storage_timeout"), LOST_MOST_S),
    "s3_refuses": (storage_fault(Fault.DENY, "storage_refused"), LOST_MOST_S),
    "s3_lost_answer": (lost_answer, LOST_MOST_S),
    # Each step costs what comes until the next keyframe.
    "clock_step": (clock_step, None),
    "catalogue_locked": (catalogue_locked, LOST_MOST_S),
}
"""Each with what may be lost of what was received."""
