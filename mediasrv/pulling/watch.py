"""Looks at a stream that plays: does anything come, and pictures among it? Pure; `now` is monotonic seconds."""

from __future__ import annotations

from mediasrv.errors import CameraError
from mediasrv.media.intake import Intake
from mediasrv.pulling.refusals import SilentTransport


class StallWatch:
    """`transport` is how media comes, `patience_s` how long the first packet may take."""

    def __init__(
        self, intake: Intake, transport: str, now: float, *, patience_s: float, stall_timeout_s: float
    ) -> None:
        self._intake = intake
        self._transport = transport
        self._playing_at = now
        self._patience_s = patience_s
        self._stall_timeout_s = stall_timeout_s
        self._sounds = 0
        self._sound_at: float | None = None

    def find_stall(self, now: float) -> CameraError | None:
        """To be asked about once a second: nothing ever came, nothing comes any more, or sound alone."""
        intake = self._intake
        sounds = intake.audio.packets if intake.audio else 0
        if sounds != self._sounds:
            self._sounds, self._sound_at = sounds, now
        silent_s = now - (intake.last_picture_at or self._playing_at)
        if silent_s > self._patience_s and not sounds and not (intake.video and intake.video.packets):
            return SilentTransport(self._transport, silent_s)
        if silent_s <= self._stall_timeout_s:
            return None
        if self._sound_at is not None and now - self._sound_at < silent_s / 2:
            sentence = f"The camera sends sound, but has sent no picture for {silent_s:.0f} s."
            return CameraError(sentence, code="video_stalled")
        return CameraError(f"The camera is connected but has sent no picture for {silent_s:.0f} s.", code="stalled")
