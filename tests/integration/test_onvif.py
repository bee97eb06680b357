"""Reading cameras over ONVIF: simulated ones, broken ones, and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from load_tests.camera_farm.process import FarmProcess
from mediasrv import onvif
from mediasrv.errors import CameraError
from mediasrv.settings import OnvifSettings

SETTINGS = OnvifSettings(timeout_s=5.0, discovery_s=0.4)
PASSWORD = "camera-farm"
LOOPBACK = ("127.0.0.0/8",)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def read(address: str, username: str = "admin", password: str = PASSWORD, **options: object) -> onvif.OnvifDevice:
    networks = options.get("networks", LOOPBACK)
    settings = options.get("settings", SETTINGS)
    assert isinstance(networks, tuple)
    assert isinstance(settings, OnvifSettings)
    return await onvif.read_device(address, username, password, settings, networks)


async def code_of(reading: Awaitable[onvif.OnvifDevice]) -> str:
    with pytest.raises(CameraError) as caught:
        await reading
    assert PASSWORD not in caught.value.sentence
    return caught.value.code


@contextlib.asynccontextmanager
async def http_server(handler: Handler) -> AsyncIterator[str]:
    """Something that listens where a camera's ONVIF service should be; yields its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(text: str | bytes, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    body = text.encode() if isinstance(text, str) else text

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers, content_type="application/soap+xml")

    return handler


@pytest.mark.parametrize("auth", ["wsse", "digest", "wsse,digest"])
async def test_a_camera_is_read_with_either_kind_of_credentials(auth: str) -> None:
    async with FarmProcess(cameras=1, mode="demo", onvif_auth=auth) as farm:
        device = await read(farm.cameras[0]["onvif_address"])
        assert (device.manufacturer, device.model) == ("Camera Farm", "Simulated ONVIF camera")
        assert device.clock_offset_s is not None
        assert abs(device.clock_offset_s) < 2
        picked = onvif.pick_streams(device)
        assert picked.sub is not None
        assert (picked.main.width, picked.sub.width) == (640, 320)
        assert (picked.main.codec, picked.main.audio, picked.main.rate) == ("h264", "g711", 15.0)
        assert (picked.main.url, picked.sub.url) == (farm.url("cam-1"), farm.url("cam-1", "sub"))
        assert await code_of(read(farm.cameras[0]["onvif_address"], password="wrong")) == "credentials_wrong"
        assert await code_of(read(farm.cameras[0]["onvif_address"], "", "")) == "credentials_missing"


@pytest.mark.parametrize("offset_s", [-3600, 86_400])
async def test_a_camera_whose_clock_is_wrong_is_read_with_its_own_time(offset_s: int) -> None:
    async with FarmProcess(cameras=1, mode="demo", onvif_auth="wsse", clock_offset=offset_s) as farm:
        device = await read(farm.cameras[0]["onvif_address"])
        assert device.clock_offset_s == pytest.approx(offset_s, abs=2)


async def test_a_camera_behind_nat_is_reached_at_the_address_that_was_typed() -> None:
    async with FarmProcess(cameras=1, mode="demo", reported_host="10.99.0.7") as farm:
        device = await read(farm.cameras[0]["onvif_address"])
        assert device.replaced_host == "10.99.0.7"
        picked = onvif.pick_streams(device)
        assert picked.main.url == farm.url("cam-1")
        assert "10.99.0.7" in picked.explanation


async def test_a_service_that_gives_an_address_outside_the_allowed_networks_is_never_called_there() -> None:
    # 127.0.0.2 answers on this machine, but only 127.0.0.1 is allowed: the reported host must be replaced.
    async with FarmProcess(cameras=1, mode="demo", reported_host="127.0.0.2") as farm:
        device = await read(farm.cameras[0]["onvif_address"], networks=("127.0.0.1/32",))
        assert device.replaced_host == "127.0.0.2"
        assert {profile.url.split(":")[1] for profile in device.profiles} == {"//127.0.0.1"}


async def test_a_camera_outside_the_allowed_networks_is_not_connected_to() -> None:
    called = asyncio.Event()

    async def handler(_request: web.Request) -> web.StreamResponse:
        called.set()
        return web.Response()

    async with http_server(handler) as address:
        assert await code_of(read(address, networks=("10.0.0.0/8",))) == "address_refused"
        assert await code_of(read(f"localhost:{address.split(':')[1]}", networks=("10.0.0.0/8",))) == "address_refused"
    assert not called.is_set()


async def test_a_closed_port_is_told_from_a_host_that_is_away() -> None:
    async with http_server(answering("")) as address:
        pass
    assert await code_of(read(address)) == "port_closed"
    assert await code_of(read("no-such-camera.invalid")) == "name_unresolved"
    assert await code_of(read("not an address")) == "address_invalid"


