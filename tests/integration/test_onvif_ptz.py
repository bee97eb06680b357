"""Moving a camera over the wire: what it is told, and that it stops when nobody holds the handle."""

from __future__ import annotations

import dataclasses

import pytest

import mediasrv.onvif.fleet as fleet_module
from mediasrv.errors import CameraError
from mediasrv.onvif import Move, Service, Vector
from mediasrv.settings import OnvifSettings
from tests.integration.fake_camera import Asked, fake_camera, fault
from tests.integration.onvif_rig import Fleet, fleet_of

SETTINGS = OnvifSettings(timeout_s=3.0, events=False, ptz_hold_s=0.5, ptz_lock_s=0.6)
LAN = ("gate-1", "lan", "lan")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_SPREAD_S", 0.0)


async def test_moves_and_presets_as_the_camera_hears_them() -> None:
    async with fake_camera("media2", "ptz") as camera, fleet_of(SETTINGS) as fleet:
        camera.offset_s = 7200
        fleet.add("gate-1", camera)
        desk = fleet.fleet.ptz
        await desk.move(*LAN, Move.CONTINUOUS, Vector((0.5, -0.25), 1.0))
        await desk.move(*LAN, Move.RELATIVE, Vector(zoom=-0.1))
        await desk.move(*LAN, Move.ABSOLUTE, Vector((0.0, 1.0)))
        await desk.go_to(*LAN, "1")
        assert [(one.token, one.name) for one in await desk.presets("gate-1")] == [("1", "Gate"), ("2", "2")]
        assert await desk.set_preset(*LAN, "Cổng & sân") == "3"
        [continuous] = camera.asked_for("ContinuousMove")
        assert (continuous.attributes("PanTilt"), continuous.attributes("Zoom")) == (
            {"x": "0.5", "y": "-0.25"},
            {"x": "1.0"},
        )
        assert (continuous.text("ProfileToken"), continuous.text("Timeout")) == ("p1", "PT2S")
        [relative], [absolute] = camera.asked_for("RelativeMove"), camera.asked_for("AbsoluteMove")
        assert (relative.attributes("Zoom"), relative.attributes("PanTilt")) == ({"x": "-0.1"}, {})
        assert absolute.attributes("PanTilt") == {"x": "0.0", "y": "1.0"}
        [goto], [preset] = camera.asked_for("GotoPreset"), camera.asked_for("SetPreset")
        assert (goto.text("PresetToken"), preset.text("PresetName")) == ("1", "Cổng & sân")
        assert {one.path for one in (continuous, relative, goto)} == {"/onvif/ptz"}
        assert camera.refusals == 0


async def test_a_move_whose_sender_went_away_is_stopped_by_us() -> None:
    async with fake_camera() as camera, fleet_of(SETTINGS) as fleet:
        fleet.add("gate-1", camera)
        await fleet.fleet.ptz.move(*LAN, Move.CONTINUOUS, Vector((1.0, 0.0)))
        await camera.until(lambda: camera.counts["Stop"] == 1, within_s=3)
        [stop] = camera.asked_for("Stop")
        assert (stop.text("PanTilt"), stop.text("Zoom")) == ("true", "true")


async def test_the_end_of_the_server_stops_what_moves() -> None:
    settings = dataclasses.replace(SETTINGS, ptz_hold_s=60.0, ptz_lock_s=60.0)
    async with fake_camera() as camera:
        async with fleet_of(settings) as fleet:
            fleet.add("gate-1", camera)
            await fleet.fleet.ptz.move(*LAN, Move.CONTINUOUS, Vector((1.0, 0.0)))
        assert camera.counts["Stop"] == 1


async def test_a_camera_that_refuses_its_own_timeout_moves_all_the_same() -> None:
    def answer(asked: Asked) -> object:
        return fault("ter:InvalidArgVal", "Timeout") if asked.text("Timeout") else ""

    async with fake_camera() as camera, fleet_of(SETTINGS) as fleet:
        camera.answers["ContinuousMove"] = answer
        fleet.add("gate-1", camera)
        await fleet.fleet.ptz.move(*LAN, Move.CONTINUOUS, Vector((1.0, 0.0)))
        assert camera.counts["ContinuousMove"] == 2


async def ptz_code(fleet: Fleet) -> str:
    with pytest.raises(CameraError) as caught:
        await fleet.fleet.ptz.move(*LAN, Move.CONTINUOUS, Vector((1.0, 0.0)))
    return caught.value.code


async def test_cameras_that_cannot_be_moved_say_so() -> None:
    async with fleet_of(SETTINGS) as fleet:
        assert await ptz_code(fleet) == "ptz_unsupported"
        async with fake_camera("media") as fixed:
            fleet.add("gate-1", fixed)
            assert await ptz_code(fleet) == "ptz_unsupported"
        async with fake_camera() as broken:
            broken.answers["GetNodes"] = b"<broken"
            device = fleet.add("gate-1", broken)
            assert await ptz_code(fleet) == "ptz_unsupported"
            assert device.services()[Service.PTZ].code == "onvif_failed"
            assert device.services()[Service.MEDIA].state == "ok"
        async with fake_camera() as refusing:
            fleet.add("gate-1", refusing, password="wrong")
            assert await ptz_code(fleet) == "credentials_wrong"
