"""Queries of retention policies: rows of places and cameras, and what stands above a camera in the tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from mediasrv.catalogue.places import paths_of_cameras
from mediasrv.catalogue.tables import retention_policy
from mediasrv.clock import from_us


class Subject(NamedTuple):
    """What a policy is of."""

    kind: Literal["camera", "place"]
    subject_id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject_id}"


def parse_subject(text: str) -> Subject:
    kind, _, subject_id = text.partition(":")
    return Subject("camera" if kind == "camera" else "place", subject_id)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a policy says; None is inherited, 0 is no bound. `keep_events`: days by kind of event."""

    max_age_days: int | None = None
    max_size_bytes: int | None = None
    keep_events: Mapping[str, int] = field(default_factory=dict)
    event_before_s: int | None = None
    event_after_s: int | None = None


def read_policies(connection: Connection) -> dict[Subject, Bounds]:
    """All that were ever set and not taken back."""
    return {
        parse_subject(row.subject): Bounds(
            row.max_age_days, row.max_size_bytes, row.keep_events, row.event_before_s, row.event_after_s
        )
        for row in connection.execute(select(retention_policy))
    }


def set_policy(connection: Connection, subject: Subject, bounds: Bounds, by: str, now_us: int) -> None:
    """In place of the one there was."""
    clear_policy(connection, subject)
    values: dict[str, Any] = {
        "subject": str(subject),
        "max_age_days": bounds.max_age_days,
        "max_size_bytes": bounds.max_size_bytes,
        "keep_events": dict(bounds.keep_events),
        "event_before_s": bounds.event_before_s,
        "event_after_s": bounds.event_after_s,
        "set_by": by,
        "set_at": from_us(now_us),
    }
    connection.execute(insert(retention_policy).values(values))


def clear_policy(connection: Connection, subject: Subject) -> None:
    """Where there is none that is no error."""
    connection.execute(delete(retention_policy).where(retention_policy.c.subject == str(subject)))


def subjects_of_cameras(connection: Connection, camera_id: str | None = None) -> dict[str, Sequence[Subject]]:
    """Whose policies count for each camera ever added, the nearest first: its own, then its places up to the root."""
    paths = paths_of_cameras(connection, camera_id)
    return {one: subjects(one, path) for one, path in paths.items()}


def subjects(camera_id: str | None, place_path: str) -> Sequence[Subject]:
    """Of a camera at a place, or of the place alone."""
    places = [Subject("place", one) for one in reversed(place_path.rstrip("/").split("/"))]
    return places if camera_id is None else [Subject("camera", camera_id), *places]
