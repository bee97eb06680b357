"""One RTP time line over a camera's sessions: strictly rising, true to arrival, deaf to the wall clock's steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediasrv.media.access_unit import AccessUnit, Session, StreamName, StreamRef
from mediasrv.media.stream_clock import StreamClock
from tests.unit.media.streams import PCMA, VIDEO

REF = StreamRef("gate-1", StreamName.MAIN)


def session(started_s: float, started_us: int | None = None) -> Session:
    return Session("s", REF, 1, round(started_s * 1e6) if started_us is None else started_us, started_s)


def unit(of: Session, dts: int, after_s: float, *, audio: bool = False) -> AccessUnit:
    at_us = of.started_us + round(after_s * 1e6)
    return AccessUnit(of, PCMA if audio else VIDEO, dts, dts, at_us, True, b"")


def test_inside_a_session_media_time_rules() -> None:
    clock, one = StreamClock(90_000), session(100.0)
    placed = [clock.place(unit(one, dts, late_s)) for dts, late_s in [(0, 0.0), (3600, 0.09), (7200, 0.081)]]
    assert [at - placed[0] for at in placed] == [0, 3600, 7200]


def test_a_new_session_begins_where_it_arrived() -> None:
    clock = StreamClock(90_000)
    first = clock.place(unit(session(100.0), 0, 0.0))
    second = clock.place(unit(session(107.5), 900_000, 0.5))
    assert second - first == 8 * 90_000


def test_a_step_of_the_wall_clock_between_sessions_moves_nothing() -> None:
    clock = StreamClock(90_000)
    first = clock.place(unit(session(100.0, 1_000_000_000), 0, 0.0))
    second = clock.place(unit(session(101.0, 90_000_000_000_000), 0, 0.0))
    assert second - first == 90_000


def test_a_session_that_arrives_before_its_media_time_goes_on_right_behind() -> None:
    clock = StreamClock(90_000)
    fast = session(100.0)
    clock.place(unit(fast, 0, 0.0))
    last = clock.place(unit(fast, 900_000, 1.0))
    again = session(101.1)
    assert clock.place(unit(again, 0, 0.0)) == last + 1
    assert clock.place(unit(again, 3600, 0.04)) == last + 1 + 3600


def test_both_tracks_are_tied_to_the_same_wall_time() -> None:
    video, audio, one = StreamClock(90_000), StreamClock(8000), session(100.0, 5_000_000)
    begun_video = video.place(unit(one, 0, 0.0))
    begun_audio = audio.place(unit(one, 1600, 0.2, audio=True))
    assert video.at(100.0) == (5_000_000, begun_video)
    assert video.at(101.0) == (6_000_000, begun_video + 90_000)
    assert audio.at(101.0) == (6_000_000, begun_audio + 6400)
    assert StreamClock(8000).at(101.0) is None


@given(
    st.lists(st.tuples(st.floats(0.0, 10.0), st.lists(st.integers(1, 50_000), min_size=1, max_size=10)), max_size=10)
)
def test_time_rises_strictly_whatever_sessions_bring(sessions: list[tuple[float, list[int]]]) -> None:
    clock, now_s, last = StreamClock(90_000), 50.0, None
    for pause_s, steps in sessions:
        now_s += pause_s
        current, dts = session(now_s), 0
        for step in steps:
            dts += step
            placed = clock.place(unit(current, dts, 0.001 * dts / 90_000))
            assert last is None or placed > last
            last = placed
