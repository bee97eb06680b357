"""Encoded test media, made once with PyAV and kept under `.cache/media/` of the checkout.

Everything is deterministic for one build of the encoder, and every function returns values that its
callers share: treat them as read-only.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
from av.filter import Graph
from av.video.frame import PictureType

CACHE_DIR: Final = Path(__file__).resolve().parents[1] / ".cache" / "media"
VERSION: Final = 1
"""Raised whenever the way a clip is made changes, so that an old cache is not read."""

ALAW_CLOCK_RATE: Final = 8000
ALAW_FRAME_BYTES: Final = 160
AAC_CLOCK_RATE: Final = 48_000
AAC_FRAME_SAMPLES: Final = 1024
AAC_CONFIG: Final = bytes.fromhex("1188")
"""AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1): AAC-LC, 48 kHz, mono."""
OPUS_CLOCK_RATE: Final = 48_000
OPUS_FRAME_SAMPLES: Final = 960

_NAL_SEI, _NAL_AUD = 6, 9


@functools.cache
def encoded_clip(width: int, height: int, rate: int, bitrate_kbps: int, gop_s: float, seconds: float) -> list[bytes]:
    """H.264 access units: Main profile, no B-frames, closed GOPs of `gop_s`, SPS and PPS in each keyframe.

    A unit is length-prefixed NAL units (4 bytes, ISO/IEC 14496-15) without AUD and SEI. The first is
    a keyframe and so would be one after the last: a clip may be replayed in a loop.
    """
    gop = round(gop_s * rate)
    count = max(1, round(seconds / gop_s)) * gop
    name = f"h264-v{VERSION}-{width}x{height}-{rate}-{bitrate_kbps}k-{gop}-{count}"
    return cached(name, lambda: list(_encode_clip(width, height, rate, bitrate_kbps, gop, count)))


@functools.cache
def alaw_frames(seconds: float = 4.0, tone_hz: int = 330) -> list[bytes]:
    """G.711 A-law, 8 kHz mono: frames of 20 ms (160 bytes) of a soft tone; `seconds` is whole seconds of it."""
    name = f"alaw-v{VERSION}-{tone_hz}-{seconds:g}"
    count = round(seconds * ALAW_CLOCK_RATE / ALAW_FRAME_BYTES)
    return cached(name, lambda: _encode_g711("pcm_alaw", tone_hz, count))


@functools.cache
def ulaw_frames(seconds: float = 4.0, tone_hz: int = 330) -> list[bytes]:
    """As `alaw_frames`, in G.711 µ-law."""
    name = f"ulaw-v{VERSION}-{tone_hz}-{seconds:g}"
    count = round(seconds * ALAW_CLOCK_RATE / ALAW_FRAME_BYTES)
    return cached(name, lambda: _encode_g711("pcm_mulaw", tone_hz, count))


@functools.cache
def aac_frames(seconds: float = 4.0, tone_hz: int = 330) -> list[bytes]:
    """Raw AAC-LC frames (no ADTS) of 1024 samples, 48 kHz mono, of a soft tone; see AAC_CONFIG."""
    name = f"aac-v{VERSION}-{tone_hz}-{seconds:g}"
    count = round(seconds * AAC_CLOCK_RATE / AAC_FRAME_SAMPLES)
    return cached(name, lambda: _encode_aac(tone_hz, count))


@functools.cache
def opus_frames(seconds: float = 4.0, tone_hz: int = 330) -> list[bytes]:
    """Opus packets (RFC 6716) of 20 ms, 48 kHz mono, of a soft tone."""
    name = f"opus-v{VERSION}-{tone_hz}-{seconds:g}"
    count = round(seconds * OPUS_CLOCK_RATE / OPUS_FRAME_SAMPLES)
    return cached(name, lambda: _encode_opus(tone_hz, count))


@functools.cache
def jpeg_picture(width: int, height: int) -> bytes:
    """A test picture as JPEG."""
    return encode_jpeg(next(test_pictures(width, height, 1, 1)))


def split_annexb(annexb: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream (ISO/IEC 14496-10, B.1), without AUD and SEI."""
    pieces = annexb.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")
    return [nal for nal in pieces if nal and nal[0] & 31 not in (_NAL_SEI, _NAL_AUD)]


def split_avcc(payload: bytes) -> list[bytes]:
    """The NAL units of length-prefixed (4 bytes) data."""
    nals, at = [], 0
    while at < len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        nals.append(payload[at + 4 : end])
        at = end
    return nals


def join_avcc(nals: Iterable[bytes]) -> bytes:
    """NAL units, each behind its length of 4 bytes."""
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


