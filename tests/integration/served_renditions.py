"""The whole server before cameras that send what not every viewer takes: for tests of what is made for them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from load_tests.stack import CameraFarm, running_farm
from mediasrv.media.access_unit import Codec, StreamName, StreamRef
from tests.integration.node import Node, running_node

USERNAME, PASSWORD = "an", "watches over the gate"
LINGER_S = 1.0
MAIN_SIZE, SUB_SIZE = (960, 540), (640, 360)
HEVC = ("cam-1", "cam-2", "cam-3")
MIXED, AAC, PCMA, OPUS = "cam-4", "cam-5", "cam-6", "cam-7"
SETS = [
    "cam-1..4:codec=h265",
    f"{MIXED}:sub-codec=h264",
    f"{AAC}:audio=aac",
    f"{PCMA}:audio=pcma",
    f"{OPUS}:codec=h265,audio=opus",
]


def odd_cameras(directory: Path) -> AbstractContextManager[CameraFarm]:
    """`HEVC` is H.265, `MIXED` in the main stream alone, `OPUS` too; the others are H.264. Three have sound."""
    width, height = MAIN_SIZE
    shape = {"width": width, "height": height, "rate": 15, "bitrate": 600, "gop": 1, "audio": "none"}
    return running_farm(directory / "farm.log", cameras=7, mode="load", set=SETS, **shape)


@dataclass(frozen=True)
class Served:
    """`token` may watch, as may who logs in as `USERNAME`."""

    node: Node
    token: str

    @property
    def made(self) -> list[tuple[StreamRef, Codec]]:
        """What is transcoded now, and into what."""
        return sorted((source.ref, target) for source, target in self.node.server.transcoder._transcodes)

    @property
    def workers(self) -> dict[str, int]:
        """Processes by what they transcode."""
        return {name: counts.running for name, counts in self.node.server.transcoder.counts.items()}

    @property
    def started(self) -> dict[str, int]:
        """How many processes there ever were."""
        return {name: counts.started for name, counts in self.node.server.transcoder.counts.items()}


@contextlib.asynccontextmanager
async def serving(directory: Path, farm: CameraFarm, **transcode: int) -> AsyncIterator[Served]:
    """Nothing is recorded: cameras are pulled while somebody watches."""
    cameras = [replace(camera, recording={"mode": "off"}) for camera in farm.addresses()]
    settings = {"linger_s": LINGER_S, **transcode}
    async with running_node(directory, cameras, transcode=settings) as node:
        accounts = node.base.accounts
        await accounts.create_user(USERNAME, PASSWORD)
        await accounts.grant(USERNAME, "viewer", purpose="test")
        yield Served(node, await accounts.create_token(USERNAME, "test"))


def main(camera_id: str) -> StreamRef:
    return StreamRef(camera_id, StreamName.MAIN)
