"""Moving cameras: what each can do, who may, and that nothing moves on when nobody holds the handle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from mediasrv.errors import CameraError, Conflict
from mediasrv.onvif.ptz import Axes, Move, PtzAbility, Vector, build_move, parse_nodes, parse_presets
from mediasrv.onvif.ptz_desk import PtzDesk
from tests.clocks import SimulatedClock

ALL = PtzAbility("p1", dict.fromkeys(Move, Axes(True, True)))
LEFT = Vector((-0.5, 0.0))


def xml(text: str) -> Element:
    return ElementTree.fromstring(text)


# --- pure -------------------------------------------------------------------------------------------


def test_a_node_tells_what_it_can_do() -> None:
    found = parse_nodes(
        xml(
            "<R><PTZNode><SupportedPTZSpaces><ContinuousPanTiltVelocitySpace/><AbsoluteZoomPositionSpace/>"
            "<RelativePanTiltTranslationSpace/><RelativeZoomTranslationSpace/><PanTiltSpeedSpace/>"
            "</SupportedPTZSpaces></PTZNode><PTZNode/></R>"
        )
    )
    assert found == {
        Move.CONTINUOUS: Axes(True, False),
        Move.RELATIVE: Axes(True, True),
        Move.ABSOLUTE: Axes(False, True),
    }
    assert parse_nodes(xml("<R/>")) == {}


def test_a_node_that_names_no_space_is_taken_to_do_everything() -> None:
    for node in ("<PTZNode/>", "<PTZNode><SupportedPTZSpaces/></PTZNode>"):
        assert parse_nodes(xml(f"<R>{node}</R>")) == dict.fromkeys(Move, Axes(True, True))


def test_moves_become_requests() -> None:
    assert build_move(ALL, Move.CONTINUOUS, Vector((0.1, -0.2), 0.3), 2.6) == (
        "ContinuousMove",
        {
            "ProfileToken": "p1",
            "Velocity": {"PanTilt": {"x": 0.1, "y": -0.2}, "Zoom": {"x": 0.3}},
            "Timeout": timedelta(seconds=3),
        },
    )
    assert build_move(ALL, Move.RELATIVE, Vector(zoom=1.0), 2.6) == (
        "RelativeMove",
        {"ProfileToken": "p1", "Translation": {"Zoom": {"x": 1.0}}},
    )
    assert build_move(ALL, Move.ABSOLUTE, LEFT, 2.6)[1]["Position"] == {"PanTilt": {"x": -0.5, "y": 0.0}}


def test_what_a_camera_cannot_do_is_left_out_or_refused() -> None:
    ability = PtzAbility("p1", {Move.CONTINUOUS: Axes(True, False)})
    assert "Zoom" not in build_move(ability, Move.CONTINUOUS, Vector((0, 0), 1.0), 2.0)[1]["Velocity"]
    for move, vector in ((Move.CONTINUOUS, Vector(zoom=1.0)), (Move.RELATIVE, LEFT), (Move.CONTINUOUS, Vector())):
        with pytest.raises(CameraError) as caught:
            build_move(ability, move, vector, 2.0)
        assert caught.value.code == "ptz_unsupported"


def test_presets_without_a_name_are_called_by_their_token() -> None:
    found = parse_presets(xml('<R><Preset token="1"><Name>Gate</Name></Preset><Preset token="2"/><Preset/></R>'))
    assert [(one.token, one.name) for one in found] == [("1", "Gate"), ("2", "2")]


# --- the desk ---------------------------------------------------------------------------------------


class Camera:
    """Remembers what it was told. `blocked` holds its answers back; `failures` are raised first."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.failures: list[Exception] = []
        self.free = asyncio.Event()
        self.free.set()

    async def ptz_ability(self) -> PtzAbility:
        return ALL

    async def call_ptz(self, operation: str, parameters: Mapping[str, Any]) -> Element:
        self.told.append((operation, dict(parameters)))
        await self.free.wait()
        if self.failures:
            raise self.failures.pop(0)
        return xml("<R><PresetToken>9</PresetToken></R>")

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.told]


class Desk:
    """A running desk over one camera and a clock that stands still; times are in the clock's seconds."""

    def __init__(self, desk: PtzDesk, camera: Camera, clock: SimulatedClock) -> None:
        self.desk, self.camera, self.clock = desk, camera, clock

    async def left(self, who: str = "lan") -> None:
        await self.desk.move("cam", who, who, Move.CONTINUOUS, LEFT)

    async def later(self, seconds: float) -> None:
        """Lets the desk look at the clock again: its own waiting is by the machine's."""
        self.clock.advance(seconds)
        self.desk._moved.set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the condition is the program's state, it has no event
                await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Desk]:
    camera, clock = Camera(), SimulatedClock(1_767_225_600_000_000)
    desk = PtzDesk(lambda camera_id: camera, clock, hold_s=2.0, lock_s=15.0)
    running = asyncio.create_task(desk.run())
    try:
        yield Desk(desk, camera, clock)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_second_person_is_told_who_moves_the_camera(rig: Desk) -> None:
    await rig.left("lan")
    for command in (
        rig.left("minh"),
        rig.desk.stop("cam", "minh", "minh"),
        rig.desk.go_to("cam", "minh", "minh", "1"),
        rig.desk.set_preset("cam", "minh", "minh", "x"),
    ):
        with pytest.raises(Conflict, match="lan is moving this camera, until 2026-01-01T00:00:15Z") as caught:
            await command
        assert caught.value.code == "ptz_locked"
    assert rig.camera.operations == ["ContinuousMove"]


