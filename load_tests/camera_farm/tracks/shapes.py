"""What a simulated camera offers: the shapes of its streams."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum


class VideoCodec(StrEnum):
    H264 = "h264"
    H265 = "h265"


class AudioKind(StrEnum):
    NONE = "none"
    PCMA = "pcma"
    PCMU = "pcmu"
    AAC = "aac"
    OPUS = "opus"


@dataclass(frozen=True, slots=True)
class VideoShape:
    """Size in pixels, pictures a second, kbit/s and the distance of keyframes; then what not every camera does.

    `declared_rate` is what SDP, ONVIF and the parameter sets claim, 0 for the truth. `recovery_points`: keyframes are
    no IDR pictures but I pictures behind a recovery point SEI (H.264) or CRA pictures (H.265). `marker`: the last
    packet of a picture says so. `in_band_sets`: parameter sets travel before each keyframe.
    """

    width: int
    height: int
    rate: int
    bitrate_kbps: int
    gop_s: float
    codec: VideoCodec = VideoCodec.H264
    declared_rate: int = 0
    b_frames: int = 0
    slices: int = 1
    recovery_points: bool = False
    marker: bool = True
    in_band_sets: bool = True

    @property
    def claimed_rate(self) -> int:
        return self.declared_rate or self.rate

    @property
    def gop(self) -> int:
        """Pictures from keyframe to keyframe."""
        return max(1, round(self.gop_s * self.rate))

    def halved(self) -> VideoShape:
        """Half as wide and high (even numbers): another SPS at the same picture rate."""
        width, height = self.width // 4 * 2, self.height // 4 * 2
        return dataclasses.replace(self, width=width, height=height, bitrate_kbps=max(64, self.bitrate_kbps // 3))
