"""GStreamer's RTSP server, which we did not write, is pulled as a camera; FFmpeg (PyAV) decodes what comes out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import av
import pytest

from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, VideoFormat
from mediasrv.media.nal import iter_avcc, join_annexb
from mediasrv.rtsp_pull import RtspSource
from tests.integration.pull_rig import SETTINGS, pull_until_it_ends, pulling, until

SCRIPT = Path(__file__).with_name("gst_rtsp_server.py")
USERNAME, PASSWORD = "operator", 'pass "word" \\ with, signs'
SLOW_START = dataclasses.replace(SETTINGS, response_timeout_s=20.0, stall_timeout_s=20.0)


@contextlib.asynccontextmanager
async def gstreamer(*authentication: str) -> AsyncIterator[str]:
    """The base URL of a server that ends with the block."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", str(SCRIPT), *authentication, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            ready = json.loads(await process.stdout.readline())
        yield f"rtsp://127.0.0.1:{ready['port']}"
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


def decoded_pictures(units: Sequence[AccessUnit]) -> int:
    """How many pictures FFmpeg makes of them; it raises on a broken one."""
    video = units[0].format
    assert isinstance(video, VideoFormat)
    decoder = av.CodecContext.create("hevc" if video.codec is Codec.H265 else "h264", "r")
    decoder.options = {"err_detect": "explode"}
    count = 0
    annexb = join_annexb(video.parameter_sets)
    for unit in units:
        annexb += join_annexb(iter_avcc(unit.payload))
        count += len(decoder.decode(av.Packet(annexb)))
        annexb = b""
    return count + len(decoder.decode(None))


def decoded_samples(units: Sequence[AccessUnit]) -> int:
    audio = units[0].format
    assert isinstance(audio, AudioFormat)
    names = {Codec.AAC: "aac", Codec.OPUS: "opus", Codec.PCMA: "pcm_alaw"}
    decoder = av.CodecContext.create(names[audio.codec], "r")
    decoder.sample_rate = audio.clock_rate
    decoder.layout = "stereo" if audio.channels == 2 else "mono"
    if audio.config:
        decoder.extradata = audio.config
    return sum(frame.samples for unit in units for frame in decoder.decode(av.Packet(unit.payload)))


def assert_even(units: Sequence[AccessUnit], step: int) -> None:
    """Times rise by the interval that the media has, to within a tick of rounding."""
    steps = [later.dts - earlier.dts for earlier, later in itertools.pairwise(units)]
    assert all(abs(found - step) <= 1 for found in steps), steps


async def test_h264_and_g711_arrive_whole_and_in_time() -> None:
    async with gstreamer() as url, pulling(RtspSource(url + "/pcma"), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 60 and len(pulled.audio) >= 60, 30)
        report, video, audio = pulled.pull.report, pulled.video, pulled.audio
    assert decoded_pictures(video) == len(video)
    assert_even(video, 3600)
    assert decoded_samples(audio) == sum(len(unit.payload) for unit in audio)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(audio))
    assert video[0].keyframe
    assert (report.lost_packets, report.damaged, report.resyncs) == (0, 0, 0)
    assert report.video_format is not None
    assert (report.video_format.width, report.video_format.height) == (320, 240)


async def test_h264_and_aac_arrive_whole_and_in_time() -> None:
    async with gstreamer() as url, pulling(RtspSource(url + "/aac"), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 40 and len(pulled.audio) >= 40, 30)
        audio = pulled.audio
    audio_format = audio[0].format
    assert isinstance(audio_format, AudioFormat)
    assert (audio_format.codec, audio_format.clock_rate, audio_format.channels) == (Codec.AAC, 48_000, 2)
    assert decoded_samples(audio) >= 1024 * (len(audio) - 1)
    assert_even(audio, 1024)
    assert decoded_pictures(pulled.video) == len(pulled.video)


async def test_parameter_sets_of_the_description_alone_suffice() -> None:
    async with gstreamer() as url, pulling(RtspSource(url + "/silent"), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 20, 30)
        assert decoded_pictures(pulled.video) == len(pulled.video)
        assert pulled.pull.report.audio_format is None


async def test_h265_and_opus_arrive_whole_and_in_time() -> None:
    async with gstreamer() as url, pulling(RtspSource(url + "/h265"), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 60 and len(pulled.audio) >= 60, 30)
        report, video, audio = pulled.pull.report, pulled.video, pulled.audio
    assert decoded_pictures(video) == len(video)
    assert_even(video, 3600)
    audio_format = audio[0].format
    assert isinstance(audio_format, AudioFormat)
    assert (audio_format.codec, audio_format.clock_rate, audio_format.channels) == (Codec.OPUS, 48_000, 2)
    assert decoded_samples(audio) >= 960 * (len(audio) - 1)
    assert_even(audio, 960)
    assert (report.lost_packets, report.damaged, report.resyncs) == (0, 0, 0)
    assert report.video_format is not None
    assert (report.video_format.codec, report.video_format.width, report.video_format.height) == (Codec.H265, 320, 240)
    assert report.video_format.rfc6381.startswith("hvc1.")


async def test_h265_parameter_sets_of_the_description_alone_suffice() -> None:
    async with gstreamer() as url, pulling(RtspSource(url + "/h265-described"), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 20, 30)
    assert decoded_pictures(pulled.video) == len(pulled.video)


@pytest.mark.parametrize("path", ["/reordered", "/h265-reordered"])
async def test_reordered_pictures_keep_their_order_of_decoding_and_of_showing(path: str) -> None:
    async with gstreamer() as url, pulling(RtspSource(url + path), SLOW_START) as pulled:
        await until(lambda: len(pulled.video) >= 60, 40)
        video = pulled.video
    assert decoded_pictures(video) == len(video)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(video))
    second_gop = [index for index, unit in enumerate(video) if unit.keyframe][1]
    settled = video[second_gop:]
    assert all(unit.pts >= unit.dts for unit in settled)
    shown = sorted(unit.pts for unit in settled)
    assert shown != [unit.pts for unit in settled], "there are B pictures"
    assert all(abs(later - earlier - 3600) <= 1 for earlier, later in itertools.pairwise(shown[:-6]))


@pytest.mark.parametrize("authentication", ["basic", "digest"])
async def test_user_name_and_password_are_given_and_checked(authentication: str) -> None:
    async with gstreamer(authentication) as url:
        async with pulling(RtspSource(url + "/pcma", USERNAME, PASSWORD), SLOW_START) as pulled:
            await until(lambda: len(pulled.video) >= 5, 30)
        wrong, _ = await pull_until_it_ends(RtspSource(url + "/pcma", USERNAME, "guess"), SLOW_START)
        missing, _ = await pull_until_it_ends(RtspSource(url + "/pcma"), SLOW_START)
    assert (wrong.code, missing.code) == ("credentials_wrong", "credentials_missing")


async def test_an_unknown_stream_is_not_found() -> None:
    async with gstreamer() as url:
        error, _ = await pull_until_it_ends(RtspSource(url + "/nothing"), SLOW_START)
    assert error.code == "stream_not_found"
