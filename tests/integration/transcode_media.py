"""Encoded pictures and sound whose content says when it is, and how to find that again in what was made of them."""

from __future__ import annotations

import array
import math
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import cast

import av
from av.video.frame import PictureType

from mediasrv.media import nal, nal_h265
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AccessUnit, AudioFormat, Codec, Session, VideoFormat
from tests.peers.encoders import X265

DARK, BRIGHT = 40, 200


def marked_pictures(
    session: Session,
    levels: Iterable[int],
    *,
    rate: int = 25,
    gop: int = 50,
    size: tuple[int, int] = (128, 96),
    b_frames: int = 0,
) -> Iterator[AccessUnit]:
    """H.265; each picture is as bright as its level says. With B-frames in order of decoding, shown up to two later."""
    encoder = cast(av.VideoCodecContext, av.CodecContext.create("libx265", "w"))
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(rate), Fraction(1, rate)
    order = f"bframes={b_frames}:b-adapt=0:open-gop=0:rc-lookahead={b_frames + 1 if b_frames else 0}"
    keyframes = f"keyint={gop}:min-keyint={gop}:repeat-headers=1"
    encoder.options = {"preset": "ultrafast", "x265-params": f"{X265}{keyframes}:{order}:qp=20"}
    video: VideoFormat | None = None
    for index, packet in enumerate(_packets(encoder, _pictures(levels, size))):
        nals = nal.split_annexb(bytes(packet))
        if video is None:
            sets = {nal_h265.nal_type(one): one for one in nals}
            video = nal_h265.h265_video_format(*(sets[kind] for kind in (32, 33, 34)))
        shown = packet.pts + (2 if b_frames else 0)
        dts, pts = index * VIDEO_CLOCK_RATE // rate, shown * VIDEO_CLOCK_RATE // rate
        arrived_us = session.started_us + index * 1_000_000 // rate
        yield AccessUnit(session, video, dts, pts, arrived_us, packet.is_keyframe, nal.join_avcc(nals))


