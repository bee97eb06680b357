"""`python -m load_tests.camera_farm`: simulated ONVIF cameras, until SIGTERM or Ctrl-C.

Prints one line of JSON when every camera can be pulled: `ready`, `pid`, `control_url`, `discovery_port` and, for
each camera, its id, name, ONVIF address and RTSP URLs. Everything else is told by the control door.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

import uvloop
from aiohttp import web

from load_tests.camera_farm.control import control_application
from load_tests.camera_farm.farm import Farm, FarmPlan
from load_tests.camera_farm.streams import VideoShape

LOAD_SHAPES = (VideoShape(1280, 720, 25, 2050, 2.0), VideoShape(640, 360, 25, 400, 2.0))
DEMO_SHAPES = (VideoShape(640, 360, 15, 700, 1.0), VideoShape(320, 180, 8, 160, 1.0))


def parse_plan(argv: Sequence[str]) -> FarmPlan:
    parser = argparse.ArgumentParser(prog="python -m load_tests.camera_farm", description=__doc__)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--mode", choices=("demo", "load"), default="demo")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rtsp-port", type=int, default=0, help="of the first camera; 0: any")
    parser.add_argument("--onvif-port", type=int, default=0, help="of the first camera; 0: any")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--discovery-port", type=int, default=0, help="3702 is the standard one; -1: none")
    parser.add_argument("--username", default="admin")
    parser.add_argument("--password", default="camera-farm")
    parser.add_argument("--key", default="", help="hex key of the counters; random where it is not given")
    parser.add_argument("--audio", choices=("pcma", "aac", "none", "mixed"), default="mixed")
    parser.add_argument("--rtsp-auth", default="digest,basic", help="digest, basic, both in order, or none")
    parser.add_argument("--onvif-auth", default="wsse,digest")
    parser.add_argument("--session-timeout", type=int, default=60)
    parser.add_argument("--clock-offset", type=float, default=0.0, help="camera time minus true time, seconds")
    parser.add_argument("--reported-host", default="", help="host in ONVIF answers, as of a camera behind NAT")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with the process that holds our stdin")
    for name in ("width", "height", "rate", "bitrate"):
        parser.add_argument(f"--{name}", type=int, help=f"{name} of the main stream")
    parser.add_argument("--gop", type=float, help="seconds from keyframe to keyframe, of both streams")
    return _plan(parser.parse_args(argv))


def _plan(options: argparse.Namespace) -> FarmPlan:
    main, sub = LOAD_SHAPES if options.mode == "load" else DEMO_SHAPES
    gop_s = options.gop or main.gop_s
    main = VideoShape(
        options.width or main.width,
        options.height or main.height,
        options.rate or main.rate,
        options.bitrate or main.bitrate_kbps,
        gop_s,
    )
    return FarmPlan(
        cameras=options.cameras,
        mode=options.mode,
        main=main,
        sub=VideoShape(sub.width, sub.height, min(sub.rate, main.rate), sub.bitrate_kbps, gop_s),
        host=options.host,
        rtsp_port=options.rtsp_port,
        onvif_port=options.onvif_port,
        control_port=options.control_port,
        discovery_port=options.discovery_port,
        username=options.username,
        password=options.password,
        key=bytes.fromhex(options.key),
        audio=options.audio,
        rtsp_auth=tuple(scheme for scheme in options.rtsp_auth.split(",") if scheme != "none"),
        onvif_auth=frozenset(options.onvif_auth.split(",")),
        session_timeout_s=options.session_timeout,
        clock_offset_s=options.clock_offset,
        reported_host=options.reported_host,
        until_stdin_ends=options.until_stdin_ends,
    )


async def run_farm(plan: FarmPlan) -> None:
    """Runs until SIGTERM or SIGINT."""
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
        print(json.dumps(_ready(farm, control.addresses[0][1])), flush=True)
        await stop.wait()
    finally:
        await control.cleanup()
        await farm.stop()


def _ready(farm: Farm, control_port: int) -> dict[str, object]:
    cameras = [
        {
            "id": camera.camera_id,
            "name": camera.name,
            "onvif_address": f"{farm.plan.host}:{camera.onvif_port}",
            "urls": {name: f"rtsp://{farm.plan.host}:{camera.rtsp_port}/{name}" for name in camera.streams},
        }
        for camera in farm.cameras.values()
    ]
    return {
        "ready": True,
        "pid": os.getpid(),
        "control_url": f"http://{farm.plan.host}:{control_port}",
        "discovery_port": farm.discovery_port,
        "cameras": cameras,
    }


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    uvloop.run(run_farm(parse_plan(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
