"""A worker process as the server sees it: started, spoken to, killed, reaped. All of it in the loop's thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from mediasrv.errors import ProtocolError
from mediasrv.transcoding.framing import Consumed, Failed, Message, MessageReader, Ready, build_message

log = logging.getLogger(__name__)

OnMessage = Callable[[Message], None]
"""May raise ProtocolError for a message that makes no sense: that ends the worker. The last message is `Failed`."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_REAP_S: Final = 10.0


class Worker(Protocol):
    """What can be done with a worker."""

    def send(self, messages: Sequence[Message]) -> None:
        """Bounded by who calls it: a unit counts as under way until the worker says that it is consumed."""

    def kill(self) -> None:
        """At once, whatever it is doing; twice does no harm."""

    async def ended(self) -> None:
        """Returns when nothing is left of it, whoever ended it."""


StartWorker = Callable[[str, int, OnMessage], Awaitable[Worker]]
"""Starts a worker for a job (`worker.JOBS`) at this nice value; OSError where the system starts no process."""


@dataclass(slots=True)
class WorkerCounts:
    """What became of all workers for one job."""

    running: int = 0
    started: int = 0
    failed: int = 0
    """Ended without being told to, those that hung among them."""
    hung: int = 0
    dropped: int = 0
    """Access units that were left out because a worker fell behind."""
    damaged: int = 0
    """Access units that could not be decoded."""
    cpu_us: int = 0

    def consumed(self, said: Consumed, cpu_us: int) -> int:
        """Adds what a worker says; `cpu_us` is the CPU that it had told of before. The CPU that it tells of now."""
        self.damaged += said.damaged
        self.cpu_us += max(0, said.cpu_us - cpu_us)
        return said.cpu_us


class WorkerProcess(asyncio.Protocol):
    """`Worker` as a process; made by `start_worker`."""

    def __init__(self, process: subprocess.Popen[bytes], on_message: OnMessage) -> None:
        self.pid = process.pid
        self._process = process
        self._on_message = on_message
        self._reader = MessageReader()
        self._transport: asyncio.WriteTransport | None = None
        self._closed = asyncio.Event()

    def send(self, messages: Sequence[Message]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(map(build_message, messages)))

    def kill(self) -> None:
        self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def ended(self) -> None:
        await self._closed.wait()
        self._process.kill()  # whoever closes its socket has nothing left to do
        await asyncio.to_thread(self._process.wait, _REAP_S)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if isinstance(message, Failed):
                    log.warning("worker %d ends: %r", self.pid, message.sentence)
                elif isinstance(message, Ready) and not message.confined:
                    log.warning("worker %d is not confined: this system knows no seccomp for it", self.pid)
                self._on_message(message)
        except ProtocolError as error:
            log.warning("worker %d is ended: %s", self.pid, error.sentence)
            self.kill()
        except Exception:
            log.exception("worker %d is ended: what it sent could not be handled", self.pid)
            self.kill()

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()
        self._on_message(Failed("It is gone."))


async def start_worker(job: str, nice: int, on_message: OnMessage) -> WorkerProcess:
    """`StartWorker`. The process gets a socket, and nothing of this one: no other file, no environment."""
    ours, theirs = socket.socketpair()
    try:
        # Not asyncio's: libuv forks, which takes 20 ms of the loop beside 400 MB; this is vfork, and takes 0.5 ms.
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module
            [sys.executable, "-s", "-P", "-m", "mediasrv.transcoding.worker", job, str(nice)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": str(_ROOT)},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    worker = WorkerProcess(process, on_message)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
    except BaseException:
        ours.close()
        process.kill()
        await asyncio.to_thread(process.wait, _REAP_S)
        raise
    return worker
