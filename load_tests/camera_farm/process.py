"""A camera farm in a process of its own, for tests and load tests."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import aiohttp

_ROOT: Final = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S: Final = 120.0
"""The first farm of a checkout encodes its clips."""
_STOP_TIMEOUT_S: Final = 5.0


def option_flags(options: Mapping[str, object]) -> list[str]:
    """Options of the command line by their names: `fault=["cam-1:drop@5"]`, `metadata="on"`; True is a bare flag."""
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, (list, tuple)):
            flags += [f"{flag}={one}" for one in value]
        else:
            flags.append(flag if value is True else f"{flag}={value}")
    return flags


class FarmProcess:
    """`async with FarmProcess(cameras=2, mode="load", gop=0.5) as farm:`; options: see `option_flags`.

    `cameras` are dictionaries as the control door gives them, from the moment of entering; ask again with
    `await farm.camera(id)` or `await farm.refresh()`.
    """

    def __init__(self, cameras: int = 1, mode: str = "load", **options: object) -> None:
        self._arguments = ["--cameras", str(cameras), "--mode", mode]
        self._arguments += option_flags(options)
        self.ready: dict[str, Any] = {}
        self.cameras: list[dict[str, Any]] = []
        self.key = b""
        self.username = self.password = ""

    async def __aenter__(self) -> FarmProcess:
        # A pipe as stdin, which nobody writes to: where this process is killed, the farm sees it close and ends too.
        command = [sys.executable, "-m", "load_tests.camera_farm", "--until-stdin-ends", *self._arguments]
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=_ROOT)
        self._http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                self.ready = await self._ready_line()
            await self.refresh()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _ready_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the camera farm ended with status {await self._process.wait()} before it was ready")
        ready: dict[str, Any] = json.loads(line)
        return ready

    async def stop(self) -> None:
        """Ends the process and waits for it; twice does no harm."""
        await self._http.close()
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def control_url(self) -> str:
        return str(self.ready["control_url"])

    @property
    def discovery_port(self) -> int | None:
        port: int | None = self.ready["discovery_port"]
        return port

    async def refresh(self) -> list[dict[str, Any]]:
        """Asks the control door for the state of every camera."""
        async with self._http.get(f"{self.control_url}/cameras") as answer:
            state = await answer.json()
        self.key = bytes.fromhex(state["key"])
        self.username, self.password = state["username"], state["password"]
        self.cameras = state["cameras"]
        return self.cameras

    async def camera(self, camera_id: str) -> dict[str, Any]:
        """The state of one camera now."""
        async with self._http.get(f"{self.control_url}/cameras/{camera_id}") as answer:
            answer.raise_for_status()
            state: dict[str, Any] = await answer.json()
            return state

    async def fault(self, camera_id: str, kind: str, **options: object) -> dict[str, Any]:
        """Makes something go wrong with a camera: see `faults.FAULTS`."""
        return await self._order(f"/cameras/{camera_id}/fault", {"kind": kind, **options})

    async def event(self, camera_id: str, topic: str, state: bool = True) -> dict[str, Any]:
        """Something happens before a camera, or is over: see `events.TOPICS`."""
        return await self._order(f"/cameras/{camera_id}/event", {"topic": topic, "state": state})

    async def _order(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        async with self._http.post(self.control_url + path, json=wish) as answer:
            answer.raise_for_status()
            state: dict[str, Any] = await answer.json()
            return state

    def url(self, camera_id: str, stream: str = "main", *, credentials: bool = False, tls: bool = False) -> str:
        """The RTSP or RTSPS URL of a stream; with credentials for tools that want them inside."""
        camera = next(camera for camera in self.cameras if camera["id"] == camera_id)
        url: str = camera["rtsps_urls"][stream] if tls else camera["streams"][stream]["url"]
        if not credentials:
            return url
        return url.replace("://", f"://{quote(camera['username'])}:{quote(camera['password'])}@", 1)


def expected_counters(log: dict[str, Any], *, from_keyframe: bool = True) -> list[int]:
    """The counters that a faithful reader of one session has, in order; `log` is one of a stream's `sessions`.

    The last one counts as expected: leave it out where the session was broken rather than ended.
    """
    first = log["first_keyframe"] if from_keyframe else log["first"]
    if first is None:
        return []
    missing = {counter for start, end in log["left_out"] for counter in range(start, end + 1)} | set(log["damaged"])
    return [counter for counter in range(first, log["last"] + 1) if counter not in missing]
