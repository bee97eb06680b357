"""The beat on which unwatched streams are read: who is read when, and what comes after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mediasrv.pulling.gather import SLICE, Gatherer


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Simulated time: `step` runs one iteration, `advance` goes to the next timer."""

    def __init__(self) -> None:
        self.now = 100.03
        self.soon: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None], Timer]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., None], *args: Any) -> None:
        self.soon.append(lambda: call(*args))

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        timer = Timer()
        self.timers.append((at, call, timer))
        return timer

    def step(self) -> None:
        ready, self.soon = self.soon, []
        for call in ready:
            call()

    def advance(self) -> None:
        due = min(at for at, _, timer in self.timers if not timer.cancelled)
        self.now = due
        ready = [call for at, call, timer in self.timers if at <= due and not timer.cancelled]
        self.timers = [entry for entry in self.timers if entry[0] > due]
        for call in ready:
            call()

    @property
    def waiting(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self.timers)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    simulated = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: simulated)
    return simulated


def test_every_reader_has_its_turn_once_a_beat_and_the_rest_comes_after(loop: Loop) -> None:
    said: list[str] = []
    gatherer = Gatherer(0.2, after=lambda: said.append("after"))
    gatherer.add(lambda: said.append("one"))
    gatherer.add(lambda: said.append("two"))
    for beat in range(3):
        loop.advance()
        assert said == ["one", "two", "after"] * (beat + 1)
        assert loop.now == pytest.approx(100.2 + 0.2 * beat)


def test_many_readers_leave_room_for_others_in_between(loop: Loop) -> None:
    said: list[str] = []
    gatherer = Gatherer(0.2, after=lambda: said.append("after"))
    readers = [lambda number=number: said.append(str(number)) for number in range(2 * SLICE + 1)]
    for reader in readers:
        gatherer.add(reader)
    loop.advance()
    assert len(said) == SLICE
    loop.step()
    assert len(said) == 2 * SLICE
    loop.step()
    assert said == [*map(str, range(2 * SLICE + 1)), "after"]


def test_who_has_left_is_not_read_any_more_not_even_in_a_beat_that_has_begun(loop: Loop) -> None:
    said: list[str] = []
    gatherer = Gatherer(0.2)
    second: Callable[[], None] = lambda: said.append("second")  # noqa: E731 - its identity matters
    gatherer.add(lambda: gatherer.remove(second))
    gatherer.add(second)
    loop.advance()
    assert said == []


def test_without_readers_nothing_wakes(loop: Loop) -> None:
    gatherer = Gatherer(0.2)
    reader: Callable[[], None] = lambda: None  # noqa: E731
    gatherer.add(reader)
    gatherer.remove(reader)
    gatherer.remove(reader)
    assert loop.waiting == 0
    gatherer.add(reader)
    loop.advance()
    assert loop.waiting == 1


def test_what_is_due_can_wait_for_the_beat(loop: Loop) -> None:
    gatherer = Gatherer(0.2)
    assert gatherer.next_beat(100.01) == pytest.approx(100.2)
    assert gatherer.next_beat(100.2) == pytest.approx(100.2)
