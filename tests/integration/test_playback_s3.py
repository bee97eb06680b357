"""Playback out of a real S3 server over HTTP, read back by ffprobe and access unit by access unit."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from load_tests.media import AAC_CLOCK_RATE, AAC_CONFIG, AAC_FRAME_SAMPLES, aac_frames, encoded_clip, split_avcc
from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, TrackKind
from mediasrv.media.nal import parameter_sets, video_format
from mediasrv.retrieval.playlists import Rendition
from mediasrv.settings import StorageSettings
from mediasrv.storage.object_store import crc32c_of
from tests.integration.playback_site import Site, open_site
from tests.unit.media.streams import REF, STARTED_US, interleave
from tests.vod import read_all, read_playlist

RATE = 25
AAC = AudioFormat(Codec.AAC, AAC_CLOCK_RATE, 1, AAC_CONFIG)


def picture_units(session: Session, seconds: float) -> Iterator[AccessUnit]:
    """Really encoded pictures, a clip again and again."""
    clip = encoded_clip(320, 180, RATE, 200, 2.0, 4.0)
    media = video_format(*parameter_sets(split_avcc(clip[0])))
    for number, payload in enumerate(itertools.islice(itertools.cycle(clip), round(seconds * RATE))):
        dts = number * 90_000 // RATE
        keyframe = any(nal[0] & 31 == 5 for nal in split_avcc(payload))
        at_us = session.started_us + number * SECOND_US // RATE
        yield AccessUnit(session, media, dts, dts, at_us, keyframe, payload)


def sound_units(session: Session, seconds: float) -> Iterator[AccessUnit]:
    count = int(seconds * AAC_CLOCK_RATE / AAC_FRAME_SAMPLES)
    for number, payload in enumerate(itertools.islice(itertools.cycle(aac_frames()), count)):
        dts = number * AAC_FRAME_SAMPLES
        at_us = session.started_us + dts * SECOND_US // AAC_CLOCK_RATE
        yield AccessUnit(session, AAC, dts, dts, at_us, True, payload)


def session(name: str, start_s: float = 0.0) -> Session:
    return Session(name, REF, 1, STARTED_US + round(start_s * SECOND_US), 0.0)


def both(of: Session, seconds: float) -> list[AccessUnit]:
    return interleave(picture_units(of, seconds), sound_units(of, seconds))


@pytest.fixture
async def site(tmp_path: Path, storage: StorageSettings) -> AsyncIterator[Site]:
    async with open_site(tmp_path, storage) as opened:
        yield opened


async def ffprobe(url: str) -> tuple[list[dict[str, str]], str]:
    """Its packets and its complaints."""
    process = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "warning", "-of", "json", "-show_packets", "-show_streams", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaints = await asyncio.wait_for(process.communicate(), 50)
    return json.loads(out).get("packets", []), complaints.decode()


async def test_ffprobe_reads_every_access_unit_without_a_complaint(site: Site) -> None:
    units = both(session("one"), 60)
    await site.archive.record(units, object_s=20)
    packets, complaints = await ffprobe(site.playlist_url("index.m3u8", 60))
    assert complaints == ""
    for kind in (TrackKind.VIDEO, TrackKind.AUDIO):
        of_kind = [packet for packet in packets if packet["codec_type"] == kind.name.lower()]
        assert len(of_kind) == sum(unit.format.kind is kind for unit in units)
        times = [float(packet["dts_time"]) for packet in of_kind]
        assert times == sorted(times)


async def test_what_comes_back_is_what_was_recorded(site: Site) -> None:
    runs = [both(session("one"), 30), both(session("two", 40), 30)]
    for run in runs:
        await site.archive.record(run)
    for rendition in (Rendition.VIDEO, Rendition.AUDIO):
        playlist = await site.playlist(rendition, 100)
        samples = await read_all(playlist, site.fetch)
        sent = [unit.payload for run in runs for unit in run if unit.format.kind is rendition.track]
        assert [one.payload for one in samples] == sent
        assert sum(one.discontinuity for one in playlist.segments) == 1


async def test_an_object_that_was_altered_is_left_out(site: Site) -> None:
    made = await site.archive.record(both(session("one"), 30))
    victim = made[1]
    altered = bytearray(victim.body)
    altered[-100] ^= 1
    await site.store.delete(victim.header.object_key)
    await site.store.put(victim.header.object_key, [bytes(altered)], crc32c_of([bytes(altered)]))
    body = await site.playback.media_playlist(REF, Rendition.VIDEO, STARTED_US, STARTED_US + 60 * SECOND_US)
    playlist = read_playlist(body.decode())
    assert sum(one.duration_s for one in playlist.segments) == pytest.approx(20)
    assert victim.header.object_id.encode() not in body
