"""What ffprobe and ffmpeg, which we did not write, make of our fMP4 and of our live HLS: all of it, without a word."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest
from aiohttp import web

from load_tests.media import AAC_CONFIG, aac_frames, alaw_frames, encoded_clip
from mediasrv.clock import SystemClock
from mediasrv.hls import HlsService
from mediasrv.hub import Hub
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Format, Part, Session, TrackKind
from mediasrv.media.fmp4 import init_segment
from mediasrv.media.nal import NAL_SPS, iter_avcc, join_avcc, parameter_sets, parse_sps, video_format
from mediasrv.media.nal_h265 import h265_video_format
from mediasrv.media.rtp import H265Depacketizer
from mediasrv.media.timeline import SessionTimeline
from mediasrv.settings import HlsSettings, TranscodeSettings
from mediasrv.transcode import Transcoder
from tests.peers.encoders import encode, opus_packets
from tests.unit.media.streams import REF, cut, interleave

AAC = AudioFormat(Codec.AAC, 48_000, 1, AAC_CONFIG)
OPUS = AudioFormat(Codec.OPUS, 48_000, 1)
PCMA = AudioFormat(Codec.PCMA, 8000, 1)
PCMU = AudioFormat(Codec.PCMU, 8000, 1)
GOP_S = 1.0


def session(name: str = "session-1") -> Session:
    return Session(name, REF, 1, SystemClock.wall_us(), 100.0)


def pictures(of: Session, seconds: float) -> list[AccessUnit]:
    clip = encoded_clip(320, 240, 25, 200, GOP_S, 4.0)
    format = video_format(*parameter_sets(iter_avcc(clip[0])))
    keyframes = [any(nal[0] & 0x1F == NAL_SPS for nal in iter_avcc(unit)) for unit in clip]
    return [
        placed(of, format, index * 3600, keyframes[index % len(clip)], clip[index % len(clip)])
        for index in range(round(seconds * 25))
    ]


def h265_pictures(of: Session, seconds: float) -> list[AccessUnit]:
    clip = h265_clip()
    sets = [one for one in clip[0] if H265Depacketizer.syntax.nal_type(one) in H265Depacketizer.syntax.set_types]
    format = h265_video_format(*sets)
    return [
        placed(of, format, index * 3600, index % 25 == 0, join_avcc(clip[index % len(clip)]))
        for index in range(round(seconds * 25))
    ]


@functools.cache
def h265_clip() -> list[list[bytes]]:
    """Four seconds that may be repeated: closed GOPs of one second."""
    options = "log-level=none:pools=none:frame-threads=1:no-scenecut=1:keyint=25:bframes=0:repeat-headers=1"
    return [one.nals for one in encode(Codec.H265, 100, tune="zerolatency", **{"x265-params": options})]


def sound(of: Session, format: AudioFormat, seconds: float) -> list[AccessUnit]:
    known = {Codec.AAC: (aac_frames, 1024), Codec.OPUS: (opus_frames, 960)}
    make, length = known.get(format.codec, (alaw_frames, 160))
    frames = make()
    return [
        placed(of, format, index * length, True, frames[index % len(frames)])
        for index in range(int(seconds * format.clock_rate / length))
    ]


@functools.cache
def opus_frames() -> list[bytes]:
    return opus_packets(4.0, 1)


def placed(of: Session, format: Format, dts: int, keyframe: bool, payload: bytes) -> AccessUnit:
    arrived_us = of.started_us + round(dts / format.clock_rate * 1e6)
    return AccessUnit(of, format, dts, dts, arrived_us, keyframe, payload)


@pytest.fixture(scope="session")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> list[AccessUnit]:
    """Pictures with B-frames, by x264, placed by the order and the timestamps in which RTP would bring them."""
    path = tmp_path_factory.mktemp("reordered") / "b.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "3"]
    encode = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "25", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *encode], check=True)
    return list(_demuxed(path))


def _demuxed(path: Path) -> Iterator[AccessUnit]:
    one = session()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        record = stream.codec_context.extradata
        sps_end = 8 + int.from_bytes(record[6:8], "big")
        sps, pps = record[8:sps_end], record[sps_end + 3 : sps_end + 3 + record[sps_end + 2]]
        format = video_format(sps, pps)
        track = SessionTimeline(one.started_us, 0.0).track(90_000, parse_sps(sps).max_num_reorder or 0)
        for index, packet in enumerate(container.demux(stream)):
            if packet.size and packet.pts is not None:
                timestamp = round(packet.pts * packet.time_base * 90_000)
                dts, pts, arrived_us = track.place(timestamp, index / 25)
                yield AccessUnit(one, format, dts, pts, arrived_us, packet.is_keyframe, bytes(packet))


READS_INIT_AGAIN = re.compile(r"Found duplicated MOOV Atom|Last message repeated")
"""ffmpeg 5 reads the init segment anew after each reload of a live playlist, and then complains of it."""


def run(*command: str, but: re.Pattern[str] | None = None) -> str:
    """Its output; any warning `but` these is a failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert [line for line in done.stderr.splitlines() if not (but and but.search(line))] == []
    assert done.returncode == 0
    return done.stdout


def probe(path: Path) -> dict[str, str]:
    fields = "stream=codec_name,nb_read_frames,duration,width,height,sample_rate,channels,profile"
    shown = run("ffprobe", "-v", "warning", "-count_frames", "-show_entries", fields, "-of", "json", str(path))
    (stream,) = json.loads(shown)["streams"]
    return {name: str(value) for name, value in stream.items()}


