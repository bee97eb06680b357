from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from load_tests.hls_rules import MediaPlaylist, check, parse
from mediasrv.errors import InvalidRequest, NotFound, Unavailable
from mediasrv.hls import HlsService
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media import fmp4
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Session, StreamRef, TrackKind
from mediasrv.media.dvr import Recorded, Stretch
from mediasrv.media.playlist import LiveSegment, Manner
from mediasrv.settings import HlsSettings
from tests.clocks import SimulatedClock
from tests.unit.media.streams import AAC, PCMA, REF, STARTED_US, audio_units, interleave, publish, session, video_units

V, A = TrackKind.VIDEO, TrackKind.AUDIO
AT_ONCE = HlsSettings(blocking_s=0.0)
DVR = Manner(dvr_s=600)


class Camera:
    """Publishes a stream into a hub, as far as asked for."""

    def __init__(self, hub: Hub, audio: AudioFormat | None = AAC, rate: float = 25.0) -> None:
        self.mountpoint: Mountpoint = hub.mountpoint(REF)
        self._audio = audio
        self._rate = rate
        self.begin()

    def begin(self, name: str = "session-1", started_us: int = STARTED_US) -> None:
        one: Session = session(name, started_us)
        pictures = video_units(one, 60.0, rate=self._rate)
        tracks = [pictures] + ([audio_units(one, 60.0, format=self._audio)] if self._audio else [])
        self._units: list[AccessUnit] = interleave(*tracks)
        self._started_us = one.started_us
        self.mountpoint.start_session(one)

    def play_until(self, seconds: float) -> None:
        until_us = self._started_us + round(seconds * 1e6)
        publish(self.mountpoint, [unit for unit in self._units if unit.arrived_us < until_us])
        self._units = [unit for unit in self._units if unit.arrived_us >= until_us]


class Recordings:
    """What was recorded of sessions: of each its name, when it began and how long it is; segments of 2 s."""

    def __init__(self, *runs: tuple[str, int, float]) -> None:
        self.runs = list(runs)
        self.meanwhile: Callable[[], None] = lambda: None

    async def before(self, ref: StreamRef, session_id: str, from_s: float, start_us: int, end_us: int) -> Recorded:
        self.meanwhile()
        entries, ends_with, mine = [], None, None
        for name, started_us, lasts_s in self.runs:
            mine = 0.0 if name == session_id else mine
            last_s = min(lasts_s, from_s) if name == session_id else lasts_s
            for at_s in range(0, round(last_s), 2):
                ends_with = (name, min(at_s + 2.0, last_s))
                entries.append(self._entry(name, started_us, at_s, ends_with[1] - at_s, bool(entries) and not at_s))
        return Recorded(entries, [], ends_with, mine)

    @staticmethod
    def _entry(name: str, started_us: int, at_s: int, lasts_s: float, seam: bool) -> dict[TrackKind, LiveSegment]:
        uri, at_us = f"recorded/{name}-{at_s}.m4s", started_us + at_s * 1_000_000
        one = LiveSegment(uri, "recorded/init-0.mp4", at_us, lasts_s, seam, complete=True, parts=())
        return {V: one, A: one}

    async def stretch(self, ref: StreamRef, track: TrackKind, stretch: Stretch) -> bytes:
        raise NotFound("Nothing leaves the window here.", code="segment_not_found")


def hinted(playlist: MediaPlaylist) -> tuple[int, int]:
    """The segment and the part that come next."""
    msn, part, _ = playlist.hint.removeprefix("video/").split(".")
    return int(msn), int(part)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


async def settled(task: Awaitable[Any]) -> asyncio.Task[Any]:
    """The task, after it has run as far as it can."""
    started = asyncio.ensure_future(task)
    for _ in range(5):
        await asyncio.sleep(0)
    assert isinstance(started, asyncio.Task)
    return started


