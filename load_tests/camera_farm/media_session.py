"""One RTSP session's media: its RTP state, what was sent in it, and the faults that befall it."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from typing import Final

from load_tests.camera_farm.rtp_unit import RtpUnit, Track, audio_packet, sender_report

WRITE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""What a camera holds back for a slow client before it leaves out whole units."""
_NTP_EPOCH_S: Final = 2_208_988_800


@dataclass(slots=True)
class SentLog:
    """What a session was sent, by the counters of the stream; ranges are inclusive.

    Expected at the other end: every counter from `first` to `last` that is in neither `left_out` (never sent) nor
    `damaged` (sent with packets missing). `last` may still have been in a buffer when the session broke.
    """

    session: str
    run: str
    started_us: int
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


class MediaSession:
    """Sends units on one connection. Calls come from the stream that is on air; nothing here waits."""

    def __init__(self, session_id: str, transport: asyncio.Transport, log: SentLog) -> None:
        self.session_id = session_id
        self.log = log
        self.video: Track | None = None
        self.audio: Track | None = None
        self.stalled = False
        self.lose_packets = 0
        self._transport = transport

    def add_video(self, channel: int, payload_type: int, clock_rate: int) -> Track:
        self.video = _new_track(channel, payload_type, clock_rate)
        return self.video

    def add_audio(self, channel: int, payload_type: int, clock_rate: int) -> Track:
        self.audio = _new_track(channel, payload_type, clock_rate)
        return self.audio

    def send_video(self, unit: RtpUnit, sei: bytes, counter: int, media_s: float) -> None:
        track = self.video
        if track is None:
            return
        if self.stalled or self._transport.get_write_buffer_size() > WRITE_BUFFER_BYTES:
            self.log.leave_out(counter)
            return
        data = unit.packets(sei, track, track.timestamp(media_s), self.lose_packets)
        if self.lose_packets:
            self.lose_packets = 0
            self.log.damaged.append(counter)
        self._transport.write(data)
        self.log.sent_video(counter, unit.keyframe, len(data))

    def send_audio(self, frame: bytes, counter: int, media_s: float) -> None:
        track = self.audio
        if track is None or self.stalled or self._transport.get_write_buffer_size() > WRITE_BUFFER_BYTES:
            return
        data = audio_packet(frame, track, track.timestamp(media_s))
        self._transport.write(data)
        self.log.sent_audio(counter, len(data))

    def send_reports(self, wall_s: float, media_s: float) -> None:
        """RTCP SR of each track: this wall time is that RTP time."""
        for track in (self.video, self.audio):
            if track is not None and not self.stalled:
                self._transport.write(sender_report(track, wall_s + _NTP_EPOCH_S, track.timestamp(media_s)))

    def send_junk(self, size_bytes: int) -> None:
        """Bytes that are no interleaved packet, between two packets."""
        self._transport.write(os.urandom(size_bytes).replace(b"$", b"#"))

    def drop(self) -> None:
        """Breaks the connection without a word."""
        self._transport.abort()


def _new_track(channel: int, payload_type: int, clock_rate: int) -> Track:
    # Random starts (RFC 3550, 5.1) also make wraps of both counters part of ordinary tests.
    return Track(
        channel=channel,
        payload_type=payload_type,
        clock_rate=clock_rate,
        ssrc=random.getrandbits(32),
        sequence=random.getrandbits(16),
        first_timestamp=random.getrandbits(32),
    )
