"""A camera by ipycam, on loopback alone: its ONVIF service and its RTSP server, without discovery and web page.

Run as a program: prints the ONVIF port when ready, and ends when its standard input does. `ipycam.IPCamera.start`
would listen on every interface and on fixed ports, so its parts are started one by one.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from ipycam import CameraConfig, IPCamera
from ipycam.camera import IPCameraHTTPHandler, ReusableThreadingTCPServer
from ipycam.rtsp import NativeRTSPServer

RATE = 10


def start_camera(username: str, password: str) -> tuple[IPCamera, NativeRTSPServer]:
    config = CameraConfig(
        name="Peer",
        local_ip="127.0.0.1",
        username=username,
        password=password,
        main_width=640,
        main_height=360,
        main_fps=RATE,
        sub_width=320,
        sub_height=180,
        sub_fps=RATE,
    )
    camera = IPCamera(config)
    rtsp = NativeRTSPServer(port=0, host="127.0.0.1")
    rtsp.add_stream(config.main_stream_name, 640, 360, RATE)
    rtsp.add_stream(config.sub_stream_name, 320, 180, RATE)
    assert rtsp.start()
    config.rtsp_port = rtsp.port = rtsp._server_socket.getsockname()[1]
    IPCameraHTTPHandler.camera = camera
    http = ReusableThreadingTCPServer(("127.0.0.1", 0), IPCameraHTTPHandler)
    config.onvif_port = http.server_address[1]
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return camera, rtsp


def feed(camera: IPCamera, rtsp: NativeRTSPServer, stop: threading.Event) -> None:
    """Pictures that change, to both streams."""
    number = 0
    while not stop.wait(1 / RATE):
        number += 1
        picture = np.full((360, 640, 3), number % 256, dtype=np.uint8)
        rtsp.stream_frame(camera.config.main_stream_name, picture)
        rtsp.stream_frame(camera.config.sub_stream_name, np.ascontiguousarray(picture[::2, ::2]))


def main() -> None:
    camera, rtsp = start_camera(*sys.argv[1:3])
    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(camera, rtsp, stop))
    feeder.start()
    print(camera.config.onvif_port, flush=True)
    sys.stdin.read()
    stop.set()
    feeder.join()
    rtsp.stop()


if __name__ == "__main__":
    main()
