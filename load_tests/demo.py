"""`make demo`: a real S3 server, simulated cameras, the server and its page, in processes of their own.

Everything it makes lies in `.demo/`, and is kept for the next start: keys, accounts, footage, ports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from load_tests.seaweed import SeaweedServer, start_seaweed
from load_tests.server import ApiClient, ServerFiles, ServerProcess, new_password
from load_tests.stack import CameraFarm

ROOT: Final = Path(".demo")
ACCESS: Final = ROOT / "access.json"
STATE: Final = ROOT / "state.json"
USERNAME: Final = "demo"
LIVE_S: Final = 60.0


def main(argv: Sequence[str]) -> int:
    """`start [--detach] [--port N] [--cameras N]` or `stop`."""
    parser = argparse.ArgumentParser(prog="python -m load_tests demo")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start")
    start.add_argument("--port", type=int, default=8080)
    start.add_argument("--cameras", type=int, default=4)
    start.add_argument("--detach", action="store_true")
    commands.add_parser("stop")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "stop":
            return _stop()
        if arguments.detach:
            return _start_detached(arguments.port, arguments.cameras)
        return _run(arguments.port, arguments.cameras)
    except DemoFailed as failed:
        print(f"\nThe demo did not start: {failed}", file=sys.stderr)
        return 1


class DemoFailed(Exception):
    """Why there is no demo, in a plain sentence."""


@dataclass(slots=True)
class State:
    """The secrets, which stay the same from one start to the next. Kept in a file of mode 0600."""

    s3_access_key: str
    s3_secret_key: str
    camera_password: str
    password: str
    token: str = ""

    @classmethod
    def load(cls) -> State:
        if STATE.exists():
            return cls(**json.loads(STATE.read_text(encoding="utf-8")))
        return cls(
            s3_access_key=secrets.token_hex(8),
            s3_secret_key=secrets.token_hex(20),
            camera_password=new_password(),
            password=new_password(),
        )

    def save(self) -> None:
        _write_private(STATE, {name: getattr(self, name) for name in self.__slots__})


def _run(port: int, cameras: int) -> int:
    """Runs the demo in the foreground until Ctrl-C, SIGTERM or the end of one of its processes."""
    _refuse_second_demo()
    ROOT.mkdir(mode=0o700, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack:
        # A second Ctrl-C while things end would leave them running.
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_DFL)
        try:
            server = _start_all(stack, port, cameras)
            _wait_for_the_end(server)
            return 0
        except KeyboardInterrupt:
            return 0
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ACCESS.unlink(missing_ok=True)
            _say("\nStopping; footage and accounts stay in .demo/ for the next start ...")


def _start_all(stack: contextlib.ExitStack, port: int, cameras: int) -> ServerProcess:
    state = State.load()
    with _step("Starting the S3 server (SeaweedFS)"):
        s3 = start_seaweed(ROOT / "s3", keys=(state.s3_access_key, state.s3_secret_key))
        stack.callback(s3.stop)
    with _step(f"Starting {cameras} simulated ONVIF cameras"):
        farm = _start_cameras(cameras, state.camera_password)
        stack.callback(farm.stop)
    # The simulated cameras answer on loopback, which multicast does not reach on every machine.
    discovery = {"onvif": {"discovery_targets": ["127.0.0.1:3702"]}}
    files = ServerFiles(ROOT / "server", s3, farm.addresses(), port, overrides=discovery)
    files.write()
    if not state.token:
        with _step("Making the account"):
            state.token = files.make_account(USERNAME, state.password, "demo")
    state.save()
    server = ServerProcess(files)
    with _step("Starting mediasrv"):
        try:
            server.start()
        except RuntimeError as error:
            raise DemoFailed(str(error)) from error
        stack.callback(server.stop)
    client = ApiClient(files.url, state.token)
    with _step("Waiting for the cameras"):
        live = _wait_until_live(client, server, cameras)
    _write_access(state, server, farm, s3)
    _announce(state, files.url, live, cameras)
    return server


def _start_cameras(cameras: int, password: str) -> CameraFarm:
    try:
        return CameraFarm(
            ROOT / "cameras.log",
            cameras=cameras,
            mode="demo",
            password=password,
            audio="mixed",
            discovery_port=3702,
            motion_every=45,
            motion_for=6,
        )
    except RuntimeError as error:
        raise DemoFailed(str(error)) from error


def _wait_until_live(client: ApiClient, server: ServerProcess, cameras: int) -> int:
    deadline = time.monotonic() + LIVE_S
    live = 0
    while time.monotonic() < deadline and live < cameras:
        if not server.running():
            raise DemoFailed(f"the server ended:\n{server.log_tail()}")
        states = [camera["streams"]["main"] for camera in client.cameras().values()]
        live = sum(one["state"] == "live" and one["recording"]["state"] == "recording" for one in states)
        time.sleep(0.2)
    return live


def _write_access(state: State, server: ServerProcess, farm: CameraFarm, s3: SeaweedServer) -> None:
    access = {
        "url": server.files.url,
        "username": USERNAME,
        "password": state.password,
        "token": state.token,
        "cameras": [one["id"] for one in farm.cameras],
        "camera_urls": {one["id"]: one["onvif_address"] for one in farm.cameras},
        "camera_control": farm.control_url,
        "server_pid": server.pid,
        "demo_pid": os.getpid(),
        "s3": {
            "endpoint": s3.endpoint,
            "bucket": "mediasrv-footage",
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
        },
    }
    _write_private(ACCESS, access)


def _announce(state: State, url: str, live: int, cameras: int) -> None:
    if live < cameras:
        _say(f"\n{cameras - live} of {cameras} cameras are not live and recording yet; the page says why.")
    _say(f"\n  Open      {url}\n  Account   {USERNAME}\n  Password  {state.password}\n")
    _say("Ctrl-C stops everything; footage and accounts stay in .demo/.")


def _wait_for_the_end(server: ServerProcess) -> None:
    while server.running():
        time.sleep(0.5)
    raise DemoFailed(f"the server ended:\n{server.log_tail()}")


def _start_detached(port: int, cameras: int) -> int:
    _refuse_second_demo()
    ROOT.mkdir(mode=0o700, exist_ok=True)
    log_path = ROOT / "demo.log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "load_tests.demo", "start", "--port", str(port), "--cameras", str(cameras)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    while child.poll() is None and not ACCESS.exists():
        time.sleep(0.2)
    sys.stdout.write(log_path.read_text(encoding="utf-8", errors="replace"))
    if child.poll() is not None:
        return 1
    _say(f"Running in the background; `make demo-stop` ends it, {log_path} has its log.")
    return 0


def _stop() -> int:
    pid = _running_demo()
    if pid is None:
        _say("No demo is running.")
        return 0
    os.kill(pid, signal.SIGTERM)
    while _alive(pid):
        time.sleep(0.1)
    _say("The demo has stopped.")
    return 0


def _running_demo() -> int | None:
    try:
        pid = int(json.loads(ACCESS.read_text(encoding="utf-8"))["demo_pid"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return pid if _alive(pid) else None


def _alive(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"load_tests" in arguments


def _refuse_second_demo() -> None:
    pid = _running_demo()
    if pid is not None:
        raise DemoFailed(f"one is running already (process {pid}); `make demo-stop` ends it.")
    ACCESS.unlink(missing_ok=True)


def _write_private(path: Path, document: object) -> None:
    # Written beside and renamed: whoever waits for the file never reads half of it.
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(document, out, indent=2)
    beside.rename(path)


@contextlib.contextmanager
def _step(title: str) -> Iterator[None]:
    print(f"{title} ... ", end="", flush=True)
    began = time.monotonic()
    yield
    _say(f"{time.monotonic() - began:.1f} s")


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
