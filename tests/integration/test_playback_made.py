"""Recorded H.265 and G.711 in playback, as every browser takes it: made cut by cut, and joined without a seam."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from mediasrv.errors import NotFound, Unavailable
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session
from mediasrv.media.fmp4 import ReadSample, read_format, read_samples
from mediasrv.retrieval.playlists import Choice, Rendition
from mediasrv.settings import StorageSettings, TranscodeSettings
from mediasrv.transcoding.recorded import RecordedTranscoder
from tests.integration.playback_site import Site, open_site
from tests.integration.test_playback_s3 import ffprobe
from tests.integration.transcode_media import decoded_jpeg, heard, levels_of, marked_pictures, sound_units, tone
from tests.unit.media.streams import REF, STARTED_US, interleave
from tests.vod import MediaPlaylist

SECONDS = 24
PCMA = AudioFormat(Codec.PCMA, 8000, 1)
TONE_HZ = 440.0
SETTINGS = TranscodeSettings(most_playback=1, playback_waiting=4)


@pytest.fixture
async def maker() -> AsyncIterator[RecordedTranscoder]:
    made = RecordedTranscoder(SETTINGS)
    running = asyncio.ensure_future(made.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert made.counts.running == 0


@pytest.fixture
async def site(tmp_path: Path, storage: StorageSettings, maker: RecordedTranscoder) -> AsyncIterator[Site]:
    async with open_site(tmp_path, storage, maker) as opened:
        yield opened


SESSION = Session("one", REF, 1, STARTED_US, 0.0)


def levels() -> list[int]:
    """Of each picture: none like its neighbours, and all of them far enough apart for an encoder."""
    return [40 + 9 * (index % 20) for index in range(SECONDS * 25)]


async def recorded(site: Site, **how: int) -> list[AccessUnit]:
    sound = sound_units(SESSION, PCMA, tone(TONE_HZ, SECONDS, 8000))
    units = interleave(marked_pictures(SESSION, levels(), **how), sound)
    await site.archive.record(units)
    return units


async def samples_of(site: Site, playlist: MediaPlaylist) -> list[list[ReadSample]]:
    return [read_samples(await site.fetch(one.uri)) for one in playlist.segments]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("b_frames", [0, 2])
async def test_h265_comes_as_h264_picture_for_picture_and_segments_join(site: Site, b_frames: int) -> None:
    units = await recorded(site, b_frames=b_frames)
    wanted = sorted(unit.pts for unit in units if unit.format.codec is Codec.H265)
    playlist = await site.playlist(Rendition.H264, SECONDS)
    segments = await samples_of(site, playlist)
    assert len(segments) == SECONDS // 2
    samples = [sample for segment in segments for sample in segment]
    assert [one.decode_time for one in samples] == wanted
    assert all(one.decode_time + one.duration == after.decode_time for one, after in pairwise(samples))
    assert all(segment[0].keyframe for segment in segments)
    for listed, segment in zip(playlist.segments, segments, strict=True):
        assert sum(one.duration for one in segment) == round(listed.duration_s * 90_000)
    # One init segment for all, and it fits all.
    (init_uri,) = {one.init_uri for one in playlist.segments}
    media = read_format(await site.fetch(init_uri or ""))
    assert media.codec is Codec.H264
    shown = levels_of(_as_units(samples, media))
    assert [pts for pts, _ in shown] == wanted
    assert all(abs(level - meant) <= 4 for (_, level), meant in zip(shown, levels(), strict=True))


@pytest.mark.timeout(120)
async def test_all_that_is_made_has_the_same_init_segment(site: Site) -> None:
    await recorded(site)
    playlist = await site.playlist(Rendition.H264, SECONDS)
    inits = set()
    for one in playlist.segments[::3]:
        object_id, _, name = one.uri.split("/")
        inits.add(await site.fetch(f"{object_id}/h264/init-{name.removesuffix('.m4s')}.mp4"))
    keys = await site.playlist(Rendition.H264_KEYS, SECONDS)
    inits |= {await site.fetch(keys.segments[0].init_uri or "")}
    assert len(inits) == 1
    master = (await site.playback.master(REF, STARTED_US, STARTED_US + 10_000_000)).decode()
    assert read_format(inits.pop()).rfc6381.upper() in master.upper()


@pytest.mark.timeout(120)
async def test_g711_is_heard_as_aac_without_a_click_where_segments_join(site: Site) -> None:
    await recorded(site)
    playlist = await site.playlist(Rendition.AAC, SECONDS)
    segments = await samples_of(site, playlist)
    samples = [sample for segment in segments for sample in segment]
    times = [one.decode_time for one in samples]
    assert times == list(range(times[0], times[0] + 1024 * len(times), 1024))
    assert times[0] < 1024
    assert times[-1] + 1024 > (SECONDS - 0.1) * 48_000
    (init_uri,) = {one.init_uri for one in playlist.segments}
    media = read_format(await site.fetch(init_uri or ""))
    sound = [sample for _, part in heard(_as_units(samples, media)) for sample in part]
    # The camera's sound is coarse (G.711): what a seam would add is a step, which a pure tone has nowhere.
    steepest = 2 * math.pi * TONE_HZ / 48_000 * max(map(abs, sound[48_000:-48_000]))
    steps = [abs(after - before) for before, after in pairwise(sound[4800:-9600])]
    assert max(steps) < 1.6 * steepest
    ups = sum(before < 0 <= after for before, after in pairwise(sound[48_000 : 48_000 * 21]))
    assert ups == pytest.approx(20 * TONE_HZ, abs=2)


@pytest.mark.timeout(120)
async def test_a_player_that_reads_all_of_it_has_no_complaint(site: Site) -> None:
    await recorded(site)
    packets, complaints = await ffprobe(site.playlist_url("index.m3u8", SECONDS) + "&codec=h264")
    assert complaints == ""
    assert sum(packet["codec_type"] == "video" for packet in packets) == SECONDS * 25
    assert sum(packet["codec_type"] == "audio" for packet in packets) >= (SECONDS - 0.2) * 48_000 / 1024


async def test_the_original_is_offered_first_and_each_alone_where_it_is_asked_for(site: Site) -> None:
    await recorded(site)

    async def offered(choice: Choice) -> list[str]:
        body = (await site.playback.master(REF, STARTED_US, STARTED_US + 10_000_000, choice)).decode()
        assert 'URI="aac.m3u8' in body
        return [line.split(".")[0] for line in body.splitlines() if not line.startswith("#")]

    assert await offered(Choice.ANY) == ["video", "h264"]
    assert await offered(Choice.ORIGINAL) == ["video"]
    assert await offered(Choice.H264) == ["h264"]


@pytest.mark.timeout(120)
async def test_keyframes_alone_are_one_picture_a_cut_shown_as_long_as_it(site: Site) -> None:
    units = await recorded(site)
    keyframes = [unit.payload for unit in units if unit.format.codec is Codec.H265 and unit.keyframe]
    playlist = await site.playlist(Rendition.KEYS, SECONDS)
    segments = await samples_of(site, playlist)
    assert [one.payload for segment in segments for one in segment] == keyframes
    made = await samples_of(site, await site.playlist(Rendition.H264_KEYS, SECONDS))
    for segment in (*segments, *made):
        assert [one.duration for one in segment] == [180_000]
    assert [segment[0].decode_time for segment in made] == [segment[0].decode_time for segment in segments]


@pytest.mark.timeout(120)
async def test_what_was_made_is_made_once_and_more_than_may_wait_is_refused(
    site: Site, maker: RecordedTranscoder
) -> None:
    await recorded(site)
    playlist = await site.playlist(Rendition.H264, SECONDS)
    first = playlist.segments[0].uri
    assert len(set(await asyncio.gather(*(site.fetch(first) for _ in range(8))))) == 1
    started = maker.counts.cpu_us
    assert await site.fetch(first)
    assert maker.counts.cpu_us == started
    answers = await asyncio.gather(*(site.fetch(one.uri) for one in playlist.segments[1:]), return_exceptions=True)
    refused = [one for one in answers if isinstance(one, aiohttp.ClientResponseError)]
    assert {one.status for one in refused} == {429}
    assert len(answers) - len(refused) in (SETTINGS.playback_waiting, SETTINGS.playback_waiting + 1)
    assert maker.refused == len(refused)


async def test_without_its_workers_a_cut_is_refused_with_a_plain_code(tmp_path: Path, storage: StorageSettings) -> None:
    stopped = RecordedTranscoder(SETTINGS)
    async with open_site(tmp_path, storage, stopped) as site:
        await recorded(site)
        uri = (await site.playlist(Rendition.H264, SECONDS)).segments[0].uri
        object_id, _, name = uri.split("/")
        first, last = map(int, name.removesuffix(".m4s").split("-"))
        with pytest.raises(Unavailable) as refused:
            await site.playback.segment("gate-1", object_id, Rendition.H264, first, last)
        assert refused.value.code == "transcoder_down"
        for numbers in ((first, last - 1), (first + 1, last), (first, 10_000)):
            with pytest.raises(aiohttp.ClientResponseError) as missing:
                await site.fetch(f"{object_id}/keys/{numbers[0]}-{numbers[1]}.m4s")
            assert missing.value.status == 404


def _as_units(samples: Sequence[ReadSample], media: object) -> list[AccessUnit]:
    return [
        AccessUnit(SESSION, media, one.decode_time, one.decode_time, 0, one.keyframe, one.payload)  # type: ignore[arg-type]
        for one in samples
    ]


@pytest.mark.timeout(120)
async def test_a_thumbnail_is_the_keyframe_of_its_time_and_small(site: Site, maker: RecordedTranscoder) -> None:
    await recorded(site)
    for second in (0.0, 3.9, 12.5):
        jpeg = await site.playback.thumbnail(REF, STARTED_US + round(second * 1_000_000), 64)
        picture = decoded_jpeg(jpeg)
        assert picture.width == 64
        keyframe = int(second // 2) * 50
        plane = picture.planes[0]
        shown = bytes(plane)[plane.line_size * (picture.height // 2) + picture.width // 2]
        assert abs(shown - (levels()[keyframe] - 16) * 255 / 219) <= 6, "JPEG takes the whole range"
    spent = maker.counts.cpu_us
    await site.playback.thumbnail(REF, STARTED_US + 3_000_000, 64)
    assert maker.counts.cpu_us == spent, "it lies in the same cut as one that was made"
    with pytest.raises(NotFound) as missing:
        await site.playback.thumbnail(REF, STARTED_US - 10_000_000, 64)
    assert missing.value.code == "no_footage"
