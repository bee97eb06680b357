"""A cut of recorded sound as AAC whose neighbours, each made by itself, follow it without a click. Runs in a worker.

AAC frames overlap, so those of all cuts lie on one grid of the session's time line: a cut has the frames that begin in
it. Each is made with the sound before it, so that the encoder is warm, and the sound behind it that it reaches into.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame

from mediasrv.media.access_unit import Codec
from mediasrv.transcoding.audio import LAYOUTS, SoundEncoder, SoundResampler, sound_decoder
from mediasrv.transcoding.framing import Unit, Wish
from mediasrv.transcoding.wishes import MOST_CHANNELS, SAMPLE_RATE, AudioWish, SoundCutWish

WARM_FRAMES = 4
AHEAD_FRAMES = 3
_HOLE_SAMPLES = SAMPLE_RATE // 50
"""Sound that comes later than this after what was before it leaves a silence as long."""


class SoundCutTranscoder:
    """`wish`, the units of a cut with those around it, then `end`, which hands the frames out."""

    def wish(self, message: Wish) -> None:
        wish = SoundCutWish(**json.loads(message.document))
        source = AudioWish(**wish.sound)
        self._generation = message.generation
        self._start, self._end = wish.start, wish.end
        self._clock_rate = source.clock_rate
        self._layout = LAYOUTS[min(source.channels, MOST_CHANNELS)]
        self._decoder = sound_decoder(source)
        self._encoder = SoundEncoder(Codec(source.target), self._layout, source.kbps)
        self._resampler: SoundResampler | None = None
        self._fifo = AudioFifo()
        size = self._encoder.frame_samples
        self._first, self._last = -(-self._start // size) * size, -(-self._end // size) * size
        self._written_to = self._first - WARM_FRAMES * size
        """Up to here, on the session's time line, the sound is known."""

    def take(self, unit: Unit) -> Iterator[Unit]:
        packet = av.Packet(unit.payload)
        packet.pts = packet.dts = unit.dts
        packet.time_base = Fraction(1, self._clock_rate)
        position = unit.dts * SAMPLE_RATE // self._clock_rate
        for frame in self._decoder.decode(packet):
            position = self._write(frame, position)
        return iter(())

    def end(self) -> Iterator[Unit]:
        size = self._encoder.frame_samples
        begin = self._first - WARM_FRAMES * size
        self._silence(self._last + AHEAD_FRAMES * size - self._written_to)
        at = begin
        while (frame := self._fifo.read(size)) is not None:
            for heard_at, payload in self._encoder.encode(frame, at):
                if self._first <= heard_at < self._last:
                    yield Unit(self._generation, heard_at, heard_at, True, payload)
            at += size

    def _write(self, frame: AudioFrame, position: int) -> int:
        """Puts a decoded frame where it belongs; where the next one does."""
        if self._resampler is None or not self._resampler.takes(frame):
            self._resampler = SoundResampler(frame, self._encoder.sample_format, self._layout)
        for sound in self._resampler.resample(frame):
            sound.pts = None
            hole = position - self._written_to
            if hole > (0 if not self._fifo.samples_written else _HOLE_SAMPLES):
                self._silence(hole)
            skipped = self._written_to - position if not self._fifo.samples_written else 0
            position += sound.samples
            if skipped >= sound.samples:
                continue
            self._fifo.write(sound)
            self._written_to += sound.samples
            if skipped > 0:  # it begins before what is wanted
                self._fifo.read(skipped)
                self._written_to -= skipped
        return position

    def _silence(self, samples: int) -> None:
        if samples <= 0:
            return
        silence = AudioFrame(self._encoder.sample_format, self._layout, samples)
        silence.sample_rate = SAMPLE_RATE
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.pts = None
        self._fifo.write(silence)
        self._written_to += samples
