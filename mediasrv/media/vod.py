"""Playlists of recorded footage (RFC 8216): text from values, nothing else.

The video and the audio playlist of a span have the same number of entries and of discontinuities; where the
audio has nothing to set against a picture, its entry is an EXT-X-GAP (RFC 8216bis, 4.4.4.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mediasrv.clock import SECOND_US, from_us

VERSION: Final = 8
"""EXT-X-GAP needs it; EXT-X-MAP outside I-frame playlists needs 6."""

DRIFT_US: Final = 20_000
"""Wall time is stated anew where summed durations have left it by more than this."""

_RATE_NOISE: Final = 0.015
GAP_URI: Final = "gap.m4s"


@dataclass(frozen=True, slots=True)
class VodSegment:
    """An entry of a playlist. `uri` is None where this track has nothing; `init_uri` is its EXT-X-MAP."""

    uri: str | None
    init_uri: str | None
    duration_s: float
    started_us: int
    discontinuity: bool


@dataclass(frozen=True, slots=True)
class VodVariant:
    """What the multivariant playlist says of a span; bit rates are those of whole segments (RFC 8216, 4.3.4.2)."""

    video_uri: str
    audio_uri: str | None
    width: int
    height: int
    codecs: Sequence[str]
    peak_bps: int
    average_bps: int
    frame_rate: float = 0.0
    """Pictures a second; 0 where it is not known."""
    session_data: Mapping[str, str] = field(default_factory=dict)
    """EXT-X-SESSION-DATA by name."""


def media_playlist(
    segments: Sequence[VodSegment], start_s: float, longest_s: float, *, keyframes_only: bool = False
) -> bytes:
    """A complete media playlist; `start_s` is how far into it the time lies that was asked for, `longest_s` the
    longest segment of any track: all state the same target duration. `keyframes_only`: each segment is one keyframe
    (EXT-X-I-FRAMES-ONLY, RFC 8216, 4.3.3.6).
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{max(1, int(longest_s + 0.5))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]
    if keyframes_only:
        lines.append("#EXT-X-I-FRAMES-ONLY")
    if start_s > 0:
        lines.append(f"#EXT-X-START:TIME-OFFSET={start_s:.3f},PRECISE=YES")
    init_uri: str | None = None
    expected_us: float | None = None
    for one in segments:
        if one.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if one.init_uri is not None and one.init_uri != init_uri:
            init_uri = one.init_uri
            lines.append(f'#EXT-X-MAP:URI="{init_uri}"')
        if expected_us is None or one.discontinuity or abs(one.started_us - expected_us) > DRIFT_US:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{format_time(from_us(one.started_us))}")
            expected_us = one.started_us
        expected_us += one.duration_s * SECOND_US
        if one.uri is None:
            lines.append("#EXT-X-GAP")
        lines += (f"#EXTINF:{one.duration_s:.6f},", one.uri or GAP_URI)
    lines.append("#EXT-X-ENDLIST\n")
    return "\n".join(lines).encode()


def multivariant_playlist(variants: Sequence[VodVariant], keyframes: Sequence[VodVariant] = ()) -> bytes:
    """Variants in the order in which players should take them, and playlists of their keyframes (RFC 8216, 4.3.4.3).

    All have the sound of the first, if any.
    """
    first = variants[0]
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    lines += [f'#EXT-X-SESSION-DATA:DATA-ID="{name}",VALUE="{value}"' for name, value in first.session_data.items()]
    if first.audio_uri is not None:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,URI="{first.audio_uri}"'
        )
    for one in variants:
        rendition = ',AUDIO="audio"' if one.audio_uri is not None else ""
        lines += (f"#EXT-X-STREAM-INF:{_attributes(one)}{_frame_rate(one.frame_rate)}{rendition}", one.video_uri)
    lines += [f'#EXT-X-I-FRAME-STREAM-INF:{_attributes(one)},URI="{one.video_uri}"' for one in keyframes]
    return "\n".join([*lines, ""]).encode()


def _attributes(one: VodVariant) -> str:
    return (
        f"BANDWIDTH={one.peak_bps},AVERAGE-BANDWIDTH={one.average_bps},"
        f'CODECS="{",".join(one.codecs)}",RESOLUTION={one.width}x{one.height}'
    )


def _frame_rate(measured: float) -> str:
    """What was measured is given as what the camera means where that is near: 25, not 25.013."""
    if not measured:
        return ""
    whole = round(measured)
    return f",FRAME-RATE={whole if abs(measured - whole) < _RATE_NOISE * measured else measured:.3f}"


def format_time(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as players read it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
