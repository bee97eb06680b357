"""Pictures of any codec into H.264 for browsers. Runs in a worker process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

import av
from av.video.frame import PictureType, VideoFrame

from mediasrv.media.access_unit import VIDEO_CLOCK_RATE
from mediasrv.media.nal import NAL_SEI, iter_avcc, join_avcc, nal_type
from mediasrv.transcoding.framing import Unit, Wish
from mediasrv.transcoding.pictures import TIME_BASE, PictureDecoder, bounded, scaled
from mediasrv.transcoding.wishes import VideoWish, level_of

KEYFRAMES: Final = 2 * VIDEO_CLOCK_RATE
"""A keyframe at least so often, and wherever the source has one."""

_MOST_WIDTH: Final = 4096
_RATE_OFF: Final = 1.4
_RATE_PULL: Final = 1 / 8


class VideoTranscoder:
    """`wish` begins anew; `take` decodes an access unit and encodes the pictures that come out."""

    def __init__(self) -> None:
        self._generation = -1
        self._encoder: _Encoder | None = None

    def wish(self, message: Wish) -> None:
        self._wish = VideoWish(**json.loads(message.document))
        self._decoder = PictureDecoder(self._wish.source, self._wish.parameter_sets)
        if message.generation != self._generation:
            self._generation = message.generation
            self._encoder = None
            self._last_pts, self._next_keyframe = -1, 0
            self._interval = VIDEO_CLOCK_RATE / self._wish.rate

    def take(self, unit: Unit) -> Iterator[Unit]:
        pictures = self._decoder.decode(unit.payload, unit.dts, unit.pts)
        return iter(()) if unit.priming else self._encode(pictures)

    def end(self) -> Iterator[Unit]:
        return self._encode(self._decoder.finish())

    def _encode(self, pictures: Iterable[VideoFrame]) -> Iterator[Unit]:
        for picture in pictures:
            pts = self._place(picture)
            keyframe = bool(picture.key_frame) or pts >= self._next_keyframe
            width, height = bounded(picture.width, picture.height, _MOST_WIDTH, self._wish.height)
            encoder = self._encoder
            if encoder is None or encoder.size != (width, height) or (keyframe and self._is_off(encoder.rate)):
                rate = VIDEO_CLOCK_RATE / self._interval
                encoder = self._encoder = _Encoder(picture, width, height, rate, self._wish)
                keyframe = True
            if keyframe:
                self._next_keyframe = pts + KEYFRAMES
            payload = encoder.encode(picture, pts, keyframe=keyframe)
            yield Unit(self._generation, pts, pts, keyframe, payload)

    def _place(self, picture: VideoFrame) -> int:
        """The picture's time, rising strictly; how often pictures come is learnt on the way."""
        pts = self._last_pts + 1 if picture.pts is None else max(picture.pts, self._last_pts + 1)
        if self._last_pts >= 0:
            interval = min(max(pts - self._last_pts, VIDEO_CLOCK_RATE // 120), VIDEO_CLOCK_RATE)
            self._interval += (interval - self._interval) * _RATE_PULL
        self._last_pts = pts
        return pts

    def _is_off(self, rate: float) -> bool:
        """Whether an encoder that counts on this rate would miss its bitrate: with no delay it cannot learn a rate."""
        share = VIDEO_CLOCK_RATE / self._interval / rate
        return not 1 / _RATE_OFF < share < _RATE_OFF


class _Encoder:
    """x264 without any delay: one picture in, one access unit out. Constrained Baseline, which every browser shows
    (RFC 7742, 5), parameter sets in each keyframe, as good as the bitrate allows and no better than need be.
    """

    def __init__(self, like: VideoFrame, width: int, height: int, rate: float, wish: VideoWish) -> None:
        self.size, self.rate = (width, height), rate
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.framerate, codec.time_base = Fraction(rate).limit_denominator(1000), TIME_BASE
        codec.thread_count = 1
        codec.color_range, codec.colorspace = like.color_range, like.colorspace
        codec.color_primaries, codec.color_trc = like.color_primaries, like.color_trc
        codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": "23",
            "forced-idr": "1",
            "level": f"{level_of(wish.height) / 10:g}",
            "x264-params": (
                "annexb=0:repeat-headers=1:sliced-threads=0:scenecut=0:keyint=infinite:stitchable=1:"
                f"vbv-maxrate={wish.kbps}:vbv-bufsize={wish.kbps}"
            ),
        }
        self._codec = codec

    def encode(self, picture: VideoFrame, pts: int, *, keyframe: bool) -> bytes:
        picture = scaled(picture, *self.size, "yuv420p")
        picture.pts, picture.time_base = pts, TIME_BASE
        # The decoder marks pictures by what they were, and the encoder would obey.
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        payload = b"".join(bytes(packet) for packet in self._codec.encode(picture))
        if keyframe:  # x264 signs its work in the first
            payload = join_avcc(nal for nal in iter_avcc(payload) if nal_type(nal) != NAL_SEI)
        return payload
