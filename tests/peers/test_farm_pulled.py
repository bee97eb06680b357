"""The simulated cameras are pulled by FFmpeg and GStreamer over every transport, in every codec, without complaint."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load_tests.stack import CameraFarm, running_farm

SCRIPT = Path(__file__).with_name("gst_pull.py")
CAMERAS = {
    "cam-1": ("h264", "pcma", ""),
    "cam-2": ("h265", "pcmu", ""),
    "cam-3": ("h264", "aac", ",pacing=packet"),
    "cam-4": ("h265", "opus", ",pacing=packet"),
    "cam-5": ("h264", "pcma", ",b-frames=2,slices=3"),
    "cam-6": ("h265", "pcma", ",b-frames=2,slices=3,sub-codec=h264"),
    "cam-7": ("h264", "pcma", ",recovery-points=on"),
    "cam-8": ("h265", "pcma", ",recovery-points=on,rtsp-auth=basic"),
    "cam-9": ("h264", "pcma", ",marker=off,rtcp=off,sdp-sets=none"),
    "cam-10": ("h265", "pcma", ",url-style=query,control-style=query,renumber-channels=on,sdp-sets=none"),
    "cam-11": ("h264", "aac", ",control-style=absolute,sdp-sets=other"),
    "cam-12": ("h264", "pcma", ",in-band-sets=off,rtsp-qop=on"),
}
SHAPE = {"width": 640, "height": 368, "bitrate": 600, "rate": 25, "gop": 1, "keyframe_first": "on", "tls": "on"}
PLAIN = ("cam-1", "cam-2", "cam-3", "cam-4")
ODD = tuple(camera_id for camera_id in CAMERAS if camera_id not in PLAIN)
PULLS = [(one, transport) for one in PLAIN for transport in ("tcp", "udp", "tls")] + [(one, "tcp") for one in ODD]
NO_PLUGINS = re.compile(r"no LADSPA plugins found")
"""What GStreamer says of its own installation."""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CameraFarm]:
    changes = [f"{one}:codec={video},audio={audio}{more}" for one, (video, audio, more) in CAMERAS.items()]
    log = tmp_path_factory.mktemp("farm") / "farm.log"
    with running_farm(log, cameras=len(CAMERAS), mode="load", set=changes, **SHAPE) as farm:
        yield farm
        assert log.read_text() == ""


def url_of(camera: dict[str, Any], transport: str) -> str:
    url: str = camera["rtsps_urls"]["main"] if transport == "tls" else camera["streams"]["main"]["url"]
    return url


def run(*command: str, **environment: str) -> str:
    """Its output. Anything said on standard error is a complaint."""
    pulled = subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=False, env={**os.environ, **environment}
    )
    assert [line for line in pulled.stderr.splitlines() if line and not NO_PLUGINS.search(line)] == []
    assert pulled.returncode == 0
    return pulled.stdout


@pytest.mark.parametrize(("camera_id", "transport"), PULLS)
def test_ffmpeg_decodes_it_without_complaint(farm: CameraFarm, camera_id: str, transport: str) -> None:
    before = farm.camera(camera_id)
    login = f"://{before['username']}:{before['password']}@"
    url = url_of(before, transport).replace("://", login, 1)
    lower = "udp" if transport == "udp" else "tcp"
    options = ("-nostdin", "-v", "warning", "-xerror", "-rtsp_transport", lower)
    # As many access units as are in two seconds, as they come: nothing is doubled or left out to keep a rate.
    shown = run("ffmpeg", *options, "-i", url, "-t", "2", "-fps_mode", "passthrough", "-f", "framecrc", "-")
    found = [line.split(",")[0] for line in shown.splitlines() if line[0].isdigit()]
    assert 45 <= found.count("0") <= 51
    assert 85 <= found.count("1") <= 105
    assert_counted(farm, before, transport)


@pytest.mark.parametrize(("camera_id", "transport"), PULLS)
def test_gstreamer_decodes_it_without_complaint(farm: CameraFarm, camera_id: str, transport: str) -> None:
    before = farm.camera(camera_id)
    # Its jitter buffer takes times that go back, as those of B pictures do, for a mistake: of its own sender, too.
    level = "1" if "b-frames" in CAMERAS[camera_id][2] else "2"
    pull = (url_of(before, transport), before["username"], before["password"], "udp" if transport == "udp" else "tcp")
    said = run("/usr/bin/python3", str(SCRIPT), *pull, "40", "60", GST_DEBUG=level, GST_DEBUG_NO_COLOR="1")
    found = json.loads(said)
    assert found["complaints"] == []
    assert found["video"] >= 40
    assert found["audio"] >= 60
    assert_counted(farm, before, transport)


def assert_counted(farm: CameraFarm, before: dict[str, Any], transport: str) -> None:
    """The farm saw one session more, on that transport, and lost nothing on it."""
    main = farm.camera(before["id"])["streams"]["main"]
    known = before["streams"]["main"]["transports"].get(transport, {"sessions": 0})
    # FFmpeg tries no other transport first, and neither asks twice.
    assert main["transports"][transport]["sessions"] == known["sessions"] + 1
    assert main["sessions"][-1]["lost_packets"] == 0
    assert main["sessions"][-1]["packets"] > 40
