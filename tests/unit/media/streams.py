"""Made-up streams for tests: formats, sessions and access units that need no camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mediasrv.hub import Mountpoint
from mediasrv.media.access_unit import (
    METADATA,
    AccessUnit,
    AudioFormat,
    Codec,
    Format,
    Part,
    Session,
    StreamName,
    StreamRef,
    VideoFormat,
)
from mediasrv.media.nal import NAL_IDR, NAL_SLICE, join_avcc, video_format
from mediasrv.media.nal_h265 import h265_video_format
from mediasrv.media.segmenter import Segmenter

REF = StreamRef("gate-1", StreamName.MAIN)
STARTED_US = 1_790_000_000_000_000

SPS = bytes.fromhex("6764001eacb201405ff2e02200000300020000030064 1e2c5c90".replace(" ", ""))
"""640x360, High, level 3.0, by x264."""
PPS = bytes.fromhex("68ebc3cb22c0")

H265_VPS = bytes.fromhex("40010c01ffff02200000030090000003000003005d959409")
H265_SPS = bytes.fromhex("42010102200000030090000003000003005da00280802d136595952930b9a02000000300200000030321")
"""1280x720, Main 10, level 3.1, by x265."""
H265_PPS = bytes.fromhex("4401c073c189")

VIDEO: VideoFormat = video_format(SPS, PPS)
H265: VideoFormat = h265_video_format(H265_VPS, H265_SPS, H265_PPS)
PCMA = AudioFormat(Codec.PCMA, 8000, 1)
OPUS = AudioFormat(Codec.OPUS, 48_000, 2)
AAC = AudioFormat(Codec.AAC, 48_000, 2, bytes.fromhex("1190"))


def session(name: str = "session-1", started_us: int = STARTED_US) -> Session:
    return Session(name, REF, 1, started_us, 100.0)


def video_units(
    of: Session,
    seconds: float,
    *,
    rate: float = 25.0,
    gop_s: float = 2.0,
    start_s: float = 0.0,
    format: Format = VIDEO,
    size_bytes: int = 200,
) -> Iterator[AccessUnit]:
    """A picture each 1/rate s, the first of each GOP a keyframe; each payload says which picture it is."""
    gop = max(1, round(gop_s * rate))
    for index in range(round(seconds * rate)):
        keyframe = index % gop == 0
        nal = bytes((0x60 | (NAL_IDR if keyframe else NAL_SLICE),)) + index.to_bytes(4, "big")
        at_s = start_s + index / rate
        yield _unit(of, format, at_s, keyframe, join_avcc([nal.ljust(size_bytes, b"\x55")]))


def audio_units(
    of: Session, seconds: float, *, format: AudioFormat = PCMA, start_s: float = 0.0
) -> Iterator[AccessUnit]:
    """G.711 and Opus in frames of 20 ms, AAC in frames of 1024."""
    length = 1024 if format.codec is Codec.AAC else format.clock_rate // 50
    for index in range(int(seconds * format.clock_rate / length)):
        at_s = start_s + index * length / format.clock_rate
        yield _unit(of, format, at_s, True, index.to_bytes(4, "big").ljust(160, b"\xd5"))


def documents(of: Session, seconds: float, *, each_s: float = 1.0, start_s: float = 0.0) -> Iterator[AccessUnit]:
    """Metadata: a document each so many seconds, which says which one it is."""
    for index in range(round(seconds / each_s)):
        yield _unit(of, METADATA, start_s + index * each_s, True, f"<tt:MetadataStream n='{index}'/>".encode())


def _unit(of: Session, format: Format, at_s: float, keyframe: bool, payload: bytes) -> AccessUnit:
    dts = round(at_s * format.clock_rate)
    return AccessUnit(of, format, dts, dts, of.started_us + round(at_s * 1e6), keyframe, payload)


def interleave(*tracks: Iterable[AccessUnit]) -> list[AccessUnit]:
    """Several tracks in order of arrival."""
    return sorted((unit for track in tracks for unit in track), key=lambda unit: unit.arrived_us)


def cut(units: Iterable[AccessUnit], part_s: float = 0.48, finish: bool = True) -> list[Part]:
    segmenter = Segmenter(part_s)
    parts = [part for unit in units for part in segmenter.push(unit)]
    return parts + segmenter.finish() if finish else parts


def publish(mountpoint: Mountpoint, units: Iterable[AccessUnit]) -> None:
    for unit in units:
        mountpoint.publish(unit)
