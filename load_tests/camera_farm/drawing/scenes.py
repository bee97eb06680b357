"""The demo's pictures: drawn places with something that moves, the camera's name and a running clock.

Cameras of the field look at gates, corridors, yards and lobbies, so these do. A backdrop is drawn once, at twice
the size, and scaled down; a picture is a copy of it with the movers and the clock drawn over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from load_tests.camera_farm.drawing.canvas import SCENE_WIDTH, Canvas, Colour, mix
from load_tests.camera_farm.drawing.sprites import Sprite, SpriteSheet
from load_tests.camera_farm.tracks.clips import live_encoder
from load_tests.camera_farm.tracks.rtp_unit import RtpUnit, pack_unit
from load_tests.camera_farm.tracks.shapes import VideoShape
from load_tests.media import encode_jpeg, split_avcc

Mover = Callable[[Canvas, float], None]

_POSES: Final = 10
_SIZE_STEP: Final = 1.06
_SKIN: Final = (186, 140, 112)
_DARK: Final = (34, 36, 42)


@dataclass(frozen=True, slots=True)
class Scene:
    """`name` is for people; `label` is what is burnt in (capitals of ASCII); movers are drawn in their order."""

    name: str
    label: str
    backdrop: Callable[[Canvas], None]
    movers: tuple[Mover, ...]


class LiveSource:
    """Draws and encodes a stream while somebody watches it."""

    def __init__(self, scene: Scene, name: str, shape: VideoShape) -> None:
        self.shape = self._whole = shape
        self._scene, self._name = scene, name
        self._pending: VideoShape | None = None
        self._set_shape(shape)

    def _set_shape(self, shape: VideoShape) -> None:
        self.shape = shape
        self._backdrop = draw_backdrop(self._scene, shape.width, shape.height)
        self.restart()
        self.parameter_sets = self._encode(0, 0).parameter_sets
        self.restart()

    def restart(self) -> None:
        """A fresh encoder: its first unit is a keyframe."""
        self._encoder = live_encoder(self.shape)

    def request_keyframe(self) -> None:
        self.restart()

    def unit(self, index: int, wall_us: int) -> RtpUnit:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._set_shape(pending)
        return self._encode(index, wall_us)

    def _encode(self, index: int, wall_us: int) -> RtpUnit:
        shape = self.shape
        canvas = draw_scene(self._scene, self._backdrop, index / shape.rate, wall_us)
        picture = canvas.picture()
        picture.pts = index
        nals = split_avcc(self._encoder.encode(picture))
        return pack_unit(nals, shape.codec, marker=shape.marker, in_band_sets=shape.in_band_sets)

    def prepare_resolution_change(self) -> None:
        """Small pictures are drawn fast enough to change on the spot."""

    def change_resolution(self) -> None:
        self._pending = self._whole.halved() if self.shape == self._whole else self._whole

    def snapshot(self) -> bytes:
        now_s = time.time()
        return encode_jpeg(draw_scene(self._scene, self._backdrop, now_s, int(now_s * 1_000_000)).picture())


def draw_backdrop(scene: Scene, width: int, height: int) -> Canvas:
    """What does not move, at twice the size and scaled down: smooth edges at no cost a picture."""
    large = Canvas(width * 2, height * 2)
    scene.backdrop(large)
    small = Canvas.from_picture(large.picture().reformat(width=width, height=height, interpolation="AREA"))
    small.grain(seed=len(scene.label), strength=2)
    return small


def draw_scene(scene: Scene, backdrop: Canvas, media_s: float, wall_us: int) -> Canvas:
    """The picture at `media_s` seconds of the stream and `wall_us` on the clock."""
    canvas = backdrop.copy()
    for mover in scene.movers:
        mover(canvas, media_s)
    canvas.text(12, 12, scene.label)
    canvas.text(SCENE_WIDTH - 12, 12, _clock(wall_us), from_right=True)
    return canvas


def _clock(wall_us: int) -> str:
    seconds, fraction = divmod(wall_us, 1_000_000)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{fraction // 100_000}"


# --- what moves ------------------------------------------------------------------------------------


def walker(
    period_s: float,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    coat: Colour,
    phase: float = 0.0,
) -> Mover:
    """A person who walks from `start` to `end` and back; a place is x, y of the feet and the height."""

    sheet = SpriteSheet()

    def draw(canvas: Canvas, media_s: float) -> None:
        turn = (media_s / period_s + phase) % 2.0
        share = turn if turn < 1 else 2 - turn
        x, foot_y, height = (a + (b - a) * share for a, b in zip(start, end, strict=True))
        # Few enough sizes and poses to keep, close enough together not to be seen.
        size = _SIZE_STEP ** round(math.log(height, _SIZE_STEP))
        pose = int(media_s * 0.9 * _POSES) % _POSES

        def make() -> Sprite:
            def paint(small: Canvas, at_x: float, at_y: float) -> None:
                _person(small, at_x, at_y, size, pose / _POSES * 2 * math.pi, coat)

            return Sprite(paint, canvas.scale, size * 0.28, size, size * 0.06)

        sheet.get(canvas.scale, (size, pose), make).paste(canvas, x, foot_y)

    return draw


def _person(canvas: Canvas, x: float, foot_y: float, height: float, stride: float, coat: Colour) -> None:
    unit = height / 8
    swing = math.sin(stride) * unit * 1.1
    hip_y, neck_y = foot_y - 3.9 * unit, foot_y - 6.6 * unit
    canvas.ellipse(x, foot_y, unit * 1.8, unit * 0.35, (62, 62, 62))
    for side in (1, -1):
        knee_x, foot_x = x + swing * side * 0.55, x + swing * side
        lift = max(0.0, math.cos(stride) * side) * unit * 0.35
        canvas.line(x, hip_y, knee_x, hip_y + 2 * unit, unit * 0.85, _DARK)
        canvas.line(knee_x, hip_y + 1.9 * unit, foot_x, foot_y - lift, unit * 0.7, _DARK)
    canvas.line(x, neck_y + unit * 0.4, x - swing * 0.9, hip_y + unit * 0.1, unit * 0.55, mix(coat, _DARK, 0.35))
    shoulders = [(x - unit * 1.0, neck_y + unit * 0.3), (x + unit * 1.0, neck_y + unit * 0.3)]
    canvas.polygon([*shoulders, (x + unit * 0.8, hip_y + unit * 0.5), (x - unit * 0.8, hip_y + unit * 0.5)], coat)
    canvas.line(
        x, neck_y + unit * 0.5, x + swing * 0.9, hip_y + unit * 0.1, unit * 0.5, mix(coat, (255, 255, 255), 0.15)
    )
    canvas.ellipse(x, neck_y - unit * 0.55, unit * 0.55, unit * 0.68, _SKIN)
    canvas.ellipse(x, neck_y - unit * 0.85, unit * 0.57, unit * 0.42, _DARK)


def car(period_s: float, road_y: float, length: float, paint_colour: Colour, phase: float = 0.0) -> Mover:
    """A car that passes from left to right and comes again."""

    sheet = SpriteSheet()

    def draw(canvas: Canvas, media_s: float) -> None:
        def make() -> Sprite:
            def paint(small: Canvas, at_x: float, at_y: float) -> None:
                _car(small, at_x - length / 2, at_y, length, paint_colour)

            return Sprite(paint, canvas.scale, length * 0.56, length * 0.45, length * 0.14)

        share = (media_s / period_s + phase) % 1.0
        x = -length / 2 + share * (SCENE_WIDTH + length)
        sheet.get(canvas.scale, (), make).paste(canvas, x, road_y)

    return draw


def _car(canvas: Canvas, x: float, road_y: float, length: float, paint: Colour) -> None:
    height = length * 0.3
    body_top, roof = road_y - height * 0.72, road_y - height * 1.25
    canvas.ellipse(x + length / 2, road_y + height * 0.18, length * 0.52, height * 0.16, (58, 58, 60))
    canvas.polygon(
        [
            (x + length * 0.18, body_top),
            (x + length * 0.32, roof),
            (x + length * 0.68, roof),
            (x + length * 0.84, body_top),
        ],
        mix(paint, _DARK, 0.25),
    )
    for left, right in ((0.30, 0.49), (0.52, 0.72)):
        canvas.polygon(
            [
                (x + length * (left - 0.05 * (left < 0.4)), body_top),
                (x + length * (left + 0.045 * (left < 0.4)), roof + height * 0.12),
                (x + length * (right - 0.055 * (right > 0.6)), roof + height * 0.12),
                (x + length * (right + 0.04 * (right > 0.6)), body_top),
            ],
            (150, 178, 196),
        )
    canvas.rectangle(x, body_top, x + length, road_y, paint)
    canvas.rectangle(x, road_y - height * 0.2, x + length, road_y, mix(paint, _DARK, 0.4))
    canvas.rectangle(x + length * 0.96, body_top + height * 0.12, x + length, body_top + height * 0.3, (250, 240, 190))
    for wheel in (0.2, 0.8):
        canvas.ellipse(x + length * wheel, road_y, height * 0.34, height * 0.34, (24, 24, 26))
        canvas.ellipse(x + length * wheel, road_y, height * 0.16, height * 0.16, (150, 150, 155))


def barrier(period_s: float, hinge: tuple[float, float], length: float) -> Mover:
    """A barrier arm that opens for a while in every period."""

    sheet = SpriteSheet()

    def draw(canvas: Canvas, media_s: float) -> None:
        share = media_s / period_s % 1.0
        opened = min(1.0, max(0.0, 6 * min(share - 0.2, 0.75 - share)))
        pose = round(opened * _POSES)

        def make() -> Sprite:
            def paint(small: Canvas, at_x: float, at_y: float) -> None:
                _barrier(small, at_x, at_y, -pose / _POSES * 1.25, length)

            return Sprite(paint, canvas.scale, length + 10, length, 44)

        sheet.get(canvas.scale, (pose,), make).paste(canvas, *hinge)

    return draw


def _barrier(canvas: Canvas, x: float, y: float, angle: float, length: float) -> None:
    pieces = 8
    for piece in range(pieces):
        colour = (205, 48, 44) if piece % 2 else (238, 238, 232)
        near, far = (
            (x + reach * math.cos(angle), y + reach * math.sin(angle))
            for reach in (piece / pieces * length, (piece + 1) / pieces * length)
        )
        canvas.line(*near, *far, 6, colour)
    canvas.rectangle(x - 9, y - 12, x + 9, y + 42, (222, 170, 40))


# --- where -----------------------------------------------------------------------------------------


def _gate(canvas: Canvas) -> None:
    canvas.gradient(0, 0, 640, 170, (150, 186, 214), (218, 226, 224))
    for x, y, size in ((70, 120, 70), (160, 132, 52), (560, 118, 80), (470, 136, 46)):
        canvas.ellipse(x, y, size, size * 0.6, (94, 126, 88))
        canvas.ellipse(x - size * 0.2, y - size * 0.15, size * 0.7, size * 0.4, (112, 146, 100))
    canvas.gradient(0, 150, 640, 236, (196, 180, 152), (168, 150, 124))
    for row in range(5):
        canvas.rectangle(0, 164 + row * 16, 640, 165 + row * 16, (150, 134, 110))
    canvas.rectangle(0, 146, 640, 154, (120, 108, 94))
    canvas.gradient(0, 236, 640, 360, (122, 122, 120), (92, 92, 94))
    canvas.polygon([(218, 236), (430, 236), (560, 360), (60, 360)], (134, 134, 134))
    for step in range(4):
        y = 246 + step * step * 9
        canvas.polygon(
            [(322 - step, y), (328 + step, y), (329 + step * 2, y + 8 + step * 4), (320 - step * 2, y + 8 + step * 4)],
            (222, 218, 196),
        )
    canvas.gradient(218, 104, 430, 236, (188, 198, 198), (150, 156, 158))
    for bar in range(21):
        canvas.rectangle(221 + bar * 10, 112, 224 + bar * 10, 236, (62, 70, 78))
    for y in (112, 170, 228):
        canvas.rectangle(218, y, 430, y + 5, (62, 70, 78))
    for x in (190, 428):
        canvas.gradient(x, 88, x + 30, 246, (206, 192, 166), (160, 142, 116))
        canvas.rectangle(x - 4, 82, x + 34, 92, (110, 98, 86))
        canvas.ellipse(x + 15, 76, 8, 8, (250, 240, 200))
    canvas.rectangle(480, 150, 580, 250, (214, 206, 190))
    canvas.rectangle(474, 142, 586, 152, (136, 62, 52))
    canvas.gradient(492, 168, 548, 206, (86, 118, 138), (130, 160, 172))
    canvas.rectangle(556, 172, 574, 250, (112, 84, 62))


def _corridor(canvas: Canvas) -> None:
    canvas.gradient(0, 0, 640, 360, (202, 204, 198), (186, 188, 184))
    canvas.polygon([(0, 0), (640, 0), (384, 118), (256, 118)], (224, 226, 222))
    canvas.polygon([(0, 360), (640, 360), (384, 212), (256, 212)], (128, 134, 132))
    for step in range(9):
        near = 0.62**step
        y = 212 + 148 * near
        canvas.line(256 - 256 * near, y, 384 + 256 * near, y, 0.6 + 1.6 * near, (106, 112, 110))
    for column in range(-3, 4):
        canvas.line(320 + column * 18.3, 212, 320 + column * 150, 360, 1.2, (112, 118, 116))
    canvas.polygon([(0, 0), (256, 118), (256, 212), (0, 360)], (196, 206, 198))
    canvas.polygon([(640, 0), (384, 118), (384, 212), (640, 360)], (180, 192, 186))
    canvas.polygon([(0, 232), (256, 174), (256, 178), (0, 246)], (90, 142, 130))
    canvas.polygon([(640, 232), (384, 174), (384, 178), (640, 246)], (82, 130, 120))
    for near, far in ((0.80, 0.56), (0.44, 0.31), (0.24, 0.17), (0.12, 0.08)):
        for side in (-1, 1):
            _wall_door(canvas, side, near, far)
        x_near, x_far, y_near, y_far = 66 * near, 66 * far, 118 - 118 * near, 118 - 118 * far
        canvas.polygon(
            [(320 - x_near, y_near), (320 + x_near, y_near), (320 + x_far, y_far), (320 - x_far, y_far)],
            (254, 254, 244),
        )
    canvas.gradient(256, 118, 384, 212, (214, 220, 214), (170, 178, 172))
    canvas.gradient(292, 134, 348, 212, (142, 174, 190), (176, 198, 204))
    canvas.rectangle(318, 134, 322, 212, (96, 104, 106))
    canvas.rectangle(296, 122, 344, 131, (36, 120, 72))


def _wall_door(canvas: Canvas, side: int, near: float, far: float) -> None:
    def corner(depth: float, height: float) -> tuple[float, float]:
        # The wall runs from the end wall (x 64 from the middle, floor at 212) to the edge of the picture.
        x = 320 + side * (64 + 256 * depth)
        floor_y, top_y = 212 + 148 * depth, 118 - 118 * depth
        return x, floor_y + (top_y - floor_y) * height

    canvas.polygon([corner(near, 0), corner(near, 0.74), corner(far, 0.74), corner(far, 0)], (104, 82, 64))
    inner_near, inner_far = near - (near - far) * 0.1, far + (near - far) * 0.1
    door = [corner(inner_near, 0), corner(inner_near, 0.71), corner(inner_far, 0.71), corner(inner_far, 0)]
    canvas.polygon(door, (150, 118, 88))
    sign = near - (near - far) * 0.35, near - (near - far) * 0.65
    canvas.polygon(
        [corner(sign[0], 0.5), corner(sign[0], 0.62), corner(sign[1], 0.62), corner(sign[1], 0.5)], (206, 214, 208)
    )


def _yard(canvas: Canvas) -> None:
    canvas.gradient(0, 0, 640, 214, (122, 172, 214), (214, 226, 228))
    canvas.ellipse(120, 52, 60, 15, (236, 240, 242))
    canvas.ellipse(170, 60, 46, 11, (230, 236, 238))
    canvas.ellipse(430, 40, 70, 13, (236, 240, 242))
    canvas.gradient(250, 62, 600, 214, (226, 214, 186), (204, 190, 162))
    canvas.polygon([(238, 64), (612, 64), (588, 42), (262, 42)], (158, 74, 58))
    for row in range(2):
        for column in range(7):
            x, y = 270 + column * 46, 80 + row * 62
            canvas.rectangle(x - 2, y - 2, x + 26, y + 38, (240, 234, 218))
            canvas.gradient(x, y, x + 24, y + 36, (74, 100, 122), (126, 152, 164))
            canvas.rectangle(x + 11, y, x + 13, y + 36, (240, 234, 218))
    canvas.rectangle(408, 160, 442, 214, (96, 66, 50))
    canvas.gradient(0, 210, 640, 360, (168, 166, 156), (126, 124, 118))
    canvas.polygon([(0, 214), (240, 210), (180, 244), (0, 262)], (112, 148, 92))
    canvas.rectangle(0, 268, 640, 326, (104, 104, 106))
    for dash in range(9):
        canvas.rectangle(10 + dash * 76, 295, 50 + dash * 76, 299, (222, 220, 206))
    for bay in range(5):
        canvas.line(300 + bay * 66, 226, 286 + bay * 74, 262, 2.5, (232, 230, 220))
    for x, y, size in ((62, 152, 66), (150, 170, 48), (612, 166, 44)):
        canvas.rectangle(x - size * 0.08, y, x + size * 0.08, y + size * 0.95, (94, 72, 54))
        canvas.ellipse(x, y - size * 0.15, size * 0.75, size * 0.62, (70, 112, 66))
        canvas.ellipse(x - size * 0.18, y - size * 0.34, size * 0.5, size * 0.36, (92, 136, 80))
    canvas.rectangle(226, 92, 229, 236, (170, 172, 176))
    canvas.rectangle(229, 94, 262, 116, (206, 38, 36))
    canvas.polygon(_star(245, 105, 7), (250, 212, 40))


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    def point(number: int) -> tuple[float, float]:
        reach = radius if number % 2 == 0 else radius * 0.4
        angle = math.pi * number / 5 - math.pi / 2
        return x + reach * math.cos(angle), y + reach * math.sin(angle)

    return [point(number) for number in range(10)]


def _lobby(canvas: Canvas) -> None:
    canvas.gradient(0, 0, 640, 226, (222, 212, 196), (206, 192, 172))
    canvas.rectangle(0, 0, 640, 30, (236, 232, 224))
    for x in (90, 250, 410, 570):
        canvas.ellipse(x, 24, 26, 6, (255, 250, 226))
    for pane in range(4):
        x = 26 + pane * 52
        canvas.gradient(x, 58, x + 46, 212, (158, 196, 216), (204, 220, 214))
        canvas.rectangle(x, 132, x + 46, 135, (120, 108, 96))
    canvas.ellipse(60, 206, 34, 16, (104, 142, 92))
    canvas.ellipse(168, 208, 40, 14, (96, 134, 86))
    canvas.rectangle(20, 208, 236, 214, (140, 124, 106))
    canvas.gradient(0, 226, 640, 360, (166, 148, 126), (120, 106, 92))
    for row in range(4):
        y = 232 + row * row * 11
        canvas.rectangle(0, y, 640, y + 1 + row * 0.5, (142, 126, 108))
    for column in range(-6, 7):
        canvas.line(320 + column * 46, 226, 320 + column * 120, 360, 1.2, (142, 126, 108))
    canvas.gradient(330, 70, 600, 196, (120, 86, 62), (98, 70, 50))
    canvas.rectangle(420, 92, 510, 122, (238, 232, 218))
    canvas.rectangle(430, 102, 500, 112, (36, 112, 128))
    canvas.polygon([(330, 186), (590, 186), (604, 198), (318, 198)], (226, 220, 208))
    canvas.gradient(322, 198, 600, 262, (150, 110, 78), (112, 80, 56))
    for panel in range(5):
        canvas.rectangle(332 + panel * 54, 208, 336 + panel * 54, 258, (98, 70, 50))
    canvas.rectangle(466, 158, 506, 186, (40, 44, 50))
    canvas.rectangle(482, 184, 490, 190, (40, 44, 50))
    canvas.polygon([(266, 214), (294, 214), (290, 246), (270, 246)], (146, 84, 60))
    for lean in (-26, -14, 0, 14, 26):
        canvas.line(280, 216, 280 + lean, 150 + abs(lean), 7, (66, 116, 70))
    canvas.gradient(20, 268, 150, 316, (84, 110, 124), (62, 84, 96))
    canvas.rectangle(14, 254, 156, 276, (96, 124, 138))


SCENES: Final = (
    Scene(
        "Cổng chính",
        "CAM 1 GATE",
        _gate,
        (
            walker(11, (250, 262, 74), (420, 330, 108), (58, 92, 140)),
            car(17, 326, 190, (172, 52, 48), phase=0.35),
            barrier(17, (196, 236), 190),
        ),
    ),
    Scene(
        "Hành lang tầng 1",
        "CAM 2 CORRIDOR",
        _corridor,
        (
            walker(9, (334, 218, 56), (430, 352, 250), (196, 198, 204)),
            walker(13, (304, 222, 62), (212, 330, 196), (70, 118, 96), phase=0.6),
        ),
    ),
    Scene(
        "Sân trước",
        "CAM 3 YARD",
        _yard,
        (
            walker(14, (60, 256, 62), (560, 248, 58), (188, 120, 46)),
            car(12, 312, 150, (52, 88, 136)),
            walker(15, (600, 350, 92), (80, 344, 88), (120, 60, 96), phase=0.3),
        ),
    ),
    Scene(
        "Sảnh tiếp đón",
        "CAM 4 LOBBY",
        _lobby,
        (
            walker(10, (40, 262, 98), (300, 288, 116), (150, 60, 58)),
            walker(16, (600, 300, 124), (200, 340, 150), (60, 74, 110), phase=0.5),
        ),
    ),
)
