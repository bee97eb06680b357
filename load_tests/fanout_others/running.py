"""A server that is being measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """`url` takes what `signalling` names; `prefix` goes before the commands of its viewers."""

    pid: int
    url: str
    signalling: str = "whep"
    prefix: tuple[str, ...] = ()
    stats_url: str = ""
    """Where mediasrv's own counters are; others have none."""
