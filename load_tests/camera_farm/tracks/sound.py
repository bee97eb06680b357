"""Where a stream's sound comes from."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from load_tests import media
from load_tests.camera_farm.counters import make_audio_counter
from load_tests.camera_farm.tracks.rtp_unit import MARKER
from load_tests.camera_farm.tracks.shapes import AudioKind

_AAC_FORM: Final = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a kind of audio travels: RFC 3551 (G.711), RFC 3640 (AAC), RFC 7587 (Opus). `encoding` is the rtpmap's.

    `marker` is MARKER where each packet bears it, or 0.
    """

    payload_type: int
    encoding: str
    clock_rate: int
    frame_samples: int
    marker: int
    parameters: str
    frames: Callable[[float, int], list[bytes]]
    onvif_encoding: str


AUDIO_FORMATS: Final = {
    AudioKind.PCMU: AudioFormat(
        0, "PCMU/8000", media.ALAW_CLOCK_RATE, media.ALAW_FRAME_BYTES, 0, "", media.ulaw_frames, "G711"
    ),
    AudioKind.PCMA: AudioFormat(
        8, "PCMA/8000", media.ALAW_CLOCK_RATE, media.ALAW_FRAME_BYTES, 0, "", media.alaw_frames, "G711"
    ),
    AudioKind.AAC: AudioFormat(
        97,
        "MPEG4-GENERIC/48000/1",
        media.AAC_CLOCK_RATE,
        media.AAC_FRAME_SAMPLES,
        MARKER,
        f"{_AAC_FORM};config={media.AAC_CONFIG.hex()}",
        lambda seconds, tone_hz: [_au_headed(frame) for frame in media.aac_frames(seconds, tone_hz)],
        "AAC",
    ),
    # RFC 7587, 7: the rtpmap says two channels, whatever is inside.
    AudioKind.OPUS: AudioFormat(
        98,
        "OPUS/48000/2",
        media.OPUS_CLOCK_RATE,
        media.OPUS_FRAME_SAMPLES,
        0,
        "sprop-stereo=0",
        media.opus_frames,
        "OPUS",
    ),
}


class AudioSource:
    """A soft tone, another pitch for each camera. With `counted`, each G.711 frame begins with its counter."""

    def __init__(self, kind: AudioKind, camera_number: int, *, counted: bool) -> None:
        self.kind = kind
        self.format = AUDIO_FORMATS[kind]
        self.clock_rate, self.frame_samples = self.format.clock_rate, self.format.frame_samples
        self._camera_number = camera_number
        self._counted = counted and kind in (AudioKind.PCMA, AudioKind.PCMU)
        frames = self.format.frames(4.0, 220 + 55 * (camera_number % 8))
        head_bytes = len(make_audio_counter(0, 0)) if self._counted else 0
        self._frames = [frame[head_bytes:] for frame in frames]
        self._count = len(self._frames)

    def frame(self, index: int) -> bytes:
        """The RTP payload of an index."""
        frame = self._frames[index % self._count]
        return make_audio_counter(self._camera_number, index) + frame if self._counted else frame


def _au_headed(frame: bytes) -> bytes:
    """One AAC frame behind its AU header (RFC 3640, 3.3.6)."""
    return struct.pack(">HH", 16, len(frame) << 3) + frame
