"""Network namespaces: a machine's network for one test, made by it and gone with it.

Needs root. A namespace's name holds the process that made it; what a crashed one left behind is removed by the next
that makes any, with all processes inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "msrv"
_FOLDER: Final = Path("/run/netns")
_COMMAND_S: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000
"""linux/sched.h."""
_numbers = itertools.count()


def unavailable() -> str:
    """Why no namespace can be made here, in a sentence; empty where one can."""
    if os.geteuid() != 0:
        return "Network namespaces need root."
    if not found("ip"):
        return "There is no `ip`: install Debian's package iproute2."
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False, timeout=_COMMAND_S)
    return "" if tried.returncode == 0 else "This machine allows no network namespace."


def found(program: str) -> bool:
    """Whether there is such a program, also where an administrator's are (which other accounts have not on PATH)."""
    return shutil.which(program) is not None or shutil.which(program, path="/usr/sbin:/sbin") is not None


class Namespace:
    """One network namespace. `prefix` before a command runs it inside."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix: tuple[str, ...] = ("ip", "netns", "exec", name)

    def run(self, *command: str, stdin: str = "") -> str:
        """Runs a short command inside; what it prints. Raises RuntimeError with what it complained of."""
        return run(*self.prefix, *command, stdin=stdin)

    def processes(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def remove(self) -> None:
        """Ends what runs inside, then the namespace; its links go with it."""
        with contextlib.suppress(RuntimeError):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(RuntimeError):
            run("ip", "netns", "delete", self.name)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace of its own with its loopback up. Raises RuntimeError where none can be made."""
    sweep()
    made = Namespace(f"{_PREFIX}-{os.getpid()}-{next(_numbers)}")
    run("ip", "netns", "add", made.name)
    try:
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        made.remove()


@contextmanager
def lone_namespace(address: str = "10.97.0.1") -> Iterator[Namespace]:
    """One that has `address` beside its loopback, for programs that leave loopback addresses out of their candidates.

    Nobody else is there: what is sent to the address stays inside.
    """
    with namespace() as made:
        made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        made.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "eth1"):
            made.run("ip", "link", "set", device, "up")
        yield made


def sweep() -> None:
    """Removes namespaces whose maker is no more."""
    for entry in _FOLDER.glob(f"{_PREFIX}-*-*") if _FOLDER.is_dir() else ():
        maker = entry.name.split("-")[1]
        if not Path(f"/proc/{maker}").exists():
            Namespace(entry.name).remove()


def run(*command: str, stdin: str = "") -> str:
    """What a command prints. Raises RuntimeError with what it complained of."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=_COMMAND_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def entered(where: Namespace) -> Iterator[None]:
    """This thread, and the processes that it starts, are in the namespace during the block. Other threads are not."""
    with open("/proc/thread-self/ns/net") as home, (_FOLDER / where.name).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
