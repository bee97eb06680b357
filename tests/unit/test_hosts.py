"""Streams of one host: after a failure one of them tries at a time; once one has reached it, all may go."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

from mediasrv.cameras.hosts import UNREACHED, Host, Hosts
from mediasrv.cameras.supervisor import StreamSupervisor
from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.settings import PullSettings
from tests.clocks import SimulatedClock


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def through(turns: list[asyncio.Task[None]]) -> int:
    return sum(turn.done() for turn in turns)


async def test_a_host_that_was_never_missed_lets_all_through_at_once() -> None:
    host = Host(SimulatedClock(), 60.0, 60.0)
    await asyncio.gather(*(host.turn() for _ in range(30)))


async def test_while_it_is_not_reached_one_goes_at_a_time_and_then_all() -> None:
    clock = SimulatedClock()
    host = Host(clock, 60.0, 60.0)
    host.failed()
    turns = [asyncio.create_task(host.turn()) for _ in range(30)]
    await settle()
    assert through(turns) == 0, "its pause is not over"
    clock.advance(61)
    turns.append(asyncio.create_task(host.turn()))
    await settle()
    assert through(turns) == 1
    host.failed()
    turns.append(asyncio.create_task(host.turn()))
    await settle()
    assert through(turns) == 1, "the turn of another"
    with host.standing():
        await settle()
        assert through(turns) == len(turns)


async def test_while_a_connection_stands_a_failure_is_that_streams_own() -> None:
    host = Host(SimulatedClock(), 60.0, 60.0)
    with host.standing():
        host.failed()
        await host.turn()
    host.failed()
    turn = asyncio.create_task(host.turn())
    await settle()
    assert not turn.done()
    turn.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await turn


async def test_the_first_after_the_pause_comes_by_itself() -> None:
    host = Host(SystemClock(), 0.002, 0.002)
    host.failed()
    async with asyncio.timeout(5):
        await host.turn()


def test_the_channels_of_one_recorder_share_their_host() -> None:
    hosts = Hosts(SimulatedClock(), PullSettings())
    first = hosts.of("rtsp://10.0.0.5/ch1")
    assert hosts.of("rtsp://10.0.0.5:554/ch2") is first
    assert hosts.of("10.0.0.6") is not first


def test_what_no_url_can_hold_is_a_host_by_itself() -> None:
    hosts = Hosts(SimulatedClock(), PullSettings())
    odd = hosts.of("rtsp://[")
    assert hosts.of("rtsp://[") is odd
    assert hosts.of("rtsp://[x") is not odd


class FakePuller:
    """Fails until the host is up, then takes the connection and plays on."""

    def __init__(self, failure: CameraError | None) -> None:
        self.connected = asyncio.Event()
        self.stop_reason = ""
        self.report = SimpleNamespace(transport="tcp", video_format=None, audio_format=None)
        self._failure = failure

    async def run(self) -> None:
        if self._failure is not None:
            raise self._failure
        self.connected.set()
        await asyncio.Event().wait()


async def test_streams_that_cannot_reach_their_host_wait_for_the_one_that_does() -> None:
    host = Host(SimulatedClock(), 60.0, 60.0)
    attempts: list[StreamRef] = []
    failures: dict[str, CameraError] = {"ch-1": CameraError("No answer.", code=UNREACHED)}

    async def connect(mountpoint: Mountpoint) -> FakePuller:
        attempts.append(mountpoint.ref)
        return FakePuller(failures.get(mountpoint.ref.camera_id))

    def supervise(camera_id: str) -> asyncio.Task[None]:
        supervisor = StreamSupervisor(
            Mountpoint(StreamRef(camera_id, StreamName.MAIN), 0.48),
            connect,
            on_demand=False,
            host=host,
            failed=lambda ref, error: None,
            clock=SystemClock(),
            settings=PullSettings(backoff_first_s=0.001, backoff_most_s=0.001),
        )
        return asyncio.create_task(supervisor.run())

    tasks = [supervise("ch-1")]
    try:
        async with asyncio.timeout(5):
            while not attempts or host._reachable.is_set():  # noqa: ASYNC110 - the host's state has no event
                await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # the very time in which its own back-off alone would have tried ten times
        assert len(attempts) == 1
        failures.clear()
        with host.standing():  # another stream of the host got through
            async with asyncio.timeout(5):
                while len(attempts) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await settle()
        host.failed()
        assert host._reachable.is_set(), "the stream that got through stands"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    host.failed()
    assert not host._reachable.is_set(), "nothing stands any more"
