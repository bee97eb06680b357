"""The reckoning after a fault: it lets nothing pass that it is there to find."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

import google_crc32c
import pytest

from load_tests.camera_farm.counters import make_sei, read_counters
from load_tests.faulting.power_cut import Operation, disk_after
from load_tests.faulting.reckoning import Promise, Reckoning, reckon
from load_tests.faulting.tampering import HARMS
from load_tests.readback import PlayedUnit
from load_tests.timeline import Gap, TimeLine
from mediasrv.clock import from_us
from tests.unit.storage.sealed import seal_object

KEY, RUN, RATE = b"k" * 32, "5e" * 8, 25
STARTED_US = 1_790_000_000_000_000
UNIT_US = 1_000_000 // RATE
SENT = range(100)
DOWN = (60, 80)
"""Units that are lost."""


def at(number: float) -> object:
    return from_us(STARTED_US + round(number * UNIT_US))


def unit(number: int, key: bytes = KEY) -> PlayedUnit:
    nal = make_sei(key, "cam-1/main", RUN, number, number % 25 == 0, STARTED_US + number * UNIT_US)
    return PlayedUnit(read_counters(len(nal).to_bytes(4, "big") + nal), number % 25 == 0)


def judged(
    played: Sequence[PlayedUnit], gaps: Sequence[tuple[float, float, str]] = (), promised: float | None = None
) -> Reckoning:
    log = {
        "run": RUN, "first": 0, "first_keyframe": 0, "last": SENT[-1], "left_out": [], "damaged": [],
        "started_us": STARTED_US - UNIT_US,
    }  # fmt: skip
    covered = [(at(0), at(gaps[0][0])), (at(gaps[-1][1]), at(100))] if gaps else [(at(0), at(100))]
    line = TimeLine(covered, [Gap(at(start), at(end), cause, False) for start, end, cause in gaps])  # type: ignore[misc, arg-type]
    promises = [] if promised is None else [Promise("cam-1", at(promised))]  # type: ignore[arg-type]
    return reckon("cam-1", played, [log], KEY, line, promises, RATE, lambda _: timedelta())


ALL = [unit(number) for number in SENT]
LOST = [one for number, one in enumerate(ALL) if not DOWN[0] <= number < DOWN[1]]


def test_all_that_was_sent_and_kept_is_well() -> None:
    found = judged(ALL, promised=90)
    assert found.ok
    assert (found.sent, found.kept, found.worst_lost_s) == (100, 100, 0.0)


def test_what_lies_in_a_gap_is_explained_and_counted() -> None:
    found = judged(LOST, [(*DOWN, "server_down")], promised=DOWN[0])
    assert found.ok
    assert (found.sent - found.kept, found.worst_lost_s) == (20, 0.8)
    assert found.causes == {"server_down": 20}


def test_what_lies_in_no_gap_is_found() -> None:
    found = judged(LOST)
    assert not found.ok
    assert len(found.unexplained) == 20


def test_what_was_promised_and_is_not_there_is_found_even_in_a_gap() -> None:
    found = judged(LOST, [(*DOWN, "server_down")], promised=75)
    assert not found.ok
    assert 5 <= len(found.broken_promises) <= 15  # those within what an arrival may be late are given


def test_what_the_spool_refused_was_not_promised_by_what_came_later() -> None:
    assert judged(LOST, [(*DOWN, "spool_full")], promised=95).ok


@pytest.mark.parametrize(
    ("played", "wrong"),
    [
        ([*ALL, ALL[7]], "doubled"),
        ([*ALL[:50], ALL[51], ALL[50], *ALL[52:]], "out_of_order"),
        ([*ALL[:99], unit(99, b"x" * 32)], "badly_signed"),
    ],
)
def test_what_is_doubled_misplaced_or_forged_is_found(played: Sequence[PlayedUnit], wrong: str) -> None:
    found = judged(played)
    assert not found.ok
    assert getattr(found, wrong)


def test_a_time_line_with_a_hole_is_found() -> None:
    found = judged(LOST, [(60, 62, "server_down"), (78, 80, "server_down")])
    assert not found.ok
    assert found.holes


def test_nothing_at_all_is_not_well() -> None:
    assert not judged([], [(0, 100, "server_down")]).ok


def test_a_disk_keeps_what_was_synced_and_leaves_the_rest_to_chance() -> None:
    history = [
        Operation("create", "1.log"), Operation("sync_names"),
        Operation("write", "1.log", 0, b"a" * 2000), Operation("sync", "1.log"),
        Operation("write", "1.log", 2000, b"b" * 9000),
    ]  # fmt: skip
    seen = {disk_after(history, random.Random(seed))["1.log"] for seed in range(50)}
    assert all(content[:2000] == b"a" * 2000 for content in seen)
    assert {b"a" * 2000, b"a" * 2000 + b"b" * 9000} < seen
    torn = seen - {b"a" * 2000 + b"b" * length for length in range(9001)}
    assert torn, "no sector was ever written before one in front of it"


def test_a_file_whose_name_was_not_synced_may_be_gone_and_one_that_was_deleted_be_back() -> None:
    born = [Operation("create", "1.log"), Operation("write", "1.log", 0, b"a"), Operation("sync", "1.log")]
    gone = [*born, Operation("sync_names"), Operation("delete", "1.log")]
    for history, final in ((born, True), (gone, False)):
        assert {"1.log" in disk_after(history, random.Random(seed)) for seed in range(50)} == {True, False}
        synced = [*history, Operation("sync_names")]
        assert {"1.log" in disk_after(synced, random.Random(seed)) for seed in range(50)} == {final}


def test_other_bytes_have_the_same_checksum() -> None:
    body = seal_object().body
    other = HARMS["same checksum"](body, random.Random(1))
    assert other != body
    assert len(other) == len(body)
    assert google_crc32c.value(other) == google_crc32c.value(body)
