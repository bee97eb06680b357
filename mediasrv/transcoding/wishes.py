"""What a worker is asked for: the body of a `framing.Wish`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

from mediasrv.media.access_unit import AudioFormat, Codec, VideoFormat

SAMPLE_RATE: Final = 48_000
"""Of all audio that is made: Opus knows no other in RTP (RFC 7587), and AAC at 48 kHz plays everywhere."""

MOST_CHANNELS: Final = 2
USUAL_RATE: Final = 25.0


@dataclass(frozen=True, slots=True)
class AudioWish:
    """Sound of `source` (with its AudioSpecificConfig, in hex) as `target` at SAMPLE_RATE, `kbps` a channel."""

    source: str
    clock_rate: int
    channels: int
    config: str
    target: str
    kbps: int


@dataclass(frozen=True, slots=True)
class SoundCutWish:
    """What of recorded sound lies from `start` to before `end`, counted in SAMPLE_RATE on its session's time line.

    `sound` is an AudioWish. The units that follow are those of the span with some before and behind it.
    """

    sound: dict[str, Any]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class VideoWish:
    """Pictures of `source` (with its parameter sets, in hex) as H.264, at most `height` lines and about `kbps`.

    `rate` is how many pictures a second come, as far as is known.
    """

    source: str
    parameter_sets: list[str]
    rate: float
    height: int
    kbps: int


@dataclass(frozen=True, slots=True)
class PictureWish:
    """The last picture of the units that follow, as JPEG of at most `width` (0: as it is)."""

    source: str
    parameter_sets: list[str]
    width: int


def audio_wish(source: AudioFormat, target: Codec, kbps: int) -> AudioWish:
    return AudioWish(source.codec, source.clock_rate, source.channels, source.config.hex(), target, kbps)


def sound_cut_wish(source: AudioFormat, kbps: int, start: int, end: int) -> SoundCutWish:
    """Of a cut from `start` to `end`, counted in the source's clock rate, as AAC."""
    sound = dataclasses.asdict(audio_wish(source, Codec.AAC, kbps))
    return SoundCutWish(sound, *(at * SAMPLE_RATE // source.clock_rate for at in (start, end)))


def video_wish(source: VideoFormat, rate: float, height: int, kbps: int) -> VideoWish:
    return VideoWish(source.codec, _hex(source), rate, height, kbps)


def level_of(height: int) -> int:
    """The level of H.264 (Annex A, times ten) of what is made with at most so many lines: whatever the picture rate,
    so that what is made at different times has the same parameter sets.
    """
    return next((level for lines, level in _LEVELS if height <= lines), _LEVELS[-1][1])


_LEVELS: Final = ((720, 31), (1088, 40), (2160, 51))


def picture_wish(source: VideoFormat, width: int) -> PictureWish:
    return PictureWish(source.codec, _hex(source), width)


def audio_made(source: AudioFormat, target: Codec) -> AudioFormat:
    """The format of what is made of this sound."""
    channels = min(source.channels, MOST_CHANNELS)
    config = _AAC_CONFIGS[channels] if target is Codec.AAC else b""
    return AudioFormat(target, SAMPLE_RATE, channels, config)


_AAC_CONFIGS: Final = {1: bytes.fromhex("1188"), 2: bytes.fromhex("1190")}
"""AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) by channels: AAC-LC at SAMPLE_RATE."""


def build_wish(wish: AudioWish | SoundCutWish | VideoWish | PictureWish) -> bytes:
    return json.dumps(dataclasses.asdict(wish)).encode()


def _hex(source: VideoFormat) -> list[str]:
    return [nal.hex() for nal in source.parameter_sets]
