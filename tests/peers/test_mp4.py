"""What ffprobe, ffmpeg, PyAV and GStreamer make of our ordinary MP4: every sample, at its time, without a word."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from mediasrv.media.access_unit import AudioFormat, Codec, Format
from mediasrv.media.fmp4 import ReadSample, read_samples
from mediasrv.media.mp4 import Mp4Writer
from tests.peers.encoders import CLOSED, ENCODERS, OPEN, encode, opus_packets
from tests.peers.test_encoded_streams import record

PARSERS = {Codec.H264: "h264parse ! avdec_h264", Codec.H265: "h265parse ! avdec_h265"}
CREATED_US = 1_790_000_000_000_000


def run(*command: str, but: str = "") -> str:
    """Its output; any warning, unless it is about `but`, is a failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert [line for line in done.stderr.splitlines() if not (but and but in line)] == []
    assert done.returncode == 0
    return done.stdout


def write(path: Path, runs: Sequence[tuple[Format, Sequence[ReadSample]]]) -> None:
    writer = Mp4Writer(CREATED_US)
    body = writer.start() + b"".join(writer.add(format, samples) for format, samples in runs)
    path.write_bytes(body + writer.finish())


def recorded(codec: Codec, options: dict[str, str], count: int = 60) -> list[tuple[Format, list[ReadSample]]]:
    recording = record(codec, encode(codec, count, **options))
    return [(part.format, read_samples(part.fragment)) for part in recording.parts]


def moved(samples: Sequence[ReadSample], by: int) -> list[ReadSample]:
    return [one._replace(decode_time=one.decode_time + by) for one in samples]


def times_us(path: Path, stream: str, but: str = "") -> list[int]:
    command = ("ffprobe", "-v", "warning", "-select_streams", stream, "-show_entries", "frame=pts_time", "-of", "json")
    return [round(1e6 * float(one["pts_time"])) for one in json.loads(run(*command, str(path), but=but))["frames"]]


@pytest.mark.parametrize("options", [CLOSED, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("codec", ENCODERS)
def test_pictures_with_b_frames_are_shown_in_turn(
    codec: Codec, options: dict[Codec, dict[str, str]], tmp_path: Path
) -> None:
    runs = recorded(codec, options[codec])
    count = sum(len(samples) for _, samples in runs)
    assert any(one.composition_offset for _, samples in runs for one in samples)
    path = tmp_path / "made.mp4"
    write(path, runs)
    assert times_us(path, "v") == [40_000 * number for number in range(count)]
    run("ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-")
    with av.open(str(path)) as opened:
        packets = [bytes(packet) for packet in opened.demux() if packet.size]
        assert opened.streams.video[0].duration == count * 3600
    assert packets == [one.payload for _, samples in runs for one in samples]
    pipeline = f"filesrc location={path} ! qtdemux ! {PARSERS[codec]} ! fakesink"
    run("gst-launch-1.0", "-q", *pipeline.split())


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_file_that_begins_within_an_open_gop_shows_what_can_be_shown(codec: Codec, tmp_path: Path) -> None:
    """The second keyframe is the first of the file: pictures to be shown before it need others that are not here."""
    runs = recorded(codec, OPEN[codec])
    second = [index for index, (_, samples) in enumerate(runs) if samples[0].keyframe][1]
    rest = runs[second:]
    path = tmp_path / "made.mp4"
    write(path, rest)
    first = rest[0][1][0]
    shown = [one for _, samples in rest for one in samples if _pts(one) >= _pts(first)]
    assert len(shown) < sum(len(samples) for _, samples in rest)
    # FFmpeg decodes what it does not show, and for H.264 misses what that refers to.
    found = times_us(path, "v", but="mmco: unref short failure")
    assert found == [40_000 * number for number in range(len(shown))]


def _pts(sample: ReadSample) -> int:
    return sample.decode_time + sample.composition_offset


def test_a_track_that_begins_later_is_heard_later(tmp_path: Path) -> None:
    """Somewhere in a session of hours, whose times begin at 0 in the file all the same."""
    runs = recorded(Codec.H264, CLOSED[Codec.H264], 50)
    hours = 30 * 3600
    video = [(format, moved(samples, hours * 90_000)) for format, samples in runs]
    opus = AudioFormat(Codec.OPUS, 48_000, 1)
    first_s = video[0][1][0].decode_time / 90_000 + 0.5
    sound = [
        ReadSample(round(first_s * 48_000) + number * 960, 960, True, 0, packet)
        for number, packet in enumerate(opus_packets(1.0, 1))
    ]
    path = tmp_path / "made.mp4"
    write(path, [*video, (opus, sound)])
    assert times_us(path, "v")[:2] == [0, 40_000]
    shown_later_us = video[0][1][0].composition_offset * 1e6 / 90_000
    assert shown_later_us > 0
    assert times_us(path, "a")[0] == pytest.approx(500_000 - shown_later_us, abs=100)


def test_times_never_run_back_where_two_objects_disagree(tmp_path: Path) -> None:
    runs = recorded(Codec.H264, {"x264-params": "keyint=12:scenecut=0:bframes=0:repeat-headers=1"}, 48)
    later = runs[len(runs) // 2 :]
    shifted = [*runs[: len(runs) // 2], *((format, moved(samples, -4000)) for format, samples in later)]
    path = tmp_path / "made.mp4"
    write(path, shifted)
    found = times_us(path, "v")
    assert found == sorted(set(found))
    assert len(found) == sum(len(samples) for _, samples in runs)
