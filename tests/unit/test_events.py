"""Events on their way into the catalogue and to listeners: whole, in order, bounded, and never plain on the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import mediasrv.events as events_module
from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.migrate import upgrade
from mediasrv.events import MOST_OF_A_CAMERA, MOST_UNREAD, EventBroker, Events, StoredEvent
from mediasrv.media.camera_event import CameraEvent, EventKind
from tests.databases import url_for

NOON_US = 1_777_636_800_000_000
SEED = bytes(32)


def event(number: int, camera_id: str = "gate-1", source: str = "Phòng giám đốc") -> CameraEvent:
    return CameraEvent(camera_id, EventKind.MOTION, source, number % 2 == 0, NOON_US, NOON_US + number)


def stored(number: int, camera_id: str = "gate-1") -> StoredEvent:
    return StoredEvent(number, camera_id, EventKind.MOTION, "v1", True, None, NOON_US + number)


@pytest.fixture
async def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalogue]:
    monkeypatch.setattr(events_module, "GATHER_S", 0.0)
    monkeypatch.setattr(events_module, "_RETRIES_S", (0.001, 0.002))
    url = url_for(tmp_path)
    upgrade(url)
    made = Catalogue(url)
    yield made
    made.close()


@contextlib.asynccontextmanager
async def running(events: Events) -> AsyncIterator[Events]:
    task = asyncio.create_task(events.run())
    await asyncio.sleep(0)
    try:
        yield events
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is the program's state, it has no event
            await asyncio.sleep(0.001)


def on_disk(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def kept(events: Events, camera_id: str = "gate-1") -> list[StoredEvent]:
    return await events.find(camera_id, NOON_US, NOON_US + 10**9, (), 10_000)


async def test_what_is_offered_is_kept_and_then_published_with_its_number(catalogue: Catalogue) -> None:
    async with running(Events(catalogue, SEED)) as events:
        with events.broker.listen(lambda one: True) as listener:
            events.offer([event(0), event(1)])
            async with asyncio.timeout(5):
                heard = [await listener.next(), await listener.next()]
        assert heard == await kept(events)
        assert [(one.source, one.active, one.arrived_us) for one in heard] == [
            ("Phòng giám đốc", True, NOON_US),
            ("Phòng giám đốc", False, NOON_US + 1),
        ]
        assert events.kept == 2


async def test_what_was_offered_last_is_kept_at_the_end(catalogue: Catalogue) -> None:
    events = Events(catalogue, SEED)
    async with running(events):
        events.offer([event(number) for number in range(150)])
    assert len(await kept(events)) == 150


async def test_no_word_of_the_camera_lies_plain_on_the_disk(catalogue: Catalogue, tmp_path: Path) -> None:
    async with running(Events(catalogue, SEED)) as events:
        events.offer([event(0)])
        await until(lambda: events.kept)
    files = on_disk(tmp_path)
    assert any(b"gate-1" in data for data in files)
    for word in ("Phòng giám đốc".encode(), b"giam", "đốc".encode()):
        assert not any(word in data for data in files)


async def test_another_nodes_key_opens_no_source_and_hides_no_event(catalogue: Catalogue) -> None:
    async with running(Events(catalogue, SEED)) as events:
        events.offer([event(0)])
        await until(lambda: events.kept)
    [found] = await kept(Events(catalogue, b"1" * 32))
    assert (found.source, found.kind) == ("", EventKind.MOTION)


async def test_a_camera_that_floods_costs_its_own_events_only(catalogue: Catalogue) -> None:
    events = Events(catalogue, SEED)
    events.offer([event(number, "loud") for number in range(3 * MOST_OF_A_CAMERA)])
    events.offer([event(0, "quiet")])
    assert events.dropped == 2 * MOST_OF_A_CAMERA
    async with running(events):
        await until(lambda: events.kept == MOST_OF_A_CAMERA + 1)
        assert len(await kept(events, "quiet")) == 1
        events.offer([event(number, "loud") for number in range(10)])
        await until(lambda: events.kept == MOST_OF_A_CAMERA + 11)


async def test_a_catalogue_that_fails_for_a_while_loses_nothing(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = catalogue.write, 3

    async def failing(*arguments: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError("the disk is away")
        return await write(*arguments)

    monkeypatch.setattr(catalogue, "write", failing)
    async with running(Events(catalogue, SEED)) as events:
        events.offer([event(0), event(1)])
        await until(lambda: events.kept == 2)
        assert [one.arrived_us - NOON_US for one in await kept(events)] == [0, 1]


async def test_a_write_that_is_under_way_at_the_end_is_not_done_twice(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, go_on = catalogue.write, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await write(*arguments)

    monkeypatch.setattr(catalogue, "write", slow)
    events = Events(catalogue, SEED)
    task = asyncio.create_task(events.run())
    events.offer([event(0)])
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert len(await kept(events)) == 1


async def test_what_was_active_last_is_remembered(catalogue: Catalogue) -> None:
    async with running(Events(catalogue, SEED)) as events:
        events.offer([event(0, source="a"), event(1, source="a"), event(2, source="b"), event(3, source="a")])
        events.offer([event(4, source="c"), event(6, "gate-2", "d")])
        await until(lambda: events.kept == 6)
        assert await events.active("gate-1") == {(EventKind.MOTION, "b"), (EventKind.MOTION, "c")}
        assert await events.active("gate-9") == set()


async def test_a_listener_hears_what_it_wants() -> None:
    broker = EventBroker()
    with broker.listen(lambda one: one.camera_id == "gate-1") as listener:
        broker.publish([stored(1), stored(2, "gate-2"), stored(3)])
        assert [(await listener.next()).event_id, (await listener.next()).event_id] == [1, 3]


async def test_a_slow_listener_misses_the_oldest_and_nobody_else_anything() -> None:
    broker = EventBroker()
    with broker.listen(lambda one: True) as slow, broker.listen(lambda one: True) as quick:
        for number in range(MOST_UNREAD + 5):
            broker.publish([stored(number)])
            assert (await quick.next()).event_id == number
        assert (slow.missed, quick.missed) == (5, 0)
        assert (await slow.next()).event_id == 5


async def test_a_listener_that_went_is_not_spoken_to() -> None:
    broker = EventBroker()
    with broker.listen(lambda one: True) as listener:
        pass
    broker.publish([stored(1)])
    assert listener.missed == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await listener.next()
