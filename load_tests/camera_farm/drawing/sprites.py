"""Things that move, drawn once in each pose and then pasted: a tenth of the work of drawing them anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from load_tests.camera_farm.drawing.canvas import SCENE_WIDTH, Canvas

Painter = Callable[[Canvas, float, float], None]
"""Draws the thing with its anchor at x, y of a canvas."""

Runs = list[tuple[int, int, bytes]]
"""Rows below the anchor, columns right of it, and the bytes that stand there."""

_OPAQUE: Final = re.compile(rb"[^\x00]+", re.DOTALL)
"""Luma 0 lies outside the limited range, so in a sprite it can mean that the backdrop shows."""


class _Plane:
    """A sprite's pixels in one plane of pictures that are `width` wide."""

    def __init__(self, runs: Runs, width: int) -> None:
        self._runs, self._width = runs, width
        self._placed = [(down * width + across, down * width + across + len(run), run) for down, across, run in runs]
        self._left = min((across for _, across, _ in runs), default=0)
        self._right = max((across + len(run) for _, across, run in runs), default=0)
        self._top = min((down for down, _, _ in runs), default=0)
        self._bottom = max((down for down, _, _ in runs), default=0)

    def paste(self, plane: bytearray, column: int, row: int) -> None:
        height = len(plane) // self._width
        inside = column + self._left >= 0 and column + self._right <= self._width
        if inside and row + self._top >= 0 and row + self._bottom < height:
            base = row * self._width + column
            for start, end, run in self._placed:
                plane[base + start : base + end] = run
        else:
            self._paste_cut(plane, column, row, height)

    def _paste_cut(self, plane: bytearray, column: int, row: int, height: int) -> None:
        for down, across, run in self._runs:
            at = column + across
            cut = run[max(0, -at) : max(0, self._width - at)]
            if cut and 0 <= row + down < height:
                start = (row + down) * self._width + max(0, at)
                plane[start : start + len(cut)] = cut


class Sprite:
    """One thing in one pose."""

    def __init__(self, painter: Painter, scale: float, beside: float, above: float, below: float) -> None:
        """`beside`, `above` and `below` bound the thing around its anchor, in scene units."""
        left, top = _even(beside * scale), _even(above * scale)
        canvas = Canvas(2 * left, top + _even(below * scale), scale=scale, smooth=False)
        painter(canvas, left / scale, top / scale)
        luma: Runs = []
        blue: Runs = []
        red: Runs = []
        for row in range(canvas.height):
            start = row * canvas.width
            for run in _OPAQUE.finditer(canvas.luma, start, start + canvas.width):
                first, end = run.start() - start, run.end() - start
                luma.append((row - top, first - left, run.group()))
                if row % 2 == 0:
                    at, size = row // 2 * (canvas.width // 2) + first // 2, (end + 1) // 2 - first // 2
                    for runs, plane in zip((blue, red), canvas.chroma, strict=True):
                        runs.append(((row - top) // 2, first // 2 - left // 2, bytes(plane[at : at + size])))
        width = round(scale * SCENE_WIDTH)
        self._luma = _Plane(luma, width)
        self._chroma = (_Plane(blue, width // 2), _Plane(red, width // 2))

    def paste(self, canvas: Canvas, x: float, y: float) -> None:
        """Puts the anchor at x, y of the scene; what lies outside the picture is cut off."""
        column, row = round(x * canvas.scale), round(y * canvas.scale)
        self._luma.paste(canvas.luma, column, row)
        for sprite, plane in zip(self._chroma, canvas.chroma, strict=True):
            sprite.paste(plane, column // 2, row // 2)


def _even(size: float) -> int:
    return int(size) // 2 * 2 + 2


class SpriteSheet:
    """The poses of one thing, each drawn when it is first needed."""

    def __init__(self) -> None:
        self._sprites: dict[tuple[float, ...], Sprite] = {}

    def get(self, scale: float, pose: tuple[float, ...], make: Callable[[], Sprite]) -> Sprite:
        key = (scale, *pose)
        if key not in self._sprites:
            self._sprites[key] = make()
        return self._sprites[key]
