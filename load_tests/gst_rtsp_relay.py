"""GStreamer's RTSP server as a relay, for comparison: pulls one stream, and serves it as one media that all share.

Runs under the system's Python, which has the bindings, and ends with its stdin. Usage: gst_rtsp_relay.py URL USER
PASSWORD [audio]; prints one JSON line with its port.
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions are required first

SOURCE = "rtspsrc name=source location={url} user-id={user} user-pw={password} protocols=tcp latency=0 "
VIDEO = "source. ! rtph264depay ! h264parse ! rtph264pay name=pay0 pt=96 mtu=1412 config-interval=-1 "
AUDIO = "source. ! rtppcmadepay ! rtppcmapay name=pay1 pt=8 "


def relay(url: str, user: str, password: str, audio: str = "") -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    source = SOURCE.format(url=url, user=user, password=password)
    factory.set_launch(f"( {source} {VIDEO} {AUDIO if audio else ''} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory("/load", factory)
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop = GLib.MainLoop()
    GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    loop.run()


if __name__ == "__main__":
    relay(*sys.argv[1:])
