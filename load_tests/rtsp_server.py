"""The measured side of `rtsp`: the real hub and RTSP door, fed with one pre-encoded stream in real time.

`python -m load_tests.rtsp_server` prints a line of JSON with its ports and login; to each line on its standard input it
answers with a line of counters.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from load_tests.child import lines_told, say
from load_tests.fanout_server import REF, Publisher
from load_tests.ports import free_ports
from mediasrv.clock import SystemClock
from mediasrv.errors import NotAuthenticated
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import StreamRef
from mediasrv.rtsp_serve import RtspServe
from mediasrv.security.rtsp_access import Visitor
from mediasrv.settings import RtspServeSettings

LOGIN: Final = "rtsp-load"
PASSWORD: Final = "load"


class EverybodyMay:
    """One login, and every camera: rights are looked up once a second whoever asks, and are not what is measured."""

    async def authenticate(self, username: str, remote: str, proves: Callable[[str], bool]) -> Visitor:
        if username != LOGIN or not proves(PASSWORD):
            raise NotAuthenticated("The user name or the password is wrong.")
        return Visitor("load", "load", LOGIN, b"", None, remote)

    async def admit(self, visitor: Visitor, camera_id: str) -> None:
        pass

    async def started(self, visitor: Visitor, ref: StreamRef, by: str) -> None:
        pass

    async def ended(self, visitor: Visitor, ref: StreamRef) -> None:
        pass

    async def may_watch(self, visitor: Visitor, camera_id: str) -> bool:
        return True


async def _live(mountpoint: Mountpoint) -> None:
    while not mountpoint.live:  # noqa: ASYNC110 - as the supervisor of cameras waits
        await asyncio.sleep(0.01)


async def _answer(serve: RtspServe, publisher: Publisher) -> None:
    lines = await lines_told()
    while await lines.readline():
        say(
            {
                "access_units": publisher.air.pictures,
                "loop_late_ms_p99": publisher.air.take_late_ms_p99(),
                "counters": dataclasses.asdict(serve.counters),
            }
        )


async def _serve(options: argparse.Namespace) -> None:
    hub, (port, tls_port) = Hub(), free_ports(2)
    mountpoint = hub.mountpoint(REF)
    publisher = Publisher(mountpoint, audio=options.audio)

    async def ensure(ref: StreamRef) -> None:
        await _live(mountpoint)

    with tempfile.TemporaryDirectory(prefix="mediasrv-rtsp-") as directory:
        settings = RtspServeSettings(port=port, tls_port=tls_port, start_cached=not options.next_keyframe)
        serve = RtspServe(hub, settings, SystemClock(), EverybodyMay(), ensure, Path(directory))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve.run())
            tasks.create_task(publisher.run())
            path = f"/{REF.camera_id}/{REF.stream}"
            say({"port": port, "tls_port": tls_port, "path": path, "username": LOGIN, "password": PASSWORD})
            await _answer(serve, publisher)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", action="store_true", help="G.711 beside the pictures")
    parser.add_argument("--next-keyframe", action="store_true", help="readers begin at the next keyframe")
    uvloop.run(_serve(parser.parse_args()))