async def test_master_names_both_renditions_with_codecs_and_size(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub).play_until(3.0)
    text = (await HlsService(hub, AT_ONCE, clock).master(REF)).decode()
    assert 'TYPE=AUDIO,GROUP-ID="audio"' in text
    assert 'URI="main/audio.m3u8"' in text
    assert 'CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="audio"' in text
    assert text.endswith("\nmain/video.m3u8\n")


@pytest.mark.parametrize("audio", [None, PCMA])
async def test_camera_without_aac_has_no_audio_rendition(
    hub: Hub, clock: SimulatedClock, audio: AudioFormat | None
) -> None:
    Camera(hub, audio).play_until(3.0)
    service = HlsService(hub, AT_ONCE, clock)
    assert "AUDIO" not in (await service.master(REF)).decode()
    with pytest.raises(NotFound) as refused:
        await service.media_playlist(REF, A, None, None)
    assert refused.value.code == "audio_not_available"


async def test_first_playlist_comes_at_once_where_a_gop_is_cached(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub).play_until(3.5)
    service = HlsService(hub, AT_ONCE, clock)
    for track in (V, A):
        playlist = parse(await service.media_playlist(REF, track, None, None))
        check(playlist)
        (segment,) = playlist.complete
        assert segment.duration_s > 0.9, "players take no playlist without a complete segment"
        assert segment.parts[0].independent or track is A
        assert not segment.gap


async def test_target_duration_is_that_of_the_gops(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub).play_until(5.5)
    assert parse(await HlsService(hub, AT_ONCE, clock).media_playlist(REF, V, None, None)).target_s == 2


async def test_first_request_waits_for_the_first_segment_but_not_for_a_gop(hub: Hub, clock: SimulatedClock) -> None:
    camera = Camera(hub)
    waiting = await settled(HlsService(hub, HlsSettings(), clock).media_playlist(REF, V, None, None))
    camera.play_until(0.9)
    waiting = await settled(waiting)
    assert not waiting.done()
    camera.play_until(1.02)
    assert len(parse(await waiting).complete) == 1


