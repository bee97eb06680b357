"""Clips of the simulated cameras are what they are called, and go on without a seam where they begin anew."""

from __future__ import annotations

import itertools

import av
import pytest

from load_tests.camera_farm.tracks.clips import CodedPicture, coded_clip
from load_tests.camera_farm.tracks.rtp_unit import nal_type
from load_tests.camera_farm.tracks.shapes import VideoCodec, VideoShape
from mediasrv.media.nal import join_annexb

H264, H265 = VideoCodec.H264, VideoCodec.H265
SHAPES = {
    "plain": {},
    "b_frames": {"b_frames": 2},
    "slices": {"slices": 3},
    "recovery_points": {"recovery_points": True},
}
GOP = 10


def shape(codec: VideoCodec, kind: str) -> VideoShape:
    return VideoShape(320, 192, 10, 200, 1.0, codec, **SHAPES[kind])  # type: ignore[arg-type]


def decoded(codec: VideoCodec, pictures: list[CodedPicture]) -> int:
    """How many pictures FFmpeg makes of them; raises for a broken one."""
    decoder = av.CodecContext.create("hevc" if codec is H265 else "h264", "r")
    decoder.options = {"err_detect": "explode"}
    units = [join_annexb(picture.nals) for picture in pictures]
    level = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as complaints:
            count = sum(len(decoder.decode(av.Packet(unit))) for unit in units) + len(decoder.decode(None))
    finally:
        av.logging.set_level(level)
    assert complaints == []
    return count


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("codec", [H264, H265])
def test_a_clip_is_whole_also_where_it_begins_anew(codec: VideoCodec, kind: str) -> None:
    clip = coded_clip(shape(codec, kind))
    assert len(clip) >= 10 * GOP
    assert decoded(codec, clip * 2) == 2 * len(clip)
    # Whoever joins at a keyframe needs nothing that was before.
    assert decoded(codec, clip[GOP:]) == len(clip) - GOP


@pytest.mark.parametrize("codec", [H264, H265])
def test_b_pictures_are_shown_in_another_order_than_they_come_in(codec: VideoCodec) -> None:
    clip = coded_clip(shape(codec, "b_frames"))
    shown = [index + picture.shown_after for index, picture in enumerate(clip)]
    assert shown != sorted(shown)
    assert len(set(shown)) == len(shown)
    assert min(picture.shown_after for picture in clip) == 0
    # The next round of the loop takes up where this one ends.
    assert sorted(shown) == list(range(min(shown), min(shown) + len(clip)))


@pytest.mark.parametrize("codec", [H264, H265])
def test_pictures_of_several_slices(codec: VideoCodec) -> None:
    slices = {1, 5} if codec is H264 else {0, 1, 19, 20}
    assert all(
        sum(nal_type(nal, codec) in slices for nal in picture.nals) == 3
        for picture in coded_clip(shape(codec, "slices"))
    )


@pytest.mark.parametrize(("codec", "idr"), [(H264, {5}), (H265, {19, 20})])
def test_keyframes_that_are_no_idr_pictures(codec: VideoCodec, idr: set[int]) -> None:
    clip = coded_clip(shape(codec, "recovery_points"))
    assert not any(nal_type(nal, codec) in idr for picture in clip for nal in picture.nals)
    for keyframe in clip[::GOP]:
        marks = [nal_type(nal, codec) == (21 if codec is H265 else 6) for nal in keyframe.nals]
        assert any(marks)
    counters = [picture_counter(picture, codec) for picture in clip * 2]
    assert {(later - earlier) % 16 for earlier, later in itertools.pairwise(counters)} == {1}


def picture_counter(picture: CodedPicture, codec: VideoCodec) -> int:
    """frame_num (ISO/IEC 14496-10, 7.3.3) or slice_pic_order_cnt_lsb (23008-2, 7.3.6.1), 4 bits in these clips."""
    nal = next(nal for nal in picture.nals if nal_type(nal, codec) in (1, 21))
    bits = "".join(f"{byte:08b}" for byte in nal[1 if codec is H264 else 2 :][:8])
    at = 0 if codec is H264 else 1 + (nal_type(nal, codec) == 21)
    for _ in range(3 if codec is H264 else 2):  # Exp-Golomb codes before it
        at += 2 * (bits.index("1", at) - at) + 1
    return int(bits[at : at + 4], 2)