async def test_the_camera_is_free_a_while_after_the_last_command(rig: Desk) -> None:
    await rig.left("lan")
    await rig.later(10.0)
    await rig.desk.stop("cam", "lan", "lan")
    await rig.later(10.0)
    with pytest.raises(Conflict):
        await rig.left("minh")
    await rig.later(5.1)
    assert rig.desk.holder("cam") is None
    await rig.left("minh")
    holder = rig.desk.holder("cam")
    assert holder is not None
    assert holder.username == "minh"


async def test_whoever_holds_the_camera_may_let_go_of_it_and_nobody_else(rig: Desk) -> None:
    await rig.left("lan")
    rig.desk.release("cam", "minh")
    with pytest.raises(Conflict):
        await rig.left("minh")
    rig.desk.release("cam", "lan")
    await rig.left("minh")


async def test_a_move_that_is_not_repeated_is_stopped(rig: Desk) -> None:
    await rig.left()
    await rig.later(1.9)
    assert rig.camera.operations == ["ContinuousMove"]
    await rig.later(0.2)
    assert rig.camera.told[-1] == ("Stop", {"ProfileToken": "p1", "PanTilt": True, "Zoom": True})
    await rig.later(60.0)
    assert rig.camera.operations == ["ContinuousMove", "Stop"]


async def test_a_move_that_is_repeated_goes_on(rig: Desk) -> None:
    for _ in range(5):
        await rig.left()
        await rig.later(1.5)
    assert rig.camera.operations == ["ContinuousMove"] * 5


async def test_the_camera_stops_itself_a_little_later_than_we_would(rig: Desk) -> None:
    await rig.left()
    assert rig.camera.told[0][1]["Timeout"] == timedelta(seconds=3)


async def test_a_stop_that_fails_is_tried_again(rig: Desk) -> None:
    await rig.left()
    rig.camera.failures = [CameraError("Away.", code="host_unreachable")] * 2
    await rig.later(2.1)
    await rig.until(lambda: rig.camera.operations.count("Stop") == 3)
    await rig.settle()
    await rig.later(60.0)
    assert rig.camera.operations.count("Stop") == 3


async def test_a_surprise_of_one_camera_does_not_end_the_watch_over_the_others(rig: Desk) -> None:
    await rig.left()
    rig.camera.failures = [RuntimeError("a surprise")]
    await rig.later(2.1)
    await rig.left()
    await rig.later(2.1)
    assert rig.camera.operations == ["ContinuousMove", "Stop", "ContinuousMove", "Stop"]


async def test_a_move_whose_answer_was_lost_is_stopped_as_well(rig: Desk) -> None:
    rig.camera.failures = [CameraError("Away.", code="host_unreachable")]
    with pytest.raises(CameraError):
        await rig.left()
    await rig.later(2.1)
    assert rig.camera.operations == ["ContinuousMove", "Stop"]


async def test_relative_moves_and_presets_need_no_stop(rig: Desk) -> None:
    await rig.desk.move("cam", "lan", "lan", Move.RELATIVE, LEFT)
    await rig.desk.go_to("cam", "lan", "lan", "1")
    assert await rig.desk.set_preset("cam", "lan", "lan", "Gate") == "9"
    await rig.later(10.0)
    assert rig.camera.operations == ["RelativeMove", "GotoPreset", "SetPreset"]


async def test_commands_that_wait_give_way_to_the_newest(rig: Desk) -> None:
    """A camera that takes a second for each must not act out a minute of joystick afterwards, nor move after Stop."""
    rig.camera.free.clear()
    moves = [asyncio.create_task(rig.left()) for _ in range(5)]
    await rig.settle()
    stop = asyncio.create_task(rig.desk.stop("cam", "lan", "lan"))
    await rig.settle()
    rig.camera.free.set()
    await asyncio.gather(*moves, stop)
    assert rig.camera.operations == ["ContinuousMove", "Stop"]


async def test_a_camera_that_takes_no_timeout_is_asked_without_one_from_then_on(rig: Desk) -> None:
    rig.camera.failures = [CameraError("A fault.", code="onvif_failed")]
    await rig.left()
    await rig.left()
    assert ["Timeout" in parameters for _, parameters in rig.camera.told] == [True, False, False]


async def test_what_moves_at_the_end_is_stopped() -> None:
    camera, clock = Camera(), SimulatedClock(0)
    desk = PtzDesk(lambda camera_id: camera, clock, hold_s=2.0, lock_s=15.0)
    running = asyncio.create_task(desk.run())
    await asyncio.sleep(0)
    await desk.move("cam", "lan", "lan", Move.CONTINUOUS, LEFT)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert camera.operations == ["ContinuousMove", "Stop"]


async def test_a_camera_that_is_none_has_no_handle() -> None:
    def none(camera_id: str) -> Camera:
        raise CameraError("No such.", code="ptz_unsupported")

    desk = PtzDesk(none, SimulatedClock(0), 2.0, 15.0)
    with pytest.raises(CameraError):
        desk.take("cam", "lan", "lan")
    assert desk.holder("cam") is None
