"""Coded pictures into pictures: what all workers of video share. Runs in a worker process."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, cast

import av
from av.video.frame import VideoFrame

from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, Codec
from mediasrv.media.nal import iter_avcc, join_annexb

TIME_BASE: Final = Fraction(1, VIDEO_CLOCK_RATE)
_DECODERS: Final = {Codec.H264: "h264", Codec.H265: "hevc"}


class PictureDecoder:
    """One thread, and no delay beyond what the stream's own reordering asks for."""

    def __init__(self, source: str, parameter_sets: list[str]) -> None:
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(_DECODERS[Codec(source)], "r"))
        decoder.thread_count = 1
        decoder.extradata = join_annexb(bytes.fromhex(nal) for nal in parameter_sets)
        self._decoder = decoder

    def decode(self, payload: bytes, dts: int, pts: int) -> list[VideoFrame]:
        """The pictures that can be shown now. Raises ProtocolError or av.FFmpegError for what cannot be decoded."""
        packet = av.Packet(join_annexb(iter_avcc(payload)))
        packet.dts, packet.pts, packet.time_base = dts, pts, TIME_BASE
        return self._decoder.decode(packet)

    def finish(self) -> list[VideoFrame]:
        """Those that waited for others; nothing can be decoded after."""
        return self._decoder.decode(None)


def scaled(picture: VideoFrame, width: int, height: int, pixel_format: str) -> VideoFrame:
    """The picture in this size and format. In this thread: a confined process can start no other."""
    return picture.reformat(width=width, height=height, format=pixel_format, interpolation="BILINEAR", threads=1)


def bounded(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """Width and height of the same shape within these bounds: even, as 4:2:0 wants them, and never larger."""
    share = min(1.0, most_width / width, most_height / height)
    return max(2, round(width * share / 2) * 2), max(2, round(height * share / 2) * 2)
