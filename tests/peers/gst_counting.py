"""What GStreamer's clients have in common; under the system's Python, beside the script that imports it."""

from __future__ import annotations

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 - versions are required first

TIMEOUT_S = 20
SINK = "fakesink signal-handoffs=true async=false sync=false name=sink"


class Counting:
    """A pipeline that decodes until there is so much of each kind, or what came in TIMEOUT_S."""

    def __init__(self, wanted: dict[str, int]) -> None:
        Gst.init(None)
        self.loop = GLib.MainLoop()
        self.wanted, self.found = wanted, dict.fromkeys(wanted, 0)
        self.complaints: list[str] = []
        self.pipeline = Gst.Pipeline.new("counting")
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def decode(self, pad: Gst.Pad, kind: str, chain: Gst.Bin) -> None:
        """Lets what comes from the pad through the chain, which ends with SINK. Of kinds not wanted nothing counts."""
        if kind in self.found:
            chain.get_by_name("sink").connect("handoff", lambda *_: self.count(kind))
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))

    def count(self, kind: str) -> None:
        self.found[kind] += 1
        if all(self.found[each] >= self.wanted[each] for each in self.wanted):
            self.loop.quit()

    def on_message(self, _: Gst.Bus, message: Gst.Message) -> None:
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
