"""SIGKILL of the server while it records: what was locally durable is never lost, nothing is doubled, all is explained.

A *life* is the server from a start to the next kill. Each pulls one RTSP session, so the farm's log of sessions says
what each life was sent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from load_tests.camera_farm.counters import Counter, verify
from load_tests.consistency import check_all_stored
from load_tests.readback import played_units
from load_tests.seaweed import SeaweedServer
from load_tests.stack import Stack, running_stack, wait_for
from load_tests.timeline import time_line
from mediasrv.clock import from_us

KILLS = 20
RATE = 25
GOP_S = 1
UNIT = timedelta(seconds=1 / RATE)
READ = timedelta(seconds=0.05)
"""What comes within `pull.gather_s` is read at once: an arrival lies up to so much after the sending."""
LOST_MOST = timedelta(seconds=1)


@pytest.mark.timeout(300)
def test_twenty_kills_lose_nothing_durable_and_explain_the_rest(tmp_path: Path, s3: SeaweedServer) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with recording(tmp_path, s3, "kill") as stack:
        promised = [_record_and_kill(stack, number, dice.uniform(0.0, 1.5)) for number in range(1, KILLS + 1)]
        _record(stack, KILLS + 1)
        lives = read_back(stack)
        assert len(lives) == KILLS + 1
        for life, durable_until in zip(lives, promised, strict=False):
            assert life.kept
            assert life.footage[1] >= durable_until - UNIT - READ, "what was said to be durable is missing"
            assert life.lost <= LOST_MOST, "more than a second that was received is lost"
        print(f"received but lost, at worst: {max(life.lost for life in lives[:-1]).total_seconds():.2f} s")
        gaps = check_time_line(stack, lives)
        assert gaps == ["connecting", *["server_down"] * KILLS]
        check_all_stored(stack)


@pytest.mark.timeout(120)
def test_lives_killed_before_their_first_part_leave_no_footage_and_no_gap_of_their_own(
    tmp_path: Path, s3: SeaweedServer
) -> None:
    with recording(tmp_path, s3, "early-kill") as stack:
        early = {1: "first", 3: "session", 4: "first", 5: "first_keyframe"}
        for number in range(1, 6):
            if number in early:
                _kill_early(stack, number, early[number])
            else:
                _record_and_kill(stack, number, 0.0)
        _record(stack, 6)
        lives = read_back(stack)
        assert [number for number, life in enumerate(lives, 1) if not life.kept] == list(early)
        assert all(life.lost <= LOST_MOST for life in lives[:-1])
        # The three lives between footage and footage are part of one outage, and so is the very first one: it was
        # seen alive at its start only, unless it took longer than the heartbeat of 5 s to come that far.
        gaps = check_time_line(stack, lives)
        assert gaps in (["server_down"] * 2, ["connecting", *["server_down"] * 2])


@contextmanager
def recording(directory: Path, s3: SeaweedServer, name: str) -> Iterator[Stack]:
    farm = {"cameras": 1, "mode": "load", "audio": "pcma", "width": 640, "height": 360, "rate": RATE, "gop": GOP_S}
    overrides = {
        "recording": {"object_s": 5.0},
        "storage": {"bucket": f"{name}-footage", "key_bucket": f"{name}-keys"},
    }
    with running_stack(directory, farm, overrides, s3) as stack:
        yield stack


# --- lives ---------------------------------------------------------------------------------------


def _record_and_kill(stack: Stack, number: int, seconds: float) -> datetime:
    """One life with footage of its own. Until when the server had said it is locally durable, just before the kill."""
    _record(stack, number)
    time.sleep(seconds)  # the random point: the very time is what is tried
    durable_until = _durable_until(stack)
    stack.server.kill()
    return durable_until


def _record(stack: Stack, number: int) -> None:
    """Starts life `number` and returns once footage of this life is locally durable and its facts are written."""
    if not stack.server.running():
        stack.server.start()

    def recorded() -> bool:
        sessions = _sessions(stack)
        durable_until = _durable_until(stack) if len(sessions) == number else datetime.min.replace(tzinfo=UTC)
        # What is durable may be of an earlier life: the spool goes on storing it.
        if not sessions or durable_until <= from_us(sessions[-1]["started_us"]):
            return False
        return not any(gap.is_open for gap in time_line(stack.client, stack.cameras[0]).gaps)

    wait_for(recorded, 20, stack.server.log_tail, step_s=0.02)


def _kill_early(stack: Stack, number: int, sent: str) -> None:
    """A life that ends when the farm's log of its session has a value for `sent`: half a second at least before its
    first part is complete.
    """
    if not stack.server.running():
        stack.server.start()

    def is_sent() -> bool:
        sessions = _sessions(stack)
        return len(sessions) == number and sessions[-1][sent] is not None

    wait_for(is_sent, 20, stack.server.log_tail, step_s=0.01)
    stack.server.kill()


def _durable_until(stack: Stack) -> datetime:
    text = stack.client.cameras()[stack.cameras[0]]["streams"]["main"]["recording"]["durable_until"]
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _sessions(stack: Stack) -> list[dict[str, Any]]:
    return stack.farm.sessions(stack.cameras[0])


# --- what is left of them ------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """What one life was sent, and what is kept of it: a run from the first keyframe on. `footage` is its span, where
    there is any, and `lost` what came after it.
    """

    log: dict[str, Any]
    kept: Sequence[Counter]

    @property
    def expected(self) -> range:
        """Counters from the first keyframe on: before it there is nothing to keep."""
        first = self.log["first_keyframe"]
        return range(0) if first is None else range(first, self.log["last"] + 1)

    @property
    def footage(self) -> tuple[datetime, datetime]:
        return from_us(self.kept[0].wall_us), from_us(self.kept[-1].wall_us) + UNIT

    @property
    def lost(self) -> timedelta:
        return (len(self.expected) - len(self.kept)) * UNIT

    @property
    def waited(self) -> timedelta:
        """From the beginning of the session to its first keyframe."""
        return self.footage[0] - from_us(self.log["started_us"])


def read_back(stack: Stack) -> list[Life]:
    """All lives. Each access unit that playback gives is signed, there once and in order, and each life's run is
    whole from its first keyframe on.
    """
    now = datetime.now(UTC)
    units = list(played_units(stack.client, stack.cameras[0], now - timedelta(minutes=10), now))
    counters = [unit.counter for unit in units if unit.counter is not None and verify(unit.counter, stack.farm.key)]
    assert len(counters) == len(units)
    numbers = [one.counter for one in counters]
    assert numbers == sorted(set(numbers)), "doubled or out of order"
    lives = [Life(log, [one for one in counters if _is_of(one, log)]) for log in _sessions(stack)]
    assert sum(len(life.kept) for life in lives) == len(counters)
    for life in lives:
        assert not life.log["left_out"]
        assert [one.counter for one in life.kept] == list(life.expected[: len(life.kept)])
    return lives


def _is_of(counter: Counter, log: dict[str, Any]) -> bool:
    return log["first"] is not None and log["first"] <= counter.counter <= log["last"]


def check_time_line(stack: Stack, lives: Sequence[Life]) -> list[str]:
    """The causes of all gaps in order, but for the waits for keyframes.

    Footage and gaps follow each other without hole or overlap; what is called footage is what plays; and who had to
    wait for a keyframe has that wait as a gap of its own, just as long.
    """
    found = time_line(stack.client, stack.cameras[0])
    found.check_whole(1.5 * UNIT)
    played = [life for life in lives if life.kept]
    assert len(found.coverage) == len(played)
    waits = [gap for gap in found.gaps if gap.cause == "waiting_keyframe"]
    for (start, end), life in zip(found.coverage, played, strict=True):
        wait = sum((gap.end - gap.start for gap in waits if gap.end == start), timedelta())
        assert abs(start - life.footage[0]) <= UNIT + READ
        assert abs(wait - life.waited) <= UNIT + READ
        assert abs(end - life.footage[1]) <= UNIT + READ or life is played[-1]
    return [cause for cause in found.causes if cause != "waiting_keyframe"]
