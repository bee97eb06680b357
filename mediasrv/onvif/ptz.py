"""Moving a camera (ONVIF PTZ service): what it can do, and requests for it. Pure.

Vectors lie between -1 and 1 in the generic spaces, which every camera has and which are meant where none is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from xml.etree.ElementTree import Element

from mediasrv.errors import CameraError
from mediasrv.onvif.envelope import find, find_all, local_name, text_of
from mediasrv.onvif.values import clean_text

MOST_PRESETS: Final = 300


class Move(StrEnum):
    """The values are part of the API."""

    CONTINUOUS = "continuous"
    RELATIVE = "relative"
    ABSOLUTE = "absolute"


_OPERATIONS: Final = {
    # operation, what its vector is called, what its spaces are called
    Move.CONTINUOUS: ("ContinuousMove", "Velocity", "Velocity"),
    Move.RELATIVE: ("RelativeMove", "Translation", "Translation"),
    Move.ABSOLUTE: ("AbsoluteMove", "Position", "Position"),
}


@dataclass(frozen=True, slots=True)
class Vector:
    """None leaves pan and tilt, or zoom, as they are."""

    pan_tilt: tuple[float, float] | None = None
    zoom: float | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """What of a vector a camera can follow."""

    pan_tilt: bool
    zoom: bool


@dataclass(frozen=True, slots=True)
class PtzAbility:
    """`profile` is the token through which the camera is moved. A move it cannot make is not in `moves`."""

    profile: str
    moves: Mapping[Move, Axes]


@dataclass(frozen=True, slots=True)
class Preset:
    token: str
    name: str


def parse_nodes(answer: Element) -> Mapping[Move, Axes]:
    """What the nodes of a GetNodes answer can do together; everything where they name no space at all."""
    nodes = list(find_all(answer, "PTZNode"))
    supported = [find(node, "SupportedPTZSpaces") for node in nodes]
    spaces = {local_name(space) for one in supported if one is not None for space in one}
    if nodes and not spaces:
        return MappingProxyType(dict.fromkeys(Move, Axes(True, True)))
    found: dict[Move, Axes] = {}
    for move, (_, _, quantity) in _OPERATIONS.items():
        kind = move.capitalize()
        axes = Axes(f"{kind}PanTilt{quantity}Space" in spaces, f"{kind}Zoom{quantity}Space" in spaces)
        if axes.pan_tilt or axes.zoom:
            found[move] = axes
    return MappingProxyType(found)


def build_move(ability: PtzAbility, move: Move, vector: Vector, stop_after_s: float) -> tuple[str, dict[str, Any]]:
    """Operation and parameters. `stop_after_s` is after how long the camera stops a continuous move by itself.

    Raises CameraError (`ptz_unsupported`) for a move that this camera cannot make.
    """
    axes = ability.moves.get(move, Axes(False, False))
    operation, name, _ = _OPERATIONS[move]
    parts: dict[str, Any] = {}
    if vector.pan_tilt is not None and axes.pan_tilt:
        parts["PanTilt"] = {"x": vector.pan_tilt[0], "y": vector.pan_tilt[1]}
    if vector.zoom is not None and axes.zoom:
        parts["Zoom"] = {"x": vector.zoom}
    if not parts:
        raise CameraError("The camera cannot move in this way.", code="ptz_unsupported")
    parameters: dict[str, Any] = {"ProfileToken": ability.profile, name: parts}
    if move is Move.CONTINUOUS:
        parameters["Timeout"] = timedelta(seconds=max(1, round(stop_after_s)))  # many take whole seconds only
    return operation, parameters


def parse_presets(answer: Element) -> list[Preset]:
    """Those that have a token; a preset without a name is called by its token."""
    found: list[Preset] = []
    for raw in find_all(answer, "Preset"):
        token = raw.get("token", "")
        if token and len(found) < MOST_PRESETS:
            found.append(Preset(token, clean_text(text_of(raw, "Name")) or clean_text(token)))
    return found
