"""A live playlist that reaches back: what is live, what has just left memory and what was recorded before, as one."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from load_tests.hls_rules import MediaPlaylist, check, check_next, parse
from mediasrv.clock import SECOND_US, SystemClock
from mediasrv.errors import NotFound
from mediasrv.hls import HlsService
from mediasrv.media.access_unit import AccessUnit, Session, TrackKind
from mediasrv.media.fmp4 import ReadSample, read_samples
from mediasrv.media.playlist import Manner
from mediasrv.playback import Playback
from mediasrv.retrieval.playlists import Rendition
from mediasrv.settings import HlsSettings, StorageSettings
from tests.integration.recording import REF, Recording, Running, new_session, now_us
from tests.unit.media.streams import AAC, audio_units, interleave, video_units

V, A = TrackKind.VIDEO, TrackKind.AUDIO
DVR = Manner(dvr_s=600)
TRACKS = {"video": V, "audio": A}


class Viewer:
    """Watches a recorder's stream, and fetches as playlists tell."""

    def __init__(self, running: Running, settings: HlsSettings | None = None) -> None:
        self.playback = Playback(running.catalogue, running.footage, HlsSettings(), SystemClock())
        self.hls = HlsService(running.hub, settings or HlsSettings(), SystemClock(), None, self.playback)
        self.before: dict[TrackKind, MediaPlaylist] = {}

    async def listed(self, track: TrackKind) -> MediaPlaylist:
        """The playlist now, which keeps the rules."""
        playlist = parse(await self.hls.media_playlist(REF, track, None, None, DVR))
        check(playlist)
        if track in self.before:
            check_next(self.before[track], playlist)
        self.before[track] = playlist
        return playlist

    async def fetch(self, uri: str) -> bytes:
        if uri.startswith("recorded/"):
            _, object_id, track, name = uri.split("/")
            first, last = name.removesuffix(".m4s").split("-")
            return await self.playback.segment(REF.camera_id, object_id, Rendition(track), int(first), int(last))
        track, name = urlsplit(uri).path.split("/")
        try:
            return await self.hls.segment(REF, TRACKS[track], int(name.removesuffix(".m4s")))
        except NotFound:
            return await self.hls.past_segment(REF, TRACKS[track], int(name.removesuffix(".m4s")))

    async def samples(self, playlist: MediaPlaylist) -> list[ReadSample]:
        bodies = [await self.fetch(one.uri) for one in playlist.complete if one.uri and not one.gap]
        return [sample for body in bodies for sample in read_samples(body)]


def units_of(session: Session, seconds: float) -> list[AccessUnit]:
    return interleave(video_units(session, seconds), audio_units(session, seconds, format=AAC))


async def test_what_was_recorded_joins_what_is_live_without_hole_or_overlap(
    tmp_path: Path, storage: StorageSettings
) -> None:
    session = new_session("a" * 16, now_us() - 120 * SECOND_US)
    units = units_of(session, 100.0)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, units[: len(units) * 3 // 10], end=None)
        await running.spool.flush()
        viewer = Viewer(running)
        for track in (V, A):
            playlist = await viewer.listed(track)
            assert not any(one.discontinuity for one in playlist.segments)
            samples = await viewer.samples(playlist)
            sent = [unit.payload for unit in units if unit.format.kind is track]
            assert [one.payload for one in samples] == sent[: len(samples)]
            assert len(samples) >= 0.25 * len(sent)


async def test_a_segment_that_memory_let_go_is_the_same_out_of_what_was_recorded(
    tmp_path: Path, storage: StorageSettings
) -> None:
    session = new_session("a" * 16, now_us() - 120 * SECOND_US)
    units = units_of(session, 100.0)
    third = len(units) // 3
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(session, units[:third], end=None)
        await running.spool.flush()
        viewer = Viewer(running)
        for track in (V, A):
            await viewer.listed(track)
        kept: dict[str, bytes] = {}
        for at in range(third, len(units), third // 8):
            await running.feed(session, units[at : at + third // 8], end=None)
            await running.spool.flush()
            for track in (V, A):
                for one in (await viewer.listed(track)).complete:
                    assert one.uri is not None
                    body = await viewer.fetch(one.uri)
                    assert kept.setdefault(one.uri, body) == body
        let_go = 0
        for uri in kept:
            if not uri.startswith("recorded/"):
                with pytest.raises(NotFound):
                    await viewer.hls.past_segment(REF, TRACKS[uri.split("/")[0]], 10**12)
                let_go += _is_gone(viewer, uri)
        assert let_go > 10
        for track in (V, A):
            times = [one.decode_time for one in await viewer.samples(await viewer.listed(track))]
            steps = {after - before for before, after in pairwise(times)}
            assert steps == {3600 if track is V else 1024}


def _is_gone(viewer: Viewer, uri: str) -> bool:
    track, number = re.fullmatch(r"(\w+)/(\d+)\.m4s", uri).groups()  # type: ignore[union-attr]
    try:
        viewer.hls._known(REF).window.segment(TRACKS[track], int(number))
    except NotFound:
        return True
    return False


async def test_a_lost_camera_is_a_discontinuity_with_its_cause(tmp_path: Path, storage: StorageSettings) -> None:
    start_us = now_us() - 120 * SECOND_US
    first, second = new_session("a" * 16, start_us), new_session("b" * 16, start_us + 40 * SECOND_US)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(first, units_of(first, 20.0), "camera_lost")
        await running.feed(second, units_of(second, 30.0), end=None)
        await running.spool.flush()
        await running.gaps()
        viewer = Viewer(running)
        for track in (V, A):
            playlist = await viewer.listed(track)
            assert sum(one.discontinuity for one in playlist.segments) == 1
            assert "camera_lost" in {one["X-CAUSE"] for one in playlist.ranges}


async def test_a_window_at_the_beginning_of_a_session_stands_behind_a_discontinuity(
    tmp_path: Path, storage: StorageSettings
) -> None:
    start_us = now_us() - 120 * SECOND_US
    first, second = new_session("a" * 16, start_us), new_session("b" * 16, start_us + 40 * SECOND_US)
    async with Recording(tmp_path, storage).opened() as running:
        running.recorder.start(REF, 1)
        await running.feed(first, units_of(first, 20.0), "camera_lost")
        units = units_of(second, 60.0)
        await running.feed(second, units[:100], end=None)
        await running.spool.flush()
        viewer = Viewer(running)
        playlist = await viewer.listed(V)
        seam = [index for index, one in enumerate(playlist.segments) if one.discontinuity]
        assert len(seam) == 1
        assert str(playlist.segments[seam[0]].uri).startswith("video/")
        live = parse(await viewer.hls.media_playlist(REF, V, None, None))
        assert not any(one.discontinuity for one in live.segments), "who sees the window alone sees no seam"
        for at in range(100, len(units), 200):
            await running.feed(second, units[at : at + 200], end=None)
            await viewer.listed(V)


async def test_there_is_nothing_to_go_back_to_where_nothing_is_recorded(
    tmp_path: Path, storage: StorageSettings
) -> None:
    session = new_session("a" * 16, now_us() - 120 * SECOND_US)
    async with Recording(tmp_path, storage).opened() as running:
        await running.feed(session, units_of(session, 10.0), end=None)
        viewer = Viewer(running)
        for ask in (viewer.hls.master(REF, DVR), viewer.hls.media_playlist(REF, V, None, None, DVR)):
            with pytest.raises(NotFound) as refused:
                await ask
            assert refused.value.code == "dvr_not_available"
        assert parse(await viewer.hls.media_playlist(REF, V, None, None)).segments
