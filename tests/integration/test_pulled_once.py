"""However many watch and record: the camera sees one RTSP session."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from load_tests.stack import Stack, wait_for

WEBRTC_VIEWERS = 10
HLS_VIEWERS = 3


def test_ten_webrtc_and_three_hls_viewers_and_the_recorder_share_one_rtsp_session(server: Stack) -> None:
    camera_id = server.cameras[1]
    before = server.farm.camera(camera_id)["streams"]["main"]
    done = Event()
    with _webrtc_viewers(server, camera_id) as viewers, ThreadPoolExecutor(HLS_VIEWERS) as pool:
        try:
            watching = [pool.submit(_watch_hls, server, camera_id, done) for _ in range(HLS_VIEWERS)]
            assert viewers.stdout is not None
            assert viewers.stdout.readline().startswith("{"), "not every WebRTC viewer has a picture"
            main = wait_for(lambda: _watched(server, camera_id), 20)
            assert main["recording"]["state"] == "recording"
            during = server.farm.camera(camera_id)["streams"]["main"]
        finally:
            done.set()
        assert all(parts.result() >= 3 for parts in watching)
        viewers.communicate("start\nstop\n", timeout=20)
    after = server.farm.camera(camera_id)["streams"]["main"]
    assert (before["sessions_now"], during["sessions_now"], after["sessions_now"]) == (1, 1, 1)
    assert before["sessions_total"] == during["sessions_total"] == after["sessions_total"]


def _webrtc_viewers(stack: Stack, camera_id: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "load_tests.webrtc_viewers"),
            *("--url", f"{stack.url}/whep/{camera_id}", "--viewers", str(WEBRTC_VIEWERS)),
            *("--token", stack.client.token),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _watched(stack: Stack, camera_id: str) -> dict[str, Any] | None:
    # The HLS viewers come with one token, so they count as one.
    main: dict[str, Any] = stack.client.cameras()[camera_id]["streams"]["main"]
    return main if main["viewers"] == WEBRTC_VIEWERS + 1 else None


def _watch_hls(stack: Stack, camera_id: str, done: Event) -> int:
    """One LL-HLS viewer that asks for each part as it comes; the number of parts it got."""
    parts: set[str] = set()
    base = f"/hls/{camera_id}/main/"
    while not done.is_set() or len(parts) < 3:
        playlist = stack.client.fetch(base + "video.m3u8").decode()
        hint = playlist.partition('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="')[2].partition('"')[0]
        assert stack.client.fetch(base + hint)
        parts.add(hint)
    return len(parts)
