"""GStreamer as a client of a camera. Runs under the system's Python, which has the bindings.

Usage: gst_pull.py URL USER PASSWORD tcp|udp VIDEO AUDIO. Decodes so many pictures and pieces of sound (or what comes in
TIMEOUT_S), and prints one JSON line: how many of each, and what the elements complained of.
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 - versions are required first

TIMEOUT_S = 20
DECODERS = {
    "H264": "rtph264depay ! h264parse ! avdec_h264",
    "H265": "rtph265depay ! h265parse ! avdec_h265",
    "PCMA": "rtppcmadepay ! alawdec",
    "PCMU": "rtppcmudepay ! mulawdec",
    "MPEG4-GENERIC": "rtpmp4gdepay ! aacparse ! avdec_aac",
    "OPUS": "rtpopusdepay ! opusdec",
}
SINK = "fakesink signal-handoffs=true async=false sync=false"


class Pull:
    def __init__(self, url: str, user: str, password: str, protocols: str, wanted: dict[str, int]) -> None:
        self.loop = GLib.MainLoop()
        self.wanted, self.found = wanted, dict.fromkeys(wanted, 0)
        self.complaints: list[str] = []
        self.pipeline = Gst.Pipeline.new("pull")
        source = Gst.ElementFactory.make("rtspsrc")
        for name, value in (("location", url), ("user-id", user), ("user-pw", password), ("latency", 100)):
            source.set_property(name, value)
        for name, value in (("protocols", protocols), ("tls-validation-flags", "generic-error")):
            Gst.util_set_object_arg(source, name, value)
        source.connect("pad-added", self.on_pad)
        self.pipeline.add(source)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def on_pad(self, _source: Gst.Element, pad: Gst.Pad) -> None:
        form = pad.get_current_caps().get_structure(0)
        kind, encoding = form.get_string("media"), form.get_string("encoding-name")
        chain = Gst.parse_bin_from_description(f"{DECODERS.get(encoding, 'identity')} ! {SINK} name=sink", True)
        if kind in self.found:  # and not a track of metadata, which is taken and passed over
            chain.get_by_name("sink").connect("handoff", lambda *_: self.count(kind))
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def count(self, kind: str) -> None:
        self.found[kind] += 1
        if all(self.found[each] >= self.wanted[each] for each in self.wanted):
            self.loop.quit()

    def on_message(self, _bus: Gst.Bus, message: Gst.Message) -> None:
        if message.type == Gst.MessageType.ERROR:
            self.complaints.append(str(message.parse_error()))
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            self.complaints.append(str(message.parse_warning()))

    def run(self) -> None:
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(TIMEOUT_S, self.loop.quit)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)


def main(url: str, user: str, password: str, protocols: str, video: str, audio: str) -> None:
    Gst.init(None)
    pull = Pull(url, user, password, protocols, {"video": int(video), "audio": int(audio)})
    pull.run()
    print(json.dumps({**pull.found, "complaints": pull.complaints}))


if __name__ == "__main__":
    main(*sys.argv[1:])
