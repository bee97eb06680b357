"""The whole server: a login made over the API, cameras read over RTSP with the rights of an account, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import imageio_ffmpeg
import pytest

from load_tests.stack import CameraFarm, running_farm
from mediasrv.catalogue.accounts import list_grants
from mediasrv.media.access_unit import StreamName
from mediasrv.security.access_log import read_entries
from tests.integration.node import Node, running_node, until
from tests.integration.rtsp_client import Client, connecting


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    log = tmp_path_factory.mktemp("farm") / "farm.log"
    shape = {"width": 320, "height": 240, "bitrate": 300, "rate": 25, "gop": 1, "audio": "pcma"}
    with running_farm(log, cameras=2, mode="load", **shape) as farm:
        yield farm


@dataclass
class Served:
    node: Node
    http: aiohttp.ClientSession
    token: str
    login: tuple[str, str]
    cameras: list[str]

    @property
    def rtsp_port(self) -> int:
        return self.node.settings.rtsp_serve.port

    @contextlib.asynccontextmanager
    async def reader(self, path: str) -> AsyncIterator[Client]:
        async with connecting(self.rtsp_port, *self.login, path) as client:
            yield client

    async def call(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.http.request(method, path, headers=headers, **options) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def log(self) -> list[tuple[str, str]]:
        entries = await self.node.base.catalogue.read(read_entries, 1000)
        return [(entry.action, entry.subject) for entry in reversed(entries)]


@pytest.fixture
async def served(farm: CameraFarm, tmp_path: Path) -> AsyncIterator[Served]:
    async with running_node(tmp_path, farm.addresses()) as node, aiohttp.ClientSession(node.url) as http:
        cameras = [camera["id"] for camera in farm.cameras]
        accounts = node.base.accounts
        await accounts.create_user("lan", None)
        await accounts.grant("lan", "viewer", purpose="test")
        made = Served(node, http, await accounts.create_token("lan", "test"), ("", ""), cameras)
        login = await made.call("POST", "/api/v1/rtsp-logins", json={"name": "VMS"})
        made.login = (login["username"], login["password"])
        await until(lambda: node.mountpoint(cameras[0]).live, 20)
        yield made


async def test_a_reader_is_logged_counted_and_read_by_name(served: Served) -> None:
    camera = served.cameras[0]
    async with served.reader(f"/{camera}") as main, served.reader(f"/{camera}/sub") as sub:
        for client in (main, sub):
            assert (await client.play()).status == 200
            await client.read_packets(30)
        assert [(one.ref.stream, one.state) for one in served.node.server.rtsp.readers()] == [
            (StreamName.MAIN, "live"),
            (StreamName.SUB, "live"),
        ]
        async with served.http.get("/metrics") as answer:
            text = await answer.text()
        assert f'mediasrv_viewers{{camera="{camera}",stream="main"}} 1' in text
        assert f'mediasrv_viewers{{camera="{camera}",stream="sub"}} 1' in text
        assert "mediasrv_rtsp_readers_total 2" in text
        assert served.login[1] not in text
        log = await served.log()
        assert log[-2:] == [("live.started", f"{camera}/main"), ("live.started", f"{camera}/sub")]
    await until(lambda: not served.node.server.rtsp.readers(), 2)


@pytest.mark.parametrize("how", ["grant", "login", "account"])
async def test_what_is_revoked_ends_readers_within_five_seconds(served: Served, how: str) -> None:
    camera = served.cameras[0]
    async with served.reader(f"/{camera}/main") as client, served.reader(f"/{camera}/main") as other:
        await client.play()
        await other.play()
        accounts, ended = served.node.base.accounts, ("live.ended", f"{camera}/main")
        if how == "grant":
            for grant in await served.node.base.catalogue.read(list_grants):
                await accounts.revoke_grant(grant.grant_id)
        elif how == "login":
            listed = await served.call("GET", "/api/v1/rtsp-logins")
            await served.call("DELETE", f"/api/v1/rtsp-logins/{listed['rtsp_logins'][0]['id']}")
        else:
            await accounts.disable_user("lan")
        began = asyncio.get_running_loop().time()
        for one in (client, other):
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    await one.reader.read(-1)
        assert asyncio.get_running_loop().time() - began < 5
        await until(lambda: not served.node.server.rtsp.readers(), 1)
        async with asyncio.timeout(2):
            while [entry for entry in await served.log() if entry[0] == "live.ended"] != [ended] * 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    async with served.reader(f"/{camera}/main") as again:
        assert (await again.ask("DESCRIBE")).status in (401, 404)


async def test_a_reader_that_was_killed_is_freed_and_a_stream_on_demand_goes_down_again(served: Served) -> None:
    camera = served.cameras[0]
    username, password = served.login
    url = f"rtsp://{username}:{password}@127.0.0.1:{served.rtsp_port}/{camera}/sub"
    process = await asyncio.create_subprocess_exec(
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", url),
        *("-c", "copy", "-f", "null", "-"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: any(one.state == "live" for one in served.node.server.rtsp.readers()), 15)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await until(lambda: not served.node.server.rtsp.connections, 5)
    ref = served.node.mountpoint(camera).ref._replace(stream=StreamName.SUB)
    assert served.node.server.hub.mountpoint(ref).subscribers == 0


async def test_readers_stay_while_the_camera_is_lost(served: Served, farm: CameraFarm) -> None:
    camera = served.cameras[1]
    await until(lambda: served.node.mountpoint(camera).live, 20)
    async with served.reader(f"/{camera}/main") as client:
        await client.play()
        await client.read_packets(30)
        farm.fault(camera, "drop")
        await until(lambda: not served.node.mountpoint(camera).live, 10)
        away_s = await until(lambda: served.node.mountpoint(camera).live, 20)
        await client.read_packets(100)
    video = [data for channel, data in client.packets if channel == 0]
    sequences = [int.from_bytes(packet[2:4], "big") for packet in video]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(sequences))
    assert len({packet[8:12] for packet in video}) == 1
    times = [int.from_bytes(packet[4:8], "big") for packet in video]
    steps = [(later - earlier) & 0xFFFFFFFF for earlier, later in itertools.pairwise(times)]
    assert all(step < 1 << 31 for step in steps)
    assert max(steps) / 90_000 == pytest.approx(away_s, abs=0.5)
    assert sorted(steps)[-2] < away_s / 2 * 90_000, "there is one outage"


async def test_a_camera_that_is_away_is_said_to_be_with_its_reason(served: Served, farm: CameraFarm) -> None:
    camera = served.cameras[1]
    await until(lambda: served.node.mountpoint(camera).live, 20)
    farm.fault(camera, "offline")
    try:
        await until(lambda: served.node.main(camera).state == "retrying", 20)
        async with served.reader(f"/{camera}/main") as client:
            answer = await client.ask("DESCRIBE")
            assert answer.status == 503
            assert answer.header("x-reason").partition(":")[0] in ("port_closed", "camera_lost", "host_unreachable")
    finally:
        farm.fault(camera, "online")
