"""Streams, sessions and access units: the values that every other part hands around."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import ClassVar, Final, NamedTuple

VIDEO_CLOCK_RATE: Final = 90_000
_CAMERA_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def is_camera_id(text: str) -> bool:
    """Camera ids are global: 1 to 64 of a-z, 0-9 and inner hyphens, so they fit URLs and object keys."""
    return _CAMERA_ID.fullmatch(text) is not None


class StreamName(StrEnum):
    """The two streams of a camera."""

    MAIN = "main"
    SUB = "sub"


class StreamRef(NamedTuple):
    """A stream of a camera: the mountpoint's name in the hub and the key of gaps, recordings and keys."""

    camera_id: str
    stream: StreamName

    def __str__(self) -> str:
        return f"{self.camera_id}/{self.stream}"


class TrackKind(IntEnum):
    """The value is the track id in fMP4 and in the sealed format."""

    VIDEO = 1
    AUDIO = 2
    METADATA = 3


class Codec(StrEnum):
    H264 = "h264"
    H265 = "h265"
    AAC = "aac"
    OPUS = "opus"
    PCMA = "pcma"
    PCMU = "pcmu"
    ONVIF_METADATA = "onvif-metadata"


HLS_AUDIO: Final = frozenset((Codec.AAC, Codec.OPUS))
"""What HLS carries: browsers' media source takes no G.711."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """What a stream is made into; None: as the camera sends it."""

    video: Codec | None = None
    audio: Codec | None = None


ParameterSets = tuple[bytes, ...]
"""Whole NAL units without start code or length, one of each kind: SPS and PPS of H.264, VPS, SPS and PPS of H.265."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What a decoder must know before the first keyframe. A change of any field is a new init segment.

    `rfc6381` is the CODECS string, such as `avc1.4d401f`; `reorder` is by how many pictures a picture may come before
    its turn to be shown, as far as the stream says. Clock rate is always 90 kHz.
    """

    codec: Codec
    parameter_sets: ParameterSets
    width: int
    height: int
    rfc6381: str
    reorder: int = 0

    kind: ClassVar[TrackKind] = TrackKind.VIDEO
    clock_rate: ClassVar[int] = VIDEO_CLOCK_RATE


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """`config` is the AudioSpecificConfig of AAC (ISO/IEC 14496-3, 1.6.2.1), empty for any other codec."""

    codec: Codec
    clock_rate: int
    channels: int
    config: bytes = b""

    kind: ClassVar[TrackKind] = TrackKind.AUDIO

    @property
    def rfc6381(self) -> str:
        return f"mp4a.40.{self.config[0] >> 3}" if self.codec is Codec.AAC else self.codec.value


@dataclass(frozen=True, slots=True)
class MetadataFormat:
    """ONVIF metadata: each access unit is an XML document, `tt:MetadataStream`, as the camera sent it.

    A document is of a moment: it has no duration. Its times are those of its arrival.
    """

    codec: ClassVar[Codec] = Codec.ONVIF_METADATA
    kind: ClassVar[TrackKind] = TrackKind.METADATA
    clock_rate: ClassVar[int] = VIDEO_CLOCK_RATE
    rfc6381: ClassVar[str] = "metx"


METADATA: Final = MetadataFormat()

Format = VideoFormat | AudioFormat | MetadataFormat


@dataclass(slots=True)
class SessionCounts:
    """What the puller learns while a session runs, and the recorder writes down.

    `camera_offset_us` is camera time minus server time by the RTCP sender reports so far, true to within
    `camera_uncertainty_us`; None before the first.
    """

    units_before_keyframe: int = 0
    camera_offset_us: int | None = None
    camera_uncertainty_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One unbroken RTSP session with one stream; compared by identity.

    `started_us` is server wall time; wall time inside the session is that plus monotonic time since
    `started_monotonic`, so a step of the machine's clock cannot reach into a session.
    """

    session_id: str
    ref: StreamRef
    epoch: int
    started_us: int
    started_monotonic: float
    counts: SessionCounts = field(default_factory=SessionCounts)


@dataclass(slots=True, eq=False)
class AccessUnit:
    """One coded picture, audio frame or metadata document. Never changed after it is made, though not frozen: speed.

    `dts` and `pts` count `format.clock_rate` from the start of the session and never wrap;
    `arrived_us` is smoothed server wall time of its last byte (docs/time.md);
    `payload` is length-prefixed NAL units (4 bytes each, ISO/IEC 14496-15), the raw audio frame, or an XML document.
    `format` is the same object until it changes, so consumers may compare it by identity.
    """

    session: Session
    format: Format
    dts: int
    pts: int
    arrived_us: int
    keyframe: bool
    payload: bytes


@dataclass(slots=True, eq=False)
class Part:
    """An LL-HLS partial segment of one track, at most about half a second; shared, never changed.

    `decode_time` and `duration` count `format.clock_rate` from the start of the session;
    `started_us` is the smoothed server wall time of its first access unit, `received_us` that of the
    last byte in it; `independent` says that it begins with a keyframe (always so where it is no video).
    `pieces` make up the fragment, moof+mdat (ISO/IEC 14496-12): its payloads are those of the access units, not
    copies. The init segment it needs is `fmp4.init_segment(format)`.
    """

    session: Session
    format: Format
    decode_time: int
    duration: int
    started_us: int
    received_us: int
    independent: bool
    access_units: int
    pieces: tuple[bytes, ...]

    @property
    def fragment(self) -> bytes:
        """The pieces in one, which they then stay: most parts are sealed, and never downloaded."""
        if len(self.pieces) > 1:
            self.pieces = (b"".join(self.pieces),)
        return self.pieces[0]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def duration_s(self) -> float:
        return self.duration / self.format.clock_rate
