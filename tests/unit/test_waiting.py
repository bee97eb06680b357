"""Turns: how many tasks are under way, in all and under one key. Waiting for an event or a time."""

from __future__ import annotations

import asyncio

import pytest

from mediasrv.waiting import Turns, wait_for_event


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_handshakes_are_bounded_in_all_and_per_host_and_a_cancelled_one_leaves_its_place() -> None:
    gate, going = Turns(4, 2), asyncio.Event()
    under_way: list[str] = []

    async def shake(host: str) -> None:
        async with gate.turn(host):
            under_way.append(host)
            await going.wait()

    tasks = [asyncio.create_task(shake("nvr")) for _ in range(10)]
    await settle()
    assert under_way == ["nvr"] * 2, "a recorder with many channels holds no other place"
    tasks += [asyncio.create_task(shake(f"cam-{number}")) for number in range(10)]
    await settle()
    assert under_way == ["nvr", "nvr", "cam-0", "cam-1"]
    tasks[0].cancel()
    tasks[5].cancel()
    await settle()
    assert len(under_way) == 5
    going.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(under_way) == 19, "all but the one that was cancelled before its turn"
    assert (gate.under_way, gate.most_under_way, gate._keys) == (0, 4, {})


async def test_a_key_that_nobody_waits_for_is_forgotten() -> None:
    turns = Turns(4, 1)
    async with turns.turn("a"):
        assert turns._keys.keys() == {"a"}
    assert not turns._keys
    assert not turns._users


async def test_waiting_ends_with_the_event_or_the_time() -> None:
    event = asyncio.Event()
    await wait_for_event(event, 0.01)
    assert not event.is_set()
    waiting = [asyncio.create_task(wait_for_event(event, most_s)) for most_s in (60.0, None)]
    await settle()
    event.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, 60.0))
    await settle()
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
