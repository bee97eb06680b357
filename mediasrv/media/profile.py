"""A media profile: what a camera offers, or somebody has given, to be pulled as a stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaProfile:
    """`codec` and `audio` are lower-case names (`h264`, `h265`, `jpeg`; `g711`, `aac`); empty where there is none.

    `rate` is pictures a second, `bitrate_kbps` the limit the camera was set to, and `gop_units` how many access units
    lie between keyframes; 0 where it does not say. `url` is an RTSP URL and `snapshot_url` an HTTP one, both without
    credentials; `snapshot_url` is empty where there is none.
    """

    token: str
    name: str
    codec: str
    width: int
    height: int
    rate: float
    bitrate_kbps: int
    audio: str
    url: str
    snapshot_url: str = ""
    gop_units: int = 0

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def keyframe_interval_s(self) -> float:
        """0.0 where the camera does not say."""
        return self.gop_units / self.rate if self.rate else 0.0
