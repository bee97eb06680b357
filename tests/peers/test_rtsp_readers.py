"""What the RTSP door serves, read by FFmpeg, by GStreamer and by our own client over every transport, in every codec.

Cameras of the farm are pulled into a hub and served from there: our own client must get every access unit as it came
in, byte for byte; the others must decode it without complaint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest

from load_tests.camera_farm.counters import read_counters, verify
from load_tests.stack import CameraFarm, running_farm
from mediasrv.media.access_unit import AccessUnit, StreamName, StreamRef, TrackKind
from mediasrv.rtsp_pull import RtspSource
from tests.integration.pull_rig import Pulled, pulling, until
from tests.integration.rtsp_rig import LOGIN, PASSWORD, Door, serving

SCRIPT = Path(__file__).with_name("gst_pull.py")
CAMERAS = {
    "cam-1": "codec=h264,audio=pcma",
    "cam-2": "codec=h265,audio=aac",
    "cam-3": "codec=h264,audio=opus,b-frames=2,slices=3",
    "cam-4": "codec=h265,audio=pcmu,sub-codec=h264",
    "cam-5": "codec=h264,audio=aac,in-band-sets=off",
    "cam-6": "codec=h264,audio=pcma,metadata=on,motion-every=1,motion-for=0.5",
}
SHAPE = {"width": 640, "height": 368, "bitrate": 600, "rate": 25, "gop": 1}
WAYS = ("tcp", "udp", "tls")
NO_PLUGINS = re.compile(r"no LADSPA plugins found")
B_PICTURES = re.compile(r"Non-monotonous DTS in output stream|^$")
"""FFmpeg guesses decoding times, which RTP does not tell; of the camera itself it says the same."""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    changes = [f"{one}:{options}" for one, options in CAMERAS.items()]
    log = tmp_path_factory.mktemp("farm") / "farm.log"
    with running_farm(log, cameras=len(CAMERAS), mode="load", set=changes, **SHAPE) as farm:
        yield farm


@contextlib.asynccontextmanager
async def served(
    farm: CameraFarm, directory: Path, camera_id: str, stream: StreamName = StreamName.MAIN
) -> AsyncIterator[tuple[Door, Pulled]]:
    """A door that serves what is pulled from this camera."""
    ref = StreamRef(camera_id, stream)
    _, url, username, password = farm.source(camera_id, stream)
    async with serving(directory) as door:
        door.access.cameras = {camera_id}
        source = RtspSource(url, username, password, "tcp")
        async with pulling(source, mountpoint=door.hub.mountpoint(ref)) as pulled:
            await until(lambda: bool(pulled.mountpoint.live and pulled.mountpoint.audio_format))
            yield door, pulled


def url_of(door: Door, camera_id: str, way: str, stream: str = "main", *, login: bool = False) -> str:
    return door.url(way, stream, login).replace("gate-1", camera_id)


@pytest.mark.parametrize("stream", [StreamName.MAIN, StreamName.SUB])
@pytest.mark.parametrize("way", ["tcp", "udp"])
@pytest.mark.parametrize("camera_id", sorted(CAMERAS))
async def test_our_own_client_gets_every_access_unit_as_it_came_in(
    farm: CameraFarm, tmp_path: Path, camera_id: str, way: str, stream: StreamName
) -> None:
    async with served(farm, tmp_path, camera_id, stream) as (door, pulled):
        source = RtspSource(url_of(door, camera_id, way, stream), LOGIN, PASSWORD, way)
        async with pulling(source) as read:
            await until(lambda: len(read.video) > 60 and len(read.audio) > 40, 20)
        assert_run(pulled.video, read.video)
        assert_run(pulled.audio, read.audio)
        sent, got = numbered(pulled.video, farm.key), numbered(read.video, farm.key)
        assert list(got) == list(range(min(got), min(got) + len(read.video)))
        assert read.video[0].keyframe
        assert {unit.format.codec for unit in read.video} == {unit.format.codec for unit in pulled.video}
        # Times are the camera's own, B pictures and all.
        common = [number for number in got if number in sent]
        for earlier, later in pairwise(common):
            apart = sent[later].pts - sent[earlier].pts
            assert got[later].pts - got[earlier].pts == pytest.approx(apart, abs=1)


def numbered(units: Sequence[AccessUnit], key: bytes) -> dict[int, AccessUnit]:
    """Pictures by the signed counter that each carries."""
    found = {}
    for unit in units:
        counter = read_counters(unit.payload)
        assert counter is not None
        assert verify(counter, key)
        found[counter.counter] = unit
    return found


async def test_documents_are_served_once_the_camera_has_sent_one(farm: CameraFarm, tmp_path: Path) -> None:
    async with served(farm, tmp_path, "cam-6") as (door, pulled):
        await until(lambda: pulled.mountpoint.has_metadata)
        async with pulling(RtspSource(url_of(door, "cam-6", "tcp"), LOGIN, PASSWORD, "tcp")) as read:
            await until(lambda: len(documents(read)) > 2)
        sent, got = documents(pulled), documents(read)
        assert got
        assert all(b"MetadataStream" in document for document in got)
        assert set(got) <= set(sent)


def documents(pulled: Pulled) -> list[bytes]:
    return [unit.payload for unit in pulled.units if unit.format.kind is TrackKind.METADATA]


def assert_run(sent: Sequence[AccessUnit], read: Sequence[AccessUnit]) -> None:
    """What was read is a run of what was sent; a keyframe that lacked parameter sets may have got them on the way."""
    have, got = [unit.payload for unit in sent], [unit.payload for unit in read]
    starts = [at for at in range(len(have)) if got[0].endswith(have[at])]
    assert any(
        all(mine.endswith(theirs) for mine, theirs in zip(got, have[at:], strict=False))
        for at in starts
        if len(have) - at >= len(got) - 1
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("camera_id", sorted(CAMERAS))
async def test_ffmpeg_decodes_it_without_complaint(farm: CameraFarm, tmp_path: Path, camera_id: str, way: str) -> None:
    async with served(farm, tmp_path, camera_id) as (door, _):
        url = url_of(door, camera_id, way, login=True)
        lower = "udp" if way == "udp" else "tcp"
        trusted = ("-ca_file", str(tmp_path / "rtsps.crt")) if way == "tls" else ()
        said, complaints = await run(
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "warning", "-rtsp_transport", lower, *trusted),
            *("-i", url),
            *("-t", "2", "-fps_mode", "passthrough", "-f", "framecrc", "-"),
        )
        assert [one for one in complaints if not ("b-frames" in CAMERAS[camera_id] and B_PICTURES.search(one))] == []
        found = [line.split(",")[0] for line in said.splitlines() if line[:1].isdigit()]
        assert 45 <= found.count("0") <= 55
        assert 70 <= found.count("1") <= 105
        assert door.serve.counters.overruns == 0
        await until(lambda: not door.serve.connections)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("camera_id", sorted(CAMERAS))
async def test_gstreamer_decodes_it_without_complaint(
    farm: CameraFarm, tmp_path: Path, camera_id: str, way: str
) -> None:
    async with served(farm, tmp_path, camera_id) as (door, _):
        url, lower = url_of(door, camera_id, way), "udp" if way == "udp" else "tcp"
        said, complaints = await run(
            *("/usr/bin/python3", str(SCRIPT), url, LOGIN, PASSWORD, lower, "40", "60"),
            GST_DEBUG="1",
            GST_DEBUG_NO_COLOR="1",
        )
        assert complaints == []
        found = json.loads(said)
        assert found["complaints"] == []
        assert found["video"] >= 40
        assert found["audio"] >= 60


async def run(*command: str, **environment: str) -> tuple[str, list[str]]:
    """What it says, and the lines that it complains in."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(40):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return output.decode(), [line for line in errors.decode().splitlines() if line and not NO_PLUGINS.search(line)]
