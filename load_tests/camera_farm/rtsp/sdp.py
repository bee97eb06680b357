"""The session description of a stream (RFC 8866), and the ways in which cameras get it wrong."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from load_tests.camera_farm.on_air import StreamOnAir
from load_tests.camera_farm.rtsp.urls import ControlStyle, control_of
from load_tests.camera_farm.tracks.metadata import METADATA_CLOCK_RATE, METADATA_PAYLOAD_TYPE
from load_tests.camera_farm.tracks.rtp_unit import VIDEO_PAYLOAD_TYPE
from load_tests.camera_farm.tracks.shapes import VideoCodec
from load_tests.camera_farm.tracks.sources import packed_clip


class SdpSets(StrEnum):
    """Parameter sets in the description: those of the stream, those of another, or none at all."""

    SAME = "same"
    OTHER = "other"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SdpStyle:
    """How a camera describes a stream. Without `aggregate` there is no control of the whole session."""

    sets: SdpSets = SdpSets.SAME
    control: ControlStyle = ControlStyle.RELATIVE
    aggregate: bool = True
    packetization_mode: int = 1


def build_sdp(stream: StreamOnAir, base: str, style: SdpStyle) -> str:
    """`base` is the stream's URL without a slash at its end. Audio is the second medium, metadata the third."""
    kind = VIDEO_PAYLOAD_TYPE
    shape = stream.source.shape
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        f"s={stream.name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        *(["a=control:*"] if style.aggregate else []),
        f"m=video 0 RTP/AVP {kind}",
        f"a=rtpmap:{kind} {shape.codec.upper()}/90000",
        f"a=fmtp:{kind} {_video_parameters(stream, style)}",
        f"a=framerate:{shape.claimed_rate}",
        f"a=control:{control_of(base, 0, style.control)}",
        *_audio_lines(stream, control_of(base, 1, style.control)),
        *_metadata_lines(stream, control_of(base, 2, style.control)),
    ]
    return "\r\n".join(lines) + "\r\n"


def _video_parameters(stream: StreamOnAir, style: SdpStyle) -> str:
    sets = _described_sets(stream, style.sets)
    if stream.source.shape.codec is VideoCodec.H265:
        # RFC 7798, 7.1. The level is that of the parameter sets; many cameras leave it out.
        names = ("sprop-vps", "sprop-sps", "sprop-pps")
        return ";".join(f"{name}={_base64(nal)}" for name, nal in zip(names, sets, strict=False)) or "tx-mode=SRST"
    profile = stream.source.parameter_sets[0][1:4].hex()
    sprop = f";sprop-parameter-sets={','.join(map(_base64, sets))}" if sets else ""
    return f"packetization-mode={style.packetization_mode};profile-level-id={profile}{sprop}"


def _described_sets(stream: StreamOnAir, sets: SdpSets) -> Sequence[bytes]:
    if sets is SdpSets.NONE:
        return ()
    if sets is SdpSets.OTHER:
        return packed_clip(stream.source.shape.halved())[0].parameter_sets
    return stream.source.parameter_sets


def _base64(nal: bytes) -> str:
    return base64.b64encode(nal).decode()


def _audio_lines(stream: StreamOnAir, control: str) -> list[str]:
    if stream.audio is None:
        return []
    form = stream.audio.format
    kind = form.payload_type
    parameters = [f"a=fmtp:{kind} {form.parameters}"] if form.parameters else []
    return [f"m=audio 0 RTP/AVP {kind}", f"a=rtpmap:{kind} {form.encoding}", *parameters, f"a=control:{control}"]


def _metadata_lines(stream: StreamOnAir, control: str) -> list[str]:
    if stream.events is None:
        return []
    kind = METADATA_PAYLOAD_TYPE
    return [
        f"m=application 0 RTP/AVP {kind}",
        f"a=rtpmap:{kind} vnd.onvif.metadata/{METADATA_CLOCK_RATE}",
        f"a=control:{control}",
    ]
