"""A stream on air: it runs while anybody pulls it, on a media clock of its own that never stops.

Every session of a stream gets the same units at the same time. Unit `index` is due `index / rate` seconds after
the camera started, whoever watches, so the counter in a unit says when it was made and a reader who comes back
sees by the counters how much it missed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import Final

from load_tests.camera_farm.counters import CounterSigner
from load_tests.camera_farm.media_session import MediaSession, SentLog
from load_tests.camera_farm.sources import AudioSource, PictureSource

FIRST_REPORT_S: Final = 0.2
REPORT_INTERVAL_S: Final = 5.0
_LOGS_KEPT: Final = 1000


class StreamOnAir:
    """`name` is camera and stream, such as `cam-1/main`."""

    def __init__(
        self, name: str, source: PictureSource, audio: AudioSource | None, key: bytes, run: str, offset_s: float
    ) -> None:
        self.name, self.source, self.audio, self.run = name, source, audio, run
        self.logs: deque[SentLog] = deque(maxlen=_LOGS_KEPT)
        self.sessions: dict[str, MediaSession] = {}
        self.sessions_total = self.sessions_most = 0
        self._signer = CounterSigner(key, name, run)
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time() + offset_s
        self._started_wall_s = time.time() + offset_s
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def media_s(self) -> float:
        """Seconds on this stream's media clock."""
        return self._loop.time() - self._started

    def attach(self, session: MediaSession) -> None:
        """From now on `session` is sent every unit."""
        self.sessions[session.session_id] = session
        self.sessions_total += 1
        self.sessions_most = max(self.sessions_most, len(self.sessions))
        self.logs.append(session.log)
        self._after(FIRST_REPORT_S, f"sr {session.session_id}", self._report, session)
        if len(self.sessions) == 1:
            self.source.restart()
            self._start()

    def detach(self, session: MediaSession) -> None:
        """Ends the session; twice does no harm."""
        if self.sessions.pop(session.session_id, None) is None:
            return
        session.log.ended_us = time.time_ns() // 1000
        self._timers.pop(f"sr {session.session_id}").cancel()
        if not self.sessions:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _start(self) -> None:
        now = max(self.media_s(), 0.0)
        self._send_video_at(math.ceil(now * self.source.shape.rate))
        if self.audio is not None:
            self._send_audio_at(self.audio, math.ceil(now * self.audio.clock_rate / self.audio.frame_samples))

    def _send_video_at(self, index: int) -> None:
        at = self._started + index / self.source.shape.rate
        self._timers["video"] = self._loop.call_at(at, self._send_video, index)

    def _send_video(self, index: int) -> None:
        media_s = index / self.source.shape.rate
        wall_us = int((self._started_wall_s + media_s) * 1_000_000)
        unit = self.source.unit(index, wall_us)
        sei = self._signer.sei(index, unit.keyframe, wall_us)
        for session in self.sessions.values():
            session.send_video(unit, sei, index, media_s)
        self._send_video_at(index + 1)

    def _send_audio_at(self, audio: AudioSource, index: int) -> None:
        at = self._started + index * audio.frame_samples / audio.clock_rate
        self._timers["audio"] = self._loop.call_at(at, self._send_audio, audio, index)

    def _send_audio(self, audio: AudioSource, index: int) -> None:
        media_s = index * audio.frame_samples / audio.clock_rate
        frame = audio.frame(index)
        for session in self.sessions.values():
            session.send_audio(frame, index, media_s)
        self._send_audio_at(audio, index + 1)

    def _report(self, session: MediaSession) -> None:
        media_s = self.media_s()
        session.send_reports(self._started_wall_s + media_s, media_s)
        self._after(REPORT_INTERVAL_S, f"sr {session.session_id}", self._report, session)

    def _after(self, delay_s: float, name: str, call: object, *arguments: object) -> None:
        self._timers[name] = self._loop.call_later(delay_s, call, *arguments)  # type: ignore[arg-type]