async def test_a_camera_that_is_silent_is_given_up_in_bounded_time() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with http_server(handler) as address, asyncio.timeout(3):
        assert await code_of(read(address, settings=OnvifSettings(timeout_s=0.2))) == "host_unreachable"


async def test_a_camera_that_trickles_is_given_up_in_bounded_time() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await answer.write(b" ")
                await asyncio.sleep(0.05)
        return answer

    async with http_server(handler) as address, asyncio.timeout(3):
        assert await code_of(read(address, settings=OnvifSettings(timeout_s=0.3))) == "host_unreachable"


BOMB = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
) + ']><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&a11;</s:Body></s:Envelope>'  # fmt: skip
FILE = '<?xml version="1.0"?><!DOCTYPE l SYSTEM "file:///etc/passwd"><l/>'
EMPTY = '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>'
ODD = EMPTY.replace(
    "<s:Body/>", '<s:Body><x:GetDeviceInformationResponse xmlns:x="urn:odd">1</x:GetDeviceInformationResponse></s:Body>'
)
FAULT = EMPTY.replace(
    "<s:Body/>",
    "<s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code><s:Reason><s:Text>No\x7f room\nat all"
    "</s:Text></s:Reason></s:Fault></s:Body>",
)


NONSENSE: dict[str, str | bytes] = {
    "bomb": BOMB,
    "file": FILE,
    "empty": EMPTY,
    "odd": ODD,
    "fault": FAULT,
    "nothing": "",
    "text": "hello",
    "html": "<html><body>It works!</body></html>",
    "deep": "<a>" * 200_000,
    "long": "x" * 2_000_000,
    "bytes": b"\x00\xff" * 900,
}


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("status", [200, 500])
async def test_nonsense_is_a_failed_service_and_nothing_worse(kind: str, status: int) -> None:
    async with http_server(answering(NONSENSE[kind], status)) as address, asyncio.timeout(10):
        assert await code_of(read(address)) == "onvif_failed"


async def test_an_answer_without_end_is_read_to_a_bound_and_no_further() -> None:
    sent_bytes = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent_bytes
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent_bytes < 256 * 1024 * 1024:
                await answer.write(bytes(65536))
                sent_bytes += 65536
        return answer

    async with http_server(handler) as address:
        assert await code_of(read(address)) == "onvif_failed"
    # Both requests of this reading, and what lies in buffers of the kernel beyond what was read.
    assert sent_bytes < 32 * 1024 * 1024


async def test_a_fault_is_quoted_on_one_printable_line() -> None:
    async with http_server(answering(FAULT, 500)) as address:
        with pytest.raises(CameraError, match="with a fault: No room at all"):
            await read(address)


async def test_a_compressed_answer_that_nobody_asked_for_is_refused() -> None:
    async with http_server(answering(b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": "gzip"})) as address:
        assert await code_of(read(address)) == "onvif_failed"


async def test_a_redirect_is_not_followed() -> None:
    async with FarmProcess(cameras=1, mode="demo") as farm:
        target = f"http://{farm.cameras[0]['onvif_address']}/onvif/device_service"
        async with http_server(answering("", 307, {"Location": target})) as address:
            assert await code_of(read(address)) == "onvif_failed"


async def test_cameras_answer_a_probe_by_unicast_and_by_multicast() -> None:
    async with FarmProcess(cameras=2, mode="demo") as farm:
        for host in ("127.0.0.1", "239.255.255.250"):
            settings = OnvifSettings(
                discovery_s=0.4,
                discovery_targets=(f"{host}:{farm.discovery_port}",),
                discovery_interfaces=("127.0.0.1",),
            )
            found = await onvif.discover(settings)
            assert {device.address for device in found} == {camera["onvif_address"] for camera in farm.cameras}, host
            assert {device.name for device in found} == {camera["name"] for camera in farm.cameras}
            assert (await read(found[0].address)).model == found[0].model


async def test_a_network_where_nobody_answers_gives_no_cameras() -> None:
    settings = OnvifSettings(discovery_s=0.1, discovery_targets=("127.0.0.1:9", "nonsense:1"))
    assert await onvif.discover(settings) == []
    settings = OnvifSettings(discovery_s=0.1, discovery_interfaces=("192.0.2.1",))
    assert await onvif.discover(settings) == []


async def test_ten_readings_at_once_leave_no_connection_open() -> None:
    async with FarmProcess(cameras=2, mode="demo") as farm:
        addresses = [camera["onvif_address"] for camera in farm.cameras] * 5
        devices = await asyncio.gather(*(read(address) for address in addresses))
        assert {len(device.profiles) for device in devices} == {2}
