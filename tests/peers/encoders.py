"""Pictures and sound by FFmpeg's encoders (PyAV), plain and odd."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.frame import PictureType

from mediasrv.media import nal
from mediasrv.media.access_unit import Codec

ENCODERS = {Codec.H264: "libx264", Codec.H265: "libx265"}


@dataclass(frozen=True)
class Encoded:
    """A picture in order of decoding; `shown` counts pictures from the first one shown."""

    nals: list[bytes]
    shown: int


def encode(
    codec: Codec, count: int, *, size: tuple[int, int] = (320, 192), rate: int = 25, **options: str
) -> list[Encoded]:
    """Pictures of a moving ramp."""
    encoder = av.CodecContext.create(ENCODERS[codec], "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(rate), Fraction(1, rate)
    encoder.gop_size = 1000
    encoder.options = {"preset": "ultrafast", **options}
    packets = []
    for index in range(count):
        picture = av.VideoFrame(*size, "yuv420p")
        for plane in picture.planes:
            row = bytes((x + 3 * index) % 256 for x in range(plane.line_size))
            plane.update(row * plane.height)
        picture.pts, picture.pict_type = index, PictureType.NONE
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return [Encoded(nal.split_annexb(bytes(packet)), packet.pts) for packet in packets]


def opus_packets(seconds: float, channels: int = 2) -> list[bytes]:
    """A soft tone, 20 ms a packet."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo" if channels == 2 else "mono", "s16"
    packets: list[bytes] = []
    for number in range(round(seconds * 50)):
        samples = (round(4000 * math.sin(0.04 * (number * 960 + index // channels))) for index in range(960 * channels))
        frame = av.AudioFrame("s16", encoder.layout.name, 960)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 960, Fraction(1, 48_000)
        frame.planes[0].update(struct.pack(f"<{960 * channels}h", *samples))
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


X265 = "log-level=none:pools=none:frame-threads=1:no-scenecut=1:"
CLOSED = {
    Codec.H264: {"x264-params": "keyint=12:scenecut=0:bframes=2:b-adapt=0:repeat-headers=1"},
    Codec.H265: {"x265-params": X265 + "keyint=12:bframes=2:b-adapt=0:open-gop=0:repeat-headers=1"},
}
OPEN = {
    Codec.H264: {"x264-params": "keyint=12:min-keyint=1:scenecut=0:bframes=2:b-adapt=0:open-gop=1:repeat-headers=1"},
    Codec.H265: {"x265-params": X265 + "keyint=12:bframes=2:b-adapt=0:open-gop=1:repeat-headers=1"},
}


SLICES = {
    Codec.H264: {"x264-params": "keyint=12:scenecut=0:bframes=0:slices=4:repeat-headers=1"},
    # Slices of x265 are sound with wavefronts only, and those need threads.
    Codec.H265: {
        "x265-params": "log-level=none:wpp=1:pools=2:no-scenecut=1:keyint=12:bframes=0:slices=3:repeat-headers=1"
    },
}