def _pictures(levels: Iterable[int], size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    for index, level in enumerate(levels):
        picture = av.VideoFrame(*size, "yuv420p")
        for plane, value in zip(picture.planes, (level, 128, 128), strict=True):
            plane.update(bytes((value,)) * plane.buffer_size)
        picture.pts, picture.pict_type = index, PictureType.NONE
        yield picture


def levels_of(units: Iterable[AccessUnit]) -> list[tuple[int, int]]:
    """(pts, brightness in the middle) of each picture of an H.264 track, as FFmpeg decodes it."""
    decoder = cast(av.VideoCodecContext, av.CodecContext.create("h264", "r"))
    found = []
    for unit in units:
        packet = av.Packet(nal.join_annexb(nal.iter_avcc(unit.payload)))
        packet.pts = packet.dts = unit.pts
        packet.time_base = Fraction(1, VIDEO_CLOCK_RATE)
        found += decoder.decode(packet)
    found += decoder.decode(None)
    return [(picture.pts or 0, _middle(picture)) for picture in found]


def decoded_jpeg(jpeg: bytes) -> av.VideoFrame:
    decoder = cast(av.VideoCodecContext, av.CodecContext.create("mjpeg", "r"))
    packet = av.Packet(jpeg)
    packet.time_base = Fraction(1)
    return (decoder.decode(packet) + decoder.decode(None))[0]


def _middle(picture: av.VideoFrame) -> int:
    plane = picture.planes[0]
    return bytes(plane)[plane.line_size * (picture.height // 2) + picture.width // 2]


def sound_units(
    session: Session, source: AudioFormat, samples: Iterable[int], *, stretch: float = 1.0
) -> Iterator[AccessUnit]:
    """Mono sound of 16-bit samples; `stretch` is how much longer than its samples the camera's clock says it lasts."""
    encoder = cast(av.AudioCodecContext, av.CodecContext.create(_NAMES[source.codec], "w"))
    encoder.sample_rate, encoder.layout = source.clock_rate, "mono"
    encoder.format = "fltp" if source.codec is Codec.AAC else "s16"
    encoder.time_base, encoder.bit_rate = Fraction(1, source.clock_rate), 96_000
    encoder.open()
    size = encoder.frame_size or source.clock_rate // 50
    for packet in _packets(encoder, _frames(samples, source.clock_rate, size, encoder.format.name)):
        dts = round((packet.pts or 0) * stretch)
        if dts >= 0:
            arrived_us = session.started_us + dts * 1_000_000 // source.clock_rate
            yield AccessUnit(session, source, dts, dts, arrived_us, True, bytes(packet))


_NAMES = {Codec.AAC: "aac", Codec.OPUS: "libopus", Codec.PCMA: "pcm_alaw", Codec.PCMU: "pcm_mulaw"}


def _frames(samples: Iterable[int], clock_rate: int, size: int, sample_format: str) -> Iterator[av.AudioFrame]:
    at, rest = 0, iter(samples)
    while len(chunk := list(islice(rest, size))) == size:
        frame = av.AudioFrame(sample_format, "mono", size)
        frame.sample_rate, frame.pts, frame.time_base = clock_rate, at, Fraction(1, clock_rate)
        if sample_format == "fltp":
            frame.planes[0].update(array.array("f", (one / 32768 for one in chunk)).tobytes())
        else:
            frame.planes[0].update(struct.pack(f"<{size}h", *chunk))
        at += size
        yield frame


def _packets(encoder: av.CodecContext, frames: Iterable[av.VideoFrame | av.AudioFrame]) -> Iterator[av.Packet]:
    for frame in chain(frames, [None]):
        yield from encoder.encode(frame)  # type: ignore[attr-defined]


def tone(hz: float, seconds: float, clock_rate: int) -> Iterator[int]:
    return (round(9000 * math.sin(2 * math.pi * hz * n / clock_rate)) for n in range(round(seconds * clock_rate)))


def clicks(seconds: int, clock_rate: int) -> Iterator[int]:
    """Silence, and each second 10 ms of a loud tone."""
    second = [round(20000 * math.sin(2 * math.pi * 1500 * n / clock_rate)) for n in range(clock_rate // 100)]
    second += [0] * (clock_rate - len(second))
    for _ in range(seconds):
        yield from second


def heard(units: Iterable[AccessUnit]) -> Iterator[tuple[int, array.array[int]]]:
    """(time in samples, samples) of each access unit of Opus or AAC, mono, as FFmpeg decodes it."""
    decoder: av.AudioCodecContext | None = None
    for unit in units:
        assert isinstance(unit.format, AudioFormat)
        if decoder is None:
            name = "aac" if unit.format.codec is Codec.AAC else "libopus"
            decoder = cast(av.AudioCodecContext, av.CodecContext.create(name, "r"))
            decoder.sample_rate, decoder.layout = unit.format.clock_rate, "mono"
            if unit.format.config:
                decoder.extradata = unit.format.config
        for frame in decoder.decode(av.Packet(unit.payload)):
            yield unit.dts, _mono(frame)


def _mono(frame: av.AudioFrame) -> array.array[int]:
    raw = bytes(frame.planes[0])
    if frame.format.name == "fltp":
        floats = array.array("f", raw[: frame.samples * 4])
        return array.array("h", (max(-32768, min(32767, round(one * 32767))) for one in floats))
    return array.array("h", raw[: frame.samples * 2])


def frequency_of(units: Iterable[AccessUnit]) -> float:
    """In Hz, by counting how often the sound rises through zero; without the first tenth of a second."""
    samples = [one for _, chunk in heard(units) for one in chunk][4800:]
    rises = sum(before < 0 <= after for before, after in pairwise(samples))
    return rises * 48_000 / len(samples)


def clicks_in(units: Iterable[AccessUnit]) -> list[float]:
    """When clicks begin, in seconds of media time."""
    found: list[float] = []
    for dts, samples in heard(units):
        if max(samples) <= 6000:
            continue
        for index, sample in enumerate(samples):
            if sample > 6000:
                at = (dts + index) / 48_000
                if not found or at - found[-1] > 0.5:
                    found.append(at)
    return found


def flashes_in(levels: Iterable[tuple[int, int]]) -> list[float]:
    """When pictures become bright, in seconds of media time."""
    found, was_bright = list[float](), False
    for pts, level in levels:
        bright = level > (DARK + BRIGHT) // 2
        if bright and not was_bright:
            found.append(pts / VIDEO_CLOCK_RATE)
        was_bright = bright
    return found
