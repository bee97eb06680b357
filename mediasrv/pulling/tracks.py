"""Which tracks of a session description are pulled, and what takes each apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from mediasrv.errors import CameraError
from mediasrv.media.access_unit import VIDEO_CLOCK_RATE, AudioFormat, Codec
from mediasrv.media.rtp import AacDepacketizer, Deliver, Depacketizer, G711Depacketizer
from mediasrv.wire.sdp import MediaDescription

_G711: Final = {"PCMA": Codec.PCMA, "PCMU": Codec.PCMU}
_AAC_MODES: Final = {"aac-hbr": (13, 3), "aac-lbr": (6, 2)}
"""Widths of size and index in an AU header (RFC 3640, 3.3.5 and 3.3.6)."""
_AAC_CHANNELS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """An audio track that can be kept: its description, its format, and what makes its depacketizer."""

    media: MediaDescription
    format: AudioFormat
    make: Callable[[Deliver], Depacketizer]


def choose_video(media: Sequence[MediaDescription]) -> MediaDescription:
    """The first H.264 track. Raises CameraError (`codec_unsupported`) that names what there is instead."""
    tracks = [track for track in media if track.kind == "video"]
    for track in tracks:
        if track.encoding == "H264" and track.clock_rate == VIDEO_CLOCK_RATE:
            return track
    offered = ", ".join(sorted({track.encoding or f"payload type {track.payload_type}" for track in tracks}))
    raise CameraError(f"The stream holds no H.264 video, but {offered or 'no video at all'}.", code="codec_unsupported")


def choose_audio(media: Sequence[MediaDescription]) -> tuple[AudioTrack | None, str]:
    """The first audio track that can be kept, else None and a sentence about what was left out."""
    tracks = [track for track in media if track.kind == "audio"]
    for track in tracks:
        usable = _g711_track(track) or _aac_track(track)
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
