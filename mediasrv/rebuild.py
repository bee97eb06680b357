"""`mediasrv check --rebuild`: a catalogue out of the bucket alone, where the old one is lost.

    1. nodes that are trusted: this one by its key file, others as they are named on the command line
    2. their journals, in order: places, cameras, sessions, gaps, holds, policies
    3. recording objects: each that a trusted node signed gets its row again, with the status `late`
    4. what a session recorded and neither object nor gap explains becomes a gap `footage_missing`

Every step may be repeated, so a rebuild that was cut off is simply begun again. The generation is raised, so that no
epoch comes twice; and retention deletes nothing until a person has confirmed the holds (`mediasrv retention confirm`).
Accounts, and the access log, are not in the bucket: they come from a backup, or are made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, footage_queries, generations, journalling
from mediasrv.catalogue.footage_queries import SEAM_US
from mediasrv.catalogue.journalling import Head
from mediasrv.catalogue.spans import Span, merge, subtract
from mediasrv.clock import Clock
from mediasrv.errors import Conflict
from mediasrv.journal import Unwrap, read_journal
from mediasrv.media.access_unit import StreamRef
from mediasrv.storage.object_store import ObjectStore

_REPORT_EACH: Final = 100

Progress = Callable[[str], None]


@dataclass(slots=True)
class RebuildReport:
    """What was found. `refused` are segments that are not believed, `broken` such before which others are missing."""

    segments: int = 0
    rows: int = 0
    missing_us: int = 0
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


async def restore_from_journals(
    catalogue: Catalogue,
    store: ObjectStore,
    trusted: Mapping[str, bytes],
    unwrap: Unwrap,
    clock: Clock,
    reason: str,
    say: Progress,
) -> RebuildReport:
    """Steps 1 and 2. Raises Conflict where a server recorded into this catalogue: it is not lost."""
    report = RebuildReport()
    if reason == "rebuild" and await catalogue.read(generations.was_recorded_into):
        raise Conflict("This catalogue has recordings of its own: it is not lost.", code="catalogue_not_empty")
    await catalogue.write(generations.raise_generation, reason, clock.wall_us())
    await catalogue.write(generations.register_nodes, trusted, clock.wall_us())
    for node_id, public_key in trusted.items():
        known = await catalogue.read(journalling.read_journal_head, node_id)
        async for segment in read_journal(store, node_id, public_key, unwrap):
            report.segments += 1
            if segment.refused:
                report.refused.append(f"{segment.key}: {segment.refused}")
                continue
            if known is not None and segment.number <= known.number:
                continue  # a backup has it, or a rebuild that was cut off
            if not segment.follows:
                report.broken.append(f"{segment.key}: segments before it are missing.")
            head = Head(segment.number, segment.hash)
            report.rows += await catalogue.write(
                journalling.replay_segment, node_id, head, segment.entries, clock.wall_us()
            )
            if report.segments % _REPORT_EACH == 0:
                say(f"{report.segments} segments of the journal, {report.rows} rows")
    return report


async def explain_missing(catalogue: Catalogue, report: RebuildReport) -> None:
    """Step 4, after the objects have their rows again."""
    for ref, span in await catalogue.read(generations.recorded_spans):
        report.missing_us += await catalogue.write(_explain, ref, span)


def _explain(connection: Connection, ref: StreamRef, span: Span) -> int:
    covered = footage_queries.coverage(connection, ref, span)
    explained = [
        Span(row.started_us, span.end_us if row.ended_us is None else row.ended_us)
        for row in footage_queries.gaps(connection, ref, span)
    ]
    holes = subtract([span], merge([*covered, *explained], SEAM_US))
    missing = [one for one in holes if one.end_us - one.start_us > SEAM_US]
    if missing:
        footage_queries.add_gap(connection, ref, missing, "footage_missing")
    return sum(one.end_us - one.start_us for one in missing)
