"""Every fault of the simulated camera while thirty good cameras run beside, with the default settings.

The good ones lose not one picture. The bad one shows why, and is back by itself within ten seconds of the cause's end:
the cause ends at the worst moment, when the server has just begun an attempt that is bound to fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from load_tests.camera_farm.faults import FAULTS
from load_tests.camera_farm.process import FarmProcess
from load_tests.readback import Account, account_for
from load_tests.server import CameraAddress
from mediasrv.cameras.views import CameraChanges, StreamView
from mediasrv.security.accounts import Actor
from tests.integration.node import Node, running_node, until
from tests.integration.watched import Watched

pytestmark = pytest.mark.timeout(180)  # the first test waits for all of them

GOOD = [f"cam-{number}" for number in range(1, 31)]
WITH_SOUND = GOOD[:5]
RATE = 10
FARM = {"width": 768, "height": 432, "rate": RATE, "bitrate": 300, "gop": 1, "audio": "none", "session_timeout": 6}
SOUNDS_A_SECOND = 50
SHOWN_S = 30.0
BACK_S = 10.0
UNIT_S = 1 / RATE
JITTER_S = 0.25
"""By so much the arrival of pictures may waver on a busy machine, and so the durations that are made from it."""


@dataclass
class Bad:
    """A camera that something befalls: `ordered` are the kinds of it."""

    camera_id: str
    farm: FarmProcess
    node: Node
    watched: Watched
    ordered: set[str]
    back_s: list[float] = field(default_factory=list)

    @property
    def main(self) -> StreamView:
        return self.node.main(self.camera_id)

    def services(self) -> dict[str, tuple[str, str]]:
        """State and reason code of each ONVIF service."""
        device = self.node.camera(self.camera_id).device
        services = device.services if device else {}
        return {name: (one.state, one.reason.code if one.reason else "") for name, one in services.items()}

    async def fault(self, kind: str, **options: object) -> None:
        self.ordered.add(kind)
        await self.farm.fault(self.camera_id, kind, **options)

    async def sent(self) -> dict[str, Any]:
        state: dict[str, Any] = (await self.farm.camera(self.camera_id))["streams"]["main"]
        return state

    async def onvif_requests(self) -> int:
        requests = (await self.farm.camera(self.camera_id))["counts"]["onvif"]
        assert "external.dtd" not in requests, "an external entity was fetched"
        return sum(requests.values())

    async def until(self, condition: Callable[[], object], within_s: float) -> float:
        return await until(condition, within_s, lambda: (self.main, self.watched.ends, self.services()))

    async def live(self, within_s: float = SHOWN_S) -> None:
        await self.until(lambda: self.main.state == "live", within_s)

    async def shows(self, code: str) -> None:
        """Waits for the state `retrying` with this reason, said in two languages."""

        def is_shown() -> bool:
            main = self.main
            return main.state == "retrying" and main.reason is not None and main.reason.code == code

        await self.until(is_shown, SHOWN_S)
        assert self.main.reason is not None
        assert self.main.reason.sentence.endswith(".")
        assert self.main.reason.sentence_vi.endswith(".")
        assert self.main.recording.state == "waiting"

    async def attempts(self) -> None:
        """Waits until the next attempt has begun."""
        await self.until(lambda: self.main.state == "retrying", SHOWN_S)
        failed_us = self.main.since_us
        await self.until(lambda: self.main.since_us > failed_us, SHOWN_S)

    async def comes_back(self) -> None:
        """From now on nothing is wrong any more: pictures that are sent from now on come within ten seconds."""
        newest = max((one["last"] or -1 for one in (await self.sent())["sessions"]), default=-1)

        def is_back() -> bool:
            main = self.main
            return (main.state, main.recording.state) == ("live", "recording") and self.watched.last > newest

        self.back_s.append(await self.until(is_back, BACK_S))
        assert self.main.reason is None

    async def units(self, count: int) -> None:
        """So many more pictures come."""
        wanted = len(self.watched.units) + count
        await self.until(lambda: len(self.watched.units) >= wanted, 5 + 3 * count * UNIT_S)

    async def account(self) -> Account:
        """Of all that was sent so far, once it is here."""
        sessions = (await self.sent())["sessions"]
        await self.until(lambda: self.watched.last >= sessions[-1]["last"], 5)
        return account_for(iter(self.watched.units), sessions, self.farm.key)


Play = Callable[[Bad], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """`options` of the camera, faults `before` the server starts, and what happens then."""

    play: Play
    options: str = ""
    before: str = ""


# --- faults that end a session, or keep one from beginning ----------------------------------------------


def ends_with(code: str, kind: str, **options: object) -> Play:
    """It lasts: new connections fail by it, and so does the one of the moment once it is dropped."""

    async def play(bad: Bad) -> None:
        await bad.live()
        await bad.fault(kind, **options)
        if kind not in ("offline", "vanish", "stall"):
            await bad.fault("drop")
        await bad.shows(code)
        await bad.attempts()
        await bad.fault(kind, on=False)
        await bad.comes_back()
        await bad.until(lambda: bad.services().get("events") == ("ok", ""), BACK_S)

    return play


def breaks_once(code: str, kind: str, **options: object) -> Play:
    """It befalls the connection of the moment; the next one is a good one. Where nothing tells that the connection is
    dead, that it is silent must show first (`pull.stall_timeout_s`)."""

    async def play(bad: Bad) -> None:
        await bad.live()
        await bad.fault(kind, **options)
        await bad.shows(code)
        await bad.comes_back()

    return play


async def drop(bad: Bad) -> None:
    await bad.live()
    await bad.fault("drop")
    begun = asyncio.create_task(bad.comes_back())
    await bad.shows("camera_lost")
    await begun


async def sound_alone(bad: Bad) -> None:
    await bad.live()
    await bad.fault("stall", tracks="video")
    await bad.shows("video_stalled")
    await bad.comes_back()


async def slow_answers(bad: Bad) -> None:
    """Two seconds an answer are no trouble at all."""
    await bad.live()
    await bad.fault("slow_answers")
    await bad.fault("drop")
    await bad.until(lambda: bad.main.state == "retrying", SHOWN_S)
    await bad.live()
    await bad.comes_back()


async def password_of_the_camera_changes(bad: Bad) -> None:
    """Beyond three attempts the cause ends when somebody enters the new password."""
    await bad.live()
    await bad.fault("reconfigure", password="another")
    await bad.until(lambda: bad.watched.ends == ["camera_lost"], SHOWN_S)
    for _ in range(2):
        await bad.shows("credentials_wrong")
        await bad.attempts()
    await bad.shows("credentials_wrong")
    changes = CameraChanges(password="another")
    await bad.node.server.cameras.change(bad.camera_id, changes, Actor(username="lan"))
    await bad.comes_back()


# --- faults in the stream that end nothing ------------------------------------------------------------------


def harmless(kind: str, *, longest_s: float = UNIT_S + JITTER_S, **options: object) -> Play:
    """Nothing is lost, no session ends, and the time line has neither holes nor long durations."""

    async def play(bad: Bad) -> None:
        await bad.live()
        await bad.units(2 * RATE)  # by then the session's clock is settled
        await bad.fault(kind, **options)
        await bad.units(5 * RATE)
        if FAULTS[kind].lasting:
            await bad.fault(kind, on=False)
        await bad.comes_back()
        account = await bad.account()
        assert account.ok, account
        assert bad.watched.ends == []
        assert (await bad.sent())["sessions_total"] == 1
        assert bad.watched.longest_unit_s <= longest_s
        assert bad.watched.longest_step_s <= longest_s

    return play


def costs_pictures(kind: str, **options: object) -> Play:
    """Pictures are damaged, up to the next keyframe; the connection stays, and what came after is whole."""

    async def play(bad: Bad) -> None:
        await bad.live()
        await bad.units(RATE)
        await bad.fault(kind, **options)
        await bad.until(lambda: bad.watched.ends, SHOWN_S)
        if FAULTS[kind].lasting:
            await bad.fault(kind, on=False)
        await bad.comes_back()
        newest, at = bad.watched.last, len(bad.watched.units)
        await bad.units(3 * RATE)
        later = [counter.counter for counter in bad.watched.counters[at:]]
        assert later == list(range(newest + 1, newest + 1 + len(later)))
        assert set(bad.watched.ends) == {"stream_damaged"}
        assert (await bad.sent())["sessions_total"] == 1

    return play


async def wraps(bad: Bad) -> None:
    """The next session wraps its sequence numbers after 100 packets, and its RTP time after two seconds."""
    await bad.live()
    await bad.fault("wrap")
    await bad.fault("drop")
    await bad.until(lambda: bad.watched.ends == ["camera_lost"], SHOWN_S)
    await bad.comes_back()
    await bad.units(6 * RATE)
    sessions = (await bad.sent())["sessions"]
    account = account_for(iter(bad.watched.units), sessions[-1:], bad.farm.key)
    assert account.ok, account
    assert account.kept >= 6 * RATE
    assert bad.watched.ends == ["camera_lost"]
    assert max(bad.watched.longest_unit_s, bad.watched.longest_step_s) <= UNIT_S + JITTER_S


async def another_resolution(bad: Bad) -> None:
    await harmless("resolution_change")(bad)
    assert bad.watched.widths == [768, 384]
    assert bad.main.video is not None
    assert bad.main.video.width == 384


# --- ONVIF ------------------------------------------------------------------------------------------------


def kept_from_starting(code: str, kind: str) -> Play:
    """What ONVIF does not tell cannot be pulled."""

    async def play(bad: Bad) -> None:
        await bad.shows(code)
        asked = await bad.onvif_requests()
        while await bad.onvif_requests() == asked:  # noqa: ASYNC110 - the farm is another process
            await asyncio.sleep(0.01)
        await bad.fault(kind, on=False)
        await bad.comes_back()
        await bad.until(lambda: bad.services().get("events") == ("ok", ""), BACK_S)

    return play


async def no_hindrance(bad: Bad) -> None:
    await bad.live(BACK_S)
    await bad.until(lambda: bad.services().get("events") == ("ok", ""), SHOWN_S)


async def missing_events(bad: Bad) -> None:
    await bad.live(BACK_S)
    await bad.until(lambda: bad.services().get("events") == ("missing", "service_missing"), SHOWN_S)


async def wrong_clock(bad: Bad) -> None:
    await no_hindrance(bad)
    await bad.until(lambda: _clock(bad) == ("alarm", "clock_off"), SHOWN_S)


def _clock(bad: Bad) -> tuple[str, str]:
    device = bad.node.camera(bad.camera_id).device
    assert device is not None
    return device.clock.state, device.clock.reason.code if device.clock.reason else ""


def onvif(code: str, kind: str, options: str = "") -> Scenario:
    return Scenario(kept_from_starting(code, kind), before=f"{kind}{options and ','}{options}")


SCENARIOS: dict[str, Scenario] = {
    "drop": Scenario(drop),
    "stall": Scenario(ends_with("stalled", "stall", lasting=True)),
    "stall of pictures alone": Scenario(sound_alone, "audio=pcma"),
    "half-open TCP": Scenario(breaks_once("stalled", "half_open")),
    "slow accept": Scenario(ends_with("host_unreachable", "slow_accept", delay_s=60)),
    "slow answers": Scenario(slow_answers),
    "no answers": Scenario(ends_with("host_unreachable", "slow_answers", delay_s=60)),
    "wrong Digest, once or twice": Scenario(ends_with("credentials_wrong", "wrong_password")),
    "wrong password": Scenario(password_of_the_camera_changes),
    "stale nonce": Scenario(harmless("stale_nonce")),
    "503": Scenario(ends_with("camera_busy", "503")),
    "out of sessions": Scenario(ends_with("camera_busy", "out_of_sessions")),
    "no transport": Scenario(ends_with("transport_refused", "refuse_transport", transport="tcp,udp")),
    "offline": Scenario(ends_with("port_closed", "offline")),
    "vanish": Scenario(ends_with("host_unreachable", "vanish")),
    "junk": Scenario(harmless("junk")),
    "much junk": Scenario(breaks_once("protocol_broken", "junk", bytes=1_000_000)),
    "a lost packet": Scenario(costs_pictures("lose")),
    "loss": Scenario(costs_pictures("loss", share=0.2)),
    "reorder": Scenario(harmless("reorder", share=0.2), "transports=udp,rate=25,bitrate=1500"),
    "duplicate": Scenario(harmless("duplicate", share=0.2), "transports=udp"),
    "wraps": Scenario(wraps),
    "drift": Scenario(harmless("drift", ppm=500)),
    "21 pictures that claim to be 25": Scenario(harmless("drift", ppm=-160_000, longest_s=2 * UNIT_S)),
    "jump": Scenario(harmless("jump", by_s=3600)),
    "jump back": Scenario(harmless("jump", by_s=-3600)),
    "the year 2000": Scenario(harmless("clock")),
    "an encoder that starts anew": Scenario(costs_pictures("new_ssrc")),
    "resolution change": Scenario(another_resolution),
    "questions": Scenario(harmless("ask_client")),
    "ONVIF: skewed clock": Scenario(wrong_clock, "clock-offset=3600"),
    "ONVIF: undeclared namespaces": Scenario(no_hindrance, before="onvif_undeclared"),
    "ONVIF: Basic only": Scenario(no_hindrance, "onvif-auth=basic"),
    "ONVIF: no events": Scenario(missing_events, before="onvif_missing"),
    "ONVIF: no media": onvif("onvif_failed", "onvif_missing", "services=media"),
    "ONVIF: broken media": onvif("onvif_failed", "onvif_broken"),
    "ONVIF: slow": onvif("host_unreachable", "onvif_slow"),
    "ONVIF: silent": onvif("host_unreachable", "onvif_slow", "delay_s=60"),
    "ONVIF: bomb of entities": onvif("onvif_failed", "onvif_bomb"),
    "ONVIF: external entity": onvif("onvif_failed", "onvif_bomb", "bomb=external"),
    "ONVIF: deep bomb": onvif("onvif_failed", "onvif_bomb", "bomb=deep"),
    "ONVIF: huge bomb": onvif("onvif_failed", "onvif_bomb", "bomb=huge"),
    "ONVIF: trickle": onvif("host_unreachable", "onvif_bomb", "bomb=trickle"),
}
OTHERWISE = {
    "online": "the end of `offline`",
    "status": "another name of 503",
    "redirect": "test_forbidden_addresses.py and test_rtsp_transports.py",
    "redirect_request": "test_forbidden_addresses.py and test_rtsp_transports.py",
    "new_certificate": "test_rtsp_transports.py: it ends when somebody pins the new one",
}
"""Faults that are no cause, or are proved elsewhere."""


# --- all of them at once --------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of the scenarios and of the good cameras."""

    failures: dict[str, Exception] = field(default_factory=dict)
    ordered: set[str] = field(default_factory=set)
    back_s: dict[str, list[float]] = field(default_factory=dict)
    good_live_s: float = 0.0
    good_sounds: dict[str, list[int]] = field(default_factory=dict)
    good: dict[str, Account] = field(default_factory=dict)
    good_ends: dict[str, list[str]] = field(default_factory=dict)
    good_sessions: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All faults at the same time, each on a camera of its own."""
    found = asyncio.run(play_all(tmp_path_factory.mktemp("every-fault")))
    print({name: [round(one, 1) for one in times] for name, times in found.back_s.items() if times})
    return found


async def play_all(directory: Path) -> Outcome:
    outcome = Outcome(ordered={one.before.partition(",")[0] for one in SCENARIOS.values()})
    async with AsyncExitStack() as stack:
        farm = await stack.enter_async_context(farm_of(list(SCENARIOS.values())))
        addresses = [
            CameraAddress(one["id"], one["onvif_address"], one["id"], one["username"], one["password"])
            for one in farm.cameras
        ]
        watched = {one.camera_id: Watched() for one in addresses}

        def watch(node: Node) -> None:
            for camera_id, sink in watched.items():
                node.mountpoint(camera_id).subscribe_parts(sink)

        node = await stack.enter_async_context(running_node(directory, addresses, before=watch))
        async with asyncio.TaskGroup() as group:
            group.create_task(good_start(node, outcome))
            for camera_id, (name, scenario) in zip(bad_ids(), SCENARIOS.items(), strict=True):
                bad = Bad(camera_id, farm, node, watched[camera_id], outcome.ordered)
                outcome.back_s[name] = bad.back_s
                group.create_task(kept(outcome, name, scenario.play(bad)))
        for camera_id in GOOD:
            good = Bad(camera_id, farm, node, watched[camera_id], outcome.ordered)
            sounds_sent = (await good.sent())["sessions"][-1]["audio_last"] or 0
            outcome.good[camera_id] = await good.account()
            outcome.good_sounds[camera_id] = sounds = good.watched.sounds
            if camera_id in WITH_SOUND:
                await good.until(lambda heard=sounds, last=sounds_sent: heard and heard[-1] >= last, 5)  # type: ignore[misc]
            outcome.good_ends[camera_id] = list(good.watched.ends)
            outcome.good_sessions[camera_id] = (await good.sent())["sessions_total"]
    return outcome


def bad_ids() -> list[str]:
    return [f"cam-{number}" for number in range(len(GOOD) + 1, len(GOOD) + 1 + len(SCENARIOS))]


def farm_of(scenarios: Sequence[Scenario]) -> FarmProcess:
    pairs = list(zip(bad_ids(), scenarios, strict=True))
    options = [f"{camera_id}:{one.options}" for camera_id, one in pairs if one.options]
    options += [f"{camera_id}:audio=pcma" for camera_id in WITH_SOUND]
    before = [f"{camera_id}:{one.before}" for camera_id, one in pairs if one.before]
    return FarmProcess(cameras=len(GOOD) + len(pairs), set=options, fault=before, **FARM)


async def good_start(node: Node, outcome: Outcome) -> None:
    outcome.good_live_s = await until(lambda: all(node.main(one).state == "live" for one in GOOD), SHOWN_S)


async def kept(outcome: Outcome, name: str, play: Awaitable[None] | Coroutine[Any, Any, None]) -> None:
    """One scenario that fails keeps no other from being played."""
    try:
        await play
    except Exception as error:
        outcome.failures[name] = error


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_shows_its_reason_and_is_over_within_ten_seconds_of_its_cause(outcome: Outcome, name: str) -> None:
    if name in outcome.failures:
        raise outcome.failures[name]


def test_thirty_good_cameras_beside_them_lose_nothing(outcome: Outcome) -> None:
    assert {camera_id: one for camera_id, one in outcome.good.items() if not one.ok or one.tail} == {}
    assert min(one.kept for one in outcome.good.values()) > 20 * RATE
    assert {camera_id: ends for camera_id, ends in outcome.good_ends.items() if ends} == {}
    assert set(outcome.good_sessions.values()) == {1}
    for camera_id in WITH_SOUND:
        sounds = outcome.good_sounds[camera_id]
        assert sounds == list(range(sounds[0], sounds[0] + len(sounds)))
        assert len(sounds) > 20 * SOUNDS_A_SECOND


def test_bad_cameras_do_not_delay_the_start_of_good_ones(outcome: Outcome) -> None:
    assert outcome.good_live_s < 8


def test_every_fault_of_the_farm_is_among_them(outcome: Outcome) -> None:
    assert set(FAULTS) - outcome.ordered == set(OTHERWISE)
