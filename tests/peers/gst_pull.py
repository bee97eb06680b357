"""GStreamer as a client of a camera. Runs under the system's Python, which has the bindings.

Usage: gst_pull.py URL USER PASSWORD tcp|udp VIDEO AUDIO. Decodes so many pictures and pieces of sound (or what comes in
TIMEOUT_S), and prints one JSON line: how many of each, and what the elements complained of.
"""

from __future__ import annotations

import json
import sys

from gst_counting import SINK, Counting, Gst

DECODERS = {
    "H264": "rtph264depay ! h264parse ! avdec_h264",
    "H265": "rtph265depay ! h265parse ! avdec_h265",
    "PCMA": "rtppcmadepay ! alawdec",
    "PCMU": "rtppcmudepay ! mulawdec",
    "MPEG4-GENERIC": "rtpmp4gdepay ! aacparse ! avdec_aac",
    "OPUS": "rtpopusdepay ! opusdec",
}


class Pull(Counting):
    def __init__(self, url: str, user: str, password: str, protocols: str, wanted: dict[str, int]) -> None:
        super().__init__(wanted)
        source = Gst.ElementFactory.make("rtspsrc")
        for name, value in (("location", url), ("user-id", user), ("user-pw", password), ("latency", 100)):
            source.set_property(name, value)
        for name, value in (("protocols", protocols), ("tls-validation-flags", "generic-error")):
            Gst.util_set_object_arg(source, name, value)
        source.connect("pad-added", self.on_pad)
        self.pipeline.add(source)

    def on_pad(self, _source: Gst.Element, pad: Gst.Pad) -> None:
        """A track of metadata is taken, too, and passed over."""
        form = pad.get_current_caps().get_structure(0)
        decoder = DECODERS.get(form.get_string("encoding-name"), "identity")
        self.decode(pad, form.get_string("media"), Gst.parse_bin_from_description(f"{decoder} ! {SINK}", True))


def main(url: str, user: str, password: str, protocols: str, video: str, audio: str) -> None:
    pull = Pull(url, user, password, protocols, {"video": int(video), "audio": int(audio)})
    pull.run()
    print(json.dumps({**pull.found, "complaints": pull.complaints}))


if __name__ == "__main__":
    main(*sys.argv[1:])
