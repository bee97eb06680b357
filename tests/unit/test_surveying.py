"""Which of a survey's devices are in service already, and what of a device is main and what sub."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mediasrv.cameras.views import CameraView
from mediasrv.errors import CameraError
from mediasrv.media.access_unit import StreamName
from mediasrv.media.profile import MediaProfile
from mediasrv.onvif import OnvifDevice, largest_streams
from mediasrv.reasons import reason
from mediasrv.survey import Findings, Verdict, judge
from mediasrv.surveying import InService
from tests.clocks import SimulatedClock
from tests.unit.survey.devices import LIMITS, MAIN, SUB
from tests.unit.web.fakes import PROFILE, view


def camera(address: str, *, enabled: bool = True, state: str = "live") -> CameraView:
    made = view("gate-1", "north")
    main = replace(
        made.streams[StreamName.MAIN], state=state, reason=None if state == "live" else reason("camera_lost")
    )
    profile = replace(PROFILE, main=MAIN, sub=SUB)
    return replace(
        made,
        address=address,
        kind="rtsp" if address.startswith("rtsp") else "onvif",
        enabled=enabled,
        profile=profile,
        streams={**made.streams, StreamName.MAIN: main},
    )


def in_service(views: list[CameraView], asked: str) -> Findings | None:
    return InService(lambda: views, SimulatedClock()).find(asked)


@pytest.mark.parametrize(
    "asked",
    ["192.168.1.64", "192.168.1.64:80", "http://192.168.1.64/onvif/device_service", MAIN.url, SUB.url],
)
def test_a_camera_is_known_however_its_address_is_written(asked: str) -> None:
    found = in_service([camera("192.168.1.64")], asked)
    assert found is not None
    assert found.in_service
    assert judge(found, LIMITS).code == "in_service"


@pytest.mark.parametrize("asked", ["192.168.1.64:8000", "192.168.1.65", "rtsp://192.0.2.1/other"])
def test_another_address_is_another_camera(asked: str) -> None:
    assert in_service([camera("192.168.1.64")], asked) is None


def test_a_camera_that_is_switched_off_is_pulled_by_nobody_and_so_surveyed() -> None:
    assert in_service([camera("192.168.1.64", enabled=False)], "192.168.1.64") is None


def test_a_camera_in_service_that_is_lost_is_not_eligible_and_says_why() -> None:
    found = in_service([camera("rtsp://h/x", state="retrying")], "rtsp://h/x")
    assert found is not None
    assert (judge(found, LIMITS).verdict, judge(found, LIMITS).code) == (Verdict.NOT_ELIGIBLE, "camera_lost")


def test_a_thousand_questions_are_one_look_and_a_change_shows_within_a_second() -> None:
    clock, looks = SimulatedClock(), []

    def views() -> list[CameraView]:
        looks.append(clock.now_s)
        return [camera("192.168.1.64")] if len(looks) > 1 else []

    known = InService(views, clock)
    assert [known.find("192.168.1.64") for _ in range(1000)] == [None] * 1000
    assert len(looks) == 1
    clock.advance(1.0)
    assert known.find("192.168.1.64") is not None


# --- main and sub -----------------------------------------------------------------------------------


def device(*profiles: MediaProfile) -> OnvifDevice:
    return OnvifDevice("Maker", "M1", "1.0", 0.0, profiles)


def test_the_largest_picture_is_main_also_where_it_cannot_be_pulled() -> None:
    jpeg = replace(MAIN, codec="jpeg", width=3840, height=2160, url="rtsp://192.0.2.1/jpeg")
    assert largest_streams(device(SUB, jpeg)) == (jpeg, SUB)
    assert largest_streams(device(SUB, MAIN, jpeg)) == (jpeg, MAIN)
    assert largest_streams(device(jpeg)) == (jpeg, None)


def test_where_all_can_be_pulled_it_is_what_is_picked_when_the_camera_is_added() -> None:
    h265 = replace(MAIN, codec="h265", url="rtsp://192.0.2.1/h265")
    assert largest_streams(device(h265, MAIN, SUB)) == (MAIN, SUB)
    small_jpeg = replace(SUB, codec="jpeg", url="rtsp://192.0.2.1/jpeg")
    assert largest_streams(device(MAIN, small_jpeg)) == (MAIN, None)


def test_a_device_without_video_says_so() -> None:
    with pytest.raises(CameraError) as caught:
        largest_streams(device())
    assert caught.value.code == "no_profile"
