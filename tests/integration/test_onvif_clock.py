"""Clocks of cameras in service: read, alarmed about, and set where a setting says so."""

from __future__ import annotations

import dataclasses

import pytest

import mediasrv.onvif.camera as camera_module
import mediasrv.onvif.fleet as fleet_module
from mediasrv.settings import OnvifSettings
from tests.integration.fake_camera import fake_camera, fault
from tests.integration.onvif_rig import fleet_of

SETTINGS = OnvifSettings(timeout_s=3.0, events=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_SPREAD_S", 0.0)
    monkeypatch.setattr(camera_module, "_CLOCK_RETRIES_S", (0.05, 0.1))


@pytest.mark.parametrize(
    ("offset_s", "state"), [(0.0, "ok"), (0.7, "ok"), (1.4, "alarm"), (-1.4, "alarm"), (-1e8, "alarm")]
)
async def test_more_than_a_second_is_an_alarm(offset_s: float, state: str) -> None:
    async with fake_camera() as camera, fleet_of(SETTINGS) as fleet:
        camera.offset_s = offset_s
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.read_us)
        found = device.clock_state
        assert found.state == state
        assert found.offset is not None
        assert abs(found.offset.offset_s - offset_s) <= found.offset.uncertainty_s + 0.01
        assert found.offset.uncertainty_s < 0.35
        assert found.code == ("clock_off" if state == "alarm" else "")
        assert camera.counts["SetSystemDateAndTime"] == 0


async def test_the_clock_is_read_again_each_interval() -> None:
    settings = dataclasses.replace(SETTINGS, clock_interval_s=0.2)
    async with fake_camera() as camera, fleet_of(settings) as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.state == "ok")
        camera.offset_s = 60.0
        await fleet.until(lambda: device.clock_state.state == "alarm")
        camera.offset_s = 0.0
        await fleet.until(lambda: device.clock_state.state == "ok")


async def test_a_camera_is_set_where_the_setting_says_so_and_keeps_its_time_zone() -> None:
    settings = dataclasses.replace(SETTINGS, set_clock=True)
    async with fake_camera() as camera, fleet_of(settings) as fleet:
        camera.offset_s = -5000.0
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.read_us)
        assert device.clock_state.state == "ok"
        assert abs(camera.offset_s) < 0.25
        [asked] = camera.asked_for("SetSystemDateAndTime")
        assert (asked.text("DateTimeType"), asked.text("TZ"), asked.text("DaylightSavings")) == (
            "Manual",
            "ICT-7",
            "true",
        )


async def test_a_camera_is_set_to_a_time_server_where_there_is_one() -> None:
    settings = dataclasses.replace(SETTINGS, set_clock=True, ntp_server="ntp.example.org")
    async with fake_camera() as camera, fleet_of(settings) as fleet:
        camera.offset_s = 90.0
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.read_us)
        assert device.clock_state.state == "alarm"  # it takes the camera a while
        [ntp], [clock] = camera.asked_for("SetNTP"), camera.asked_for("SetSystemDateAndTime")
        assert (ntp.text("FromDHCP"), ntp.text("Type"), ntp.text("DNSname")) == ("false", "DNS", "ntp.example.org")
        assert (clock.text("DateTimeType"), clock.text("Hour")) == ("NTP", "")


async def test_a_camera_that_will_not_be_set_keeps_its_alarm() -> None:
    settings = dataclasses.replace(SETTINGS, set_clock=True)
    async with fake_camera() as camera, fleet_of(settings) as fleet:
        camera.answers["SetSystemDateAndTime"] = fault("ter:NotAuthorized", "Operators may not")
        camera.offset_s = 90.0
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.read_us)
        assert device.clock_state.state == "alarm"


async def test_a_camera_that_keeps_its_time_to_itself_is_in_no_alarm() -> None:
    async with fake_camera() as camera, fleet_of(SETTINGS) as fleet:
        camera.answers["GetSystemDateAndTime"] = fault("ter:ActionNotSupported", "Unknown")
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.read_us)
        assert (device.clock_state.state, device.clock_state.code) == ("unknown", "clock_not_told")


async def test_a_camera_that_is_away_says_so_and_comes_back() -> None:
    async with fake_camera() as gone:
        address = gone.address
    async with fleet_of(SETTINGS) as fleet:
        device = fleet.add("gate-1", gone)
        await fleet.until(lambda: device.clock_state.code == "port_closed")
        host, _, port = address.partition(":")
        async with fake_camera(host=host, port=int(port)):
            await fleet.until(lambda: device.clock_state.state == "ok", within_s=10)
