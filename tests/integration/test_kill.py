"""SIGKILL while recording, again and again: what was locally durable is never lost, and nothing is doubled."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer
from load_tests.stack import Stack, running_stack, wait_for
from mediasrv.clock import from_us

KILLS = 20
RATE = 25
CAUSES = {"connecting", "server_down", "waiting_keyframe", "camera_lost"}


@pytest.mark.timeout(420)
def test_twenty_kills_lose_nothing_durable_and_explain_the_rest(tmp_path: Path, s3: SeaweedServer) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    farm = {"cameras": 1, "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": RATE, "gop": 1}
    overrides = {
        "recording": {"object_s": 5.0},
        "storage": {"bucket": "kill-footage", "key_bucket": "kill-keys"},
    }
    with running_stack(tmp_path, farm, overrides, s3) as stack:
        began = datetime.now(UTC)
        durable = [_record_and_kill(stack, dice.uniform(0.3, 2.5)) for _ in range(KILLS)]
        stack.server.start()
        stack.wait_until_recording()
        camera_id = stack.cameras[0]
        wait_for(lambda: _durable_until(stack, camera_id), 20)
        lives = _check_footage(stack, camera_id, durable, began)
        _check_time_line(stack, camera_id, began, lives)
        report = stack.server.files.command("check")
        assert "0 findings" in report, report


def _record_and_kill(stack: Stack, seconds: float) -> datetime:
    """Records for a while and kills; what the server had said is locally durable just before."""
    if not stack.server.running():
        stack.server.start()
    camera_id = stack.cameras[0]
    wait_for(lambda: _durable_until(stack, camera_id), 20, stack.server.log_tail, step_s=0.02)
    time.sleep(seconds)  # the random point: the very time is what is tried
    durable = _durable_until(stack, camera_id)
    stack.server.kill()
    assert durable is not None
    return durable


def _durable_until(stack: Stack, camera_id: str) -> datetime | None:
    main = stack.client.cameras()[camera_id]["streams"]["main"]
    text = main["recording"]["durable_until"]
    return datetime.fromisoformat(text) if text and main["state"] == "live" else None


def _check_footage(stack: Stack, camera_id: str, durable: list[datetime], began: datetime) -> int:
    """How many lives left footage: some are cut off before their first part is durable."""
    units = list(played_units(stack.client, camera_id, began - timedelta(minutes=1), datetime.now(UTC)))
    assert all(unit.counter for unit in units)
    kept = Counter((unit.counter.run, unit.counter.counter) for unit in units if unit.counter)
    assert [key for key, times in kept.items() if times > 1] == []
    walls = {(unit.counter.run, unit.counter.counter): unit.counter.wall_us for unit in units if unit.counter}
    sessions = [log for log in stack.farm.sessions(camera_id) if log["first_keyframe"] is not None]
    assert len(sessions) == KILLS + 1
    reached_us = []
    for log in sessions:
        counters = sorted(
            counter for run, counter in kept if run == log["run"] and log["first"] <= counter <= log["last"]
        )
        # A life may end before its first part is durable: what it had received counts as lost all the same.
        last = counters[-1] if counters else log["first_keyframe"] - 1
        assert counters == list(range(log["first_keyframe"], last + 1))
        if log is not sessions[-1]:
            assert (log["last"] - last) / RATE <= 1.0, "more than a second that was received is lost"
        reached_us.append(max((walls[log["run"], counter] for counter in counters), default=0))
    # One life, one session: what is kept reaches as far as the server had promised before it died.
    for life, promised in enumerate(durable):
        assert from_us(max(reached_us[: life + 1])) >= promised - timedelta(seconds=2.5 / RATE)
    return sum(reached > 0 for reached in reached_us)


def _check_time_line(stack: Stack, camera_id: str, began: datetime, lives: int) -> None:
    now = datetime.now(UTC)
    start, end = (began - timedelta(seconds=5)).isoformat(), now.isoformat()
    query = f"start={start}&end={end}".replace("+", "%2B")
    found = stack.client.get(f"/api/v1/cameras/{camera_id}/timeline?{query}")
    assert {gap["cause"] for gap in found["gaps"]} <= CAUSES
    assert lives > KILLS // 2
    # One between any two lives with footage; a life that left none may stand between two more of them.
    assert lives - 1 <= sum(gap["cause"] == "server_down" for gap in found["gaps"]) <= KILLS
    spans = sorted(
        (datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"]) if one["end"] else now)
        for one in found["coverage"] + found["gaps"]
    )
    for (_, earlier_end), (later_start, _) in pairwise(spans):
        assert abs(later_start - earlier_end) <= timedelta(seconds=1.5 / RATE), (earlier_end, later_start)
