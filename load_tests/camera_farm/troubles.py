"""What is wrong with a camera at the moment: set by faults, asked by its doors and sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from load_tests.camera_farm.rtsp.line import LineTroubles


@dataclass(frozen=True, slots=True)
class Redirect:
    """`status` such as `302 Moved Temporarily`; `urls` take the place of those of the streams."""

    status: str
    urls: dict[str, str]


@dataclass(slots=True)
class OnvifTroubles:
    """`broken` and `missing` name services; `bomb` is a kind of oversized answer, empty for none.

    `only` limits delay and bomb to operations of these names; empty means all.
    """

    delay_s: float = 0.0
    undeclared: bool = False
    broken: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    bomb: str = ""
    only: frozenset[str] = frozenset()


@dataclass(slots=True)
class Troubles:
    """Nothing is wrong by default."""

    line: LineTroubles = field(default_factory=LineTroubles)
    onvif: OnvifTroubles = field(default_factory=OnvifTroubles)
    wrong_password: bool = False
    status: str | None = None
    accept_delay_s: float = 0.0
    answer_delay_s: float = 0.0
    most_sessions: int | None = None
    refused_transports: frozenset[str] = frozenset()
    redirect: Redirect | None = None
    stalled: frozenset[str] = frozenset()
    """Kinds of media that sessions yet to come do not get either."""
    wrap: tuple[float, int] | None = None
    """Sessions yet to come wrap their timestamps after seconds, their sequence numbers after packets."""
