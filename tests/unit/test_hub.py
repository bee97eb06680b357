from __future__ import annotations

import logging

import pytest

from mediasrv.errors import NotFound
from mediasrv.hub import GOP_CACHE_LIMIT, Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Part, Session, TrackKind
from tests.unit.media.streams import PCMA, REF, audio_units, documents, interleave, publish, session, video_units


class Sink:
    """Keeps all it is given; fails after `fail_after` of it."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.units: list[AccessUnit] = []
        self.parts: list[Part] = []
        self.ended: list[tuple[Session, str, int]] = []
        self.fail_after = fail_after

    def on_access_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)
        self._fail(len(self.units))

    def on_part(self, part: Part) -> None:
        self.parts.append(part)
        self._fail(len(self.parts))

    def on_session_ended(self, ended: Session, reason: str) -> None:
        self.ended.append((ended, reason, len(self.parts)))

    def _fail(self, count: int) -> None:
        if self.fail_after is not None and count > self.fail_after:
            raise RuntimeError("a bad subscriber")


SESSION = session()


@pytest.fixture
def mountpoint() -> Mountpoint:
    mountpoint = Hub().mountpoint(REF)
    mountpoint.start_session(SESSION)
    return mountpoint


def starts(parts: list[Part], kind: TrackKind) -> list[int]:
    return [part.decode_time for part in parts if part.format.kind is kind]


def test_each_subscriber_gets_the_same_objects(mountpoint: Mountpoint) -> None:
    first, second = Sink(), Sink()
    mountpoint.subscribe(first)
    mountpoint.subscribe(second)
    units = list(video_units(SESSION, 1.0))
    publish(mountpoint, units)
    assert all(one is two is unit for one, two, unit in zip(first.units, second.units, units, strict=True))


def test_failing_subscriber_is_dropped_and_harms_nobody(
    mountpoint: Mountpoint, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Sink(fail_after=3), Sink()
    bad_parts, good_parts = Sink(fail_after=1), Sink()
    mountpoint.subscribe(bad)
    mountpoint.subscribe(good)
    mountpoint.subscribe_parts(bad_parts)
    mountpoint.subscribe_parts(good_parts)
    with caplog.at_level(logging.CRITICAL):
        publish(mountpoint, video_units(SESSION, 4.0))
    assert (len(bad.units), len(good.units)) == (4, 100)
    assert (len(bad_parts.parts), len(good_parts.parts)) == (2, 9)
    assert mountpoint.dropped_sinks == 2
    assert mountpoint.subscribers == 2


def test_what_comes_too_late_is_for_parts_and_caches_only(mountpoint: Mountpoint) -> None:
    live, parts = Sink(), Sink()
    mountpoint.subscribe(live)
    mountpoint.subscribe_parts(parts)
    publish(mountpoint, video_units(SESSION, 1.0))
    for unit in audio_units(SESSION, 1.0):
        mountpoint.publish_late(unit)
    publish(mountpoint, video_units(SESSION, 1.0, start_s=1.0))
    assert {unit.format.kind for unit in live.units} == {TrackKind.VIDEO}
    assert starts(parts.parts, TrackKind.AUDIO)
    assert mountpoint.audio_format is PCMA


def test_subscriber_that_fails_at_once_does_not_break_the_stream(
    mountpoint: Mountpoint, caplog: pytest.LogCaptureFixture
) -> None:
    publish(mountpoint, video_units(SESSION, 1.5))
    bad = Sink(fail_after=0)
    with caplog.at_level(logging.CRITICAL):
        mountpoint.subscribe_parts(bad)
    assert (len(bad.parts), mountpoint.dropped_sinks, mountpoint.subscribers) == (1, 1, 0)
    sink = Sink()
    mountpoint.subscribe_parts(sink)
    assert starts(sink.parts, TrackKind.VIDEO) == [0, 43_200, 86_400]


def test_parts_are_made_only_while_somebody_wants_them(mountpoint: Mountpoint) -> None:
    sink = Sink()
    subscription = mountpoint.subscribe_parts(sink)
    publish(mountpoint, list(video_units(SESSION, 6.0))[:100])
    subscription.close()
    subscription.close()
    made = len(sink.parts)
    publish(mountpoint, list(video_units(SESSION, 6.0))[100:])
    assert len(sink.parts) == made == 9
    assert mountpoint.subscribers == 0


def test_late_part_subscriber_gets_the_gop_from_its_keyframe(mountpoint: Mountpoint) -> None:
    early, late = Sink(), Sink()
    units = interleave(video_units(SESSION, 8.0), audio_units(SESSION, 8.0))
    mountpoint.subscribe_parts(early)
    publish(mountpoint, [unit for unit in units if unit.arrived_us < SESSION.started_us + 5_600_000])
    mountpoint.subscribe_parts(late)
    assert late.parts, "the missed parts come before subscribe_parts returns"
    publish(mountpoint, [unit for unit in units if unit.arrived_us >= SESSION.started_us + 5_600_000])
    for kind, rate in ((TrackKind.VIDEO, 90_000), (TrackKind.AUDIO, 8000)):
        assert starts(late.parts, kind) == [start for start in starts(early.parts, kind) if start >= 3.98 * rate]
    assert starts(late.parts, TrackKind.VIDEO)[0] == 4 * 90_000


def test_session_end_comes_after_its_last_parts(mountpoint: Mountpoint) -> None:
    sink = Sink()
    mountpoint.subscribe_parts(sink)
    publish(mountpoint, video_units(SESSION, 1.0))
    ended = mountpoint.session
    mountpoint.end_session("camera_lost")
    mountpoint.end_session("camera_lost")
    assert sink.ended == [(ended, "camera_lost", 3)]
    assert sum(part.access_units for part in sink.parts) == 25
    assert (mountpoint.gop, mountpoint.live, mountpoint.audio_format) == ([], False, None)


def test_new_session_ends_the_one_before(mountpoint: Mountpoint) -> None:
    sink = Sink()
    mountpoint.subscribe(sink)
    mountpoint.start_session(session("session-2"))
    assert [reason for _, reason, _ in sink.ended] == ["replaced"]


def test_gop_cache_holds_the_video_since_the_keyframe_and_is_bounded(mountpoint: Mountpoint) -> None:
    units = list(video_units(SESSION, 3.0))
    publish(mountpoint, interleave(units, audio_units(SESSION, 3.0)))
    assert mountpoint.gop == units[50:]
    assert mountpoint.gop_duration_s == 2.0
    assert mountpoint.audio_format is PCMA
    publish(mountpoint, video_units(SESSION, 40.0, gop_s=60.0))
    assert len(mountpoint.gop) < GOP_CACHE_LIMIT


def test_demand_is_told(mountpoint: Mountpoint) -> None:
    seen: list[int] = []
    mountpoint.on_demand_change(lambda: seen.append(mountpoint.subscribers))
    subscriptions = [mountpoint.subscribe(Sink()), mountpoint.subscribe_parts(Sink())]
    for subscription in subscriptions:
        subscription.close()
    assert seen == [1, 2, 1, 0]


def test_removed_mountpoint_ends_its_session_and_is_forgotten() -> None:
    hub, sink = Hub(), Sink()
    mountpoint = hub.mountpoint(REF)
    assert list(hub) == [mountpoint]
    assert hub.find(REF) is hub.get(REF) is mountpoint
    mountpoint.start_session(session())
    mountpoint.subscribe(sink)
    hub.remove(REF)
    hub.remove(REF)
    assert [reason for _, reason, _ in sink.ended] == ["camera_removed"]
    assert hub.get(REF) is None
    with pytest.raises(NotFound) as missing:
        hub.find(REF)
    assert missing.value.code == "stream_not_found"


def test_documents_go_to_who_takes_units_before_any_picture_and_are_no_sound(mountpoint: Mountpoint) -> None:
    sink = Sink()
    mountpoint.subscribe(sink)
    publish(mountpoint, documents(SESSION, 3.0))
    assert len(sink.units) == 3
    assert not mountpoint.live
    publish(mountpoint, interleave(video_units(SESSION, 4.0, start_s=3.0), documents(SESSION, 4.0, start_s=3.0)))
    assert mountpoint.audio_format is None
    late = Sink()
    mountpoint.subscribe_parts(late)
    assert {part.format.kind for part in late.parts} == {TrackKind.VIDEO}, "who joins late has missed the documents"
