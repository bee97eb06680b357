"""How long a look into the archive takes: from the question to the bytes of the picture that was asked for.

`python -m load_tests playback --minutes 60 --looks 40 --json`. An archive of one camera is sealed into a real S3 server
and catalogued; then times in it are asked for as the page does: multivariant playlist, playlist of the pictures, init
segment, the segment that holds the time. Each look of `cold` has a server that knows nothing yet (no index, no key),
those of `warm` one that has been asked before. `--span` is how long a span is asked for at once. What a browser adds is
measured in `tests/browser/test_footage.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from load_tests.measure import machine, percentile, print_json
from load_tests.media import AAC_CLOCK_RATE, AAC_CONFIG, AAC_FRAME_SAMPLES, aac_frames, encoded_clip, split_avcc
from load_tests.seaweed import SeaweedServer, seaweed
from load_tests.transcode import track_of
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.clock import SECOND_US
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Session, StreamName, StreamRef, VideoFormat
from mediasrv.media.fmp4 import ReadSample
from mediasrv.media.nal import parameter_sets, video_format
from mediasrv.playback import Playback
from mediasrv.retrieval.playlists import Rendition
from mediasrv.settings import HlsSettings, StorageSettings, TranscodeSettings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import ObjectStore
from mediasrv.transcoding.recorded import RecordedTranscoder
from tests.archive import Archive
from tests.clocks import SimulatedClock

REF = StreamRef("gate-1", StreamName.MAIN)
STARTED_US = 1_790_000_000 * SECOND_US
RATE = 25
_MADE_CUTS = 8
AAC = AudioFormat(Codec.AAC, AAC_CLOCK_RATE, 1, AAC_CONFIG)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests playback", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--looks", type=int, default=40)
    parser.add_argument("--span", type=float, default=30, help="minutes that a playlist covers")
    parser.add_argument("--kbps", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mediasrv-playback-") as name, seaweed(Path(name) / "s3") as s3:
        print_json(asyncio.run(_measure(Path(name), s3, options)))
    return 0


async def _measure(directory: Path, s3: SeaweedServer, options: argparse.Namespace) -> dict[str, Any]:
    os.environ["MEDIASRV_LOAD_S3_ACCESS_KEY"], os.environ["MEDIASRV_LOAD_S3_SECRET_KEY"] = s3.access_key, s3.secret_key
    settings = StorageSettings(
        endpoint=s3.endpoint,
        bucket="footage",
        key_bucket="keys",
        access_key="env:MEDIASRV_LOAD_S3_ACCESS_KEY",
        secret_key="env:MEDIASRV_LOAD_S3_SECRET_KEY",
    )
    async with ObjectStore(settings) as store:
        await store.ensure_buckets()
        clock = SimulatedClock(STARTED_US + 24 * 3600 * SECOND_US)
        archive = Archive(directory, store, settings.key_bucket, clock)
        await archive.register()
        await archive.record(_units(options.minutes * 60, options.kbps), object_s=60)
        warm, looks = _Looker(archive, store, options), {"cold": list[float](), "warm": list[float]()}
        for at_us in _times(options):
            cold = _Looker(archive, store, options)
            looks["cold"].append(await cold.look_ms(at_us))
            cold.footage.close()
            looks["warm"].append(await warm.look_ms(at_us))
        warm.footage.close()
        archive.catalogue.close()
    return {
        "minutes": options.minutes,
        "span_minutes": options.span,
        "looks": options.looks,
        "first_picture_ms_p50": percentile(looks["cold"], 50),
        "first_picture_ms_p95": percentile(looks["cold"], 95),
        "warm_ms_p50": percentile(looks["warm"], 50),
        "warm_ms_p95": percentile(looks["warm"], 95),
        **await _made_cuts(),
        "machine": machine(),
    }


async def _made_cuts() -> dict[str, float]:
    """How long two seconds of H.265 (1080p, 25 a second) take to become H.264, by one worker that runs already, and the
    CPU of that.
    """
    (form, payloads, duration), _ = track_of("h265_1080p_to_h264")
    assert isinstance(form, VideoFormat)
    pictures = payloads[: 2 * RATE]
    samples = [ReadSample(number * duration, duration, number == 0, 0, one) for number, one in enumerate(pictures)]

    async def read() -> list[ReadSample]:
        return samples

    maker, taken = RecordedTranscoder(TranscodeSettings(most_playback=1)), []
    running = asyncio.ensure_future(maker.run())
    await asyncio.sleep(0)
    for number in range(_MADE_CUTS + 1):
        began, spent_us = time.perf_counter(), maker.counts.cpu_us
        await maker.video(number, form, read)
        taken.append((time.perf_counter() - began, (maker.counts.cpu_us - spent_us) / 1e6))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    elapsed_s, cpu_s = zip(*taken[1:], strict=True)
    return {"h264_cut_ms_p50": 1000 * percentile(elapsed_s, 50), "h264_cut_cpu_ms": 1000 * percentile(cpu_s, 50)}


class _Looker:
    """A server's playback, and what a page asks of it."""

    def __init__(self, archive: Archive, store: ObjectStore, options: argparse.Namespace) -> None:
        keyring = KeyRing([archive.identity], CatalogueKeys(archive.catalogue), archive.clock, 300.0)
        self.footage = Footage(store, None, keyring)
        self._playback = Playback(archive.catalogue, self.footage, HlsSettings(), archive.clock)
        self._span_us = round(options.span * 60 * SECOND_US)

    async def look_ms(self, at_us: int) -> float:
        began = time.perf_counter()
        span = at_us, at_us + self._span_us
        await self._playback.master(REF, *span)
        text = (await self._playback.media_playlist(REF, Rendition.VIDEO, *span)).decode()
        init = re.findall(r'URI="(\w+)/video/init-(\d+)\.mp4"', text)[0]
        await self._playback.init(REF.camera_id, init[0], Rendition.VIDEO, int(init[1]))
        object_id, first, last = re.findall(r"^(\w+)/video/(\d+)-(\d+)\.m4s$", text, re.MULTILINE)[0]
        assert await self._playback.segment(REF.camera_id, object_id, Rendition.VIDEO, int(first), int(last))
        return 1000 * (time.perf_counter() - began)


def _times(options: argparse.Namespace) -> list[int]:
    chance = random.Random(7)
    last_s = max(1.0, (options.minutes - options.span) * 60)
    return [STARTED_US + round(chance.uniform(0, last_s) * SECOND_US) for _ in range(options.looks)]


def _units(seconds: int, kbps: int) -> Iterator[AccessUnit]:
    """Pictures and sound of one session, by their times."""
    session = Session("archive", REF, 1, STARTED_US, 0.0)
    clip = encoded_clip(640, 360, RATE, kbps, 2.0, 8.0)
    sets = parameter_sets(split_avcc(clip[0]))
    assert sets is not None
    media = video_format(*sets)
    sound = itertools.cycle(aac_frames())
    heard = 0
    for number, payload in enumerate(itertools.islice(itertools.cycle(clip), seconds * RATE)):
        dts, at_us = number * 90_000 // RATE, STARTED_US + number * SECOND_US // RATE
        while heard * SECOND_US // AAC_CLOCK_RATE < at_us - STARTED_US:
            yield AccessUnit(
                session, AAC, heard, heard, STARTED_US + heard * SECOND_US // AAC_CLOCK_RATE, True, next(sound)
            )
            heard += AAC_FRAME_SAMPLES
        keyframe = any(nal[0] & 31 == 5 for nal in split_avcc(payload))
        yield AccessUnit(session, media, dts, dts, at_us, keyframe, payload)
