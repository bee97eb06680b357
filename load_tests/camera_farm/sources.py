"""Where a stream's pictures and sound come from.

A picture source is asked for the unit of an index; indices rise by one a picture while anybody watches and jump
over the time when nobody does, as the picture counter of a camera would.
"""

from __future__ import annotations

import functools
from typing import Protocol

from load_tests import media
from load_tests.camera_farm.counters import make_audio_counter
from load_tests.camera_farm.rtp_unit import AAC_PAYLOAD_TYPE, PCMA_PAYLOAD_TYPE, RtpUnit, pack_unit
from load_tests.camera_farm.streams import AudioKind, VideoShape


class PictureSource(Protocol):
    """Pictures of one stream."""

    shape: VideoShape

    @property
    def parameter_sets(self) -> tuple[bytes, bytes]:
        """SPS and PPS, for the session description."""

    def unit(self, index: int, wall_us: int) -> RtpUnit:
        """The unit of an index; indices only rise."""

    def restart(self) -> None:
        """Somebody watches after nobody did."""

    def prepare_resolution_change(self) -> None:
        """What takes time, outside the event loop."""

    def change_resolution(self) -> None:
        """The next unit is a keyframe of half the size."""


class ClipSource:
    """Replays a clip that all cameras of a farm share; `phase` keeps their keyframes apart."""

    def __init__(self, shape: VideoShape, phase: int) -> None:
        self.shape = shape
        self._units = packed_clip(shape)
        # A clip begins with a keyframe; unit `index` of the stream is clip unit `index - first`.
        self._first = -phase
        self._pending: VideoShape | None = None

    @property
    def parameter_sets(self) -> tuple[bytes, bytes]:
        sps, pps = self._units[0].parameter_sets[:2]
        return sps, pps

    def unit(self, index: int, wall_us: int) -> RtpUnit:
        if self._pending is not None:
            self.shape, self._pending, self._first = self._pending, None, index
            self._units = packed_clip(self.shape)
        return self._units[(index - self._first) % len(self._units)]

    def restart(self) -> None:
        """A replayed camera never stops encoding: who joins, joins in the middle of a GOP."""

    def prepare_resolution_change(self) -> None:
        packed_clip(self.shape.halved())

    def change_resolution(self) -> None:
        self._pending = self.shape.halved()


@functools.cache
def packed_clip(shape: VideoShape) -> list[RtpUnit]:
    """Ten seconds of the test picture, packetised."""
    clip = media.encoded_clip(shape.width, shape.height, shape.rate, shape.bitrate_kbps, shape.gop_s, 10.0)
    return [pack_unit(media.split_avcc(unit)) for unit in clip]


class AudioSource:
    """A soft tone, another pitch for each camera. With `counted`, each G.711 frame begins with its counter."""

    def __init__(self, kind: AudioKind, camera_number: int, *, counted: bool) -> None:
        tone_hz = 220 + 55 * (camera_number % 8)
        self.kind = kind
        self._camera_number = camera_number
        self._counted = counted and kind is AudioKind.PCMA
        aac = kind is AudioKind.AAC
        self._frames = media.aac_frames(4.0, tone_hz) if aac else media.alaw_frames(4.0, tone_hz)
        self.clock_rate = media.AAC_CLOCK_RATE if aac else media.ALAW_CLOCK_RATE
        self.frame_samples = media.AAC_FRAME_SAMPLES if aac else media.ALAW_FRAME_BYTES
        self.payload_type = AAC_PAYLOAD_TYPE if aac else PCMA_PAYLOAD_TYPE

    def frame(self, index: int) -> bytes:
        frame = self._frames[index % len(self._frames)]
        if self._counted:
            head = make_audio_counter(self._camera_number, index)
            return head + frame[len(head) :]
        return frame
