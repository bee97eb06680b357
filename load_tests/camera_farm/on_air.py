"""A stream on air: it runs while anybody pulls it, on a media clock of its own that never stops.

Every session of a stream gets the same units at the same time. Unit `index` is due `index / rate` seconds after
the camera started, whoever watches, so the counter in a unit says when it was made and a reader who comes back
sees by the counters how much it missed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from load_tests.camera_farm.clock import CameraClock
from load_tests.camera_farm.counters import CounterSigner
from load_tests.camera_farm.events import Event, EventBoard
from load_tests.camera_farm.rtsp.media_session import MediaSession, SentLog
from load_tests.camera_farm.tracks.metadata import (
    METADATA_INTERVAL_S,
    event_document,
    metadata_payloads,
    scene_document,
)
from load_tests.camera_farm.tracks.shapes import AudioKind
from load_tests.camera_farm.tracks.sound import AudioSource
from load_tests.camera_farm.tracks.sources import PictureSource

FIRST_REPORT_S: Final = 0.2
REPORT_INTERVAL_S: Final = 5.0
_LOGS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class StreamMakeup:
    """What a stream sends. `phase_s` is how far its media clock is ahead of the camera's; `name` such as `cam-1/main`.

    `events` is None where there is no metadata track. `paced`: packets are spread over the picture's interval.
    """

    name: str
    source: PictureSource
    audio: AudioSource | None
    events: EventBoard | None
    phase_s: float
    rtcp: bool = True
    paced: bool = False


@dataclass(slots=True)
class TransportCount:
    """What one transport of a stream carried in sessions that have ended, and how many there were at all."""

    sessions: int = 0
    packets: int = 0
    bytes: int = 0


class StreamOnAir:
    def __init__(self, makeup: StreamMakeup, clock: CameraClock, key: bytes, run: str) -> None:
        self.makeup, self.run = makeup, run
        self.source, self.audio, self.events = makeup.source, makeup.audio, makeup.events
        self.logs: deque[SentLog] = deque(maxlen=_LOGS_KEPT)
        self.sessions: dict[str, MediaSession] = {}
        self.sessions_total = self.sessions_most = 0
        self._counts: dict[str, TransportCount] = {}
        self._clock = clock
        self._phase_s = makeup.phase_s
        self._signer = CounterSigner(key, makeup.name, run, makeup.source.shape.codec)
        self._spread_s = 1 / makeup.source.shape.rate if makeup.paced else 0.0
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._next_video = self._next_audio = 0
        self._time()

    @property
    def name(self) -> str:
        return self.makeup.name

    def media_s(self) -> float:
        """Seconds on this stream's media clock."""
        return self._clock.elapsed_s(self._loop.time()) + self._phase_s

    def attach(self, session: MediaSession) -> None:
        """From now on `session` is sent every unit."""
        self.sessions[session.session_id] = session
        self.sessions_total += 1
        self.sessions_most = max(self.sessions_most, len(self.sessions))
        self.logs.append(session.log)
        self._counts.setdefault(session.log.transport, TransportCount()).sessions += 1
        if self.makeup.rtcp:
            self._after(FIRST_REPORT_S, f"sr {session.session_id}", self._report, session)
        if len(self.sessions) == 1:
            self.source.restart()
            self._start()

    def tell_states(self, session: MediaSession) -> None:
        """Who begins to read the metadata track is told how things stand."""
        if self.events is not None:
            session.send_metadata(metadata_payloads(event_document(list(self.events.initial()))), self.media_s())

    def detach(self, session: MediaSession) -> None:
        """Ends the session; twice does no harm."""
        if self.sessions.pop(session.session_id, None) is None:
            return
        log = session.current_log()
        log.ended_us = time.time_ns() // 1000
        count = self._counts[log.transport]
        count.packets += log.packets
        count.bytes += log.bytes
        timer = self._timers.pop(f"sr {session.session_id}", None)
        if timer:
            timer.cancel()
        if not self.sessions:
            self._stop()

    def _start(self) -> None:
        now = max(self.media_s(), 0.0)
        self._send_video_at(math.ceil(now * self.source.shape.rate))
        if self.audio is not None:
            self._send_audio_at(self.audio, math.ceil(now * self.audio.clock_rate / self.audio.frame_samples))
        if self.events is not None:
            self.events.listen(self._send_event)
            self._send_scene()

    def _stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self.events is not None:
            self.events.forget(self._send_event)

    def _time(self) -> None:
        """When unit `index` is due, as a first moment and a step: asked for each of them."""
        self._first_due = self._clock.due(-self._phase_s)
        second_s = self._clock.due(1.0) - self._clock.due(0.0)
        self._video_step_s = second_s / self.source.shape.rate
        self._audio_step_s = second_s * self.audio.frame_samples / self.audio.clock_rate if self.audio else 0.0
        self._first_wall_s = self._clock.true_wall_s(-self._phase_s)

    def reschedule(self) -> None:
        """The camera's clock runs at another rate: what waits is due at another time."""
        self._time()
        if "video" in self._timers:
            self._timers["video"].cancel()
            self._send_video_at(self._next_video)
        if "audio" in self._timers and self.audio is not None:
            self._timers["audio"].cancel()
            self._send_audio_at(self.audio, self._next_audio)

    def _send_video_at(self, index: int) -> None:
        self._next_video = index
        at = self._first_due + index * self._video_step_s
        self._timers["video"] = self._loop.call_at(at, self._send_video, index)

    def _send_video(self, index: int) -> None:
        wall_us = int((self._first_wall_s + index * self._video_step_s) * 1_000_000)
        unit = self.source.unit(index, wall_us)
        sei = self._signer.sei(index, unit.keyframe, wall_us)
        shown_s = (index + unit.shown_after) / self.source.shape.rate
        for session in self.sessions.values():
            session.send_video(unit, sei, index, shown_s, self._spread_s)
        self._send_video_at(index + 1)

    def _send_audio_at(self, audio: AudioSource, index: int) -> None:
        self._next_audio = index
        at = self._first_due + index * self._audio_step_s
        self._timers["audio"] = self._loop.call_at(at, self._send_audio, audio, index)

    def _send_audio(self, audio: AudioSource, index: int) -> None:
        media_s = index * audio.frame_samples / audio.clock_rate
        payload, marker = audio.frame(index), audio.format.marker
        for session in self.sessions.values():
            session.send_audio(payload, index, media_s, marker)
        self._send_audio_at(audio, index + 1)

    def _send_scene(self) -> None:
        self._send_document(scene_document(self._clock.now(self._loop.time())))
        self._after(METADATA_INTERVAL_S, "metadata", self._send_scene)

    def _send_event(self, event: Event) -> None:
        self._send_document(event_document([event]))

    def _send_document(self, document: bytes) -> None:
        payloads, media_s = metadata_payloads(document), self.media_s()
        for session in self.sessions.values():
            session.send_metadata(payloads, media_s)

    def _report(self, session: MediaSession) -> None:
        media_s = self.media_s()
        session.send_reports(self._clock.shown_wall_s(media_s - self._phase_s), media_s)
        self._after(REPORT_INTERVAL_S, f"sr {session.session_id}", self._report, session)

    def _after(self, delay_s: float, name: str, call: object, *arguments: object) -> None:
        self._timers[name] = self._loop.call_later(delay_s, call, *arguments)  # type: ignore[arg-type]

    def describe(self) -> dict[str, Any]:
        """The stream's part of what the control door shows."""
        for session in self.sessions.values():
            session.current_log()
        shape = self.source.shape
        logs = list(self.logs)
        return {
            "width": shape.width,
            "height": shape.height,
            "rate": shape.rate,
            "codec": shape.codec,
            "audio": self.audio.kind if self.audio else AudioKind.NONE,
            "metadata": self.events is not None,
            "sessions_now": len(self.sessions),
            "sessions_total": self.sessions_total,
            "sessions_most": self.sessions_most,
            "units_sent": sum(log.video_count for log in logs),
            "bytes_sent": sum(log.bytes for log in logs),
            "transports": self._describe_transports(),
            "sessions": [dataclasses.asdict(log) for log in logs],
        }

    def _describe_transports(self) -> dict[str, dict[str, int]]:
        described = {name: dataclasses.asdict(count) | {"sessions_now": 0} for name, count in self._counts.items()}
        for session in self.sessions.values():
            of = described[session.log.transport]
            of["sessions_now"] += 1
            of["packets"] += session.log.packets
            of["bytes"] += session.log.bytes
        return described