async def test_blocking_reload_answers_all_viewers_with_one_text(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    camera.play_until(5.0)
    msn, part = hinted(parse(await service.media_playlist(REF, V, None, None)))
    viewers = [await settled(service.media_playlist(REF, V, msn, part)) for _ in range(20)]
    assert not any(viewer.done() for viewer in viewers)
    camera.play_until(5.6)
    texts = await asyncio.gather(*viewers)
    assert len({id(text) for text in texts}) == 1
    assert len(parse(texts[0]).segments[-1].parts) == 1


async def test_reload_without_a_part_waits_for_the_whole_segment(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    camera.play_until(5.0)
    msn, _ = hinted(parse(await service.media_playlist(REF, V, None, None)))
    waiting = await settled(service.media_playlist(REF, V, msn, None))
    camera.play_until(5.99)
    waiting = await settled(waiting)
    assert not waiting.done()
    camera.play_until(6.01)
    assert parse(await waiting).segments[-1].uri == f"video/{msn}.m4s"


async def test_reload_that_is_not_answered_in_time_is_unavailable(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, AT_ONCE, clock)
    camera.play_until(3.0)
    msn, part = hinted(parse(await service.media_playlist(REF, V, None, None)))
    with pytest.raises(Unavailable) as late:
        await service.media_playlist(REF, V, msn, part)
    assert late.value.code == "stalled"
    camera.mountpoint.end_session("camera_lost")
    with pytest.raises(Unavailable) as late:
        await service.media_playlist(REF, V, msn + 1, 0)
    assert late.value.code == "camera_lost"


async def test_reload_too_far_ahead_is_refused_at_once(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub).play_until(3.0)
    service = HlsService(hub, HlsSettings(), clock)
    msn, _ = hinted(parse(await service.media_playlist(REF, V, None, None)))
    with pytest.raises(InvalidRequest):
        await service.media_playlist(REF, V, msn + 2, 0)


async def test_hinted_part_is_sent_when_it_exists(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    camera.play_until(3.0)
    msn, part = hinted(parse(await service.media_playlist(REF, V, None, None)))
    waiting = await settled(service.part(REF, V, msn, part))
    assert not waiting.done()
    camera.play_until(3.6)
    assert fmp4.read_samples(await waiting)[0].decode_time == round(2.96 * 90_000)


async def test_hinted_part_that_the_end_of_the_session_takes_away_is_not_found(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    camera.play_until(3.0)
    msn, part = hinted(parse(await service.media_playlist(REF, V, None, None)))
    waiting = await settled(service.part(REF, V, msn, part + 1))
    with pytest.raises(NotFound):
        await waiting
    camera.play_until(3.3)
    waiting = await settled(service.part(REF, V, msn, part))
    camera.mountpoint.end_session("camera_lost")
    assert len(fmp4.read_samples(await waiting)) == 9, "what is left of the session"
    with pytest.raises(NotFound):
        await service.part(REF, V, msn, part + 1)


async def test_media_of_a_playlist_is_served(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, AT_ONCE, clock)
    camera.play_until(1.0)
    await service.master(REF)
    camera.play_until(9.0)
    for track, name, count in ((V, "video", 5), (A, "audio", 5)):
        playlist = parse(await service.media_playlist(REF, track, None, None))
        first = playlist.segments[0]
        assert first.map_uri is not None
        version = int(first.map_uri.removeprefix(f"{name}/init-").removesuffix(".mp4"))
        assert fmp4.read_format(service.init(REF, track, version)).kind is track
        parts = [await service.part(REF, track, playlist.first_msn, number) for number in range(count)]
        assert b"".join(parts) == await service.segment(REF, track, playlist.first_msn)


async def test_reconnect_is_a_discontinuity(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, AT_ONCE, clock)
    camera.play_until(5.0)
    await service.master(REF)
    camera.mountpoint.end_session("camera_lost")
    camera.begin("session-2")
    camera.play_until(1.0)
    playlist = parse(await service.media_playlist(REF, V, None, None))
    check(playlist)
    assert [segment.discontinuity for segment in playlist.segments] == [False, True]


async def test_session_of_one_picture_is_no_playlist_but_a_reason_and_the_next_session_answers(
    hub: Hub, clock: SimulatedClock
) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    waiting = await settled(service.media_playlist(REF, V, None, None))
    camera.play_until(0.03)
    camera.mountpoint.end_session("camera_lost")
    waiting = await settled(waiting)
    assert not waiting.done()
    with pytest.raises(Unavailable) as refused:
        await HlsService(hub, AT_ONCE, clock).media_playlist(REF, V, None, None)
    assert refused.value.code == "stalled"
    camera.begin("session-2")
    camera.play_until(2.5)
    playlist = parse(await waiting)
    check(playlist)
    assert [(one.duration_s, one.discontinuity) for one in playlist.complete] == [(2.0, False)]


async def test_unknown_stream_and_media_that_nobody_watches_are_not_found(hub: Hub, clock: SimulatedClock) -> None:
    service = HlsService(hub, AT_ONCE, clock)
    with pytest.raises(NotFound):
        await service.master(REF)
    assert hub.get(REF) is None, "asking makes no mountpoint"
    Camera(hub).play_until(3.0)
    for ask in (service.part(REF, V, 0, 0), service.segment(REF, V, 0)):
        with pytest.raises(NotFound):
            await ask
    with pytest.raises(NotFound):
        service.init(REF, V, 0)


async def test_on_demand_stream_is_started_once_for_all_who_ask(hub: Hub, clock: SimulatedClock) -> None:
    asked: list[StreamRef] = []
    live = asyncio.Event()

    async def ensure(ref: StreamRef) -> None:
        asked.append(ref)
        await live.wait()
        if hub.get(REF) is None:
            Camera(hub).play_until(1.0)

    service = HlsService(hub, HlsSettings(), clock, ensure)
    viewers = [await settled(service.media_playlist(REF, V, None, None)) for _ in range(3)]
    live.set()
    texts = await asyncio.gather(*viewers)
    assert asked == [REF] * 3
    assert len({id(text) for text in texts}) == 1
    mountpoint = hub.get(REF)
    assert mountpoint is not None
    assert mountpoint.subscribers == 1


async def test_reason_why_a_stream_cannot_be_had_reaches_the_viewer(hub: Hub, clock: SimulatedClock) -> None:
    async def ensure(ref: StreamRef) -> None:
        raise Unavailable("The camera refused the password.", code="credentials_wrong")

    with pytest.raises(Unavailable) as refused:
        await HlsService(hub, AT_ONCE, clock, ensure).master(REF)
    assert refused.value.code == "credentials_wrong"


async def test_unwatched_stream_is_let_go_and_numbers_never_come_twice(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, AT_ONCE, clock)
    camera.play_until(20.0)
    await service.master(REF)
    camera.play_until(40.0)
    last = parse(await service.media_playlist(REF, V, None, None))
    clock.advance(29.0)
    service.drop_unwatched()
    assert service.watched() == [REF]
    clock.advance(2.0)
    service.drop_unwatched()
    assert service.watched() == []
    assert camera.mountpoint.subscribers == 0
    fresh = parse(await service.media_playlist(REF, V, None, None))
    assert fresh.first_msn > last.first_msn + len(last.segments)


async def test_waiting_request_keeps_its_stream(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub)
    service = HlsService(hub, HlsSettings(), clock)
    waiting = await settled(service.master(REF))
    clock.advance(1000.0)
    service.drop_unwatched()
    assert service.watched() == [REF]
    waiting.cancel()


async def test_removed_camera_is_let_go_and_its_successor_watched_anew(hub: Hub, clock: SimulatedClock) -> None:
    Camera(hub).play_until(3.0)
    service = HlsService(hub, AT_ONCE, clock)
    await service.master(REF)
    hub.remove(REF)
    service.drop_unwatched()
    assert service.watched() == []
    Camera(hub).play_until(1.0)
    assert parse(await service.media_playlist(REF, V, None, None)).segments


async def test_end_of_the_service_ends_waiting_requests(hub: Hub, clock: SimulatedClock) -> None:
    camera, service = Camera(hub), HlsService(hub, HlsSettings(), clock)
    running = await settled(service.run())
    waiting = await settled(service.master(REF))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(Unavailable):
        await waiting
    assert camera.mountpoint.subscribers == 0


# --- what was recorded before --------------------------------------------------------------------


async def test_what_came_before_a_beginning_that_was_forgotten_is_asked_for_anew(
    hub: Hub, clock: SimulatedClock
) -> None:
    """A viewer who reaches back comes in the last moments of a session, and stays for the next one."""
    camera, recordings = Camera(hub, audio=None, rate=5.0), Recordings(("session-1", STARTED_US, 58.0))
    service = HlsService(hub, AT_ONCE, clock, recorded=recordings)
    camera.play_until(58.7)
    await service.master(REF, DVR)
    camera.mountpoint.end_session("camera_lost")
    again_us = STARTED_US + 120_000_000
    recordings.runs = [("session-1", STARTED_US, 58.8), ("session-2", again_us, 0.0)]
    camera.begin("session-2", again_us)
    camera.play_until(1.7)
    playlist = parse(await service.media_playlist(REF, V, None, None, DVR))
    check(playlist)
    assert [one.uri for one in playlist.complete][28:30] == ["recorded/session-1-56.m4s", "recorded/session-1-58.m4s"]
    assert [index for index, one in enumerate(playlist.segments) if one.discontinuity] == [30]


async def test_a_beginning_that_is_forgotten_while_recordings_are_looked_through_is_unavailable(
    hub: Hub, clock: SimulatedClock
) -> None:
    camera, recordings = Camera(hub, audio=None, rate=5.0), Recordings(("session-1", STARTED_US, 58.0))
    recordings.meanwhile = lambda: camera.mountpoint.end_session("camera_lost")
    camera.play_until(58.7)
    with pytest.raises(Unavailable) as ended:
        await HlsService(hub, AT_ONCE, clock, recorded=recordings).master(REF, DVR)
    assert ended.value.code == "camera_lost"
