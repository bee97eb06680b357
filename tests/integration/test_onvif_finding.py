"""Finding cameras by address, and finding out which of them anybody can enter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from load_tests.camera_farm.process import FarmProcess
from mediasrv import onvif
from mediasrv.errors import CameraError
from mediasrv.onvif import passwords
from mediasrv.settings import OnvifSettings
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera, fake_camera

LOOPBACK = ("127.0.0.1/32",)
SETTINGS = OnvifSettings(timeout_s=2.0, discovery_s=0.3)


# --- by address -------------------------------------------------------------------------------------


async def test_devices_are_found_by_unicast_probe_with_name_and_model() -> None:
    async with FarmProcess(cameras=2, mode="demo") as farm:
        wanted = [camera["onvif_address"] for camera in farm.cameras][::-1]
        found = await onvif.probe_addresses(wanted, SETTINGS, LOOPBACK, discovery_port=farm.discovery_port)
        assert [device.address for device in found] == wanted
        assert {device.model for device in found} == {"Simulated ONVIF camera"}


async def test_devices_that_answer_no_probe_are_found_by_http() -> None:
    async with fake_camera("media") as camera, fake_camera("media") as other:
        asked = [camera.address, "127.0.0.1:9", "localhost:9", other.address]
        found = await onvif.probe_addresses(asked, SETTINGS, LOOPBACK, discovery_port=9)
        assert [device.address for device in found] == [camera.address, other.address]
        assert [one.operation for one in camera.asked] == ["GetSystemDateAndTime"]


async def test_what_is_no_onvif_device_is_not_found() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetSystemDateAndTime"] = b"<html><body>It works!</body></html>"
        assert await onvif.probe_addresses([camera.address], SETTINGS, LOOPBACK, discovery_port=9) == []


async def test_addresses_outside_the_allowed_networks_are_not_asked() -> None:
    async with fake_camera("media", host="127.0.0.2") as forbidden, FarmProcess(cameras=1, mode="demo") as farm:
        port = farm.discovery_port
        assert await onvif.probe_addresses([forbidden.address], SETTINGS, LOOPBACK, discovery_port=port) == []
        address = farm.cameras[0]["onvif_address"]
        assert await onvif.probe_addresses([address], SETTINGS, ("10.0.0.0/8",), discovery_port=port) == []
        assert forbidden.asked == []


async def test_a_range_is_asked_side_by_side() -> None:
    async with fake_camera("media") as camera:
        port = camera.address.partition(":")[2]
        addresses = onvif.parse_targets(f"127.0.0.1-127.0.0.250:{port}")
        settings = dataclasses.replace(SETTINGS, parallel=64)
        found = await onvif.probe_addresses(addresses, settings, ("127.0.0.0/8",), discovery_port=9)
        assert [device.address for device in found] == [camera.address]


# --- passwords --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    passwords._tried.clear()
    yield
    passwords._tried.clear()


async def warnings(camera: FakeCamera, settings: OnvifSettings = SETTINGS, password: str = "") -> tuple[str, ...]:
    camera.password = password or camera.password
    device = await onvif.read_device(camera.address, camera.username, camera.password, settings, LOOPBACK)
    return device.warnings


async def test_a_good_password_gives_no_warning_and_no_failed_login() -> None:
    async with fake_camera("media") as camera:
        assert await warnings(camera) == ()
        assert camera.refusals == 1
        assert [one.operation for one in camera.asked if not one.login] == ["GetSystemDateAndTime", "GetProfiles"]


async def test_a_password_that_anybody_could_guess_is_found() -> None:
    async with fake_camera("media") as camera:
        assert await warnings(camera, password="12345") == ("password_default",)


async def test_a_camera_that_lets_everybody_in_is_found_with_and_without_a_login() -> None:
    async with fake_camera("media2", auth=()) as camera:
        assert await warnings(camera) == ("password_empty",)
        device = await onvif.read_device(camera.address, "", "", SETTINGS, LOOPBACK)
        assert device.warnings == ("password_empty",)


async def test_factory_passwords_are_tried_only_where_the_setting_says_so_and_once_a_day() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetDeviceInformation"] = "<x:Manufacturer>Uniview</x:Manufacturer>"
        await warnings(camera)
        assert camera.refusals == 1
        tries = dataclasses.replace(SETTINGS, default_password_tries=2)
        assert await warnings(camera, tries) == ()
        assert camera.refusals == 1 + 1 + 2
        assert await warnings(camera, tries) == ()
        assert camera.refusals == 4 + 1


async def test_a_factory_password_that_works_is_found() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetDeviceInformation"] = "<x:Manufacturer>AXIS</x:Manufacturer>"
        camera.accounts["root"] = "root"
        tries = dataclasses.replace(SETTINGS, default_password_tries=2)
        assert await warnings(camera, tries) == ("password_default",)
        assert camera.refusals == 2  # anybody, and root/pass


async def test_a_guess_is_one_request_and_never_goes_in_clear() -> None:
    async with fake_camera("media", auth=("basic",)) as camera:
        tries = dataclasses.replace(SETTINGS, default_password_tries=2)
        assert await warnings(camera, tries) == ()
        asked = camera.asked_for("GetProfiles")  # by us, by anybody, and two guesses
        assert [one.authorization for one in asked] == ["Basic", "", "", ""]


async def test_nothing_is_tried_where_the_login_that_was_given_is_refused() -> None:
    async with fake_camera("media") as camera:
        tries = dataclasses.replace(SETTINGS, default_password_tries=2)
        with pytest.raises(CameraError) as caught:
            await onvif.read_device(camera.address, USERNAME, PASSWORD + "x", tries, LOOPBACK)
        assert caught.value.code == "credentials_wrong"
        assert camera.refusals == 1


async def test_off_asks_nothing() -> None:
    async with fake_camera("media", auth=()) as camera:
        off = dataclasses.replace(SETTINGS, default_passwords="off", default_password_tries=2)
        assert await warnings(camera, off) == ()
        assert camera.counts["GetProfiles"] == 1
