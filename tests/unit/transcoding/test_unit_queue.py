from __future__ import annotations

import pytest

from mediasrv.errors import ProtocolError
from mediasrv.media.access_unit import AccessUnit, TrackKind
from mediasrv.transcoding.unit_queue import MOST_WAITING, UnitQueue
from tests.unit.media.streams import H265, PCMA, audio_units, session, video_units

SESSION = session()


def pictures(seconds: float, gop_s: float = 2.0) -> list[AccessUnit]:
    return list(video_units(SESSION, seconds, gop_s=gop_s, format=H265))


def drain(queue: UnitQueue) -> list[tuple[AccessUnit, bool]]:
    """All that is left, with a worker that does each at once."""
    taken = []
    while (one := queue.take()) is not None:
        taken.append(one)
        queue.consumed(1)
    return taken


def test_only_a_few_are_under_way_at_once() -> None:
    queue = UnitQueue(TrackKind.VIDEO)
    for unit in pictures(1.0):
        queue.push(unit)
    taken = [queue.take() for _ in range(10)]
    assert [one is not None for one in taken] == [True] * 4 + [False] * 6
    queue.consumed(2)
    assert queue.take() is not None
    assert queue.under_way == 3


def test_pictures_begin_with_a_keyframe_which_is_no_loss() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(4.0)
    for unit in units[10:]:
        queue.push(unit)
    assert [unit for unit, _ in drain(queue)] == units[50:]
    assert queue.dropped == 0


def test_a_cached_gop_is_for_decoding_but_for_its_newest_picture() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(2.0)
    queue.prime(units[:30])
    queue.push(units[30])
    assert [(unit, only_decode) for unit, only_decode in drain(queue)] == [
        *((unit, True) for unit in units[:29]),
        (units[29], False),
        (units[30], False),
    ]


def test_pictures_of_a_worker_that_fell_behind_are_dropped_up_to_the_next_keyframe_and_counted() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(12.0, gop_s=4.0)
    for unit in units[:90]:  # 3.6 s, of which 3 s wait and then go
        queue.push(unit)
    for unit in units[90:]:
        queue.push(unit)
        drain(queue)
    assert queue.dropped == 100  # all before the keyframe at 4 s
    assert queue.under_way == 0


def test_what_comes_out_behind_a_drop_begins_with_the_keyframe() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(12.0, gop_s=4.0)
    for unit in units[:90]:
        queue.push(unit)
    assert drain(queue) == []
    for unit in units[90:102]:
        queue.push(unit)
    assert [unit for unit, _ in drain(queue)] == units[100:102]


def test_a_worker_that_had_caught_up_is_given_a_second_and_no_more() -> None:
    """Or what it makes would be three seconds late for good."""
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(4.0, gop_s=4.0)
    queue.push(units[0])
    drain(queue)
    for unit in units[1:28]:
        queue.push(unit)
    assert queue.dropped == 26
    assert drain(queue) == []


def test_a_keyframe_that_comes_while_it_is_behind_is_where_it_goes_on() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(8.0, gop_s=4.0)
    for unit in [*units[:70], units[100]]:  # the keyframe is the first to show how late it is
        queue.push(unit)
    assert [unit for unit, _ in drain(queue)] == [units[100]]
    assert queue.dropped == 70


def test_of_sound_the_oldest_is_dropped() -> None:
    queue, units = UnitQueue(TrackKind.AUDIO), list(audio_units(SESSION, 5.0, format=PCMA))
    for unit in units:
        queue.push(unit)
    left = [unit for unit, _ in drain(queue)]
    assert left == units[queue.dropped :]
    assert units[-1].dts - left[0].dts <= 3.0 * 8000 < units[-1].dts - left[0].dts + 161


def test_its_length_is_bounded_whatever_times_say() -> None:
    queue = UnitQueue(TrackKind.AUDIO)
    for number in range(3 * MOST_WAITING):
        queue.push(AccessUnit(SESSION, PCMA, number, number, 0, True, b"x"))
    assert len(drain(queue)) == MOST_WAITING


def test_another_session_drops_what_waits_and_needs_a_keyframe() -> None:
    queue, units = UnitQueue(TrackKind.VIDEO), pictures(2.0)
    queue.prime(units[:20])
    queue.restart()
    queue.push(units[20])
    assert drain(queue) == []


@pytest.mark.parametrize("units", [0, 2])
def test_a_worker_that_lies_about_what_it_did_is_found_out(units: int) -> None:
    queue = UnitQueue(TrackKind.VIDEO)
    queue.push(pictures(0.1)[0])
    queue.take()
    with pytest.raises(ProtocolError):
        queue.consumed(units)
