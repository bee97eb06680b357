"""Things that move, drawn once in each pose and then pasted: a tenth of the work of drawing them anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from load_tests.camera_farm.canvas import Canvas

Painter = Callable[[Canvas, float, float], None]
"""Draws the thing with its anchor at x, y of a canvas."""

_OPAQUE: Final = re.compile(rb"[^\x00]+", re.DOTALL)
"""Luma 0 lies outside the limited range, so in a sprite it can mean that the backdrop shows."""


class Sprite:
    """Rows of pixels, at offsets in pixels from the anchor."""

    def __init__(self, painter: Painter, scale: float, beside: float, above: float, below: float) -> None:
        """`beside`, `above` and `below` bound the thing around its anchor, in scene units."""
        left, top = _even(beside * scale), _even(above * scale)
        canvas = Canvas(2 * left, top + _even(below * scale), scale=scale, smooth=False)
        painter(canvas, left / scale, top / scale)
        self._luma: list[tuple[int, int, bytes]] = []
        self._chroma: list[tuple[int, int, bytes, bytes]] = []
        for row in range(canvas.height):
            start = row * canvas.width
            for run in _OPAQUE.finditer(canvas.luma, start, start + canvas.width):
                column = run.start() - start
                self._luma.append((row - top, column - left, run.group()))
                if row % 2 == 0:
                    self._add_chroma(canvas, row // 2, top // 2, column // 2, run.end() - start, left // 2)

    def _add_chroma(self, canvas: Canvas, row: int, top: int, column: int, end: int, left: int) -> None:
        at, size = row * (canvas.width // 2) + column, (end + 1) // 2 - column
        blue, red = (bytes(plane[at : at + size]) for plane in canvas.chroma)
        self._chroma.append((row - top, column - left, blue, red))

    def paste(self, canvas: Canvas, x: float, y: float) -> None:
        """Puts the anchor at x, y of the scene; what lies outside the picture is cut off."""
        column, row = round(x * canvas.scale), round(y * canvas.scale)
        width, height, luma = canvas.width, canvas.height, canvas.luma
        for down, across, run in self._luma:
            at = column + across
            if 0 <= row + down < height and at < width and at + len(run) > 0:
                run = run[max(0, -at) : width - at]
                start = (row + down) * width + max(0, at)
                luma[start : start + len(run)] = run
        self._paste_chroma(canvas, column // 2, row // 2)

    def _paste_chroma(self, canvas: Canvas, column: int, row: int) -> None:
        width, height = canvas.width // 2, canvas.height // 2
        blue_plane, red_plane = canvas.chroma
        for down, across, blue, red in self._chroma:
            at = column + across
            if 0 <= row + down < height and at < width and at + len(blue) > 0:
                cut = slice(max(0, -at), width - at)
                start = (row + down) * width + max(0, at)
                end = start + len(blue[cut])
                blue_plane[start:end] = blue[cut]
                red_plane[start:end] = red[cut]


def _even(size: float) -> int:
    return int(size) // 2 * 2 + 2


class SpriteSheet:
    """The poses of one thing, each drawn when it is first needed. `beside`, `above`, `below`: see Sprite."""

    def __init__(self) -> None:
        self._sprites: dict[tuple[float, ...], Sprite] = {}

    def get(self, scale: float, pose: tuple[float, ...], make: Callable[[], Sprite]) -> Sprite:
        key = (scale, *pose)
        if key not in self._sprites:
            self._sprites[key] = make()
        return self._sprites[key]
