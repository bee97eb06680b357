"""Which tracks of a session description are pulled, and what takes each apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from mediasrv.errors import CameraError
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AudioFormat, Codec, ParameterSets
from mediasrv.media.rtp import (
    AacDepacketizer,
    Deliver,
    Depacketizer,
    G711Depacketizer,
    H264Depacketizer,
    H265Depacketizer,
    OpusDepacketizer,
)
from mediasrv.wire.sdp import MediaDescription, sprop_parameter_sets

_VIDEO: Final = {"H264": (Codec.H264, H264Depacketizer), "H265": (Codec.H265, H265Depacketizer)}
_ONVIF_METADATA: Final = "VND.ONVIF.METADATA"
_OPUS_CLOCK_RATE: Final = 48_000
_G711: Final = {"PCMA": Codec.PCMA, "PCMU": Codec.PCMU}
_AAC_MODES: Final = {"aac-hbr": (13, 3), "aac-lbr": (6, 2)}
"""Widths of size and index in an AU header (RFC 3640, 3.3.5 and 3.3.6)."""
_AAC_CHANNELS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The video track that is pulled, and the parameter sets that its description holds."""

    media: MediaDescription
    codec: Codec
    parameter_sets: ParameterSets | None


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """An audio track that can be kept: its description, its format, and what makes its depacketizer."""

    media: MediaDescription
    format: AudioFormat
    make: Callable[[Deliver], Depacketizer]


def choose_video(media: Sequence[MediaDescription]) -> VideoTrack:
    """The first H.264 track that can be put together, which every browser plays, else the first of H.265.

    Raises CameraError: `interleaving_unsupported` where there is only one that can not, `codec_unsupported`, which
    names what there is instead, where there is none at all.
    """
    tracks = [track for track in media if track.kind == "video"]
    known = [track for track in tracks if track.encoding in _VIDEO and track.clock_rate == VIDEO_CLOCK_RATE]
    for track in sorted(known, key=lambda track: track.encoding):
        if not _is_interleaved(track):
            codec, depacketizer = _VIDEO[track.encoding]
            return VideoTrack(track, codec, depacketizer.pick_sets(sprop_parameter_sets(track)))
    if known:
        raise CameraError(
            "The camera sends the pieces of its pictures out of order (interleaved mode).",
            code="interleaving_unsupported",
        )
    offered = ", ".join(sorted({track.encoding or f"payload type {track.payload_type}" for track in tracks}))
    raise CameraError(
        f"The stream holds no H.264 or H.265 video, but {offered or 'no video at all'}.", code="codec_unsupported"
    )


def _is_interleaved(track: MediaDescription) -> bool:
    """Whether packets carry decoding order numbers (RFC 6184, 5.4; RFC 7798, 7.1: `sprop-max-don-diff`)."""
    given = track.parameters
    if track.encoding == "H265":
        return given.get("sprop-max-don-diff", "0").lstrip("0") != ""
    return given.get("packetization-mode", "") == "2"


def choose_metadata(media: Sequence[MediaDescription]) -> MediaDescription | None:
    """The first track of ONVIF metadata in plain XML (ONVIF Streaming Specification, 5.1.2.1.1)."""
    return next((track for track in media if track.encoding == _ONVIF_METADATA and track.clock_rate), None)


def choose_audio(media: Sequence[MediaDescription]) -> tuple[AudioTrack | None, str]:
    """The first audio track that can be kept, else None and a sentence about what was left out."""
    tracks = [track for track in media if track.kind == "audio"]
    for track in tracks:
        usable = _g711_track(track) or _aac_track(track) or _opus_track(track)
        if usable is not None:
            return usable, ""
    if not tracks:
        return None, ""
    offered = ", ".join(sorted({track.encoding or f"payload type {track.payload_type}" for track in tracks}))
    return None, f"The audio is left out: {offered} is not supported."


def _g711_track(media: MediaDescription) -> AudioTrack | None:
    codec = _G711.get(media.encoding)
    if codec is None or not media.clock_rate or not media.channels:
        return None
    return AudioTrack(
        media, AudioFormat(codec, media.clock_rate, media.channels), partial(G711Depacketizer, media.payload_type)
    )


def _opus_track(media: MediaDescription) -> AudioTrack | None:
    """The rtpmap always says 48000/2 (RFC 7587, 4.1 and 7); only `sprop-stereo` tells what is sent."""
    if media.encoding != "OPUS" or media.clock_rate != _OPUS_CLOCK_RATE:
        return None
    channels = 2 if media.parameters.get("sprop-stereo") == "1" else 1
    audio = AudioFormat(Codec.OPUS, _OPUS_CLOCK_RATE, channels)
    return AudioTrack(media, audio, partial(OpusDepacketizer, media.payload_type))


def _aac_track(media: MediaDescription) -> AudioTrack | None:
    """AAC with AU headers of the common widths. Its channels are those of its configuration: rtpmaps often lie."""
    widths = _AAC_MODES.get(media.parameters.get("mode", "").lower())
    try:
        config = bytes.fromhex(media.parameters.get("config", ""))
    except ValueError:
        return None
    if media.encoding != "MPEG4-GENERIC" or widths is None or len(config) < 2 or not media.clock_rate:
        return None
    channels = _AAC_CHANNELS.get(config[1] >> 3 & 0x0F, media.channels)
    make = partial(
        _make_aac, media.payload_type, size_bits=widths[0], index_bits=widths[1], short=bool(config[1] & 0x04)
    )
    return AudioTrack(media, AudioFormat(Codec.AAC, media.clock_rate, channels, config), make)


def _make_aac(payload_type: int, deliver: Deliver, *, size_bits: int, index_bits: int, short: bool) -> Depacketizer:
    unit_samples = 960 if short else 1024
    return AacDepacketizer(payload_type, deliver, size_bits=size_bits, index_bits=index_bits, unit_samples=unit_samples)
