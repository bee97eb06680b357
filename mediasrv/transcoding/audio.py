"""Sound of one codec into sound of another. Runs in a worker process."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Final, cast

import av
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.filter import Graph

from mediasrv.media.access_unit import Codec
from mediasrv.transcoding.framing import Unit, Wish
from mediasrv.transcoding.sample_times import SampleTimes
from mediasrv.transcoding.wishes import MOST_CHANNELS, SAMPLE_RATE, AudioWish

_DECODERS: Final = {
    Codec.AAC: "aac",
    Codec.OPUS: "libopus",
    Codec.PCMA: "pcm_alaw",
    Codec.PCMU: "pcm_mulaw",
}
_ENCODERS: Final = {
    Codec.OPUS: ("libopus", "s16", {"application": "audio", "frame_duration": "20", "compression_level": "5"}),
    Codec.AAC: ("aac", "fltp", {"aac_coder": "fast"}),
}
LAYOUTS: Final = {1: "mono", 2: "stereo"}


class AudioTranscoder:
    """`wish` begins anew; `take` decodes an access unit and hands out what can be encoded by then."""

    def __init__(self) -> None:
        self._generation = 0

    def wish(self, message: Wish) -> None:
        wish = AudioWish(**json.loads(message.document))
        self._generation = message.generation
        self._clock_rate = wish.clock_rate
        self._decoder = sound_decoder(wish)
        self._layout = LAYOUTS[min(wish.channels, MOST_CHANNELS)]
        self._encoder = SoundEncoder(Codec(wish.target), self._layout, wish.kbps)
        self._times = SampleTimes()
        self._resampler: SoundResampler | None = None
        self._fifo = AudioFifo()
        self._samples_in = 0
        self._samples_out = 0

    def take(self, unit: Unit) -> Iterator[Unit]:
        packet = av.Packet(unit.payload)
        packet.pts = packet.dts = unit.dts
        packet.time_base = Fraction(1, self._clock_rate)
        self._times.begin(self._samples_in, unit.dts * SAMPLE_RATE // self._clock_rate)
        for frame in self._decoder.decode(packet):
            self._samples_in += frame.samples * SAMPLE_RATE // frame.sample_rate
            self._resample(frame)
        yield from self._encode()

    def end(self) -> Iterator[Unit]:
        """Sound that is cut off is missed by nobody."""
        return iter(())

    def _resample(self, frame: AudioFrame) -> None:
        if self._resampler is None or not self._resampler.takes(frame):
            self._resampler = SoundResampler(frame, self._encoder.sample_format, self._layout)
        for resampled in self._resampler.resample(frame):
            resampled.pts = None
            self._fifo.write(resampled)

    def _encode(self) -> Iterator[Unit]:
        size = self._encoder.frame_samples
        while (frame := self._fifo.read(size)) is not None:
            time = self._times.take(self._samples_out)
            self._samples_out += size
            for at, payload in self._encoder.encode(frame, time):
                if at >= 0:  # what is heard before the session began is nothing but the encoder's start
                    yield Unit(self._generation, at, at, True, payload)


class SoundEncoder:
    """Knows when what it hands out is heard: encoders delay sound by a constant number of samples."""

    def __init__(self, target: Codec, layout: str, kbps: int) -> None:
        name, self.sample_format, options = _ENCODERS[target]
        self._codec = cast(av.AudioCodecContext, av.CodecContext.create(name, "w"))
        self._codec.sample_rate, self._codec.layout, self._codec.format = SAMPLE_RATE, layout, self.sample_format
        self._codec.time_base = Fraction(1, SAMPLE_RATE)
        self._codec.bit_rate = kbps * 1000 * self._codec.layout.nb_channels
        self._codec.thread_count = 1
        self._codec.options = options
        self._codec.open()
        self.frame_samples: int = self._codec.frame_size
        self._times: deque[int] = deque()
        self._counted = 0
        self._delay: int | None = None

    def encode(self, frame: AudioFrame, time: int) -> Iterator[tuple[int, bytes]]:
        """(time, payload) of what is complete, a packet a frame, sooner or later."""
        self._times.append(time)
        # Counted without holes, so that the first packet tells the delay and no gap confuses the encoder.
        frame.pts, frame.time_base = self._counted, Fraction(1, SAMPLE_RATE)
        self._counted += frame.samples
        for packet in self._codec.encode(frame):
            if self._delay is None:
                self._delay = -(packet.pts or 0)
            yield self._times.popleft() - self._delay, bytes(packet)


class SoundResampler:
    """To one rate, layout and sample format. PyAV's own would start threads, which a confined process may not."""

    def __init__(self, template: AudioFrame, sample_format: str, layout: str) -> None:
        self._of = _shape(template)
        graph = self._graph = Graph()
        graph.threads = 1
        chain = [
            graph.add(
                "abuffer",
                f"sample_rate={template.sample_rate}:sample_fmt={template.format.name}:"
                f"channel_layout={template.layout.name}:time_base=1/{template.sample_rate}",
            ),
            graph.add("aformat", f"sample_rates={SAMPLE_RATE}:sample_fmts={sample_format}:channel_layouts={layout}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*chain).configure()

    def takes(self, frame: AudioFrame) -> bool:
        return _shape(frame) == self._of

    def resample(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        frame.pts = None
        self._graph.push(frame)
        while True:
            try:
                pulled = self._graph.pull()
            except (av.BlockingIOError, EOFError):
                return
            assert isinstance(pulled, AudioFrame)  # noqa: S101 - an audio graph
            yield pulled


def sound_decoder(wish: AudioWish) -> av.AudioCodecContext:
    decoder = cast(av.AudioCodecContext, av.CodecContext.create(_DECODERS[Codec(wish.source)], "r"))
    decoder.sample_rate, decoder.layout = wish.clock_rate, LAYOUTS[min(wish.channels, MOST_CHANNELS)]
    decoder.thread_count = 1
    if wish.config:
        decoder.extradata = bytes.fromhex(wish.config)
    return decoder


def _shape(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name
