"""One RTSP session's media: its RTP state, what was sent in it, and the faults that befall it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from load_tests.camera_farm.rtsp.line import Line
from load_tests.camera_farm.tracks.rtp_unit import MARKER, RtpUnit, Track, one_packet, sender_report

WRITE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""What a camera holds back for a slow client before it leaves out whole units."""
KINDS: Final = ("video", "audio", "metadata")
"""Tracks by what they carry; a track's number in URLs is its index here."""
_NTP_EPOCH_S: Final = 2_208_988_800
_SEQUENCES, _TIMESTAMPS = 1 << 16, 1 << 32


@dataclass(slots=True)
class SentLog:
    """What a session was sent, by the counters of the stream; ranges are inclusive.

    Expected at the other end: every counter from `first` to `last` that is in neither `left_out` (never sent) nor
    `damaged` (sent with packets missing). `last` may still have been in a buffer when the session broke. `transport`
    is `tcp`, `udp` or `tls`.
    """

    session: str
    run: str
    started_us: int
    transport: str = ""
    ended_us: int | None = None
    video_count: int = 0
    first: int | None = None
    first_keyframe: int | None = None
    last: int | None = None
    left_out: list[list[int]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    audio_count: int = 0
    audio_first: int | None = None
    audio_last: int | None = None
    metadata_count: int = 0
    packets: int = 0
    lost_packets: int = 0
    bytes: int = 0

    def sent_video(self, counter: int, keyframe: bool, size_bytes: int) -> None:
        if self.first is None:
            self.first = counter
        if keyframe and self.first_keyframe is None:
            self.first_keyframe = counter
        self.last = counter
        self.video_count += 1
        self.bytes += size_bytes

    def sent_audio(self, counter: int, size_bytes: int) -> None:
        if self.audio_first is None:
            self.audio_first = counter
        self.audio_last = counter
        self.audio_count += 1
        self.bytes += size_bytes

    def leave_out(self, counter: int) -> None:
        if self.left_out and self.left_out[-1][1] == counter - 1:
            self.left_out[-1][1] = counter
        else:
            self.left_out.append([counter, counter])


@dataclass(slots=True)
class SessionTrack:
    """One track of a session, from SETUP on; media flows once it is `playing`, and while it is not `held`."""

    rtp: Track
    line: Line
    transport: str
    playing: bool = False
    held: bool = False

    def is_full(self) -> bool:
        """The client takes less than it is sent: whole units are left out."""
        return self.line.carrier.backlog_bytes() > WRITE_BUFFER_BYTES


class MediaSession:
    """Sends units to one client. Calls come from the stream that is on air; nothing here waits."""

    def __init__(self, session_id: str, log: SentLog, abort: Callable[[], None]) -> None:
        self.session_id = session_id
        self.log = log
        self.tracks: dict[str, SessionTrack] = {}
        self._held: frozenset[str] = frozenset()
        self.lose_packets = 0
        self._abort = abort

    def add(self, kind: str, track: SessionTrack) -> None:
        self.tracks[kind] = track
        track.held = kind in self._held
        self.log.transport = track.transport

    def stall(self, kinds: Collection[str]) -> None:
        """These kinds of media stop, reports and all; the others go on."""
        self._held = frozenset(kinds)
        for kind, track in self.tracks.items():
            track.held = kind in self._held

    def send_video(self, unit: RtpUnit, sei: bytes, counter: int, media_s: float, spread_s: float) -> None:
        track = self.tracks.get("video")
        if track is None or not track.playing:
            return
        if track.held or track.is_full():
            self.log.leave_out(counter)
            return
        rtp, skip = track.rtp, self.lose_packets
        data = unit.packets(sei, rtp, rtp.timestamp(media_s), skip)
        lost = track.line.send(data, spread_s) + skip
        if lost:
            self.lose_packets = 0
            self.log.lost_packets += lost
            self.log.damaged.append(counter)
        self.log.sent_video(counter, unit.keyframe, len(data))

    def send_audio(self, payload: bytes, counter: int, media_s: float, marker: int) -> None:
        track = self.tracks.get("audio")
        if track is None or not track.playing or track.held or track.is_full():
            return
        data = one_packet(payload, track.rtp, track.rtp.timestamp(media_s), marker)
        self.log.lost_packets += track.line.send(data)
        self.log.sent_audio(counter, len(data))

    def send_metadata(self, payloads: list[bytes], media_s: float) -> None:
        track = self.tracks.get("metadata")
        if track is None or not track.playing or track.held or track.is_full():
            return
        rtp, timestamp = track.rtp, track.rtp.timestamp(media_s)
        data = b"".join(one_packet(payload, rtp, timestamp) for payload in payloads[:-1])
        data += one_packet(payloads[-1], rtp, timestamp, MARKER)
        self.log.lost_packets += track.line.send(data)
        self.log.metadata_count += 1
        self.log.bytes += len(data)

    def send_reports(self, wall_s: float, media_s: float) -> None:
        """RTCP SR of each track: this wall time is that RTP time."""
        for track in self.tracks.values():
            if track.playing and not track.held:
                report = sender_report(track.rtp, wall_s + _NTP_EPOCH_S, track.rtp.timestamp(media_s))
                track.line.carrier.send_report(report)

    def send_junk(self, size_bytes: int) -> None:
        """Bytes that are no packet, between two packets."""
        for track in list(self.tracks.values())[:1]:
            track.line.junk(os.urandom(size_bytes).replace(b"$", b"#"))

    def jump(self, by_s: float) -> None:
        """RTP time leaps; sequence numbers go on."""
        for track in self.tracks.values():
            track.rtp.first_timestamp += round(by_s * track.rtp.clock_rate)

    def new_sources(self) -> None:
        """An encoder that started anew: other SSRC, sequence and timestamps, without a word."""
        for track in self.tracks.values():
            track.rtp.ssrc, track.rtp.sequence = random.getrandbits(32), random.getrandbits(16)
            track.rtp.first_timestamp = random.getrandbits(32)

    def current_log(self) -> SentLog:
        """The log, with the packets counted up to now."""
        self.log.packets = sum(track.rtp.packets for track in self.tracks.values())
        return self.log

    def drop(self) -> None:
        """Breaks the connection without a word."""
        self._abort()

    def close(self) -> None:
        for track in self.tracks.values():
            track.line.close()


def new_track(channel: int, payload_type: int, clock_rate: int) -> Track:
    # Random starts (RFC 3550, 5.1) also make wraps of both counters part of ordinary tests.
    return Track(
        channel=channel,
        payload_type=payload_type,
        clock_rate=clock_rate,
        ssrc=random.getrandbits(32),
        sequence=random.getrandbits(16),
        first_timestamp=random.getrandbits(32),
    )


def wrap_soon(track: Track, media_s: float, in_s: float, in_packets: int) -> None:
    """Starts both counters so that they wrap so soon after `media_s`."""
    track.sequence = (_SEQUENCES - in_packets) % _SEQUENCES
    track.first_timestamp = (_TIMESTAMPS - round((media_s + in_s) * track.clock_rate)) % _TIMESTAMPS
