"""The head of a PTZ camera: where it looks, and how it moves. Pure: `now` (seconds, monotonic) is an argument.

Positions are ONVIF's generic spaces: pan and tilt from -1 to 1, zoom from 0 to 1; speeds are shares of the fastest,
which crosses one unit in TRAVEL_S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

TRAVEL_S: Final = 1.0
AXES: Final = {"pan": (-1.0, 1.0), "tilt": (-1.0, 1.0), "zoom": (0.0, 1.0)}
Position = dict[str, float]
"""By axis; axes that a request leaves out are left out here, too."""


@dataclass(slots=True)
class Axis:
    """Stands at `start` since `since`, or moves from there to `target`, units a second, until `until`."""

    low: float
    high: float
    start: float = 0.0
    target: float = 0.0
    speed: float = 0.0
    since: float = 0.0
    until: float = math.inf

    def position(self, now: float) -> float:
        way = self.speed * max(0.0, min(now, self.until) - self.since)
        return min(self.start + way, self.target) if self.target >= self.start else max(self.start - way, self.target)

    def is_moving(self, now: float) -> bool:
        return now < self.until and self.speed > 0 and self.position(now) != self.target

    def go(self, target: float, speed: float, now: float, until: float = math.inf) -> None:
        self.start = self.position(now)
        self.target = min(max(target, self.low), self.high)
        self.speed, self.since, self.until = abs(speed) / TRAVEL_S, now, until


@dataclass(slots=True)
class PtzHead:
    """Presets by token: name and position."""

    axes: dict[str, Axis] = field(default_factory=lambda: {name: Axis(*limits) for name, limits in AXES.items()})
    presets: dict[str, tuple[str, Position]] = field(default_factory=dict)

    def position(self, now: float) -> Position:
        return {name: axis.position(now) for name, axis in self.axes.items()}

    def moving(self, now: float) -> dict[str, bool]:
        return {name: axis.is_moving(now) for name, axis in self.axes.items()}

    def continuous(self, velocity: Position, timeout_s: float, now: float) -> None:
        for name, speed in velocity.items():
            axis = self.axes[name]
            axis.go(axis.high if speed > 0 else axis.low, speed, now, now + timeout_s)

    def absolute(self, position: Position, speed: Position, now: float) -> None:
        for name, target in position.items():
            self.axes[name].go(target, speed.get(name, 1.0), now)

    def relative(self, way: Position, speed: Position, now: float) -> None:
        here = self.position(now)
        self.absolute({name: here[name] + step for name, step in way.items()}, speed, now)

    def stop(self, axes: set[str], now: float) -> None:
        for name in axes:
            self.axes[name].go(self.axes[name].position(now), 0.0, now)

    def set_preset(self, token: str, name: str, now: float) -> str:
        """Keeps where it looks now. An empty token makes a new preset, whose token is returned."""
        known = (f"preset-{number}" for number in range(1, len(self.presets) + 2))
        token = token or next(candidate for candidate in known if candidate not in self.presets)
        self.presets[token] = (name or self.presets.get(token, (token,))[0], self.position(now))
        return token
