"""What DESCRIBE says of a stream (RFC 2326, appendix C): its tracks as they go out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from mediasrv.media.access_unit import AudioFormat, Codec, Format, ParameterSets, TrackKind, VideoFormat
from mediasrv.media.rtp.outgoing import OutgoingTrack
from mediasrv.serving.urls import CONTROL
from mediasrv.wire.sdp import MediaDescription, SessionDescription

_ENCODINGS: Final = {
    Codec.H264: "H264",
    Codec.H265: "H265",
    Codec.AAC: "MPEG4-GENERIC",
    Codec.OPUS: "OPUS",
    Codec.PCMA: "PCMA",
    Codec.PCMU: "PCMU",
    Codec.ONVIF_METADATA: "VND.ONVIF.METADATA",
}
_KINDS: Final = {TrackKind.VIDEO: "video", TrackKind.AUDIO: "audio", TrackKind.METADATA: "application"}
_AAC_HBR: Final = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3"}
_OPUS_CHANNELS: Final = 2
"""In the rtpmap always, whatever is sent (RFC 7587, 7)."""


def describe(tracks: Mapping[TrackKind, OutgoingTrack]) -> SessionDescription:
    return SessionDescription("*", tuple(_media(tracks[kind]) for kind in sorted(tracks)))


def _media(track: OutgoingTrack) -> MediaDescription:
    form = track.format
    return MediaDescription(
        kind=_KINDS[form.kind],
        payload_type=track.payload_type,
        encoding=_ENCODINGS[form.codec],
        clock_rate=form.clock_rate,
        channels=_channels(form),
        parameters=_parameters(form),
        control=f"{CONTROL}{int(form.kind)}",
    )


def _channels(form: Format) -> int:
    if form.codec is Codec.OPUS:
        return _OPUS_CHANNELS
    return form.channels if isinstance(form, AudioFormat) else 1


def _parameters(form: Format) -> Mapping[str, str]:
    if isinstance(form, VideoFormat):
        return _h265(form.parameter_sets) if form.codec is Codec.H265 else _h264(form.parameter_sets)
    if isinstance(form, AudioFormat) and form.codec is Codec.AAC:
        return {"streamtype": "5", "profile-level-id": "1", **_AAC_HBR, "config": form.config.hex()}
    if isinstance(form, AudioFormat) and form.codec is Codec.OPUS and form.channels == _OPUS_CHANNELS:
        return {"sprop-stereo": "1"}
    return {}


def _h264(sets: ParameterSets) -> Mapping[str, str]:
    """RFC 6184, 8.1."""
    shown = ",".join(map(_base64, sets))
    return {"packetization-mode": "1", "profile-level-id": sets[0][1:4].hex(), "sprop-parameter-sets": shown}


def _h265(sets: ParameterSets) -> Mapping[str, str]:
    """RFC 7798, 7.1."""
    return dict(zip(("sprop-vps", "sprop-sps", "sprop-pps"), map(_base64, sets), strict=True))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
