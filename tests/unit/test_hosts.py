"""Streams of one host: after a failure one of them tries at a time; once one has reached it, all may go."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mediasrv.cameras.hosts import Host, Hosts, host_name
from mediasrv.settings import PullSettings


class HeldClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_us(self) -> int:
        return 0


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def through(turns: list[asyncio.Task[None]]) -> int:
    return sum(turn.done() for turn in turns)


async def test_a_host_that_was_never_missed_lets_all_through_at_once() -> None:
    host = Host(HeldClock(), 60.0, 60.0)
    await asyncio.gather(*(host.turn() for _ in range(30)))


async def test_while_it_is_not_reached_one_goes_at_a_time_and_then_all() -> None:
    clock = HeldClock()
    host = Host(clock, 60.0, 60.0)
    host.failed()
    turns = [asyncio.create_task(host.turn()) for _ in range(30)]
    await settle()
    assert through(turns) == 0, "its pause is not over"
    clock.now = 61.0
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
    host = Host(HeldClock(), 60.0, 60.0)
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
    host = Host(_Loop(), 0.002, 0.002)
    host.failed()
    async with asyncio.timeout(5):
        await host.turn()


class _Loop(HeldClock):
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5:8000", "10.0.0.5"),
        ("http://10.0.0.5/onvif/device_service", "10.0.0.5"),
        ("rtsp://NVR.example:554/ch/3?x=1", "nvr.example"),
        ("rtsp://[2001:db8::1]/", "2001:db8::1"),
        ("rtsp://[", "rtsp://["),
    ],
)
def test_addresses_of_any_form_name_their_host(address: str, name: str) -> None:
    assert host_name(address) == name


def test_the_channels_of_one_recorder_share_their_host() -> None:
    hosts = Hosts(HeldClock(), PullSettings())
    first = hosts.of("rtsp://10.0.0.5/ch1")
    assert hosts.of("rtsp://10.0.0.5:554/ch2") is first
    assert hosts.of("10.0.0.6") is not first