def written(parts: list[Part], path: Path) -> Path:
    path.write_bytes(init_segment(parts[0].format) + b"".join(part.fragment for part in parts))
    return path


@pytest.mark.parametrize(
    ("format", "name"),
    [(AAC, "aac"), (OPUS, "opus"), (PCMA, "pcm_alaw"), (PCMU, "pcm_mulaw")],
    ids=["aac", "opus", "alaw", "ulaw"],
)
def test_sound_is_accepted(tmp_path: Path, format: AudioFormat, name: str) -> None:
    units = sound(session(), format, 10.0)
    parts = cut(units)
    seen = probe(written(parts, tmp_path / "audio.mp4"))
    assert (seen["codec_name"], seen["sample_rate"], seen["channels"]) == (name, str(format.clock_rate), "1")
    assert int(seen["nb_read_frames"]) == sum(part.access_units for part in parts) > 150


def test_pictures_are_accepted_and_all_decode(tmp_path: Path) -> None:
    units = pictures(session(), 10.0)
    seen = probe(written(cut(units), tmp_path / "video.mp4"))
    assert (seen["codec_name"], seen["width"], seen["height"]) == ("h264", "320", "240")
    assert int(seen["nb_read_frames"]) == len(units) == 250
    assert float(seen["duration"]) == pytest.approx(10.0)


def test_h265_pictures_are_accepted_and_all_decode(tmp_path: Path) -> None:
    units = h265_pictures(session(), 10.0)
    seen = probe(written(cut(units), tmp_path / "video.mp4"))
    assert (seen["codec_name"], seen["width"], seen["height"]) == ("hevc", "320", "192")
    assert int(seen["nb_read_frames"]) == len(units) == 250
    assert float(seen["duration"]) == pytest.approx(10.0)


def test_reordered_pictures_are_accepted_and_shown_evenly(tmp_path: Path, reordered: list[AccessUnit]) -> None:
    assert any(unit.pts > unit.dts for unit in reordered)
    path = written(cut(reordered), tmp_path / "b.mp4")
    shown = run("ffprobe", "-v", "warning", "-show_entries", "frame=pts", "-of", "csv=p=0", str(path))
    times = [int(line.rstrip(",")) for line in shown.split()]
    assert len(times) == len(reordered) == 75
    assert {after - before for before, after in pairwise(times)} == {3600}


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
async def origin(hub: Hub) -> AsyncIterator[str]:
    """Our live HLS of REF over HTTP on loopback; gives the URL of the multivariant playlist."""
    transcoder = Transcoder(hub, TranscodeSettings(nice=0), SystemClock())
    making = asyncio.create_task(transcoder.run())
    service = HlsService(hub, HlsSettings(), SystemClock(), renditions=transcoder.mountpoint)

    async def master(_: web.Request) -> web.Response:
        return web.Response(body=await service.master(REF), content_type="application/vnd.apple.mpegurl")

    async def playlist(request: web.Request) -> web.Response:
        text = await service.media_playlist(REF, track_of(request), None, None)
        return web.Response(body=text, content_type="application/vnd.apple.mpegurl")

    async def media(request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name.startswith("init-"):
            return web.Response(body=service.init(REF, track_of(request), int(name[5:-4])))
        return web.Response(body=await service.segment(REF, track_of(request), int(name.split(".")[0])))

    app = web.Application()
    app.router.add_get("/index.m3u8", master)
    app.router.add_get("/main/{track}.m3u8", playlist)
    app.router.add_get("/main/{track}/{file}", media)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/index.m3u8"
    await runner.cleanup()
    making.cancel()
    await asyncio.wait([making], timeout=5)


def track_of(request: web.Request) -> TrackKind:
    return TrackKind[request.match_info["track"].upper()]


async def broadcast(hub: Hub, codec: Codec, audio: AudioFormat | None) -> None:
    """A camera that has been live for 6 s and goes on until cancelled."""
    mountpoint, one = hub.mountpoint(REF), session()
    mountpoint.start_session(one)
    loop = asyncio.get_running_loop()
    begun = loop.time() - 6.0
    video = h265_pictures(one, 40.0) if codec is Codec.H265 else pictures(one, 40.0)
    for unit in interleave(video, sound(one, audio, 40.0) if audio else []):
        ahead_s = begun + (unit.arrived_us - one.started_us) / 1e6 - loop.time()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        mountpoint.publish(unit)


@pytest.mark.parametrize(
    ("codec", "audio"),
    [(Codec.H264, None), (Codec.H264, AAC), (Codec.H265, OPUS), (Codec.H264, PCMA)],
    ids=["silent", "aac", "h265-opus", "g711"],
)
async def test_live_stream_plays_without_a_picture_missing(
    hub: Hub, origin: str, codec: Codec, audio: AudioFormat | None
) -> None:
    async with asyncio.TaskGroup() as tasks:
        camera = tasks.create_task(broadcast(hub, codec, audio))
        maps = ["-map", "0:v", *(["-map", "0:a"] if audio else [])]
        command = ["ffmpeg", "-v", "warning", "-nostdin", "-i", origin, *maps, "-t", "6", "-f", "framecrc", "-"]
        shown = await asyncio.to_thread(run, *command, but=READS_INIT_AGAIN)
        camera.cancel()
    frames = [line.split(",") for line in shown.splitlines() if line[0].isdigit()]
    times = [int(frame[2]) for frame in frames if frame[0] == "0"]
    assert times == list(range(times[0], times[0] + 150))
    if audio:
        assert sum(frame[0] == "1" for frame in frames) >= 270
