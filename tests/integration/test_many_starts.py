"""Two hundred cameras start at once: each is pulled, none times out, and few handshakes are under way together."""

from __future__ import annotations

import asyncio

from load_tests.camera_farm.process import FarmProcess
from mediasrv.clock import SystemClock
from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import Session, StreamName, StreamRef
from mediasrv.pulling.gather import Gatherer
from mediasrv.rtsp_pull import RtspPull, RtspSource
from mediasrv.waiting import Turns
from tests.integration.pull_rig import SETTINGS, until

CAMERAS = 200
AT_ONCE = 16


async def test_two_hundred_cameras_at_once() -> None:
    clock, gate, gatherer = SystemClock(), Turns(AT_ONCE, AT_ONCE), Gatherer(SETTINGS.gather_s)
    small = {"width": 320, "height": 180, "rate": 5, "bitrate": 100, "gop": 1, "audio": "none"}
    async with FarmProcess(cameras=CAMERAS, **small) as farm:
        mountpoints = [Mountpoint(StreamRef(one["id"], StreamName.MAIN), 0.48) for one in farm.cameras]

        def pull(mountpoint: Mountpoint) -> RtspPull:
            ref = mountpoint.ref
            source = RtspSource(farm.url(ref.camera_id), farm.username, farm.password)

            def new_session() -> Session:
                return Session(ref.camera_id, ref, 1, clock.wall_us(), clock.monotonic())

            return RtspPull(source, mountpoint, new_session, clock, SETTINGS, gatherer, gate)

        pulls = [asyncio.create_task(pull(mountpoint).run()) for mountpoint in mountpoints]
        try:
            await until(lambda: all(mountpoint.live for mountpoint in mountpoints), 20)
            assert not any(task.done() for task in pulls)
            assert gate.most_under_way == AT_ONCE
        finally:
            for task in pulls:
                task.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)
