"""The last of some coded pictures as JPEG. Runs in a worker process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
from av.video.frame import VideoFrame

from mediasrv.transcoding.framing import Unit, Wish
from mediasrv.transcoding.pictures import PictureDecoder, bounded, scaled
from mediasrv.transcoding.wishes import PictureWish

_MOST_SIDE: Final = 8192
_QUALITY: Final = "4"
"""Of 2 to 31, where less is better."""


class JpegMaker:
    """`wish`, the units of one GOP, then `end`, which hands the picture out."""

    def wish(self, message: Wish) -> None:
        self._generation = message.generation
        self._wish = PictureWish(**json.loads(message.document))
        self._decoder = PictureDecoder(self._wish.source, self._wish.parameter_sets)
        self._last: VideoFrame | None = None

    def take(self, unit: Unit) -> Iterator[Unit]:
        self._keep(self._decoder.decode(unit.payload, unit.dts, unit.pts))
        return iter(())

    def end(self) -> Iterator[Unit]:
        """Nothing where there was nothing to see."""
        self._keep(self._decoder.finish())
        if self._last is not None:
            pts = self._last.pts or 0
            yield Unit(self._generation, pts, pts, True, encode_jpeg(self._last, self._wish.width or _MOST_SIDE))

    def _keep(self, pictures: list[VideoFrame]) -> None:
        if pictures:
            self._last = pictures[-1]


def encode_jpeg(picture: VideoFrame, most_width: int) -> bytes:
    width, height = bounded(picture.width, picture.height, most_width, _MOST_SIDE)
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", Fraction(1)
    codec.thread_count = 1
    codec.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    full = scaled(picture, width, height, "yuvj420p")
    full.pts = 0
    return b"".join(bytes(packet) for one in (full, None) for packet in codec.encode(one))