class H264Encoder:
    """libx264 without delay: one picture in, one access unit out (AVCC, SPS and PPS in each keyframe)."""

    def __init__(self, width: int, height: int, rate: int, bitrate_kbps: int, gop: int, preset: str) -> None:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.framerate, codec.time_base = Fraction(rate), Fraction(1, rate)
        codec.bit_rate = bitrate_kbps * 1000
        codec.thread_count = 1
        codec.options = {
            "preset": preset,
            "tune": "zerolatency",
            "profile": "main",
            "x264-params": (
                f"keyint={gop}:min-keyint={gop}:scenecut=0:repeat-headers=1:aud=0:annexb=1:sliced-threads=0:"
                f"vbv-maxrate={bitrate_kbps}:vbv-bufsize={bitrate_kbps}"
            ),
        }
        self._codec = codec

    def encode(self, picture: av.VideoFrame) -> bytes:
        """The access unit of `picture`; zerolatency never holds one back."""
        return b"".join(join_avcc(split_annexb(bytes(packet))) for packet in self._codec.encode(picture))


def _encode_clip(width: int, height: int, rate: int, bitrate_kbps: int, gop: int, count: int) -> Iterator[bytes]:
    encoder = H264Encoder(width, height, rate, bitrate_kbps, gop, "veryfast")
    for index, picture in enumerate(test_pictures(width, height, rate, count)):
        picture.pts, picture.time_base = index, Fraction(1, rate)
        yield encoder.encode(picture)


def test_pictures(width: int, height: int, rate: int, count: int) -> Iterator[av.VideoFrame]:
    """A moving test picture with grain: without grain an encoder stays far below the rate it was given."""
    graph = Graph()
    source = graph.add("testsrc2", f"size={width}x{height}:rate={rate}")
    chain = [graph.add("noise", "alls=12:allf=t:all_seed=7"), graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(source, *chain).configure()
    for _ in range(count):
        picture = graph.pull()
        assert isinstance(picture, av.VideoFrame)
        # The source marks every picture as intra coded, and the encoder would obey.
        picture.pict_type = PictureType.NONE
        yield picture


def encode_jpeg(picture: av.VideoFrame) -> bytes:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = picture.width, picture.height, "yuvj420p", Fraction(1)
    codec.options = {"strict": "unofficial"}
    full = picture.reformat(format="yuvj420p")
    full.pts = 0
    return b"".join(bytes(packet) for one in (full, None) for packet in codec.encode(one))


def _encode_g711(name: Literal["pcm_alaw", "pcm_mulaw"], tone_hz: int, count: int) -> list[bytes]:
    codec = av.CodecContext.create(name, "w")
    codec.sample_rate, codec.layout, codec.format = ALAW_CLOCK_RATE, "mono", "s16"
    data = b"".join(_encoded(codec, _tone(tone_hz, ALAW_CLOCK_RATE, count, ALAW_FRAME_BYTES, "s16")))
    return [data[at : at + ALAW_FRAME_BYTES] for at in range(0, len(data), ALAW_FRAME_BYTES)]


def _encode_aac(tone_hz: int, count: int) -> list[bytes]:
    codec = av.CodecContext.create("aac", "w")
    codec.sample_rate, codec.layout, codec.format = AAC_CLOCK_RATE, "mono", "fltp"
    codec.bit_rate = 64_000
    return list(_encoded(codec, _tone(tone_hz, AAC_CLOCK_RATE, count, AAC_FRAME_SAMPLES, "fltp")))[:count]


def _encode_opus(tone_hz: int, count: int) -> list[bytes]:
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = OPUS_CLOCK_RATE, "mono", "s16"
    codec.bit_rate = 32_000
    return list(_encoded(codec, _tone(tone_hz, OPUS_CLOCK_RATE, count, OPUS_FRAME_SAMPLES, "s16")))[:count]


def _encoded(codec: av.AudioCodecContext, frames: Iterable[av.AudioFrame]) -> Iterator[bytes]:
    for frame in [*frames, None]:
        for packet in codec.encode(frame):
            yield bytes(packet)


def _tone(tone_hz: int, clock_rate: int, count: int, frame_samples: int, sample_format: str) -> Iterator[av.AudioFrame]:
    graph = Graph()
    chain = [
        graph.add("sine", f"frequency={tone_hz}:sample_rate={clock_rate}:samples_per_frame={frame_samples}"),
        graph.add("tremolo", "f=0.5:d=0.6"),
        graph.add("aformat", f"sample_fmts={sample_format}:channel_layouts=mono"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*chain).configure()
    for _ in range(count):
        frame = graph.pull()
        assert isinstance(frame, av.AudioFrame)
        yield frame


def cached(name: str, make: Callable[[], list[bytes]]) -> list[bytes]:
    """What `make` makes, or what it made before under this name."""
    path = CACHE_DIR / f"{name}.bin"
    try:
        return split_avcc(path.read_bytes())
    except FileNotFoundError:
        items = make()
        # A list of frames is kept in the same form as the NAL units of an access unit.
        _write_whole(path, join_avcc(items))
        return items


def _write_whole(path: Path, data: bytes) -> None:
    # Renamed into place: several tests may make the same clip at once, and none may read half of one.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
