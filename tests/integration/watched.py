"""A subscriber of a camera's main stream as the recorder is one, who writes down what came."""

from __future__ import annotations

from dataclasses import dataclass, field

from load_tests.camera_farm.counters import Counter, read_audio_counter, read_counters
from load_tests.readback import PlayedUnit
from mediasrv.media.access_unit import Part, Session, TrackKind, VideoFormat
from mediasrv.media.fmp4 import read_samples


@dataclass
class Watched:
    """`units` are the pictures in order, `sounds` the counters of G.711 frames, `ends` the reasons for which sessions
    ended, `widths` those of the pictures."""

    units: list[PlayedUnit] = field(default_factory=list)
    sounds: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    longest_unit_s: float = 0.0
    longest_step_s: float = 0.0
    """Of media time between a part's end and the next one's beginning, and of wall time likewise: what is missing or
    doubled in the time line of a session."""
    _last: Part | None = None

    @property
    def counters(self) -> list[Counter]:
        return [unit.counter for unit in self.units if unit.counter is not None]

    @property
    def last(self) -> int:
        """The newest counter, -1 before any."""
        return next((unit.counter.counter for unit in reversed(self.units) if unit.counter), -1)

    def on_part(self, part: Part) -> None:
        if part.format.kind is TrackKind.AUDIO:
            found = [read_audio_counter(sample.payload) for sample in read_samples(part.fragment)]
            self.sounds += [counter for _, counter in filter(None, found)]
        if part.format.kind is not TrackKind.VIDEO:
            return
        assert isinstance(part.format, VideoFormat)
        if not self.widths or self.widths[-1] != part.format.width:
            self.widths.append(part.format.width)
        for sample in read_samples(part.fragment):
            self.units.append(PlayedUnit(read_counters(sample.payload), sample.keyframe))
            self.longest_unit_s = max(self.longest_unit_s, sample.duration / part.format.clock_rate)
        self._step(part)

    def _step(self, part: Part) -> None:
        last, self._last = self._last, part
        if last is None or last.session is not part.session:
            return
        media_s = (part.decode_time - last.decode_time - last.duration) / part.format.clock_rate
        wall_s = (part.started_us - last.started_us) / 1e6 - last.duration / last.format.clock_rate
        self.longest_step_s = max(self.longest_step_s, abs(media_s), abs(wall_s))

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.ends.append(reason)
