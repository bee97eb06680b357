"""Sample entries (ISO/IEC 14496-12, 12): what an init segment says of a codec, written and read back."""

from __future__ import annotations

import struct
from typing import Final

from mediasrv.media.access_unit import (
    METADATA,
    AudioFormat,
    Codec,
    Format,
    MetadataFormat,
    ParameterSets,
    VideoFormat,
)
from mediasrv.media.boxes import bad_file, box, find_box, full_box
from mediasrv.media.nal import parse_sps, video_format
from mediasrv.media.nal_h265 import NAL_PPS, NAL_SPS, NAL_VPS, h265_video_format, parse_h265_sps

_VISUAL_ENTRY_BYTES: Final = 78
_AUDIO_ENTRY_BYTES: Final = 28
_AVC_HIGH_PROFILES: Final = frozenset((100, 110, 122, 144, 244))
_HEVC_SETS: Final = (NAL_VPS, NAL_SPS, NAL_PPS)
_ARRAY_COMPLETE: Final = 0x80
_G711_ENTRIES: Final = {Codec.PCMA: b"alaw", Codec.PCMU: b"ulaw"}
_ONVIF_SCHEMA: Final = b"http://www.onvif.org/ver10/schema"


def sample_entry(format: Format) -> bytes:
    if isinstance(format, VideoFormat):
        return _video_entry(format)
    return _metadata_entry() if isinstance(format, MetadataFormat) else _audio_entry(format)


def read_sample_entry(kind: bytes, entry: bytes, clock_rate: int) -> Format:
    """The inverse of `sample_entry`, of a box's type and body. ProtocolError, struct.error or IndexError for others."""
    if kind == b"avc1":
        return video_format(*_read_avc_configuration(find_box(entry[_VISUAL_ENTRY_BYTES:], b"avcC")))
    if kind == b"hvc1":
        return h265_video_format(*_read_hevc_configuration(find_box(entry[_VISUAL_ENTRY_BYTES:], b"hvcC")))
    if kind == b"metx":
        return METADATA
    return _read_audio_entry(kind, entry, clock_rate)


def _video_entry(format: VideoFormat) -> bytes:
    """VisualSampleEntry (12.1.3) with the decoder's configuration (ISO/IEC 14496-15, 5.4.2 and 8.4.1)."""
    shape = struct.pack(">HHIIIH", format.width, format.height, 0x48_0000, 0x48_0000, 0, 1)
    fixed = (struct.pack(">6xH16x", 1), shape, bytes(32), struct.pack(">Hh", 24, -1))
    if format.codec is Codec.H265:
        return box(b"hvc1", *fixed, box(b"hvcC", _hevc_configuration(format.parameter_sets)))
    return box(b"avc1", *fixed, box(b"avcC", _avc_configuration(format.parameter_sets)))


