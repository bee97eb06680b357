"""Subscribers of the hub that keep what they are given."""

from __future__ import annotations

from mediasrv.media.access_unit import AccessUnit, Session, TrackKind


class Viewer:
    """An `AccessUnitSink`."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []
        self.ended: list[str] = []
        """The reasons."""

    def on_access_unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def on_session_ended(self, session: Session, reason: str) -> None:
        self.ended.append(reason)

    def of(self, kind: TrackKind) -> list[AccessUnit]:
        return [unit for unit in self.units if unit.format.kind is kind]
