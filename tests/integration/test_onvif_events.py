"""Events of cameras in service: delivered once, whatever happens to the subscription; no camera troubles another."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

import mediasrv.onvif.fleet as fleet_module
import mediasrv.onvif.pullpoint as pullpoint_module
from mediasrv.media.camera_event import EventKind
from mediasrv.onvif import Service
from mediasrv.settings import OnvifSettings
from tests.integration.fake_camera import fake_camera, fault, notification
from tests.integration.onvif_rig import Keeper, fleet_of

MOTION = "tns1:RuleEngine/CellMotionDetector/Motion"
INPUT = "tns1:Device/Trigger/DigitalInput"
BROKEN = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">]><l>&a;</l>'


def motion(value: str, **options: str) -> str:
    return notification(MOTION, "IsMotion", value, **options)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment a camera waits before it is first asked, and the pauses between pulls."""
    monkeypatch.setattr(fleet_module, "_SPREAD_S", 0.0)
    monkeypatch.setattr(fleet_module, "_A_CAMERA_S", 0.0)
    monkeypatch.setattr(pullpoint_module, "_QUIET_S", 0.05)
    monkeypatch.setattr(pullpoint_module, "_BUSY_S", 0.01)


async def test_changes_are_delivered_once_with_both_times() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        camera.offset_s = -3600
        camera.state_messages = [motion("true", operation="Initialized"), notification(INPUT, "LogicalState", "false")]
        fleet.add("gate-1", camera)
        await fleet.until(lambda: fleet.of("gate-1"))
        for value in ("true", "true", "false"):
            camera.notify(motion(value, at="2026-05-01T12:00:00Z"))
        camera.notify(notification(INPUT, "LogicalState", "active", source="in-1"))
        await fleet.until(lambda: len(fleet.events) == 3)
        assert fleet.of("gate-1") == [
            ("motion", "source-1", True),
            ("motion", "source-1", False),
            ("digital_input", "in-1", True),
        ]
        assert fleet.events[1].camera_us == 1_777_636_800_000_000
        assert abs(fleet.events[1].arrived_us - time.time_ns() // 1000) < 10_000_000
        assert camera.counts["SetSynchronizationPoint"] == 1
        assert camera.refusals == 0


async def test_a_subscription_that_the_camera_forgot_is_made_anew_and_nothing_is_told_twice() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok")
        camera.notify(motion("true"))
        await fleet.until(lambda: len(fleet.events) == 1)
        camera.state_messages = [motion("true", operation="Initialized")]
        camera.forget_subscriptions()
        await fleet.until(lambda: len(camera.subscriptions) == 2 and not camera.subscriptions[1].waiting)
        camera.state_messages = [motion("false", operation="Initialized")]
        camera.forget_subscriptions()
        await fleet.until(lambda: len(fleet.events) == 2)
        assert [active for _, _, active in fleet.of("gate-1")] == [True, False]
        assert device.services()[Service.EVENTS].state == "ok"


async def test_what_ended_while_the_server_was_down_is_told() -> None:
    keeper = Keeper(was_active={(EventKind.MOTION, "source-1"), (EventKind.TAMPER, "source-1")})
    async with fake_camera() as camera, fleet_of(keeper=keeper) as fleet:
        camera.state_messages = [motion("false", operation="Initialized"), motion("false", source="source-2")]
        fleet.add("gate-1", camera)
        await fleet.until(lambda: fleet.events)
        assert fleet.of("gate-1") == [("motion", "source-1", False)]


async def test_a_subscription_is_renewed_before_it_ends() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        camera.lifetime_s = 10
        fleet.add("gate-1", camera)
        await fleet.until(lambda: camera.counts["Renew"] == 2, within_s=20)
        camera.notify(motion("true"))
        await fleet.until(lambda: fleet.events)
        assert len(camera.subscriptions) == 1


async def test_a_camera_without_renew_is_pulled_all_the_same() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        camera.lifetime_s = 10
        camera.answers["Renew"] = fault("ter:ActionNotSupported", "Unknown action")
        fleet.add("gate-1", camera)
        await fleet.until(lambda: camera.counts["Renew"] == 1, within_s=20)
        camera.notify(motion("true"))
        await fleet.until(lambda: fleet.events)
        assert len(camera.subscriptions) == 1


async def test_a_connection_that_ends_without_an_answer_is_no_lost_subscription() -> None:
    """Cameras do so where there is nothing to tell."""
    async with fake_camera() as camera, fleet_of() as fleet:
        camera.answers["PullMessages"] = b""
        fleet.add("gate-1", camera)
        await fleet.until(lambda: camera.counts["PullMessages"] == 1)
        del camera.answers["PullMessages"]
        camera.notify(motion("true"))
        await fleet.until(lambda: fleet.events)
        assert len(camera.subscriptions) == 1


async def test_whoever_leaves_service_says_goodbye() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok")
        fleet.fleet.stop("gate-1")
        await camera.until(lambda: camera.counts["Unsubscribe"] == 1)
        assert not camera.subscriptions[0].alive
        assert fleet.fleet.find("gate-1") is None


async def test_the_end_of_the_server_says_goodbye_too() -> None:
    async with fake_camera() as camera:
        async with fleet_of() as fleet:
            device = fleet.add("gate-1", camera)
            await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok")
        assert camera.counts["Unsubscribe"] == 1


async def test_broken_events_leave_clock_and_ptz_alone_and_come_back_by_themselves() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        camera.answers["CreatePullPointSubscription"] = BROKEN
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "failed")
        await fleet.until(lambda: device.clock_state.state == "ok")
        assert device.services()[Service.EVENTS].code == "onvif_failed"
        assert "document type" in device.services()[Service.EVENTS].sentence
        assert (await device.ptz_ability()).profile == "p1"
        assert device.services()[Service.PTZ].state == "ok"
        del camera.answers["CreatePullPointSubscription"]
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok", within_s=5)


