"""GStreamer's webrtcbin (libnice, its own DTLS and SRTP), which we did not write, watches a stream and hears it.

libnice checks no loopback address: so the two are on machines of their own, with a link between them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load_tests import netns
from tests.lab.links import SERVER, Link, linked
from tests.peers.webrtc_rig import RATE, REF, Rig, publishing, running

SCRIPT = Path(__file__).with_name("gst_whep.py")
SECONDS = 6
SOUND_A_SECOND = 50


async def watch(rig: Rig, link: Link, pictures: int, sounds: int) -> dict[str, Any]:
    """What a viewer found that joined by offer and answer."""
    process = await asyncio.create_subprocess_exec(
        *(*link.viewer.prefix, "/usr/bin/python3", str(SCRIPT), str(pictures), str(sounds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            joined = await rig.service.join(REF, json.loads(await process.stdout.readline()), "person-1")
            process.stdin.write(json.dumps(joined.answer_sdp).encode() + b"\n")
            found: dict[str, Any] = json.loads(await process.stdout.readline())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return found


@pytest.fixture
def link() -> Iterator[Link]:
    with linked() as link, netns.entered(link.server):
        yield link


async def test_it_decodes_every_picture_and_hears_the_tone(link: Link) -> None:
    async with running(SERVER) as rig, publishing(rig.mountpoint):
        found = await watch(rig, link, SECONDS * RATE, SECONDS * SOUND_A_SECOND)
        [info] = rig.service.viewers()
    assert found["complaints"] == []
    assert found["video"] >= SECONDS * RATE
    assert found["audio"] >= SECONDS * SOUND_A_SECOND
    # What is still in the decoder at the end is no loss.
    assert found["whole"] - found["video"] <= 3, found
    assert info.lost_fraction == 0
