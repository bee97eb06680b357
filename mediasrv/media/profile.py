"""A media profile: what a camera offers, or somebody has given, to be pulled as a stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaProfile:
    """`codec` and `audio` are lower-case names (`h264`, `jpeg`; `g711`, `aac`); empty where there is none.

    `rate` is pictures a second and `bitrate_kbps` the limit the camera was set to; 0 where it does not say.
    `url` is an RTSP URL without credentials.
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

    @property
    def pixels(self) -> int:
        return self.width * self.height
