"""What others take for the same readers: gst-rtsp-server, which relays the same clip as one media that all share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from load_tests.child import child_process, child_program, read_json

_SCRIPT: Final = Path(__file__).with_name("gst_rtsp_relay.py")
_SYSTEM_PYTHON: Final = "/usr/bin/python3"
"""GStreamer's bindings belong to the system."""


@contextmanager
def gstreamer_server(*, audio: bool) -> Iterator[tuple[int, int, str]]:
    """Its process id, port and path. Raises RuntimeError where it does not come up."""
    with child_process("load_tests.rtsp_server", *(["--audio"] if audio else [])) as source:
        told = read_json(source)
        url = f"rtsp://127.0.0.1:{told['port']}{told['path']}"
        command = [_SYSTEM_PYTHON, str(_SCRIPT), url, told["username"], told["password"]]
        with child_program(*command, *(["audio"] if audio else [])) as relay:
            yield relay.pid, read_json(relay)["port"], "/load"
