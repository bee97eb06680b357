"""Lives of a catalogue: it begins a new one whenever it is rebuilt, restored or moved.

Epochs hold the generation (docs/architecture.md), so that none comes twice. After a rebuild or a restore retention
waits for a person: a hold that is missing from the catalogue would let evidence be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, exists, func, insert, select, update

from mediasrv.catalogue.spans import Span
from mediasrv.catalogue.tables import generation, node, recording, session
from mediasrv.clock import from_us, to_us
from mediasrv.errors import Conflict
from mediasrv.media.access_unit import StreamName, StreamRef

FIRST: Final = "first"


class Unconfirmed(NamedTuple):
    """The present life, which nobody has confirmed yet: `reason` is `rebuild` or `restore`."""

    reason: str
    since_us: int


def raise_generation(connection: Connection, reason: str, now_us: int) -> int:
    """The new generation. A life that was begun for the same reason and is not confirmed yet goes on."""
    newest = connection.execute(
        select(generation.c.generation, generation.c.reason, generation.c.confirmed_at)
        .order_by(generation.c.generation.desc())
        .limit(1)
    ).one_or_none()
    if newest is not None and newest.reason == reason and newest.confirmed_at is None:
        return int(newest.generation)
    # Two, not one, where nothing is known: the lost catalogue had the first.
    number = (1 if newest is None else newest.generation) + 1
    connection.execute(insert(generation).values(generation=number, at=from_us(now_us), reason=reason))
    return number


def find_unconfirmed(connection: Connection) -> Unconfirmed | None:
    query = (
        select(generation.c.reason, generation.c.at)
        .where(generation.c.confirmed_at.is_(None), generation.c.reason != FIRST)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Unconfirmed(row.reason, to_us(row.at))


def confirm(connection: Connection, by: str, now_us: int) -> None:
    """A person has looked at the holds. Raises Conflict `nothing_to_confirm`."""
    values = {"confirmed_at": from_us(now_us), "confirmed_by": by}
    which = (generation.c.confirmed_at.is_(None), generation.c.reason != FIRST)
    if connection.execute(update(generation).where(*which).values(values)).rowcount == 0:
        raise Conflict("Nothing waits to be confirmed.", code="nothing_to_confirm")


def register_nodes(connection: Connection, nodes: Mapping[str, bytes], now_us: int) -> None:
    """Their public keys, so that what they signed is believed. Raises Conflict for another key than the known one."""
    for node_id, public_key in nodes.items():
        known = connection.execute(select(node.c.public_key).where(node.c.node_id == node_id)).scalar_one_or_none()
        if known is None:
            values = {"node_id": node_id, "public_key": public_key, "registered_at": from_us(now_us)}
            connection.execute(insert(node).values(values))
        elif known != public_key:
            raise Conflict(f"Node {node_id} is registered with another key.", code="node_key_changed")


def was_recorded_into(connection: Connection) -> bool:
    """Whether a server has put recordings of its own into this catalogue; what was rebuilt is `late`."""
    return bool(connection.execute(select(exists().where(recording.c.status == "live"))).scalar_one())


def recorded_spans(connection: Connection) -> list[tuple[StreamRef, Span]]:
    """What sessions recorded, from their first keyframe to their end; of one without an end, to its last recording."""
    last = select(func.max(recording.c.ended_at)).where(recording.c.session_id == session.c.session_id)
    query = select(
        session.c.camera_id,
        session.c.stream,
        session.c.first_keyframe_at,
        func.coalesce(session.c.ended_at, last.scalar_subquery()),
    ).where(session.c.first_keyframe_at.is_not(None))
    return [
        (StreamRef(camera_id, StreamName(stream)), Span(to_us(started_at), to_us(ended_at)))
        for camera_id, stream, started_at, ended_at in connection.execute(query)
        if ended_at is not None and ended_at > started_at
    ]
