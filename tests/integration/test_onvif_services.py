"""Cameras whose services differ, or fail one by one: what still works, and what is said of the rest."""

from __future__ import annotations

import pytest

from mediasrv import onvif
from mediasrv.errors import CameraError
from mediasrv.onvif import Service
from mediasrv.settings import OnvifSettings
from tests.integration.fake_camera import PASSWORD, USERNAME, FakeCamera, fake_camera, fault

LOOPBACK = ("127.0.0.1/32",)
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&b;</s:Body></s:Envelope>'
)


async def read(camera: FakeCamera, username: str = USERNAME, password: str = PASSWORD) -> onvif.OnvifDevice:
    return await onvif.read_device(
        camera.address, username, password, OnvifSettings(timeout_s=3.0, default_passwords="off"), LOOPBACK
    )


def states(device: onvif.OnvifDevice) -> dict[str, str]:
    return {str(service): state.state for service, state in device.services.items()}


async def test_a_camera_of_profile_t_alone_is_read_by_media2() -> None:
    async with fake_camera("media2", "ptz") as camera:
        device = await read(camera)
        picked = onvif.pick_streams(device)
        assert (picked.main.codec, picked.main.width, picked.main.audio) == ("h265", 3840, "aac")
        assert picked.sub is not None
        assert picked.sub.codec == "h264"
        assert picked.main.url == "rtsp://127.0.0.1:554/p1"
        assert picked.main.snapshot_url == f"http://{camera.address}/snapshot/p1"
        assert picked.main.keyframe_interval_s == 2.0
        assert device.ptz_profile == "p1"
        assert states(device) == {
            "device": "ok", "media": "missing", "media2": "ok", "events": "missing", "ptz": "offered",
        }  # fmt: skip
        [asked] = camera.asked_for("GetProfiles")
        assert "VideoEncoder" in [element.text for element in asked.element]


async def test_a_camera_of_profile_s_alone_is_read_by_media() -> None:
    async with fake_camera("media") as camera:
        device = await read(camera)
        assert onvif.pick_streams(device).main.width == 1920
        assert device.profiles[0].snapshot_url == f"http://{camera.address}/snapshot/p1"


async def test_where_media2_is_broken_media_serves() -> None:
    for broken in (BOMB, b"<oops", fault("ter:ActionNotSupported", "No such thing"), "<x:Profiles/>"):
        async with fake_camera("media2", "media") as camera:
            camera.answers["GetProfiles"] = lambda asked, broken=broken: (  # type: ignore[misc]
                broken if "ver20" in asked.element.tag else camera._profile1("p9", "H264", 1280, 720)
            )
            device = await read(camera)
            assert [profile.token for profile in device.profiles] == ["p9"]
            assert states(device)["media"] == "ok"


async def test_a_broken_media_service_is_told_with_its_reason() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetProfiles"] = BOMB
        device = await read(camera)
        assert (device.manufacturer, device.profiles) == ("Fake", ())
        assert device.services[Service.MEDIA].state == "failed"
        with pytest.raises(CameraError, match="document type") as caught:
            onvif.pick_streams(device)
        assert caught.value.code == "onvif_failed"


async def test_device_information_may_fail_and_the_streams_stay() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetDeviceInformation"] = b"\x00\x01"
        device = await read(camera)
        assert (device.manufacturer, len(device.profiles)) == ("", 2)


async def test_without_getservices_the_capabilities_are_asked() -> None:
    async with fake_camera("media", "events", "ptz") as camera:
        camera.answers["GetServices"] = fault("ter:ActionNotSupported", "Unknown action")
        device = await read(camera)
        assert len(device.profiles) == 2
        assert (states(device)["events"], states(device)["media2"]) == ("offered", "missing")


async def test_without_either_the_media_service_is_where_the_device_is() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetServices"] = camera.answers["GetCapabilities"] = fault("ter:ActionNotSupported", "Unknown")
        device = await read(camera)
        assert len(device.profiles) == 2
        assert {one.path for one in camera.asked_for("GetProfiles")} == {"/onvif/device_service"}


async def test_snapshots_may_be_missing() -> None:
    async with fake_camera("media") as camera:
        camera.answers["GetSnapshotUri"] = fault("ter:ActionNotSupported", "Unknown")
        device = await read(camera)
        assert [profile.snapshot_url for profile in device.profiles] == ["", ""]
        assert camera.counts["GetSnapshotUri"] == 1


async def test_prefixes_that_are_never_declared_are_understood() -> None:
    for services in (("media2",), ("media",)):
        async with fake_camera(*services) as camera:
            camera.undeclared = True
            assert len((await read(camera)).profiles) == 2


async def test_the_clock_is_asked_first_and_without_credentials() -> None:
    async with fake_camera("media") as camera:
        camera.offset_s = -7200
        device = await read(camera)
        assert device.clock_offset_s == pytest.approx(-7200, abs=1)
        assert device.clock_uncertainty_s == pytest.approx(0.5, abs=0.2)
        assert camera.asked[0].operation == "GetSystemDateAndTime"
        assert b"UsernameToken" not in _bytes(camera.asked[0].envelope)
        assert camera.refusals == 0


async def test_basic_is_given_where_the_camera_wants_nothing_else() -> None:
    async with fake_camera("media", auth=("basic",)) as camera:
        assert len((await read(camera)).profiles) == 2
        assert camera.refusals == 1  # it is remembered
        with pytest.raises(CameraError) as caught:
            await read(camera, password="wrong")
        assert caught.value.code == "credentials_wrong"


async def test_basic_is_never_given_to_another_host_than_the_one_that_was_typed() -> None:
    networks = ("127.0.0.0/8",)
    async with fake_camera("media", auth=("basic",)) as camera:
        port = camera.address.partition(":")[2]
        async with fake_camera("media", auth=("basic",), host="127.0.0.2", port=int(port)) as other:
            camera.reported_host = "127.0.0.2"
            with pytest.raises(CameraError) as caught:
                await onvif.read_device(
                    camera.address, USERNAME, PASSWORD, OnvifSettings(timeout_s=3.0, default_passwords="off"), networks
                )
            assert caught.value.code == "credentials_wrong"
            assert other.counts["GetProfiles"] == 1
            assert {one.authorization for one in other.asked} == {""}


async def test_addresses_outside_the_allowed_networks_are_called_for_no_service() -> None:
    async with fake_camera("media2", "events") as camera:
        port = camera.address.partition(":")[2]
        async with fake_camera("media2", host="127.0.0.2", port=int(port)) as forbidden:
            camera.reported_host = "127.0.0.2"
            device = await read(camera)
            assert device.replaced_host == "127.0.0.2"
            urls = [url for one in device.profiles for url in (one.url, one.snapshot_url)]
            assert all("//127.0.0.1:" in url for url in urls)
            assert forbidden.asked == []


def _bytes(envelope: object) -> bytes:
    from xml.etree import ElementTree

    return ElementTree.tostring(envelope)  # type: ignore[arg-type]
