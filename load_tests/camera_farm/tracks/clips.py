"""Encoded clips as cameras of all kinds send them, made once and kept (see load_tests.media); and live encoders.

A clip begins with a keyframe, and so would the picture after its last: it is replayed in a loop. Its counters of
pictures must agree there, too. Where keyframes are IDR pictures these begin anew at each; where they are recovery
points the clip is cut out of a longer one, and its length is a multiple of what the counters count to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import av
from av.video.frame import PictureType

from load_tests import media
from load_tests.camera_farm.tracks.rtp_unit import nal_type
from load_tests.camera_farm.tracks.shapes import VideoCodec, VideoShape

CLIP_S: Final = 10.0
_VERSION: Final = 1
_COUNTERS_MODULO: Final = 16
"""frame_num and picture order count wrap after so many pictures, as the encoders below are told or do anyway."""
_H264_SEI, _H264_AUD, _RECOVERY_POINT = 6, 9, 6
_H265_AUD, _H265_PREFIX_SEI, _H265_SUFFIX_SEI = 35, 39, 40


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """NAL units of an access unit, and how many pictures later than in order of decoding it is shown."""

    nals: list[bytes]
    shown_after: int


class LiveEncoder(Protocol):
    def encode(self, picture: av.VideoFrame) -> bytes:
        """The access unit of `picture`, length-prefixed; none is held back."""


class H265Encoder:
    """libx265 without delay, as media.H264Encoder."""

    def __init__(self, shape: VideoShape) -> None:
        self._codec = _new_codec(shape)
        self._codec.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x265-params": _X265.format(gop=shape.gop, kbps=shape.bitrate_kbps) + ":bframes=0:pools=none",
        }

    def encode(self, picture: av.VideoFrame) -> bytes:
        packets = self._codec.encode(picture)
        return b"".join(media.join_avcc(_nals(bytes(packet), VideoCodec.H265)) for packet in packets)


def live_encoder(shape: VideoShape) -> LiveEncoder:
    if shape.codec is VideoCodec.H265:
        return H265Encoder(shape)
    return media.H264Encoder(shape.width, shape.height, shape.claimed_rate, shape.bitrate_kbps, shape.gop, "ultrafast")


@functools.cache
def coded_clip(shape: VideoShape) -> list[CodedPicture]:
    """About ten seconds of the test picture, in order of decoding. Shared: not to be changed."""
    size = (shape.width, shape.height)
    if shape.codec is VideoCodec.H264 and not (shape.b_frames or shape.recovery_points or shape.slices > 1):
        clip = media.encoded_clip(*size, shape.claimed_rate, shape.bitrate_kbps, shape.gop / shape.claimed_rate, CLIP_S)
        return [CodedPicture(media.split_avcc(unit), 0) for unit in clip]
    form = f"{shape.width}x{shape.height}-{shape.claimed_rate}-{shape.bitrate_kbps}k-{shape.gop}"
    odd = f"b{shape.b_frames}-s{shape.slices}-r{shape.recovery_points:d}"
    items = media.cached(
        f"{shape.codec}-clip-v{_VERSION}-{form}-{odd}", lambda: [_kept(one) for one in _encode_clip(shape)]
    )
    return [CodedPicture(media.split_avcc(item[1:]), item[0]) for item in items]


def _kept(picture: CodedPicture) -> bytes:
    return bytes((picture.shown_after,)) + media.join_avcc(picture.nals)


def _encode_clip(shape: VideoShape) -> list[CodedPicture]:
    gops = max(1, round(CLIP_S / shape.gop_s))
    before = 0
    if shape.recovery_points:
        before = shape.gop
        whole = _COUNTERS_MODULO // math.gcd(shape.gop, _COUNTERS_MODULO)
        gops = -(-gops // whole) * whole
    count = gops * shape.gop
    coded = list(_encode(shape, before + count))[before:]
    # With B pictures the first ones in order of decoding have a time before the first in order of showing.
    latest = max(index - ((packet.pts or 0) - before) for index, packet in enumerate(coded))
    return [
        CodedPicture(_nals(bytes(packet), shape.codec), (packet.pts or 0) - before - index + latest)
        for index, packet in enumerate(coded)
    ]


def _encode(shape: VideoShape, count: int) -> Iterator[av.Packet[av.VideoStream]]:
    codec = _new_codec(shape)
    codec.options = _h265_options(shape) if shape.codec is VideoCodec.H265 else _h264_options(shape)
    for index, picture in enumerate(media.test_pictures(shape.width, shape.height, shape.claimed_rate, count)):
        picture.pts, picture.time_base = index, Fraction(1, shape.claimed_rate)
        if shape.recovery_points and index % shape.gop:
            # An open GOP needs B pictures to be allowed; that there are none keeps every picture whole for who joins.
            picture.pict_type = PictureType.P
        yield from codec.encode(picture)
    yield from codec.encode(None)


def _new_codec(shape: VideoShape) -> av.VideoCodecContext:
    codec = av.CodecContext.create("libx265" if shape.codec is VideoCodec.H265 else "libx264", "w")
    codec.width, codec.height, codec.pix_fmt = shape.width, shape.height, "yuv420p"
    codec.framerate, codec.time_base = Fraction(shape.claimed_rate), Fraction(1, shape.claimed_rate)
    codec.bit_rate = shape.bitrate_kbps * 1000
    codec.thread_count = 1
    return codec


_X265: Final = (
    "keyint={gop}:min-keyint={gop}:scenecut=0:repeat-headers=1:aud=0:annexb=1:info=0:log-level=none:frame-threads=1:"
    "log2-max-poc-lsb=4:colorprim=bt709:transfer=bt709:colormatrix=bt709:vbv-maxrate={kbps}:vbv-bufsize={kbps}"
)


def _h264_options(shape: VideoShape) -> dict[str, str]:
    open_gop = "bframes=1:open-gop=1:ref=1" if shape.recovery_points else f"bframes={shape.b_frames}:open-gop=0"
    return {
        "preset": "veryfast",
        "profile": "main",
        "x264-params": (
            f"keyint={shape.gop}:min-keyint={shape.gop}:scenecut=0:repeat-headers=1:aud=0:annexb=1:sliced-threads=0:"
            f"b-adapt=0:rc-lookahead=0:sync-lookahead=0:slices={shape.slices}:{open_gop}:"
            f"vbv-maxrate={shape.bitrate_kbps}:vbv-bufsize={shape.bitrate_kbps}"
        ),
    }


def _h265_options(shape: VideoShape) -> dict[str, str]:
    # Slices of x265 are sound with wavefronts only, and those need threads.
    slices = f"slices={shape.slices}:wpp=1:pools=2" if shape.slices > 1 else "pools=none"
    return {
        "preset": "ultrafast",
        "x265-params": (
            _X265.format(gop=shape.gop, kbps=shape.bitrate_kbps)
            + f":bframes={shape.b_frames}:b-adapt=0:open-gop={shape.recovery_points:d}:{slices}"
        ),
    }


def _nals(annexb: bytes, codec: VideoCodec) -> list[bytes]:
    """The NAL units of a byte stream, without delimiters and without SEI but recovery points."""
    pieces = annexb.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")
    return [nal for nal in _not_empty(pieces) if not _left_out(nal, codec)]


def _not_empty(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return (piece for piece in pieces if piece)


def _left_out(nal: bytes, codec: VideoCodec) -> bool:
    kind = nal_type(nal, codec)
    if codec is VideoCodec.H265:
        return kind in (_H265_AUD, _H265_PREFIX_SEI, _H265_SUFFIX_SEI)
    return kind == _H264_AUD or (kind == _H264_SEI and nal[1] != _RECOVERY_POINT)
