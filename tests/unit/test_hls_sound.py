"""Sound that HLS cannot carry: made into AAC while it is watched; else pictures alone, and the reason."""

from __future__ import annotations

import asyncio

import pytest

from load_tests.hls_rules import check, check_renditions, parse
from mediasrv.errors import TooManyRequests
from mediasrv.hls import HlsService
from mediasrv.hub import Hub, Mountpoint
from mediasrv.media.access_unit import AccessUnit, Codec, Rendition, Session, StreamRef, TrackKind
from mediasrv.media.fmp4 import read_format, read_samples
from mediasrv.media.playlist import Manner
from mediasrv.settings import HlsSettings
from tests.clocks import SimulatedClock
from tests.unit.media.streams import AAC, PCMA, REF, STARTED_US, audio_units, interleave, session, video_units
from tests.unit.test_hls import AT_ONCE, DVR, Recordings, settled

V, A = TrackKind.VIDEO, TrackKind.AUDIO


class Transcoders:
    """A rendition as the transcoder makes it: the pictures as they are, AAC in place of what the camera sends."""

    def __init__(self, hub: Hub) -> None:
        self.source = hub.mountpoint(REF)
        self.made = Mountpoint(REF, self.source.part_s)
        self.asked: list[Rendition] = []
        self.full = False

    def __call__(self, ref: StreamRef, rendition: Rendition) -> Mountpoint:
        assert ref == REF
        self.asked.append(rendition)
        if self.full:
            raise TooManyRequests("All transcoders are busy.", code="transcoders_full")
        if self.made.session is not self.source.session and self.source.session is not None:
            self.made.start_session(self.source.session)
            for unit in self.source.gop:
                self.made.publish(unit)
        return self.made


class Camera:
    """Sends pictures and G.711; what is made of that goes into the rendition a little later, as a worker's does."""

    def __init__(self, transcoders: Transcoders, *, sound_s: float = 0.0) -> None:
        self._transcoders = transcoders
        self._source = transcoders.source
        self._sound_s = sound_s
        self.begin("session-1")

    def begin(self, name: str) -> None:
        one = session(name)
        self.units = self._of(one)
        self._source.start_session(one)

    def _of(self, one: Session) -> list[tuple[int, AccessUnit, bool]]:
        sent = interleave(video_units(one, 60.0), audio_units(one, 60.0, format=PCMA, start_s=self._sound_s))
        made = list(audio_units(one, 60.0, format=AAC, start_s=self._sound_s))
        both = [(unit.arrived_us, unit, True) for unit in sent]
        both += [(unit.arrived_us + 60_000, unit, False) for unit in made]
        return sorted(both, key=lambda item: (item[0], not item[2]))

    def play_until(self, seconds: float) -> None:
        until_us = self.units[0][1].session.started_us + round(seconds * 1e6)
        made = self._transcoders.made
        while self.units and self.units[0][0] < until_us:
            _, unit, is_sent = self.units.pop(0)
            if is_sent:
                self._source.publish(unit)
            if made.session is unit.session and (not is_sent or unit.format.kind is V):
                made.publish(unit)

    def lose(self) -> None:
        for mountpoint in (self._source, self._transcoders.made):
            mountpoint.end_session("camera_lost")


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def transcoders(hub: Hub) -> Transcoders:
    return Transcoders(hub)


def service_of(hub: Hub, transcoders: Transcoders, settings: HlsSettings = AT_ONCE) -> HlsService:
    return HlsService(hub, settings, SimulatedClock(), renditions=transcoders)


async def test_g711_becomes_an_aac_rendition_while_it_is_watched(hub: Hub, transcoders: Transcoders) -> None:
    camera, service = Camera(transcoders), service_of(hub, transcoders, HlsSettings())
    camera.play_until(5.0)
    master = await settled(service.master(REF))
    camera.play_until(9.0)
    assert 'CODECS="avc1.64001e,mp4a.40.2"' in (await master).decode()
    assert transcoders.asked == [Rendition(audio=Codec.AAC)]
    assert (transcoders.source.subscribers, transcoders.made.subscribers) == (0, 1)
    video, audio = [parse(await service.media_playlist(REF, track, None, None)) for track in (V, A)]
    for playlist in (video, audio):
        check(playlist)
    check_renditions(video, audio)
    uri = str(audio.complete[-1].uri)
    samples = read_samples(await service.segment(REF, A, int(uri.split("/")[1].split(".")[0])))
    assert all(sample.duration == 1024 for sample in samples)
    assert audio.complete[-1].map_uri is not None
    assert read_format(service.init(REF, A, int(audio.complete[-1].map_uri.split("-")[1].split(".")[0]))) == AAC


async def nothing_recorded(*_: object) -> None:
    """Stands for the catalogue."""


