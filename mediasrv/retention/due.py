"""The plan of one camera out of the catalogue: what is due now, and what a change of policy would delete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from mediasrv.catalogue import camera_events, footage_queries
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.retention.plan import Planned, Policy, Reason, plan


@dataclass(slots=True)
class Preview:
    """What would go of one camera. `footage_us` is the sum of the objects' lengths; `complete` is False where there
    was more than could be looked at.
    """

    objects: int = 0
    size_bytes: int = 0
    footage_us: int = 0
    oldest_us: int | None = None
    newest_us: int | None = None
    held_objects: int = 0
    held_bytes: int = 0
    complete: bool = True

    def add(self, planned: Planned) -> None:
        row, reason = planned
        if reason is Reason.HELD:
            self.held_objects += 1
            self.held_bytes += row.size_bytes
            return
        self.objects += 1
        self.size_bytes += row.size_bytes
        self.footage_us += row.ended_us - row.started_us
        self.oldest_us = row.started_us if self.oldest_us is None else self.oldest_us
        self.newest_us = max(self.newest_us or 0, row.ended_us)

    def join(self, other: Preview) -> None:
        """Adds what would go of another camera."""
        self.objects += other.objects
        self.size_bytes += other.size_bytes
        self.footage_us += other.footage_us
        self.held_objects += other.held_objects
        self.held_bytes += other.held_bytes
        self.complete = self.complete and other.complete
        if other.oldest_us is not None and other.newest_us is not None:
            self.oldest_us = min(other.oldest_us, self.oldest_us or other.oldest_us)
            self.newest_us = max(other.newest_us, self.newest_us or 0)


def due(
    connection: Connection, camera_id: str, policy: Policy, now_us: int, limit: int, *, by_age: bool = True
) -> list[tuple[str, str]]:
    """(object id, reason) of the `limit` oldest objects that go now. Without `by_age` only a camera that is over its
    bound by size is looked at.
    """
    found: list[tuple[str, str]] = []
    for planned in _plan(connection, camera_id, policy, now_us, by_age):
        if planned.reason is not Reason.HELD:
            found.append((planned.row.object_id, str(planned.reason)))
            if len(found) >= limit:
                break
    return found


def preview(connection: Connection, camera_id: str, policy: Policy, now_us: int, most_objects: int) -> Preview:
    """What the policy would delete of the camera now."""
    seen = Preview()
    for planned in _plan(connection, camera_id, policy, now_us, True):
        if seen.objects + seen.held_objects >= most_objects:
            seen.complete = False
            break
        seen.add(planned)
    return seen


def _plan(connection: Connection, camera_id: str, policy: Policy, now_us: int, by_age: bool) -> Iterator[Planned]:
    stored_bytes = footage_queries.stored_bytes(connection, camera_id) if policy.max_size_bytes else 0
    expired_before_us = policy.expired_before_us(now_us)
    over = stored_bytes > policy.max_size_bytes
    if not over and (expired_before_us is None or not by_age):
        return iter(())
    rows = footage_queries.planned_rows(connection, camera_id, None if over else expired_before_us)
    return plan(
        rows,
        policy,
        footage_queries.active_holds(connection, camera_id, now_us),
        now_us,
        stored_bytes,
        footage_queries.newest_objects(connection, camera_id),
        _event_spans(connection, camera_id, policy, now_us),
    )


def _event_spans(connection: Connection, camera_id: str, policy: Policy, now_us: int) -> dict[str, list[Span]]:
    longer = policy.longer_kinds()
    if not longer:
        return {}
    since_us = now_us - round(max(seconds for _, seconds in longer) * SECOND_US) - footage_queries.LONGEST_OBJECT_US
    return camera_events.event_spans(connection, camera_id, [kind for kind, _ in longer], max(0, since_us))
