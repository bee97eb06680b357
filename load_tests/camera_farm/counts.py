"""What a camera counts of those who call it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class CallCounts:
    """`auth_failures` are requests whose credentials were refused, by door (`rtsp`, `onvif`, `snapshot`): neither those
    that carried none nor those with a stale nonce."""

    rtsp: Counter[str] = field(default_factory=Counter)
    onvif: Counter[str] = field(default_factory=Counter)
    auth_failures: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    client_answers: int = 0
    snapshots: int = 0

    def describe(self) -> dict[str, Any]:
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in self._items()}

    def _items(self) -> list[tuple[str, Any]]:
        return [(one.name, getattr(self, one.name)) for one in dataclasses.fields(self)]