async def test_a_camera_without_events_is_asked_for_none() -> None:
    async with fake_camera("media") as camera, fleet_of() as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "missing")
        assert device.services()[Service.EVENTS].code == "service_missing"
        assert camera.counts["CreatePullPointSubscription"] == 0


async def test_a_camera_that_restarts_with_another_clock_is_entered_again() -> None:
    async with fake_camera() as camera, fleet_of() as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok")
        camera.offset_s = -86_400 * 365
        camera.forget_subscriptions()
        await fleet.until(lambda: len(camera.subscriptions) == 2 and camera.subscriptions[1].alive)
        camera.notify(motion("true"))
        await fleet.until(lambda: fleet.events)


async def test_wrong_credentials_are_tried_twice_and_then_left_alone() -> None:
    """Some cameras lock an account: what another camera's failures are tried with, a refusal is not."""
    async with fake_camera() as camera, fake_camera() as failing, fleet_of() as fleet:
        failing.answers["CreatePullPointSubscription"] = fault("ter:Action", "Out of subscriptions")
        device = fleet.add("gate-1", camera, password="wrong")
        fleet.add("gate-2", failing)
        await fleet.until(lambda: failing.counts["CreatePullPointSubscription"] == 8)
        assert {state.code for state in device.services().values()} == {"credentials_wrong"}
        assert camera.refusals <= 3  # twice for events, once for the clock


async def test_events_are_off_where_the_setting_says_so() -> None:
    async with fake_camera() as camera, fleet_of(OnvifSettings(timeout_s=3.0, events=False)) as fleet:
        device = fleet.add("gate-1", camera)
        await fleet.until(lambda: device.clock_state.state == "ok")
        assert device.services()[Service.EVENTS].state == "off"
        assert camera.counts["CreatePullPointSubscription"] == 0


async def test_one_bad_camera_delays_no_other() -> None:
    """Silent, broken, flooding: beside them a good camera's event comes at once."""
    async with contextlib.AsyncExitStack() as stack:
        good, silent, broken, loud = [await stack.enter_async_context(fake_camera()) for _ in range(4)]
        fleet = await stack.enter_async_context(fleet_of())
        never = asyncio.Event()
        stack.callback(never.set)
        silent.answers["GetServices"] = lambda asked: never.wait()
        broken.answers["PullMessages"] = b"<" + b"a" * 900_000
        loud.state_messages = [motion(str(n % 2), source=str(n // 2)) for n in range(4000)]
        for name, camera in (("silent", silent), ("broken", broken), ("loud", loud), ("good", good)):
            fleet.add(name, camera)
        device = fleet.fleet.get("good")
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok")
        asked = time.monotonic()
        good.notify(motion("true"))
        await fleet.until(lambda: fleet.of("good"), within_s=3)
        assert time.monotonic() - asked < 1.5
        assert silent.counts["GetServices"] == 1


async def test_cameras_that_are_away_keep_nobody_waiting() -> None:
    settings = OnvifSettings(timeout_s=3.0, parallel=2)
    async with fake_camera() as silent, fake_camera() as good, fleet_of(settings) as fleet:
        never = asyncio.Event()
        silent.answers["GetSystemDateAndTime"] = lambda asked: never.wait()
        for number in range(20):
            fleet.add(f"away-{number}", silent)
        await fleet.until(lambda: silent.counts["GetSystemDateAndTime"] >= 20)
        device = fleet.add("good", good)
        await fleet.until(lambda: device.services()[Service.EVENTS].state == "ok", within_s=2.5)
        never.set()


async def test_a_subscription_is_pulled_at_no_address_outside_the_allowed_networks() -> None:
    async with fake_camera() as camera:
        port = int(camera.address.partition(":")[2])
        async with fake_camera(host="127.0.0.2", port=port) as forbidden, fleet_of() as fleet:
            camera.reported_host = "127.0.0.2"
            fleet.add("gate-1", camera)
            await fleet.until(lambda: camera.counts["PullMessages"])
            camera.notify(motion("true"))
            await fleet.until(lambda: fleet.events)
            assert forbidden.asked == []


async def test_two_hundred_cameras_start_and_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_SPREAD_S", 1.0)
    async with fake_camera() as camera, fleet_of() as fleet:
        for number in range(200):
            fleet.add(f"cam-{number}", camera)
        await fleet.until(lambda: len(camera.subscriptions) == 200, within_s=40)
        camera.notify(motion("true"))
        await fleet.until(lambda: len(fleet.events) == 200, within_s=20)
        assert camera.refusals == 0
