"""ipycam as an ONVIF camera: a device that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv import onvif
from mediasrv.errors import CameraError
from mediasrv.onvif.envelope import find
from mediasrv.onvif.ptz_desk import PtzCamera
from mediasrv.settings import OnvifSettings
from tests.integration.onvif_rig import fleet_of

SCRIPT = Path(__file__).with_name("ipycam_camera.py")
LOOPBACK = ("127.0.0.0/8",)


@contextlib.asynccontextmanager
async def ipycam(username: str = "", password: str = "") -> AsyncIterator[str]:
    """A camera in a process and a directory of its own, where it keeps its presets; yields its ONVIF address."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    directory = tempfile.TemporaryDirectory()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), username, password, stdin=pipe, stdout=pipe, stderr=null, cwd=directory.name
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            port = int(await process.stdout.readline())
        yield f"127.0.0.1:{port}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        directory.cleanup()


@pytest.mark.parametrize(("username", "password"), [("", ""), ("admin", "s3cret pass")])
async def test_a_camera_by_ipycam_is_read_and_its_streams_are_picked(username: str, password: str) -> None:
    async with ipycam(username, password) as address:
        device = await onvif.read_device(address, username, password, OnvifSettings(), LOOPBACK)
        picked = onvif.pick_streams(device)
        assert (device.manufacturer, device.model) == ("PythonCam", "VirtualCam-1")
        assert device.replaced_host == ""
        assert (picked.main.name, picked.main.width, picked.main.height) == ("MainStream", 640, 360)
        assert picked.sub is not None
        assert (picked.sub.name, picked.sub.width, picked.sub.height) == ("SubStream", 320, 180)


async def test_ipycam_refuses_a_wrong_password_and_we_say_so() -> None:
    async with ipycam("admin", "right") as address:
        for username, password, code in (("admin", "wrong", "credentials_wrong"), ("", "", "credentials_missing")):
            with pytest.raises(CameraError) as caught:
                await onvif.read_device(address, username, password, OnvifSettings(), LOOPBACK)
            assert caught.value.code == code


async def test_the_stream_addresses_that_ipycam_gives_are_streams() -> None:
    async with ipycam() as address:
        picked = onvif.pick_streams(await onvif.read_device(address, "", "", OnvifSettings(), LOOPBACK))
        assert picked.sub is not None
        for profile in (picked.main, picked.sub):
            command = ("ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json", profile.url)
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            async with asyncio.timeout(25):
                out, _ = await process.communicate()
            [video] = json.loads(out)["streams"]
            assert (video["codec_name"], video["width"]) == ("h264", profile.width)


async def test_ipycam_is_looked_after_and_moved() -> None:
    """Clock, states of its services, and a dome that turns: by its own account of where it looks."""
    async with ipycam("admin", "s3cret pass") as address, fleet_of() as rig:
        camera = rig.fleet
        camera.start("peer", address, lambda: onvif.Login("admin", "s3cret pass"))
        device = camera.get("peer")

        await camera.ptz.move("peer", "lan", "lan", onvif.Move.ABSOLUTE, onvif.Vector((0.5, -0.25), 0.0))
        assert await looks_at(device) == (0.5, -0.25)
        await camera.ptz.set_preset("peer", "lan", "lan", "Gate")
        await camera.ptz.move("peer", "lan", "lan", onvif.Move.RELATIVE, onvif.Vector((0.25, 0.25)))
        assert await looks_at(device) == (0.75, 0.0)
        [preset] = [one for one in await camera.ptz.presets("peer") if one.name == "Gate"]
        await camera.ptz.go_to("peer", "lan", "lan", preset.token)
        assert await looks_at(device) == (0.5, -0.25)
        await rig.until(lambda: device.clock_state.state == "ok")
        states = {str(service): state.state for service, state in device.services().items()}
        assert states == {"device": "ok", "media": "ok", "media2": "missing", "events": "missing", "ptz": "ok"}


async def test_a_dome_by_ipycam_stops_when_nobody_holds_the_handle() -> None:
    async with ipycam() as address, fleet_of(OnvifSettings(ptz_hold_s=0.5)) as rig:
        camera = rig.fleet
        camera.start("peer", address, lambda: onvif.Login())
        await camera.ptz.move("peer", "lan", "lan", onvif.Move.CONTINUOUS, onvif.Vector((-0.2, 0.0)))
        seen = [0.0]
        async with asyncio.timeout(5):
            while len(seen) < 4 or seen[-1] != seen[-3]:
                seen.append((await looks_at(camera.get("peer")))[0])
                await asyncio.sleep(0.1)  # the dome turns at 0.2 a second
        assert -0.4 < seen[-1] < -0.05
        assert seen == sorted(seen, reverse=True)


async def looks_at(device: PtzCamera) -> tuple[float, float]:
    status = await device.call_ptz("GetStatus", {"ProfileToken": (await device.ptz_ability()).profile})
    position = find(status, "PTZStatus", "Position", "PanTilt")
    assert position is not None
    return float(position.get("x", "nan")), float(position.get("y", "nan"))
