"""Live HLS of a real server with simulated cameras, held against the rules over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

from load_tests.hls_check import Findings, check_server
from load_tests.stack import Stack, wait_for

WATCHED_S = 9.0
GOPS_KNOWN_S = 5.0
"""What is watched before the length of its GOPs is known has a long target duration, and no delta updates."""


def _live_for_s(server: Stack, camera_id: str) -> float:
    since = server.client.cameras()[camera_id]["streams"]["main"]["since"]
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()


def kept(findings: Findings) -> Findings:
    assert findings.broken == []
    return findings


async def test_the_rules_are_kept_by_path_token_alone(server: Stack) -> None:
    camera_id = server.cameras[1]
    wait_for(lambda: _live_for_s(server, camera_id) > GOPS_KNOWN_S, 2 * GOPS_KNOWN_S)
    made = server.client.call("POST", f"/api/v1/cameras/{camera_id}/hls-token")
    found = kept(await check_server(made["url"], 2 * WATCHED_S))
    assert found.parts > 2 * 4 * WATCHED_S * 0.8, "of two tracks"
    assert found.deltas
    assert found.fetched_again
    assert made["url"].split("/")[5] not in server.server.log_path.read_text()


async def test_ordinary_hls_keeps_the_rules(server: Stack) -> None:
    headers = {"Authorization": f"Bearer {server.client.token}"}
    url = f"{server.url}/hls/{server.cameras[2]}/index.m3u8?ll=0"
    found = kept(await check_server(url, WATCHED_S, headers))
    assert not found.parts
    assert found.segments >= 3


async def test_a_live_playlist_reaches_back_into_what_was_recorded(server: Stack) -> None:
    headers = {"Authorization": f"Bearer {server.client.token}"}
    url = f"{server.url}/hls/{server.cameras[0]}/index.m3u8?dvr=600"
    found = kept(await check_server(url, WATCHED_S, headers))
    assert found.segments * 2 > WATCHED_S + 6, "there is footage from before anybody watched"
