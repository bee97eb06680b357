"""How long footage is at risk: from the arrival of an access unit until it would survive a power cut (invariant 3)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from load_tests.camera_farm.process import FarmProcess
from mediasrv.clock import SECOND_US, SystemClock
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.settings import PullSettings, SpoolSettings, StorageSettings
from tests.integration.recording import REF, Recording, new_session

RISES = 12
BOUND_S = 0.9 + 1 / 25
PULL = PullSettings(allowed_networks=("127.0.0.0/8",))


async def test_an_unwatched_stream_is_durable_within_its_bound(tmp_path: Path, storage: StorageSettings) -> None:
    clock = SystemClock()
    async with (
        FarmProcess(cameras=1, mode="load", audio="pcma", rate=25, bitrate=2050, gop=1) as farm,
        Recording(tmp_path, storage, spool_settings=SpoolSettings()).opened() as running,
    ):
        running.recorder.start(REF, 1)
        gatherer = Gatherer(PULL.gather_s, after=running.spool.flush_soon)
        source = RtspSource(farm.url("cam-1"), farm.username, farm.password)
        pull = RtspPull(
            source, running.mountpoint, lambda: new_session("a" * 16, clock.wall_us()), clock, PULL, gatherer
        )
        pulling = asyncio.create_task(pull.run())
        try:
            at_risk_s = await _at_risk(running.recorder.state, clock)
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
    # The machine that runs this may itself stand still for a moment: one part may be late, not the rule.
    assert sorted(at_risk_s)[-2] <= BOUND_S, at_risk_s


async def _at_risk(state: object, clock: SystemClock) -> list[float]:
    """Each time that more became durable: how old the oldest access unit of it was by then."""
    ages: list[float] = []
    durable_us: int | None = None
    async with asyncio.timeout(30):
        while len(ages) < RISES:
            await asyncio.sleep(0.005)
            now_us, until_us = clock.wall_us(), state(REF).durable_until_us  # type: ignore[operator]
            if durable_us is not None and until_us is not None and until_us > durable_us:
                ages.append((now_us - durable_us) / SECOND_US)
            durable_us = until_us if until_us is not None else durable_us
    return ages
