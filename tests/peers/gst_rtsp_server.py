"""GStreamer's RTSP server as a camera. Runs under the system's Python, which has the bindings, and ends with its stdin.

Usage: gst_rtsp_server.py [none|basic|digest|tls PEM]; prints one JSON line with its port. Mounts: see MOUNTS.
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - versions are required first

VIDEO = (
    "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! x264enc key-int-max=12 bitrate=400 "
    "{options} ! video/x-h264,profile={profile} ! rtph264pay name=pay0 pt=96 config-interval={config}"
)
LIVE = VIDEO.format(options="tune=zerolatency", profile="baseline", config=-1)
REORDERED = VIDEO.format(options="bframes=2 b-adapt=false rc-lookahead=0", profile="main", config=-1)
DESCRIBED_ONLY = VIDEO.format(options="tune=zerolatency", profile="baseline", config=0)
H265 = (
    "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! x265enc key-int-max=12 bitrate=300 "
    "speed-preset=ultrafast {options} ! rtph265pay name=pay0 pt=96 config-interval={config} {pay}"
)
TONE = "audiotestsrc is-live=true ! "
MOUNTS = {
    "/pcma": LIVE + " " + TONE + "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8",
    "/aac": LIVE + " " + TONE + "audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97",
    "/silent": DESCRIBED_ONLY,
    "/reordered": REORDERED,
    "/h265": H265.format(options="tune=zerolatency", config=-1, pay="aggregate-mode=zero-latency")
    + " "
    + TONE
    + "audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay name=pay1 pt=97",
    "/h265-described": H265.format(options="tune=zerolatency", config=0, pay=""),
    "/h265-reordered": H265.format(
        options='option-string="bframes=2:b-adapt=0:rc-lookahead=4:open-gop=1:no-scenecut=1"', config=-1, pay=""
    ),
}
ONLY = {"/only-tcp": GstRtsp.RTSPLowerTrans.TCP, "/only-udp": GstRtsp.RTSPLowerTrans.UDP}
"""Mounts of one transport; the media is that of `/pcma`."""
USERNAME, PASSWORD = "operator", 'pass "word" \\ with, signs'


def authentication(kind: str) -> GstRtspServer.RTSPAuth:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth = GstRtspServer.RTSPAuth()
    if kind == "tls":
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(sys.argv[2]))
        auth.set_default_token(token)
        return auth
    if kind == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(USERNAME, PASSWORD, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(USERNAME, PASSWORD), token)
    return auth


def main(kind: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    if kind != "none":
        server.set_auth(authentication(kind))
    for path, launch in MOUNTS.items() | {(path, MOUNTS["/pcma"]) for path in ONLY}:
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        if path in ONLY:
            factory.set_protocols(ONLY[path])
        if kind != "none":
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop = GLib.MainLoop()
    GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    loop.run()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "none")