async def test_what_reaches_back_into_recordings_is_silent_where_sound_is_made_for_the_moment(
    hub: Hub, transcoders: Transcoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Players stop where a rendition of sound ends, and what is transcoded is nowhere but in memory."""
    monkeypatch.setattr(HlsService, "_recall", nothing_recorded)
    camera, service = Camera(transcoders), service_of(hub, transcoders, HlsSettings())
    camera.play_until(5.0)
    live = await settled(service.master(REF))
    camera.play_until(9.0)
    assert "TYPE=AUDIO" in (await live).decode()
    back = (await service.master(REF, Manner(dvr_s=600))).decode()
    assert "TYPE=AUDIO" not in back
    assert 'CODECS="avc1.64001e"' in back


async def test_sound_that_shows_after_the_first_viewer_came_is_there_from_the_first_playlist_on(
    hub: Hub, transcoders: Transcoders
) -> None:
    camera, service = Camera(transcoders), service_of(hub, transcoders, HlsSettings())
    master = await settled(service.media_playlist(REF, V, None, None))
    camera.play_until(6.0)
    playlist = parse(await master)
    check(playlist)
    assert not any(one.discontinuity for one in playlist.segments)
    assert "audio.m3u8" in playlist.reports
    assert (transcoders.source.subscribers, transcoders.made.subscribers) == (0, 1)


async def test_sound_that_shows_late_takes_nothing_of_what_was_recorded_before(
    hub: Hub, transcoders: Transcoders
) -> None:
    """The window begins anew with what is made of the stream, at the same picture."""
    camera, recordings = Camera(transcoders, sound_s=56.55), Recordings(("session-1", STARTED_US, 56.0))
    service = HlsService(hub, AT_ONCE, SimulatedClock(), recorded=recordings, renditions=transcoders)
    camera.play_until(56.54)
    await service.master(REF, DVR)
    camera.play_until(58.9)
    assert (transcoders.source.subscribers, transcoders.made.subscribers) == (0, 1)
    playlist = parse(await service.media_playlist(REF, V, None, None, DVR))
    check(playlist)
    assert [str(one.uri).split("/")[0] for one in playlist.complete] == ["recorded"] * 28 + ["video"]
    assert not any(one.discontinuity for one in playlist.segments)


async def test_sound_that_begins_later_begins_behind_a_discontinuity(hub: Hub, transcoders: Transcoders) -> None:
    camera, service = Camera(transcoders, sound_s=8.0), service_of(hub, transcoders)
    camera.play_until(5.0)
    before = parse(await service.media_playlist(REF, V, None, None))
    camera.play_until(14.0)
    after = parse(await service.media_playlist(REF, V, None, None))
    check(after)
    assert after.first_msn == before.first_msn
    assert sum(one.discontinuity for one in after.segments) == 1
    assert parse(await service.media_playlist(REF, A, None, None)).segments


async def test_without_a_free_transcoder_there_are_pictures_and_the_reason(hub: Hub, transcoders: Transcoders) -> None:
    transcoders.full = True
    camera, service = Camera(transcoders), service_of(hub, transcoders)
    camera.play_until(5.0)
    text = (await service.master(REF)).decode()
    assert '#EXT-X-SESSION-DATA:DATA-ID="org.mediasrv.silent",VALUE="transcoders_full"' in text
    assert "AUDIO" not in text
    camera.play_until(9.0)
    assert len(transcoders.asked) == 1, "it is not asked for again with each part"
    check(parse(await service.media_playlist(REF, V, None, None)))


async def test_a_new_session_tries_again(hub: Hub, transcoders: Transcoders) -> None:
    transcoders.full = True
    camera, service = Camera(transcoders), service_of(hub, transcoders)
    camera.play_until(5.0)
    await service.master(REF)
    transcoders.full = False
    camera.lose()
    camera.begin("session-2")
    camera.play_until(5.0)
    playlist = parse(await service.media_playlist(REF, V, None, None))
    check(playlist)
    assert sum(one.discontinuity for one in playlist.segments) == 1
    text = (await service.master(REF)).decode()
    assert "AUDIO" in text
    assert "silent" not in text


async def test_a_slow_transcoder_holds_the_picture_up_for_a_moment_only(hub: Hub, transcoders: Transcoders) -> None:
    camera = Camera(transcoders)
    camera.units = [one for one in camera.units if one[2]]  # the worker never makes anything
    service = service_of(hub, transcoders, HlsSettings(blocking_s=0.05))
    camera.play_until(5.0)
    assert "AUDIO" not in (await service.master(REF)).decode()
    assert parse(await service.media_playlist(REF, V, None, None)).complete


async def test_what_nobody_watches_is_not_transcoded(hub: Hub, transcoders: Transcoders) -> None:
    camera, service = Camera(transcoders), service_of(hub, transcoders)
    running = await settled(service.run())
    camera.play_until(5.0)
    await service.master(REF)
    assert transcoders.made.subscribers == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (transcoders.source.subscribers, transcoders.made.subscribers) == (0, 0)
