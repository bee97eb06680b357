"""Where a stream's pictures come from.

A picture source is asked for the unit of an index; indices rise by one a picture while anybody watches and jump
over the time when nobody does, as the picture counter of a camera would.
"""

from __future__ import annotations

import functools
from typing import Protocol

from load_tests import media
from load_tests.camera_farm.tracks.clips import coded_clip
from load_tests.camera_farm.tracks.rtp_unit import RtpUnit, pack_unit
from load_tests.camera_farm.tracks.shapes import VideoShape


class PictureSource(Protocol):
    """Pictures of one stream."""

    shape: VideoShape

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        """SPS and PPS, before them the VPS of H.265, for the session description."""

    def unit(self, index: int, wall_us: int) -> RtpUnit:
        """The unit of an index; indices only rise."""

    def restart(self) -> None:
        """Somebody watches after nobody did."""

    def request_keyframe(self) -> None:
        """The next unit is a keyframe, where the camera can do that."""

    def prepare_resolution_change(self) -> None:
        """What takes time, outside the event loop."""

    def change_resolution(self) -> None:
        """The next unit is a keyframe of half the size, or of the whole size again."""

    def snapshot(self) -> bytes:
        """A picture as JPEG."""


class ClipSource:
    """Replays a clip that all cameras of a farm share; `phase` keeps their keyframes apart.

    With `keyframe_first` the first who watches gets a keyframe first; otherwise who joins, joins in the middle.
    """

    def __init__(self, shape: VideoShape, phase: int, *, keyframe_first: bool = False) -> None:
        self.shape = shape
        self._keyframe_first = keyframe_first
        self._whole = shape
        self._units = packed_clip(shape)
        # A clip begins with a keyframe; unit `index` of the stream is clip unit `index - first`.
        self._first = -phase
        self._pending: VideoShape | None = None

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        return self._units[0].parameter_sets

    def unit(self, index: int, wall_us: int) -> RtpUnit:
        if self._pending is not None:
            self.shape, self._pending, self._first = self._pending, None, index
            self._units = packed_clip(self.shape)
        return self._units[(index - self._first) % len(self._units)]

    def restart(self) -> None:
        if self._keyframe_first:
            self._pending = self._pending or self.shape

    def request_keyframe(self) -> None:
        # Recovery points reset no counters: to leap to one would look like pictures lost.
        if not self.shape.recovery_points:
            self._pending = self._pending or self.shape

    def prepare_resolution_change(self) -> None:
        packed_clip(self._whole.halved())

    def change_resolution(self) -> None:
        self._pending = self._whole.halved() if self.shape == self._whole else self._whole

    def snapshot(self) -> bytes:
        return media.jpeg_picture(self.shape.width, self.shape.height)


@functools.cache
def packed_clip(shape: VideoShape) -> list[RtpUnit]:
    """Ten seconds of the test picture, packetised."""
    return [
        pack_unit(
            picture.nals,
            shape.codec,
            shown_after=picture.shown_after,
            marker=shape.marker,
            in_band_sets=shape.in_band_sets,
        )
        for picture in coded_clip(shape)
    ]
