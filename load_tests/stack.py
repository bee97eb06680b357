"""Everything at once, in processes of their own: an S3 server, a camera farm and mediasrv.

For load tests and for tests that need the whole; blocking, so that it can be started from anywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from load_tests.camera_farm.process import option_flags
from load_tests.child import end
from load_tests.seaweed import SeaweedServer, seaweed
from load_tests.server import ApiClient, CameraAddress, ServerFiles, ServerProcess, new_password

T = TypeVar("T")
LIVE_S: Final = 60.0


class CameraFarm:
    """`python -m load_tests.camera_farm` as a child. Options: see `option_flags`.

    Raises RuntimeError where it does not come up.
    """

    def __init__(self, log_path: Path, **options: object) -> None:
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "load_tests.camera_farm", *option_flags(options)],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise RuntimeError(f"the simulated cameras ended at once; see {log_path}")
        ready = json.loads(line)
        self.control_url = str(ready["control_url"])
        self.cameras: list[dict[str, Any]] = ready["cameras"]
        state = self.state()
        self.key = bytes.fromhex(state["key"])
        self._logins = {one["id"]: (one["username"], one["password"]) for one in state["cameras"]}

    def state(self) -> dict[str, Any]:
        """What the control door says of all cameras now."""
        state: dict[str, Any] = self._call("/cameras")
        return state

    def camera(self, camera_id: str) -> dict[str, Any]:
        state: dict[str, Any] = self._call(f"/cameras/{camera_id}")
        return state

    def url(self, camera_id: str, stream: str = "main") -> str:
        """The RTSP URL of a stream, login and all."""
        _, address, *login = self.source(camera_id, stream)
        username, password = (quote(word, safe="") for word in login)
        return address.replace("rtsp://", f"rtsp://{username}:{password}@", 1)

    def source(self, camera_id: str, stream: str = "main") -> tuple[str, str, str, str]:
        """Camera, RTSP URL, user name and password."""
        address = next(one["urls"][stream] for one in self.cameras if one["id"] == camera_id)
        return camera_id, str(address), *self._logins[camera_id]

    def sessions(self, camera_id: str, stream: str = "main") -> list[dict[str, Any]]:
        """The farm's log of RTSP sessions with one stream."""
        log: list[dict[str, Any]] = self.camera(camera_id)["streams"][stream]["sessions"]
        return log

    def flows(self, camera_id: str) -> bool:
        """Whether anybody has had a picture of the main stream."""
        return any(session["first_keyframe"] is not None for session in self.sessions(camera_id))

    def fault(self, camera_id: str, kind: str, **options: object) -> None:
        self._call(f"/cameras/{camera_id}/fault", {"kind": kind, **options})

    def event(self, camera_id: str, topic: str, state: bool = True) -> None:
        self._call(f"/cameras/{camera_id}/event", {"topic": topic, "state": state})

    def addresses(self) -> list[CameraAddress]:
        """The cameras as mediasrv is told of them: by ONVIF address and credentials."""
        return [
            CameraAddress(one["id"], one["onvif_address"], one["name"], *self._logins[one["id"]])
            for one in self.cameras
        ]

    def stop(self) -> None:
        end(self.process, 5)
        if self.process.stdout:
            self.process.stdout.close()

    def _call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control_url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http on loopback
            return json.loads(answer.read())


@contextmanager
def running_farm(log_path: Path, **options: object) -> Iterator[CameraFarm]:
    """The cameras, ended with the block."""
    farm = CameraFarm(log_path, **options)
    try:
        yield farm
    finally:
        farm.stop()


@dataclass(frozen=True, slots=True)
class Stack:
    """What is running; `username` and `password` log in to the page, `client` speaks to the API."""

    directory: Path
    s3: SeaweedServer
    farm: CameraFarm
    server: ServerProcess
    client: ApiClient
    username: str
    password: str

    @property
    def url(self) -> str:
        return self.server.files.url

    @property
    def cameras(self) -> list[str]:
        return [camera["id"] for camera in self.farm.cameras]

    def wait_until_recording(self) -> None:
        """Until every camera is live and recording. Raises RuntimeError with their states."""

        def ready() -> bool:
            mains = [camera["streams"]["main"] for camera in self.client.cameras().values()]
            return bool(mains) and all(
                main["state"] == "live" and main["recording"]["state"] == "recording" for main in mains
            )

        wait_for(ready, LIVE_S, lambda: f"{self.client.cameras()}\n{self.server.log_tail()}")


@contextmanager
def running_stack(
    directory: Path,
    farm_options: Mapping[str, object],
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    s3: SeaweedServer | None = None,
    *,
    cameras_in_file: bool = True,
    program: Sequence[str] = ("mediasrv",),
) -> Iterator[Stack]:
    """Starts all three (or two, where there is an S3 server already), and ends them.

    `program` is run instead of `mediasrv`.
    Without `cameras_in_file` the server knows no camera until one is added over the API, which may then change it.
    """
    with ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        if s3 is None:
            s3 = stack.enter_context(seaweed(directory / "s3"))
        farm = stack.enter_context(running_farm(directory / "cameras.log", **farm_options))
        declared = farm.addresses() if cameras_in_file else []
        files = ServerFiles(directory / "server", s3, declared, overrides=overrides or {})
        files.write()
        password = new_password()
        token = files.make_account("demo", password, "test")
        server = ServerProcess(files, program)
        server.start()
        stack.callback(server.stop)
        yield Stack(directory, s3, farm, server, ApiClient(files.url, token), "demo", password)


def wait_for(
    condition: Callable[[], T], timeout_s: float, explain: Callable[[], str] = lambda: "", step_s: float = 0.1
) -> T:
    """The first true value of `condition`. Raises RuntimeError with `explain()` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout_s:.0f} s: {explain()}")
        time.sleep(step_s)
