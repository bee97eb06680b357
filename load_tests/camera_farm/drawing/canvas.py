"""Drawing into a yuv420p picture with nothing but bytes: no imaging library, and a few microseconds a shape.

Coordinates are those of a scene, 640 by 360, as floats; the canvas scales them. Colours are (r, g, b).
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import av

from load_tests.camera_farm.drawing import font

SCENE_WIDTH: Final = 640

Colour = tuple[int, int, int]
Point = tuple[float, float]


@functools.cache
def to_yuv(colour: Colour) -> tuple[int, int, int]:
    """BT.601, limited range: what players assume of small pictures that say nothing."""
    red, green, blue = colour
    return (
        round(16 + (65.5 * red + 128.6 * green + 25.0 * blue) / 256),
        round(128 + (-37.8 * red - 74.2 * green + 112.0 * blue) / 256),
        round(128 + (112.0 * red - 93.8 * green - 18.2 * blue) / 256),
    )


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` at share 0, `second` at share 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """A picture of `width` by `height` (even), planes without padding; `scale` is pixels a scene unit.

    Where it is `smooth`, the ends of every row of a shape are blended with what lies below.
    """

    def __init__(self, width: int, height: int, *, scale: float = 0.0, smooth: bool = True) -> None:
        self.width, self.height = width, height
        self.scale = scale or width / SCENE_WIDTH
        self._smooth = smooth
        self.luma = bytearray(width * height)
        self.chroma = (bytearray(b"\x80" * (width * height // 4)), bytearray(b"\x80" * (width * height // 4)))

    def copy(self) -> Canvas:
        """A canvas with the same picture."""
        twin = Canvas.__new__(Canvas)
        twin.width, twin.height, twin.scale, twin._smooth = self.width, self.height, self.scale, self._smooth
        twin.luma = bytearray(self.luma)
        twin.chroma = (bytearray(self.chroma[0]), bytearray(self.chroma[1]))
        return twin

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        rows = range(max(0, round(y0 * self.scale)), min(self.height, round(y1 * self.scale)))
        self._fill(((y, x0 * self.scale, x1 * self.scale) for y in rows), colour)

    def gradient(self, x0: float, y0: float, x1: float, y1: float, top: Colour, bottom: Colour) -> None:
        """A rectangle that goes from one colour to another downwards."""
        scale = self.scale
        first, last = round(y0 * scale), round(y1 * scale)
        for y in range(max(0, first), min(self.height, last)):
            self._fill([(y, x0 * scale, x1 * scale)], mix(top, bottom, (y - first) / max(1, last - first)))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Filled, by the even-odd rule."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        crossings: dict[int, list[float]] = {}
        for start, end in zip(scaled, [*scaled[1:], scaled[0]], strict=True):
            (x0, y0), (x1, y1) = (start, end) if start[1] < end[1] else (end, start)
            for y in range(max(0, math.ceil(y0 - 0.5)), min(self.height, math.ceil(y1 - 0.5))):
                crossings.setdefault(y, []).append(x0 + (y + 0.5 - y0) / (y1 - y0) * (x1 - x0))
        self._fill(_spans_between(crossings), colour)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour) -> None:
        x, y, radius_x, radius_y = (value * self.scale for value in (x, y, radius_x, radius_y))
        spans = []
        for row in range(max(0, math.floor(y - radius_y)), min(self.height, math.ceil(y + radius_y))):
            half = radius_x * math.sqrt(max(0.0, 1 - ((row + 0.5 - y) / radius_y) ** 2))
            spans.append((row, x - half, x + half))
        self._fill(spans, colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour) -> None:
        """A thick line with square ends."""
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        across_x, across_y = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
        self.polygon(
            [
                (x0 + across_x, y0 + across_y),
                (x1 + across_x, y1 + across_y),
                (x1 - across_x, y1 - across_y),
                (x0 - across_x, y0 - across_y),
            ],
            colour,
        )

    def text(self, x: float, y: float, text: str, *, from_right: bool = False) -> None:
        """White on black; `x`, `y` is a corner above. Grey throughout, whatever lay below."""
        scale = max(1, round(2 * self.scale))
        wide = (len(text) * font.WIDTH + 1) * scale
        left, top = round(x * self.scale) & ~1, round(y * self.scale) & ~1
        left = (left - wide) & ~1 if from_right else left
        blank = bytes((24,)) * wide
        rows = [blank[:scale] + row for row in font.text_rows(text, scale, 225, 24)]
        lines = [blank] * scale + [row for row in rows for _ in range(scale)] + [blank] * scale
        for number, line in enumerate(lines):
            at = (top + number) * self.width + left
            self.luma[at : at + wide] = line
        for number in range((len(lines) + 1) // 2):
            at = (top // 2 + number) * (self.width // 2) + left // 2
            for plane in self.chroma:
                plane[at : at + wide // 2] = b"\x80" * (wide // 2)

    def grain(self, seed: int, strength: int) -> None:
        """A fixed grain over all of it, so that gradients show no steps."""
        noise = random.Random(seed).randbytes(len(self.luma))
        span = 2 * strength + 1
        self.luma[:] = bytes(
            min(235, max(16, value + dot % span - strength)) for value, dot in zip(self.luma, noise, strict=True)
        )

    def _fill(self, spans: Iterable[tuple[int, float, float]], colour: Colour) -> None:
        """Rows (y, x0, x1) in pixels, in one colour. The same chroma serves two rows."""
        luma, blue, red = to_yuv(colour)
        line, blue_line, red_line = (bytes((value,)) * self.width for value in (luma, blue, red))
        width, half, plane = self.width, self.width // 2, self.luma
        for y, x0, x1 in spans:
            x0, x1 = max(0.0, x0), min(float(width), x1)
            if x1 <= x0:
                continue
            if self._smooth:
                first, last = math.ceil(x0), math.floor(x1)
                self._blend(y * width + first - 1, luma, first - x0)
                self._blend(y * width + last, luma, x1 - last)
            else:
                first, last = round(x0), round(x1)
            if last > first:
                plane[y * width + first : y * width + last] = line[: last - first]
            if not y & 1:
                start, size = y // 2 * half + round(x0 / 2), round(x1 / 2) - round(x0 / 2)
                self.chroma[0][start : start + size] = blue_line[:size]
                self.chroma[1][start : start + size] = red_line[:size]

    def _blend(self, at: int, luma: int, share: float) -> None:
        """An end pixel, by how much of it is covered."""
        if share > 0 and at < len(self.luma):
            self.luma[at] = round(self.luma[at] + (luma - self.luma[at]) * min(1.0, share))

    def picture(self) -> av.VideoFrame:
        """A new frame with this picture."""
        frame = av.VideoFrame(self.width, self.height, "yuv420p")
        for plane, data in zip(frame.planes, (self.luma, *self.chroma), strict=True):
            plane.update(_with_stride(data, plane.width, plane.line_size))
        return frame

    @classmethod
    def from_picture(cls, picture: av.VideoFrame) -> Canvas:
        canvas = cls(picture.width, picture.height)
        for plane, data in zip(picture.planes, (canvas.luma, *canvas.chroma), strict=True):
            source, stride = memoryview(plane), plane.line_size
            for row in range(plane.height):
                data[row * plane.width : (row + 1) * plane.width] = source[row * stride : row * stride + plane.width]
        return canvas


def _with_stride(data: bytearray, width: int, stride: int) -> bytes:
    if width == stride:
        return bytes(data)
    padding = bytes(stride - width)
    return b"".join(bytes(data[at : at + width]) + padding for at in range(0, len(data), width))


def _spans_between(crossings: dict[int, list[float]]) -> Iterator[tuple[int, float, float]]:
    for y, found in crossings.items():
        found.sort()
        for left, right in zip(found[::2], found[1::2], strict=False):
            yield y, left, right
