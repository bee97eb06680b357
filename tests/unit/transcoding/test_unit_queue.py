from __future__ import annotations

import pytest

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit, TrackKind
from mediasrv.transcoding.unit_queue import (
    MOST_WAIT_AT_FIRST_S,
    MOST_WAIT_S,
    MOST_WAITING,
    MOST_WAITING_BYTES,
    UnitQueue,
)
from tests.unit.media.streams import H265, PCMA, STARTED_US, audio_units, session, video_units

SESSION = session()


def pictures(seconds: float, gop_s: float = 2.0) -> list[AccessUnit]:
    return list(video_units(SESSION, seconds, gop_s=gop_s, format=H265))


def push(queue: UnitQueue, units: list[AccessUnit]) -> None:
    """Each when it arrives."""
    for unit in units:
        queue.push(unit, (unit.arrived_us - STARTED_US) / 1e6)


def drain(queue: UnitQueue) -> list[tuple[AccessUnit, bool]]:
    """All that is left, with a worker that does each at once."""
    taken = []
    while (one := queue.take()) is not None:
        taken.append(one)
        queue.consumed(1)
    return taken


def test_only_a_few_are_under_way_at_once() -> None:
    queue = UnitQueue(TrackKind.VIDEO)
    push(queue, pictures(1.0))
    taken = [queue.take() for _ in range(10)]
    assert [one is not None for one in taken] == [True] * 4 + [False] * 6
    queue.consumed(2)
    assert queue.take() is not None
    assert queue.under_way == 3


def test_pictures_begin_with_a_keyframe_which_is_no_loss() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(4.0)
    push(queue, units[10:])
    assert [unit for unit, _ in drain(queue)] == units[50:]
    assert queue.dropped == 0


def test_a_cached_gop_is_for_decoding_but_for_its_newest_picture() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(2.0)
    queue.prime(units[:30], 1.2)
    push(queue, units[30:31])
    assert drain(queue) == [*((unit, True) for unit in units[:29]), (units[29], False), (units[30], False)]


def test_without_anything_cached_a_keyframe_is_waited_for() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(2.1)
    queue.prime([], 0.0)
    push(queue, units[20:])
    assert [unit for unit, _ in drain(queue)] == units[50:]


def test_a_worker_that_begins_is_given_time_to_catch_up() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(8.0, gop_s=8.0)
    fits = round(MOST_WAIT_AT_FIRST_S * 25)
    push(queue, units[: fits + 1])
    assert queue.dropped == 0
    push(queue, units[fits + 1 : fits + 3])
    assert queue.dropped == fits + 3
    assert drain(queue) == []


def test_pictures_of_a_worker_that_falls_behind_are_dropped_up_to_the_next_keyframe_and_counted() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(12.0, gop_s=4.0)
    push(queue, units[:1])
    drain(queue)
    push(queue, units[1:102])  # a second waits, and then goes, and the rest up to 4 s
    assert queue.dropped == 99
    assert [unit for unit, _ in drain(queue)] == units[100:102]


def test_a_keyframe_that_comes_while_it_is_behind_is_where_it_goes_on() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(8.0, gop_s=4.0)
    push(queue, [*units[:70], units[100]])  # the keyframe is the first to show how late it is
    assert [unit for unit, _ in drain(queue)] == [units[100]]
    assert queue.dropped == 70


def test_a_network_that_catches_up_puts_no_worker_behind() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(5.0, gop_s=10.0)
    for unit in units:
        queue.push(unit, 7.0)
    assert len(drain(queue)) == 125
    assert queue.dropped == 0


def test_of_sound_the_oldest_is_dropped() -> None:
    queue, units = UnitQueue(TrackKind.AUDIO), list(audio_units(SESSION, 5.0, format=PCMA))
    push(queue, units[:1])
    drain(queue)
    push(queue, units[1:])
    left = [unit for unit, _ in drain(queue)]
    assert left == units[queue.dropped + 1 :]
    assert abs(len(left) - MOST_WAIT_S * 50) <= 1


def test_its_length_is_bounded_whatever_comes() -> None:
    queue = UnitQueue(TrackKind.AUDIO)
    for number in range(3 * MOST_WAITING):
        queue.push(AccessUnit(SESSION, PCMA, number, number, 0, True, b"x"), 0.0)
    assert len(drain(queue)) == MOST_WAITING


def test_its_size_is_bounded_whatever_comes() -> None:
    queue, vast = UnitQueue(TrackKind.VIDEO), bytes(MOST_WAITING_BYTES // 10)
    for number in range(100):
        queue.push(AccessUnit(SESSION, H265, number, number, 0, number % 15 == 0, vast), 0.0)
    assert 0 < len(drain(queue)) <= 11
    assert queue.dropped > 80
    assert queue._waiting_bytes == 0


def test_another_session_drops_what_waits_and_needs_a_keyframe() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(2.0)
    queue.prime(units[:20], 0.8)
    queue.restart()
    push(queue, units[20:21])
    assert drain(queue) == []


@pytest.mark.parametrize("units", [0, 2])
def test_a_worker_that_lies_about_what_it_did_is_found_out(units: int) -> None:
    queue = UnitQueue(TrackKind.VIDEO)
    push(queue, pictures(0.1)[:1])
    queue.take()
    with pytest.raises(ProtocolError):
        queue.consumed(units)
