"""What a worker process cannot do, tried from within one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mediasrv.transcoding.framing import Message, Ready
from mediasrv.transcoding.process import start_worker

ATTEMPTS = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from mediasrv.transcoding import confinement
confinement.bound(200 << 20, 3)
confined = confinement.confine() if "confine" in sys.argv else False
def refused(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    except (MemoryError, RuntimeError) as error:
        return type(error).__name__
    return "done"
print(json.dumps({
    "confined": confined,
    "open": refused(lambda: open("/etc/hostname").read()),
    "write": refused(lambda: open("/dev/null", "w")),
    "socket": refused(lambda: socket.socket()),
    "exec": refused(lambda: os.execv("/bin/true", ["true"])) if "confine" in sys.argv else "-",
    "fork": refused(lambda: os.fork() or os._exit(0)),
    "thread": refused(threading.Thread(target=int).start),
    "kill": refused(lambda: os.kill(os.getppid(), 0)),
    "memory": refused(lambda: bytearray(300 << 20)),
    "listing": refused(lambda: os.listdir("/")),
}), flush=True)
os._exit(0)
"""


def attempts(*arguments: str) -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, *arguments], capture_output=True, check=True, timeout=30, text=True
    )
    found = json.loads(run.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_confined_process_computes_and_nothing_else() -> None:
    found = attempts("confine")
    assert found.pop("confined") is True
    assert found.pop("memory") == "MemoryError"
    assert found.pop("thread") == "RuntimeError"
    assert set(found.values()) == {"EPERM"}, found


def test_what_is_tried_would_work_without() -> None:
    """Or the test above would prove nothing."""
    found = attempts()
    assert [found[name] for name in ("open", "socket", "fork", "thread", "kill", "listing")] == ["done"] * 6


@pytest.mark.parametrize("job", ["audio", "video", "jpeg"])
async def test_workers_are_confined_and_get_no_secret_of_the_server_s(
    job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIASRV_S3_SECRET_KEY", "a secret of this test")
    got: asyncio.Queue[Message] = asyncio.Queue(10)
    worker = await start_worker(job, 3, got.put_nowait)
    try:
        async with asyncio.timeout(20):
            assert await got.get() == Ready(confined=True)
        status = await asyncio.to_thread(Path(f"/proc/{worker.pid}/status").read_text)
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        stat = (await asyncio.to_thread(Path(f"/proc/{worker.pid}/stat").read_text)).rpartition(")")[2].split()
        assert int(stat[16]) == min(19, os.nice(0) + 3)
        if os.getuid() == 0:  # others may not look into a process that is not dumpable, which proves as much
            files = await asyncio.to_thread(
                lambda: [os.readlink(one) for one in Path(f"/proc/{worker.pid}/fd").iterdir()]
            )
            assert sorted(name.partition(":")[0] for name in files) == ["/dev/null", "/dev/null", "socket"]
            environment = await asyncio.to_thread(Path(f"/proc/{worker.pid}/environ").read_bytes)
            assert b"secret" not in environment.lower()
    finally:
        worker.kill()
        await worker.ended()
    assert not Path(f"/proc/{worker.pid}").exists()  # noqa: ASYNC240


async def test_a_worker_ends_with_the_server(tmp_path: Path) -> None:
    """However that ends: a worker that hangs would not notice a closed socket."""
    script = (
        "import asyncio, os, signal\n"
        "from mediasrv.transcoding.process import start_worker\n"
        "async def main():\n"
        "    ready = asyncio.Event()\n"
        "    worker = await start_worker('video', 0, lambda message: ready.set())\n"
        "    await ready.wait()\n"
        "    os.kill(worker.pid, signal.SIGSTOP)\n"
        "    print(worker.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, timeout=30, text=True
    )
    stat = Path(f"/proc/{int(run.stdout)}/stat")
    async with asyncio.timeout(10):
        while stat.exists() and ") Z" not in stat.read_text():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