def _avc_configuration(sets: ParameterSets) -> bytes:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) with lengths of 4 bytes."""
    sps, pps = sets
    parsed = parse_sps(sps)
    record = b"".join((
        bytes((1, parsed.profile_idc, parsed.constraint_flags, parsed.level_idc, 0xFF, 0xE1)),
        len(sps).to_bytes(2, "big"), sps,
        b"\x01", len(pps).to_bytes(2, "big"), pps,
    ))  # fmt: skip
    if parsed.profile_idc not in _AVC_HIGH_PROFILES:
        return record
    depths = (0xF8 | (parsed.bit_depth_luma - 8), 0xF8 | (parsed.bit_depth_chroma - 8))
    return record + bytes((0xFC | parsed.chroma_format_idc, *depths, 0))


def _read_avc_configuration(record: bytes) -> ParameterSets:
    sps_end = 8 + int.from_bytes(record[6:8], "big")
    pps_start = sps_end + 3
    pps_end = pps_start + int.from_bytes(record[sps_end + 1 : pps_start], "big")
    return record[8:sps_end], record[pps_start:pps_end]


def _hevc_configuration(sets: ParameterSets) -> bytes:
    """HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1) with lengths of 4 bytes.

    Spatial segmentation, parallelism and rates are not stated. The arrays are complete, as `hvc1` demands.
    """
    sps = parse_h265_sps(sets[1])
    profile = sps.profile
    record = [
        bytes((1, profile.profile_space << 6 | profile.tier << 5 | profile.profile_idc)),
        profile.compatibility_flags.to_bytes(4, "big"),
        profile.constraint_flags.to_bytes(6, "big"),
        struct.pack(">BHBB", profile.level_idc, 0xF000, 0xFC, 0xFC | sps.chroma_format_idc),
        bytes((0xF8 | (sps.bit_depth_luma - 8), 0xF8 | (sps.bit_depth_chroma - 8), 0, 0)),
        bytes((sps.sub_layers << 3 | sps.temporal_id_nesting << 2 | 3, len(_HEVC_SETS))),
    ]
    for kind, nal in zip(_HEVC_SETS, sets, strict=True):
        record.append(struct.pack(">BHH", _ARRAY_COMPLETE | kind, 1, len(nal)) + nal)
    return b"".join(record)


def _read_hevc_configuration(record: bytes) -> ParameterSets:
    found: dict[int, bytes] = {}
    at = 23
    for _ in range(record[22]):
        kind, count = record[at] & 0x3F, int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            start = at + 2
            at = start + int.from_bytes(record[at:start], "big")
            if at > len(record):
                raise bad_file()
            found.setdefault(kind, record[start:at])
    if not all(kind in found for kind in _HEVC_SETS):
        raise bad_file()
    return tuple(found[kind] for kind in _HEVC_SETS)


def _metadata_entry() -> bytes:
    """XMLMetaDataSampleEntry (12.3.3): no content encoding, the namespace of ONVIF's schema, no schema location."""
    return box(b"metx", struct.pack(">6xH", 1), b"\0", _ONVIF_SCHEMA + b"\0", b"\0")


def _audio_entry(format: AudioFormat) -> bytes:
    """AudioSampleEntry (12.2.3). A rate that 16 bits cannot hold is left to the decoder's configuration."""
    rate = format.clock_rate if format.clock_rate < 0x10000 else 0
    fixed = struct.pack(">6xH8xHHHHI", 1, format.channels, 16, 0, 0, rate << 16)
    if format.codec is Codec.AAC:
        return box(b"mp4a", fixed, _elementary_stream(format.config))
    if format.codec is Codec.OPUS:
        return box(b"Opus", fixed, _opus_specific(format))
    return box(_G711_ENTRIES[format.codec], fixed)


def _opus_specific(format: AudioFormat) -> bytes:
    """OpusSpecificBox (Encapsulation of Opus in ISO Base Media File Format, 4.3.2), channel mapping family 0.

    Nothing is to be skipped: a live stream is joined in the middle, and its times must stay those of the camera.
    """
    return box(b"dOps", struct.pack(">BBHIhB", 0, format.channels, 0, format.clock_rate, 0, 0))


def _elementary_stream(config: bytes) -> bytes:
    """ESDBox (ISO/IEC 14496-14, 5.6): MPEG-4 audio, bit rates not stated."""
    decoder = _descriptor(4, struct.pack(">BB11x", 0x40, 0x15), _descriptor(5, config))
    return full_box(b"esds", 0, _descriptor(3, struct.pack(">HB", 1, 0), decoder, _descriptor(6, b"\x02")))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((tag, 0x80, 0x80, 0x80 | len(body) >> 7, len(body) & 0x7F)) + body


def _read_audio_entry(kind: bytes, entry: bytes, clock_rate: int) -> AudioFormat:
    channels = int.from_bytes(entry[16:18], "big")
    for codec, name in _G711_ENTRIES.items():
        if kind == name:
            return AudioFormat(codec, clock_rate, channels)
    if kind == b"Opus":
        return AudioFormat(Codec.OPUS, clock_rate, find_box(entry[_AUDIO_ENTRY_BYTES:], b"dOps")[1])
    if kind != b"mp4a":
        raise bad_file()
    # ES descriptor (5+3), decoder configuration (5+13), then the decoder specific information.
    specific = find_box(entry[_AUDIO_ENTRY_BYTES:], b"esds")[4 + 8 + 18 :]
    return AudioFormat(Codec.AAC, clock_rate, channels, specific[5 : 5 + (specific[3] & 0x7F) * 128 + specific[4]])
