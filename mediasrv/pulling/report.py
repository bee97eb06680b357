"""What a pull tells about itself."""

from __future__ import annotations

from dataclasses import dataclass

from mediasrv.media.access_unit import AudioFormat, VideoFormat


@dataclass(slots=True)
class PullReport:
    """How a pull stands. Counters run over the connection; those of the keyframe over the current session.

    `camera_offset_us` is the camera's clock minus the server's, by its RTCP sender reports so far, true to within
    `camera_uncertainty_us`; None before the first. `peer` is the address and port that was connected to, `transport`
    how media comes from there: `tcp`, `udp` or `tls`, empty before that is agreed; `gathered`, that it is read on the
    beat. `notes` are plain sentences about what was left out.
    """

    packets: int = 0
    reads: int = 0
    received_bytes: int = 0
    video_units: int = 0
    audio_units: int = 0
    metadata_units: int = 0
    units_before_keyframe: int = 0
    first_keyframe_us: int | None = None
    lost_packets: int = 0
    late_packets: int = 0
    damaged: int = 0
    resyncs: int = 0
    camera_offset_us: int | None = None
    camera_uncertainty_us: int | None = None
    video_format: VideoFormat | None = None
    audio_format: AudioFormat | None = None
    peer: str = ""
    transport: str = ""
    gathered: bool = False
    notes: tuple[str, ...] = ()
