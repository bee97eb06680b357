"""ipycam as an ONVIF camera: a device that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv import onvif
from mediasrv.errors import CameraError
from mediasrv.settings import OnvifSettings

SCRIPT = Path(__file__).with_name("ipycam_camera.py")
LOOPBACK = ("127.0.0.0/8",)


@contextlib.asynccontextmanager
async def ipycam(username: str = "", password: str = "") -> AsyncIterator[str]:
    """A camera in a process of its own; yields its ONVIF address."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), username, password, stdin=pipe, stdout=pipe, stderr=null
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
