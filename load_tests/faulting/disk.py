"""A spool on a small disk of its own, to be filled: a tmpfs, which needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from load_tests.faulting.reckoning import LOST_MOST_S
from load_tests.faulting.rig import FaultFound, Rig, Strike, pause
from load_tests.stack import wait_for

DISK_BYTES: Final = 24 << 20
SEEN_S: Final = 30.0
_PIECE: Final = 4096


@contextmanager
def small_disk(directory: Path, size_bytes: int = DISK_BYTES) -> Iterator[Path]:
    """A file system of that size. Raises RuntimeError where this process may not mount one."""
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def spool_on(disk: Path) -> dict[str, Any]:
    """Settings of a spool there, which keeps what it has when somebody else takes the disk."""
    return {"directory": str(disk / "spool"), "queue_bytes": 1 << 20, "disk_share": 1.0}


def fill(path: Path, leave_bytes: int) -> None:
    """Another program takes the whole disk but for `leave_bytes`."""
    room = os.statvfs(path.parent)
    size = max(0, room.f_bavail * room.f_frsize - leave_bytes) // _PIECE * _PIECE
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, _PIECE))


def _filler(rig: Rig) -> Path:
    """Beside the spool, on its disk."""
    spool = rig.stack.server.files.overrides["spool"]["directory"]
    return Path(spool).with_name("somebody-elses")


def disk_full(rig: Rig) -> None:
    """The disk fills, with so little left that any write of the spool may be the one that finds it full; it is full for
    longer than the queue lasts, or not; then there is room again.
    """
    filler = _filler(rig)
    leave, for_s = rig.dice.randrange(200_000), rig.dice.uniform(1.0, 8.0)
    fill(filler, leave)
    try:
        # Half of the faults end before anything of them is seen.
        if for_s > 4.0:
            wait_for(lambda: rig.status["spool"]["condition"] == "failing", SEEN_S, lambda: str(rig.status))
            said = rig.status["spool"]["reason"]["code"]
            if said != "spool_full":
                raise FaultFound(f"the disk is full, and the API says {said}")
        rig.promise()
        pause(for_s)
        rig.promise()
    finally:
        filler.unlink()
    rig.note(fault="disk_full", for_s=round(for_s, 3), left_bytes=leave)
    wait_for(lambda: rig.status["spool"]["condition"] == "ok", SEEN_S, lambda: str(rig.status))


def disk_full_and_killed(rig: Rig) -> None:
    """The server dies while its disk is full: what was acknowledged is still there."""
    filler = _filler(rig)
    fill(filler, rig.dice.randrange(200_000))
    try:
        wait_for(lambda: rig.status["spool"]["condition"] == "failing", SEEN_S, lambda: str(rig.status))
        pause(rig.dice.uniform(0.0, 0.5))
        rig.promise()
        rig.stack.server.kill()
    finally:
        filler.unlink()
    rig.note(fault="disk_full, killed")
    rig.stack.server.start()


# What the spool holds in memory while its disk is full is lost with the process: how much that is, is said.
DISK_FAULTS: Final[dict[str, tuple[Strike, float | None]]] = {
    "disk_full": (disk_full, LOST_MOST_S),
    "disk_full_killed": (disk_full_and_killed, None),
}
