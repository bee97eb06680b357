"""What a simulated camera offers: the shapes of its streams."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum


class AudioKind(StrEnum):
    NONE = "none"
    PCMA = "pcma"
    AAC = "aac"


@dataclass(frozen=True, slots=True)
class VideoShape:
    """Size in pixels, pictures a second, kbit/s and the distance of keyframes."""

    width: int
    height: int
    rate: int
    bitrate_kbps: int
    gop_s: float

    def halved(self) -> VideoShape:
        """Half as wide and high (even numbers): another SPS at the same picture rate."""
        width, height = self.width // 4 * 2, self.height // 4 * 2
        return dataclasses.replace(self, width=width, height=height, bitrate_kbps=max(64, self.bitrate_kbps // 3))
