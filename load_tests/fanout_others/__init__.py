"""Other servers that `fanout` is held against: each is fed the same clip and watched by the same viewers.

All of them leave loopback addresses out of their candidates: so each runs in a network namespace of its own, which has
another address, and the viewers are in there with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from load_tests import netns
from load_tests.child import child_process, read_json
from load_tests.fanout_others import janus
from load_tests.fanout_others.running import Running

_ADDRESS: Final = "10.97.0.1"


@contextmanager
def _libsrtp(audio: bool) -> Iterator[Running]:
    with own("--reference", audio=audio) as running:
        yield running


@contextmanager
def own(*options: str, audio: bool) -> Iterator[Running]:
    """mediasrv's hub and WebRTC service; no namespace needed."""
    with child_process("load_tests.fanout_server", *options, *(["--audio"] if audio else [])) as server:
        url = read_json(server)["url"]
        yield Running(server.pid, f"{url}/whep", stats_url=f"{url}/stats")


@contextmanager
def _janus(audio: bool) -> Iterator[Running]:
    with netns.lone_namespace(_ADDRESS) as where, janus.running(where, audio=audio) as running:
        yield running


@contextmanager
def _janus_loops(audio: bool) -> Iterator[Running]:
    """As many threads as cores, and not one for each viewer."""
    loops = os.cpu_count() or 1
    with netns.lone_namespace(_ADDRESS) as where, janus.running(where, audio=audio, event_loops=loops) as running:
        yield running


@contextmanager
def _aiortc(audio: bool) -> Iterator[Running]:
    arguments = [_ADDRESS, *(["--audio"] if audio else [])]
    module = "load_tests.fanout_others.aiortc_server"
    with (
        netns.lone_namespace(_ADDRESS) as where,
        child_process(module, *arguments, prefix=where.prefix) as server,
    ):
        yield Running(server.pid, f"{read_json(server)['url']}/whep", prefix=where.prefix)


OTHERS: Final[dict[str, Callable[[bool], AbstractContextManager[Running]]]] = {
    "libsrtp": _libsrtp,
    "janus": _janus,
    "janus-loops": _janus_loops,
    "aiortc": _aiortc,
}
"""By name: starts it, with G.711 beside the pictures or without."""


UNDRIVEN: Final = ("mediamtx", "go2rtc")
"""Known by name, so that who asks for them is told; nobody has written how they are started."""


def why_missing(name: str) -> str:
    """Why one of the others cannot be measured here, in a sentence; empty where it can."""
    if name == "libsrtp":
        return ""
    if name in UNDRIVEN:
        there = "is on PATH, but this test does not know how to start it" if shutil.which(name) else "is not on PATH"
        return f"`{name}` {there}."
    if name.startswith("janus") and shutil.which("janus") is None:
        return "There is no `janus` on PATH: install Debian's package janus."
    return netns.unavailable()
