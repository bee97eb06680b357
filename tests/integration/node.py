"""The whole server in the test's own process: what passes inside it can be counted.

Storage is away, so footage stays in the spool; all else is as `mediasrv serve` makes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.ports import free_ports
from load_tests.server import ATTESTED_BY, CameraAddress, toml_value
from mediasrv.app import Server, join_node
from mediasrv.cameras.views import CameraView, StreamView
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.offline import Offline, offline
from mediasrv.settings import Settings, parse_settings
from mediasrv.storage.object_store import ObjectStore

START_S: Final = 10.0
_SECRET: Final = "not asked by anybody"


@dataclass(frozen=True)
class Node:
    """`server` has the parts; `base` the catalogue and the accounts."""

    settings: Settings
    base: Offline
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.server.port}"

    def camera(self, camera_id: str) -> CameraView:
        return self.server.cameras.get(camera_id)

    def main(self, camera_id: str) -> StreamView:
        return self.camera(camera_id).streams[StreamName.MAIN]

    def mountpoint(self, camera_id: str) -> Mountpoint:
        return self.server.hub.mountpoint(StreamRef(camera_id, StreamName.MAIN))


@contextlib.asynccontextmanager
async def running_node(
    directory: Path,
    cameras: Sequence[CameraAddress] = (),
    before: Callable[[Node], None] = lambda _: None,
    **sections: Mapping[str, Any],
) -> AsyncIterator[Node]:
    """`sections` are those of the configuration, over what a test needs; the rest are the defaults.

    `before` is called before the first camera is pulled.
    """
    settings = _settings(directory, cameras, sections)
    collector = gc.get_threshold()
    try:
        async with offline(settings) as base, ObjectStore(settings.storage) as store:
            joined = await join_node(settings, base.catalogue)
            server, stop = Server(settings, base, store, joined), asyncio.Event()
            node = Node(settings, base, server)
            before(node)
            running = asyncio.create_task(server.run(stop))
            try:
                await until(lambda: running.done() or len(server.cameras.list()) == len(cameras), START_S)
                yield node
                assert not running.done(), "the server ended by itself"
            finally:
                stop.set()
                await running
                await joined.ownership.leave()
    finally:
        gc.unfreeze()  # the server calms the collector of its process, which is ours
        gc.set_threshold(*collector)


def _settings(directory: Path, cameras: Sequence[CameraAddress], sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    port, storage_port, rtsp_port, rtsps_port = free_ports(4)
    secret = directory / "secret"
    secret.write_text(_SECRET)
    document: dict[str, dict[str, Any]] = {
        "server": {"port": port, "data_dir": str(directory / "data"), "cameras_file": str(directory / "cameras.toml")},
        "storage": {
            "endpoint": f"http://127.0.0.1:{storage_port}",
            "access_key": f"file:{secret}",
            "secret_key": f"file:{secret}",
        },
        "webrtc": {"port": 0},
        "rtsp_serve": {"port": rtsp_port, "tls_port": rtsps_port},
        "pull": {"allowed_networks": ["127.0.0.0/8"]},
    }
    for name, values in sections.items():
        document.setdefault(name, {}).update(values)
    tables = [_camera_table(directory, camera) for camera in cameras]
    (directory / "cameras.toml").write_text("\n".join(tables), encoding="utf-8")
    return parse_settings(document)


def _camera_table(directory: Path, camera: CameraAddress) -> str:
    values: dict[str, Any] = {"id": camera.camera_id, "address": camera.address, "attested_by": ATTESTED_BY}
    values["recording"] = camera.recording
    if camera.username:
        password = directory / f"{camera.camera_id}.password"
        password.write_text(camera.password)
        values |= {"username": camera.username, "password": f"file:{password}"}
    return "[[camera]]\n" + "".join(f"{name} = {toml_value(value)}\n" for name, value in values.items())


async def until(condition: Callable[[], object], within_s: float, explain: Callable[[], object] = lambda: "") -> float:
    """How long it took until the condition held. Fails with `explain()` where it did not in time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < within_s, f"not within {within_s:g} s: {explain()}"
        await asyncio.sleep(0.01)
    return loop.time() - began
