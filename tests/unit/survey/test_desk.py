"""Surveys of one server beside each other, and their end with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mediasrv.clock import SystemClock
from mediasrv.errors import TooManyRequests, Unavailable
from mediasrv.settings import SurveySettings
from mediasrv.survey import SurveyDesk, SurveyState
from mediasrv.survey.desk import MOST_KEPT
from tests.unit.survey.devices import LIMITS, Network, targets


def desk_of(network: Network) -> SurveyDesk:
    settings = SurveySettings(measure_s=0.01, surveys_at_once=2)
    return SurveyDesk(network.drivers(), LIMITS, SystemClock(), settings)


@asynccontextmanager
async def running(network: Network) -> AsyncIterator[SurveyDesk]:
    desk = desk_of(network)
    task = asyncio.create_task(desk.run())
    await asyncio.sleep(0)
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the fake network's counters have no event
            await asyncio.sleep(0)


async def test_two_surveys_of_one_site_take_turns_on_its_line() -> None:
    network = Network()
    async with running(network) as desk:
        one, other = [desk.start(targets("10.0.0.1", f"10.0.0.{number}"), None, "lan") for number in (2, 3)]
        await until(lambda: SurveyState.RUNNING not in (one.state, other.state))
    assert (one.state, other.state) == (SurveyState.DONE, SurveyState.DONE)
    assert network.most_open_at["site-1"] == 1
    assert len(network.pulled) == 4


async def test_the_servers_end_is_the_surveys_and_leaves_every_camera() -> None:
    network = Network()
    async with running(network) as desk:
        kept = desk.start(targets("10.0.0.1"), 600.0, "lan")
        await until(lambda: network.open_at["site-1"] == 1)
    assert (kept.state, network.goodbyes, network.open_at["site-1"]) == (SurveyState.CANCELLED, 1, 0)


async def test_one_too_many_is_refused_and_so_is_one_before_the_server_runs() -> None:
    network = Network()
    with pytest.raises(Unavailable):
        desk_of(network).start(targets("10.0.0.1"), None, "lan")
    async with running(network) as desk:
        for _ in range(2):
            desk.start(targets("10.0.0.1"), 600.0, "lan")
        with pytest.raises(TooManyRequests) as caught:
            desk.start(targets("10.0.0.1"), None, "lan")
    assert caught.value.code == "surveys_full"


async def test_so_many_results_are_kept_the_newest_first() -> None:
    async with running(Network()) as desk:
        for number in range(MOST_KEPT + 3):
            kept = desk.start(targets(f"10.0.0.{number}"), None, "lan")
            assert kept.task is not None
            await kept.task
        listed = [one.survey.rows[0].address for one in desk.list()]
    assert len(listed) == MOST_KEPT
    assert listed[0] == f"10.0.0.{MOST_KEPT + 2}"
