"""Streams as FFmpeg's encoders make them, odd ones too, through intake, hub and parts; FFmpeg plays what comes out."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from functools import partial
from itertools import pairwise

import av
import pytest

from mediasrv.hub import Mountpoint
from mediasrv.media import fmp4, nal
from mediasrv.media.access_unit import (
    AccessUnit,
    AudioFormat,
    Codec,
    Part,
    Session,
    StreamName,
    StreamRef,
    TrackKind,
    VideoFormat,
)
from mediasrv.media.intake import Intake
from mediasrv.media.rtp import OpusDepacketizer, packetize_h264
from tests.peers.encoders import CLOSED, ENCODERS, OPEN, SLICES, Encoded, encode, opus_packets
from tests.unit.media.h265_packets import packetize_h265

REF = StreamRef("gate-1", StreamName.MAIN)
START_US, START = 1_800_000_000_000_000, 100.0


class Player:
    """Puts the parts together, a file for each format."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def on_part(self, part: Part) -> None:
        self.parts.append(part)

    def on_session_ended(self, session: Session, reason: str) -> None:
        pass

    def files(self) -> list[bytes]:
        """Of the last session."""
        files: dict[int, bytes] = {}
        for part in (part for part in self.parts if part.session is self.parts[-1].session):
            key = id(part.format)
            files[key] = files.get(key, fmp4.init_segment(part.format)) + part.fragment
        return list(files.values())


class Recording:
    """What comes out of a mountpoint."""

    def __init__(self) -> None:
        self.player = Player()
        self.units: list[AccessUnit] = []
        self.ends: list[str] = []

    @property
    def parts(self) -> list[Part]:
        return self.player.parts

    def on_access_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.ends.append(reason)


def record(
    codec: Codec, pictures: Iterable[Encoded], *, rate: int = 25, marks: bool = True, marks_slices: bool = False
) -> Recording:
    """What a camera's packets become: each picture at its time, with its last packet, or none, or each NAL, marked."""
    recording, mountpoint = Recording(), Mountpoint(REF, 0.48)
    mountpoint.subscribe(recording)
    mountpoint.subscribe_parts(recording.player)
    intake = Intake(mountpoint, lambda: Session("s", REF, 1, START_US, START), 1 << 22)
    receive = intake.add_video(codec, 96, None).receive
    intake.begin()
    sequence = 0
    for number, picture in enumerate(pictures):
        runs = [[one] for one in picture.nals] if marks_slices else [picture.nals]
        for run, nals in enumerate(runs):
            payloads = packetize_h265(nals, 1200) if codec is Codec.H265 else packetize_h264(nal.join_avcc(nals), 1200)
            for index, payload in enumerate(payloads):
                last = index == len(payloads) - 1 and (run == len(runs) - 1 or marks_slices)
                timestamp = round((picture.shown + 4) * 90_000 / rate)
                head = struct.pack("!BBHII", 0x80, 96 | (marks and last) << 7, sequence & 0xFFFF, timestamp, 1)
                receive(head + payload, 0, 12 + len(payload), START + number / rate)
                sequence += 1
    intake.end("camera_lost")
    assert mountpoint.dropped_sinks == 0
    return recording


