"""Simulated ONVIF cameras, until SIGTERM or Ctrl-C.

Prints one line of JSON when every camera can be pulled: `ready`, `pid`, `control_url`, `discovery_port` and, for
each camera, its id, name, ONVIF address and RTSP URLs. Everything else is told by the control door.
Faults are ordered as `--fault cam-3:drop@10`, options of one camera set as `--set cam-3:codec=h265`: docs/testing.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence

import uvloop
from aiohttp import web

from load_tests.camera_farm.control import control_application
from load_tests.camera_farm.farm import Farm
from load_tests.camera_farm.plan import FarmPlan, parse_plan
from load_tests.child import say


async def run_farm(plan: FarmPlan) -> None:
    """Runs until SIGTERM or SIGINT. Raises ValueError for an ordered fault that makes no sense."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if plan.until_stdin_ends:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    farm = Farm(plan)
    control = web.AppRunner(control_application(farm), access_log=None, shutdown_timeout=0.1)
    await control.setup()
    try:
        await farm.start()
        await web.TCPSite(control, plan.host, plan.control_port).start()
        # The clips are millions of objects that never go away: not worth a look at each collection.
        gc.freeze()
        say(farm.ready(os.getpid(), control.addresses[0][1]))
        await _until(stop, farm)
    finally:
        await control.cleanup()
        await farm.stop()


async def _until(stop: asyncio.Event, farm: Farm) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            faults = tasks.create_task(farm.run())
            await stop.wait()
            faults.cancel()


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    plan = parse_plan(argv, __doc__)
    try:
        uvloop.run(run_farm(plan))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
