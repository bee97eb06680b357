"""Exports: footage of a case, taken out with proof of where it comes from, for the person who asked.

An export is made once, in the background, and kept for a while so that it can be fetched, in pieces if need be. It
lies sealed on the disk under a key that is in this process alone: it ends with the process, and is plain only in the
hands of whoever fetches it. Whoever loses the right to one of its cameras loses the export.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from mediasrv.catalogue import Catalogue, accounts, export_queries, footage_queries
from mediasrv.catalogue.places import place_of_camera
from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import (
    Conflict,
    InvalidRequest,
    MediasrvError,
    NotFound,
    NotPermitted,
    TooManyRequests,
    Unavailable,
)
from mediasrv.exporting.collect import Collector, Plan
from mediasrv.exporting.manifest import (
    CameraPart,
    Logged,
    Report,
    Wish,
    build_manifest,
    find_missing,
    sign_manifest,
)
from mediasrv.exporting.note import LANGUAGES, build_note
from mediasrv.exporting.package import Package
from mediasrv.exporting.pieces import PieceWriter, memory_file
from mediasrv.media.access_unit import StreamRef
from mediasrv.security.access_log import AccessLog, Event, append_events
from mediasrv.security.head_witness import build_signed_head
from mediasrv.security.policy import Grant, Permission, permitted
from mediasrv.settings import ExportSettings
from mediasrv.storage.footage import Footage
from mediasrv.storage.keys import NodeKey
from mediasrv.verifier import MANIFEST, SIGNATURE

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_S: Final = 2.0
"""How often rights are asked for anew, of exports that are being made and of downloads."""

READ_BYTES: Final = 1 << 20
MOST_KEPT: Final = 200
_RETRY_AFTER_S: Final = 30


class ExportState(StrEnum):
    RUNNING = "running"
    READY = "ready"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Export:
    """One export and how far it is. Times are server wall time in microseconds."""

    export_id: str
    wish: Wish
    started_us: int
    directory: Path
    logged: Logged
    key: bytes = field(repr=False)
    state: ExportState = ExportState.RUNNING
    done_bytes: int = 0
    total_bytes: int = 0
    """Of the objects as they are sealed, whole ones: 0 until it is known, and `done_bytes` at the end."""
    ended_us: int | None = None
    ended_at: float = 0.0
    error: MediasrvError | None = None
    package: Package | None = None
    task: asyncio.Task[None] | None = None
    cancelled_because: MediasrvError | None = None

    @property
    def held_bytes(self) -> int:
        """What it takes on the disk, or will."""
        if self.state is ExportState.RUNNING:
            return self.total_bytes
        return self.package.size_bytes if self.package is not None else 0


class Exports:
    """The exports of this process. `run` belongs into the server's task group."""

    def __init__(
        self,
        catalogue: Catalogue,
        footage: Footage,
        access_log: AccessLog,
        node_id: str,
        node_key: NodeKey,
        directory: Path,
        settings: ExportSettings,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._collector = Collector(catalogue, footage)
        self._access_log = access_log
        self._node_id = node_id
        self._node_key = node_key
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._kept: dict[str, Export] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; so are its exports then. What an earlier process left nobody can open: it goes first."""
        await asyncio.to_thread(_make_empty, self._directory)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    await asyncio.sleep(CHECK_S)
                    try:
                        await self._drop_old()
                        await self._end_revoked()
                    except Exception:
                        log.exception("exports could not be looked through")
        finally:
            self._group = None
            await asyncio.to_thread(_make_empty, self._directory)

    def check(self, wish: Wish) -> None:
        """Raises InvalidRequest for what is never exported, TooManyRequests `exports_full` while too many are made."""
        most_s = self._settings.most_span_s
        if wish.span.end_us - wish.span.start_us > most_s * SECOND_US:
            raise InvalidRequest(f"An export covers at most {most_s / 3600:g} hours.", code="span_too_long")
        if len(wish.camera_ids) > self._settings.most_cameras:
            raise InvalidRequest(
                f"An export has at most {self._settings.most_cameras} cameras.", code="too_many_cameras"
            )
        running = [one for one in self._kept.values() if one.state is ExportState.RUNNING]
        if len(running) >= self._settings.at_once:
            raise TooManyRequests(
                f"{len(running)} exports are being made: wait for one to end, or cancel it.",
                code="exports_full",
                retry_after_s=_RETRY_AFTER_S,
            )
        if self._group is None:
            raise Unavailable("Exports are not ready yet.", code="export_not_here")

    async def start(self, wish: Wish) -> Export:
        """The access is in the log when it returns, and footage is read after that only. Raises as `check` does."""
        self.check(wish)
        export_id = secrets.token_hex(8)
        logged = await self._log_start(export_id, wish)
        self.check(wish)  # others came while the entry was written
        directory = self._directory / export_id
        export = Export(export_id, wish, self._clock.wall_us(), directory, logged, secrets.token_bytes(32))
        self._kept[export_id] = export
        group = self._group
        if group is None:
            raise Unavailable("Exports are not ready yet.", code="export_not_here")
        export.task = group.create_task(self._run(export), name=f"export {export_id}")
        return export

    def list(self, principal_id: str) -> Sequence[Export]:
        """Those of one principal, the newest first."""
        return [one for one in reversed(self._kept.values()) if one.wish.principal_id == principal_id]

    def get(self, export_id: str, principal_id: str) -> Export:
        """Raises NotFound `export_not_found` for one that is not theirs, too."""
        found = self._kept.get(export_id)
        if found is None or found.wish.principal_id != principal_id:
            raise NotFound("There is no such export, or it was removed.", code="export_not_found")
        return found

    async def remove(self, export: Export) -> None:
        """Ends it and its downloads, and removes what there is of it. Returns when that is gone."""
        await self._end(export, None)
        self._kept.pop(export.export_id, None)

    async def may_read(self, export: Export) -> bool:
        """Whether its owner still may export each of its cameras."""
        wish = export.wish
        return await self._catalogue.read(_may_export, wish.principal_id, wish.camera_ids, self._clock.wall_us())

    async def read(self, export: Export, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` up to `end` of the ZIP. Raises Conflict `export_not_ready`, NotPermitted when the right is lost
        meanwhile, NotFound when the export is removed, FootageRefused.
        """
        if export.package is None:
            raise Conflict("The export is not ready.", code="export_not_ready")
        reader = export.package.open()
        checked_at = self._clock.monotonic()
        try:
            while start < end:
                if self._clock.monotonic() - checked_at > CHECK_S:
                    if not await self.may_read(export):
                        raise NotPermitted("The right to this footage has ended.")
                    checked_at = self._clock.monotonic()
                if export.package is None:
                    raise NotFound("The export was removed.", code="export_not_found")
                data = await asyncio.to_thread(reader.read, start, min(READ_BYTES, end - start))
                start += len(data)
                yield data
        finally:
            reader.close()

    # --- making ----------------------------------------------------------------------------------

    async def _log_start(self, export_id: str, wish: Wish) -> Logged:
        detail = {
            "cameras": list(wish.camera_ids),
            "stream": str(wish.stream),
            "start_us": wish.span.start_us,
            "end_us": wish.span.end_us,
            "purpose": wish.purpose,
        }
        event = Event("export.started", export_id, wish.principal_id, wish.username, wish.remote, detail)
        now_us = self._clock.wall_us()
        head = await self._access_log.transact(append_events, [event], now_us)
        return Logged(head, build_signed_head(self._node_id, head, now_us, self._node_key.sign))

    async def _run(self, export: Export) -> None:
        try:
            await self._make(export)
            export.state, export.total_bytes = ExportState.READY, export.done_bytes
        except asyncio.CancelledError:
            export.state, export.error = ExportState.CANCELLED, export.cancelled_because
            raise
        except MediasrvError as error:
            export.state, export.error = ExportState.FAILED, error
            log.warning("export %s failed: %s", export.export_id, error.sentence)
        except Exception:
            export.state, export.error = ExportState.FAILED, MediasrvError("Something went wrong here.")
            log.exception("export %s failed", export.export_id)
        finally:
            export.ended_us, export.ended_at = self._clock.wall_us(), self._clock.monotonic()
            if export.state is not ExportState.READY:
                export.key = b""
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, export.directory, ignore_errors=True))

    async def _make(self, export: Export) -> None:
        wish = export.wish
        plans = [await self._collector.plan(StreamRef(one, wish.stream), wish.span) for one in wish.camera_ids]
        export.total_bytes = sum(plan.size_bytes for plan in plans)
        if not export.total_bytes:
            raise NotFound("Nothing was recorded in this span.", code="no_footage")
        held = sum(one.held_bytes for one in self._kept.values())
        if held > self._settings.most_bytes:
            raise Conflict(
                "There is no room for an export of this size: remove others, or ask for less.", code="export_too_large"
            )
        await asyncio.to_thread(export.directory.mkdir, 0o700)
        writer = PieceWriter(export.directory, export.key, self._settings.local_offset_min)
        try:
            parts = [
                await self._camera(export, writer, camera_id, plan)
                for camera_id, plan in zip(wish.camera_ids, plans, strict=True)
            ]
        finally:
            await asyncio.shield(asyncio.to_thread(writer.abandon))
        export.package = await asyncio.to_thread(self._pack, export, parts, await self._node_keys())

    async def _camera(self, export: Export, writer: PieceWriter, camera_id: str, plan: Plan) -> CameraPart:
        wish = export.wish
        facts = await self._catalogue.read(export_queries.camera_facts, camera_id)
        if facts is None:
            raise NotFound("There is no such camera.", code="camera_not_found")
        async with contextlib.aclosing(self._collector.batches(plan)) as batches:
            async for batch in batches:
                await _finished(asyncio.to_thread(writer.add, facts.name, batch))
                export.done_bytes += batch.size_bytes
        pieces = await _finished(asyncio.to_thread(writer.finish))
        gaps = await self._catalogue.read(footage_queries.gaps, StreamRef(camera_id, wish.stream), wish.span)
        clocks = await self._catalogue.read(export_queries.camera_clocks, {one.session_id for one in pieces})
        missing = find_missing(wish.span, pieces, plan.unreadable, gaps)
        return CameraPart(facts, pieces, missing, plan.unreadable, clocks)

    async def _node_keys(self) -> dict[str, bytes]:
        return await self._catalogue.read(export_queries.node_keys)

    def _pack(self, export: Export, parts: Sequence[CameraPart], node_keys: dict[str, bytes]) -> Package:
        report = Report(
            export.export_id,
            export.wish,
            export.started_us,
            self._clock.wall_us(),
            self._node_id,
            self._node_key.public,
            node_keys,
            export.logged,
            self._settings.local_offset_min,
            parts,
        )
        if not report.files:
            raise NotFound("Nothing of what was recorded in this span can be opened.", code="no_footage")
        notes = [memory_file(f"note.{one}.html", build_note(report, one)) for one in LANGUAGES]
        files = [*report.files, *notes]
        manifest = build_manifest(report, files)
        signature = sign_manifest(report, manifest, self._node_key.sign)
        files += [memory_file(MANIFEST, manifest), memory_file(SIGNATURE, signature)]
        return Package(export.directory, export.key, files)

    # --- ending ----------------------------------------------------------------------------------

    async def _end(self, export: Export, because: MediasrvError | None) -> None:
        if export.task is not None and not export.task.done():
            export.cancelled_because = because
            export.task.cancel()
            await asyncio.wait({export.task})
        export.package, export.key = None, b""
        await asyncio.to_thread(shutil.rmtree, export.directory, ignore_errors=True)

    async def _drop_old(self) -> None:
        ended = [one for one in self._kept.values() if one.state is not ExportState.RUNNING]
        oldest_first = sorted(ended, key=lambda one: one.ended_at)
        too_many = len(self._kept) - MOST_KEPT
        for number, export in enumerate(oldest_first):
            if number < too_many or self._clock.monotonic() - export.ended_at > self._settings.keep_s:
                await self.remove(export)

    async def _end_revoked(self) -> None:
        """What nobody may have any more goes: the rest of it is not made, and what is made is removed."""
        for export in list(self._kept.values()):
            if export.state not in (ExportState.RUNNING, ExportState.READY) or await self.may_read(export):
                continue
            revoked = NotPermitted("The right to this footage has ended.")
            await self._end(export, revoked)
            export.state, export.error = ExportState.CANCELLED, revoked
            wish = export.wish
            event = Event("export.ended", export.export_id, wish.principal_id, wish.username, wish.remote)
            await self._access_log.append(event)


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a thread's work. A caller that is cancelled leaves only when it is done: until then the thread
    writes to the file.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait({task})


def _may_export(connection: Connection, principal_id: str, camera_ids: Sequence[str], now_us: int) -> bool:
    grants = [
        Grant(row.role, row.place_id, row.place_path, row.starts_us, row.ends_us, row.purpose)
        for row in accounts.list_grants(connection, {principal_id})
    ]
    places = [place_of_camera(connection, one) for one in camera_ids]
    return all(
        place is not None and permitted(grants, Permission.FOOTAGE_EXPORT, place.path, now_us) for place in places
    )


def _make_empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