def played(file: bytes) -> tuple[int, list[float]]:
    """How many pictures FFmpeg shows, without any error, and at which seconds."""
    with av.open(io.BytesIO(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        times = [
            float(picture.pts * picture.time_base) for picture in container.decode(stream) if picture.pts is not None
        ]
    return len(times), times


def assert_plays(recording: Recording, expected: int, rate: int = 25) -> None:
    shown = 0
    for file in recording.player.files():
        count, times = played(file)
        shown += count
        assert all(abs(later - earlier - 1 / rate) < 0.002 for earlier, later in pairwise(times)), times
    assert shown == expected
    dts = [unit.dts for unit in recording.units]
    assert all(later > earlier for earlier, later in pairwise(dts))


@pytest.mark.parametrize("codec", ENCODERS)
def test_b_pictures_play_in_their_order(codec: Codec) -> None:
    pictures = encode(codec, 50, **CLOSED[codec])
    assert [one.shown for one in pictures] != sorted(one.shown for one in pictures)
    recording = record(codec, pictures)
    assert_plays(recording, 50)
    assert sum(unit.keyframe for unit in recording.units) == 5


@pytest.mark.parametrize("codec", ENCODERS)
def test_an_open_gop_begins_with_what_can_be_shown_from_there(codec: Codec) -> None:
    """The first keyframe that is seen is no IDR picture: CRA, or I behind a recovery point."""
    pictures = encode(codec, 50, **OPEN[codec])
    joined = pictures[5:]
    recording = record(codec, joined)
    first = next(one for one in joined if one.nals == list(nal.iter_avcc(recording.units[0].payload)))
    kinds = {one[0] >> 1 & 0x3F if codec is Codec.H265 else one[0] & 0x1F for one in first.nals}
    assert kinds & ({21} if codec is Codec.H265 else {6})
    assert not kinds & ({19, 20} if codec is Codec.H265 else {5})
    leading = [one for one in joined[joined.index(first) :] if one.shown < first.shown]
    assert leading, "there are pictures that refer to what was before"
    assert_plays(recording, len(joined) - joined.index(first) - len(leading))


@pytest.mark.parametrize(("marks", "marks_slices"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("codec", ENCODERS)
def test_pictures_of_several_slices_are_put_together_however_they_are_marked(
    codec: Codec, marks: bool, marks_slices: bool
) -> None:
    pictures = encode(codec, 40, size=(320, 384), **SLICES[codec])
    assert all(len(one.nals) > 1 for one in pictures)
    recording = record(codec, pictures, marks=marks, marks_slices=marks_slices)
    if marks_slices:  # found out by the first picture, which is lost with all up to the next keyframe
        assert recording.ends == ["stream_damaged", "camera_lost"]
        recording.units = [unit for unit in recording.units if unit.session is recording.units[-1].session]
    else:
        assert recording.ends == ["camera_lost"]
    assert_plays(recording, 40 - 12 * marks_slices - (not marks or marks_slices))


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_change_of_resolution_is_a_new_init_segment_within_the_session(codec: Codec) -> None:
    small = encode(codec, 25, size=(320, 192), **CLOSED[codec])
    large = encode(codec, 25, size=(640, 368), **CLOSED[codec])
    recording = record(codec, [*small, *(Encoded(one.nals, one.shown + 25) for one in large)])
    formats = list(dict.fromkeys(part.format for part in recording.parts))
    assert [(one.width, one.height) for one in formats if isinstance(one, VideoFormat)] == [(320, 192), (640, 368)]
    assert recording.ends == ["camera_lost"]
    assert_plays(recording, 50)


@pytest.mark.parametrize("rate", [1, 2, 5])
@pytest.mark.parametrize("codec", ENCODERS)
def test_slow_cameras_play_at_their_rate(codec: Codec, rate: int) -> None:
    pictures = encode(codec, 12, rate=rate, **CLOSED[codec])
    recording = record(codec, pictures, rate=rate)
    assert_plays(recording, 12, rate)
    assert all(part.duration_s <= max(0.48, 1 / rate + 1e-3) for part in recording.parts)


def test_hvcc_agrees_with_ffmpeg_s() -> None:
    pictures = encode(Codec.H265, 3, **CLOSED[Codec.H265])
    recording = record(Codec.H265, pictures)
    ours = configuration(fmp4.init_segment(recording.units[0].format))
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=25, options={"preset": "ultrafast", **CLOSED[Codec.H265]})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        picture = av.VideoFrame(320, 192, "yuv420p")
        picture.pts = 0
        for plane in picture.planes:  # else it is what lay in memory
            plane.update(bytes(plane.buffer_size))
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            container.mux(packet)
    theirs = configuration(written.getvalue())
    assert ours[:13] == theirs[:13], "version, profile, compatibility, constraints, level"
    assert ours[16:19] == theirs[16:19], "chroma and depths"
    assert ours[21] == theirs[21], "temporal layers, nesting, sizes of lengths"


def configuration(file: bytes) -> bytes:
    at = file.index(b"hvcC")
    return file[at + 4 : at + int.from_bytes(file[at - 4 : at], "big")]


def test_opus_plays_beside_the_pictures() -> None:
    packets = opus_packets(2.0)
    player, mountpoint = Player(), Mountpoint(REF, 0.48)
    mountpoint.subscribe_parts(player)
    intake = Intake(mountpoint, lambda: Session("s", REF, 1, START_US, START), 1 << 22)
    video = intake.add_video(Codec.H264, 96, None)
    audio = intake.add_audio(AudioFormat(Codec.OPUS, 48_000, 2), partial(OpusDepacketizer, 97))
    intake.begin()
    picture = packetize_h264(nal.join_avcc(encode(Codec.H264, 1, **CLOSED[Codec.H264])[0].nals), 1400)
    for index, payload in enumerate(picture):
        head = struct.pack("!BBHII", 0x80, 96 | (index == len(picture) - 1) << 7, index, 0, 1)
        video.receive(head + payload, 0, 12 + len(payload), START)
    for index, packet in enumerate(packets):
        head = struct.pack("!BBHII", 0x80, 97, index, index * 960, 2)
        audio.receive(head + packet, 0, 12 + len(packet), START + index * 0.02)
    intake.end("camera_lost")
    player.parts = [part for part in player.parts if part.format.kind is TrackKind.AUDIO]
    (file,) = player.files()
    with av.open(io.BytesIO(file)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.sample_rate, stream.channels) == ("opus", 48_000, 2)
        assert sum(frame.samples for frame in container.decode(stream)) == 960 * len(packets)
