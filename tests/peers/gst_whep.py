"""GStreamer's webrtcbin as a viewer. Runs under the system's Python, which has the bindings.

Usage: gst_whep.py VIDEO AUDIO. Prints its offer as a line of JSON, reads the answer as one, decodes so many pictures
and pieces of sound (or what comes in TIMEOUT_S), and prints one JSON line: how many of each, how many pictures went
into the decoder, and what the elements complained of.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gi
from gst_counting import SINK, Counting

gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402 - versions are required first

CHAINS = {
    "video": f"rtph264depay ! h264parse ! identity name=whole signal-handoffs=true ! avdec_h264 ! {SINK}",
    "audio": f"rtppcmadepay ! alawdec ! {SINK}",
}
CAPS = {
    "video": "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=102,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f",
    "audio": "application/x-rtp,media=audio,encoding-name=PCMA,clock-rate=8000,payload=8",
}


class Viewer(Counting):
    def __init__(self, wanted: dict[str, int]) -> None:
        super().__init__(wanted)
        self.whole = 0
        self.peer = Gst.ElementFactory.make("webrtcbin")
        Gst.util_set_object_arg(self.peer, "bundle-policy", "max-bundle")
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.peer.connect("pad-added", self.on_pad)
        self.pipeline.add(self.peer)

    def offer(self) -> bool:
        """Not at the signal that one is needed: that comes with the first track."""
        promise = Gst.Promise.new()
        self.peer.emit("create-offer", None, promise)
        promise.wait()
        reply = promise.get_reply()  # it owns what is taken out of it
        offered = reply.get_value("offer")
        text = offered.sdp.as_text()
        self.peer.emit("set-local-description", described(GstWebRTC.WebRTCSDPType.OFFER, text), None)
        return GLib.SOURCE_REMOVE

    def on_gathering(self, *_: Any) -> None:
        """The offer is told whole, with its candidates; then the answer is read (once)."""
        if self.peer.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            return
        print(json.dumps(self.peer.get_property("local-description").sdp.as_text()), flush=True)
        GLib.idle_add(self.take_answer)

    def take_answer(self) -> bool:
        answer = described(GstWebRTC.WebRTCSDPType.ANSWER, json.loads(sys.stdin.readline()))
        self.peer.emit("set-remote-description", answer, None)
        return GLib.SOURCE_REMOVE

    def on_pad(self, _: Gst.Element, pad: Gst.Pad) -> None:
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        chain = Gst.parse_bin_from_description(CHAINS[kind], True)
        if kind == "video":
            chain.get_by_name("whole").connect("handoff", self.on_whole)
        self.decode(pad, kind, chain)

    def on_whole(self, *_: Any) -> None:
        self.whole += 1

    def run(self) -> None:
        self.pipeline.set_state(Gst.State.READY)
        for kind in self.wanted:
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.peer.emit("add-transceiver", direction, Gst.Caps.from_string(CAPS[kind]))
        GLib.idle_add(self.offer)
        super().run()


def described(kind: GstWebRTC.WebRTCSDPType, text: str) -> GstWebRTC.WebRTCSessionDescription:
    _, message = GstSdp.SDPMessage.new_from_text(text)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def main(video: str, audio: str) -> None:
    viewer = Viewer({"video": int(video), "audio": int(audio)})
    viewer.run()
    print(json.dumps({**viewer.found, "whole": viewer.whole, "complaints": viewer.complaints}))


if __name__ == "__main__":
    main(*sys.argv[1:])
