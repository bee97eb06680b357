"""Retention: deletes footage that its policy no longer covers, never early, never under a hold.

`plan` decides, purely; `RetentionTask` carries out, in the order of steps that a crash between any two
of them leaves repairable (docs/architecture.md):

    1. one transaction: garbage rows, recording rows gone, gap rows with the cause `retention`, outbox
    2. DELETE of the objects' versions in the bucket, many in one request
    3. one transaction: garbage rows gone, entry in the access log
    4. a data key that neither recording, garbage nor spool needs: out of the key bucket, then out of the catalogue
    5. a signed receipt of what the access log says was destroyed since the last one

Events of cameras go when no footage is kept for their sake, and stay under the same holds; they lie in the catalogue
alone. Each round begins with what an earlier one left. The task deletes nothing while the wall clock has jumped
against monotonic time. Where storage locks objects, holds become legal holds of their versions.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from mediasrv.catalogue import (
    Catalogue,
    camera_events,
    data_keys,
    footage_queries,
    generations,
    holds,
    partitions,
)
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.policies import Subject, read_policies, subjects_of_cameras
from mediasrv.clock import DAY_US, SECOND_US, Clock, from_us
from mediasrv.errors import MediasrvError, StorageError
from mediasrv.retention.clock_guard import ClockGuard
from mediasrv.retention.due import due
from mediasrv.retention.plan import Policy
from mediasrv.retention.policies import Defaults, effective
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.security.receipts import Receipts
from mediasrv.settings import RetentionSettings
from mediasrv.storage.keys import KeyRecord, parse_key_record

log = logging.getLogger(__name__)

KEY_MARGIN_S: Final = 3600
"""A period's key is looked at so long after its period: the object that was open at its end has ended by then."""

SWEEP_S: Final = 3600
_EMPTY_AFTER_US: Final = 2 * DAY_US
"""A day without a row is given up so long after it: what waits in a spool may still come."""
REFUSED: Final = frozenset({"storage_refused"})
"""What storage says of one object that is locked; anything else says that storage itself is away."""

EVENTS_PLAN_S: Final = 3600.0
"""A camera whose events keep footage is planned in whole so often by age: what they keep must be walked past."""

_BEGINNING: Final = (0, "")
_BATCHES_A_PLAN: Final = 20
_MOST_BACKOFF_S: Final = 600.0


class ObjectDeleter(Protocol):
    """What retention needs of the object store. To delete what is not there is no error."""

    async def delete_many(self, objects: Sequence[tuple[str, str | None]]) -> list[StorageError | None]:
        """Deletes (key, version) pairs from the bucket of recordings: for each what went wrong. Raises StorageError
        where none was tried.
        """

    async def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """Of a version in the bucket of recordings. Raises StorageError."""

    async def delete(self, key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        """Deletes that version; without `bucket` from the one of recordings. Raises StorageError."""


class Condition(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    FAILING = "failing"


@dataclass(slots=True)
class RetentionState:
    """`code` is `clock_jumped` or `holds_unconfirmed` while paused, an error's code while failing, else empty."""

    condition: Condition = Condition.IDLE
    code: str = ""
    last_round_us: int | None = None
    deleted_objects: int = 0
    deleted_bytes: int = 0
    destroyed_keys: int = 0
    waiting_garbage: int = 0


class RetentionTask:
    """Carries out the policies of all cameras, the ones out of service too, every `interval_s`.

    `keys_in_use` names the data keys of objects in the spool: the spool must be open before `run` starts,
    or keys of footage that is still to be stored would be destroyed. Without `receipts` none is written: what was
    destroyed is in the access log, from which whoever writes the next receipt takes it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        object_store: ObjectDeleter,
        key_bucket: str,
        keys_in_use: Callable[[], Collection[str]],
        access_log: AccessLog,
        clock: Clock,
        settings: RetentionSettings,
        defaults: Defaults,
        receipts: Receipts | None = None,
    ) -> None:
        self.state = RetentionState()
        self._catalogue = catalogue
        self._store = object_store
        self._key_bucket = key_bucket
        self._keys_in_use = keys_in_use
        self._access_log = access_log
        self._clock = clock
        self._settings = settings
        self._defaults = defaults
        self._receipts = receipts
        self._planned_at: dict[str, float] = {}
        self._guard = ClockGuard(settings.clock_jump_s, clock.wall_us(), clock.monotonic())
        self._sweep_at = clock.monotonic()

    async def run(self) -> None:
        """Rounds until cancelled. A round that fails is tried again, later each time, and never ends the task."""
        pause_s = self._settings.interval_s
        while True:
            try:
                await self.round()
                pause_s = self._settings.interval_s
            except MediasrvError as error:
                log.warning("retention: %s", error.sentence)
                pause_s = self._failed(error.code, pause_s)
            except Exception:
                log.exception("retention: a round failed")
                pause_s = self._failed("internal_error", pause_s)
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))  # noqa: S311 - jitter

    async def round(self) -> None:
        """One pass over everything. Raises StorageError where storage is away; all that was begun is kept."""
        if self._is_paused() or await self._is_unconfirmed():
            return
        self.state.condition, self.state.code = Condition.RUNNING, ""
        if self._clock.monotonic() >= self._sweep_at:
            await self.sweep()
        if self._defaults.lock_days:
            await self._follow_holds()
        policies = await self._catalogue.read(self._policies)
        for camera_id in await self._catalogue.read(footage_queries.cameras_with_footage):
            await self._expire(camera_id, policies.get(camera_id) or self._policy_of(camera_id))
        await self._expire_events(policies)
        self.state.waiting_garbage = await self._catalogue.read(footage_queries.count_garbage)
        if self._receipts is not None:
            await self._receipts.write_due()
        if self.state.condition is Condition.RUNNING:
            self.state.last_round_us = self._clock.wall_us()
            self.state.condition = Condition.IDLE

    def _is_paused(self) -> bool:
        jumped_s = self._guard.jumped_s(self._clock.wall_us(), self._clock.monotonic())
        if jumped_s and self.state.condition is not Condition.PAUSED:
            log.error("retention is paused: the clock has jumped by %.0f s", jumped_s)
        if jumped_s:
            self.state.condition, self.state.code = Condition.PAUSED, "clock_jumped"
        return bool(jumped_s)

    async def _is_unconfirmed(self) -> bool:
        """After a rebuild or a restore nothing is deleted before a person has looked at the holds."""
        waiting = await self._catalogue.read(generations.find_unconfirmed) is not None
        if waiting:
            if self.state.code != "holds_unconfirmed":
                log.error("retention waits: the holds are to be confirmed (mediasrv retention confirm)")
            self.state.condition, self.state.code = Condition.PAUSED, "holds_unconfirmed"
        return waiting

    def _failed(self, code: str, pause_s: float) -> float:
        self.state.condition, self.state.code = Condition.FAILING, code
        return max(self._settings.interval_s, min(2 * pause_s, _MOST_BACKOFF_S))

    def _policies(self, connection: Connection, camera_id: str | None = None) -> dict[str, Policy]:
        """Of each camera ever added, or of one."""
        rows = read_policies(connection)
        chains = subjects_of_cameras(connection, camera_id)
        return {one: effective(chain, rows, self._defaults).policy for one, chain in chains.items()}

    def _policy_of(self, camera_id: str) -> Policy:
        """Of footage of a camera that this catalogue has never known."""
        return effective([Subject("camera", camera_id)], {}, self._defaults).policy

    async def _expire(self, camera_id: str, policy: Policy) -> None:
        """Plans and deletes until nothing of this camera is due."""
        by_age = not policy.longer_kinds() or self._clock.monotonic() >= self._planned_at.get(camera_id, 0.0)
        most = _BATCHES_A_PLAN * self._settings.batch
        while True:
            now_us = self._clock.wall_us()
            found = await self._catalogue.read(due, camera_id, policy, now_us, most, by_age=by_age)
            for first in range(0, len(found), self._settings.batch):
                if self._is_paused():
                    return
                if not await self._delete(camera_id, policy, found[first : first + self._settings.batch], now_us):
                    return
            if len(found) < most:
                break
        if by_age:
            self._planned_at[camera_id] = self._clock.monotonic() + EVENTS_PLAN_S

    async def _delete(self, camera_id: str, policy: Policy, batch: Sequence[tuple[str, str]], now_us: int) -> bool:
        """False where none of them may go after all: a hold was placed or the policy changed since the plan."""

        def mark(connection: Connection) -> list[StoredObject]:
            if self._policies(connection, camera_id).get(camera_id, policy) != policy:
                return []
            return footage_queries.mark_garbage(connection, batch, now_us)

        going = await self._catalogue.write(mark)
        if going:
            await self._finish(going)
            await asyncio.sleep(self._settings.batch_pause_s)
        return bool(going)

    async def _expire_events(self, policies: Mapping[str, Policy]) -> None:
        """Deletes what cameras told longer ago than footage is kept for its sake, batch by batch."""
        while not self._is_paused():
            now_us = self._clock.wall_us()
            kept_s = {camera_id: policy.events_until_s() for camera_id, policy in policies.items() if policy.max_age_s}
            before_us = {camera_id: now_us - round(seconds * SECOND_US) for camera_id, seconds in kept_s.items()}
            limit = self._settings.batch
            if await self._catalogue.write(camera_events.expire_events, before_us, now_us, limit) < limit:
                return

    async def delete_under(self, key_id: str, reason: str, cause: str, username: str) -> int:
        """Deletes what of the objects under a data key nobody holds, now, by order of a person; how many went.

        What an earlier call left is finished, too. The key stays. Raises StorageError.
        """
        doomed = [(object_id, reason) for object_id in await self._catalogue.read(data_keys.object_ids, key_id)]
        now_us, batch, deleted = self._clock.wall_us(), self._settings.batch, 0
        for first in range(0, len(doomed), batch):
            await self._catalogue.write(footage_queries.mark_garbage, doomed[first : first + batch], now_us, cause)
        while going := await self._catalogue.read(footage_queries.garbage_under, key_id, batch):
            gone = await self._delete_objects(going)
            for camera_id in sorted({one.ref.camera_id for one in gone}):
                await self._forget(camera_id, [one for one in gone if one.ref.camera_id == camera_id], username)
            deleted += len(gone)
            if len(gone) < len(going):
                break  # storage has locked some
        return deleted

    async def _follow_holds(self) -> None:
        """Gives the versions of held objects a legal hold, and takes it from those that nothing holds any more."""
        while True:
            rows = await self._catalogue.read(holds.legal_holds_due, self._clock.wall_us(), self._settings.batch)
            for one, on in rows:
                await self._store.set_legal_hold(one.object_key, one.version_id, on)
            changed = [(one.object_id, on) for one, on in rows]
            await self._catalogue.write(holds.set_legal_holds, changed, self._clock.wall_us())
            if len(rows) < self._settings.batch:
                return

    async def sweep(self) -> None:
        """What earlier rounds left: objects that storage would not let go, unused keys. Raises StorageError.

        And the catalogue's days: those that come, and those that are empty.
        """
        await self._keep_days()
        last = _BEGINNING
        while batch := await self._catalogue.read(footage_queries.garbage_after, last, self._settings.batch):
            await self._finish([stored for _, stored in batch])
            marked_us, newest = batch[-1]
            last = (marked_us, newest.object_id)
        await self._destroy_keys(None)
        self._sweep_at = self._clock.monotonic() + SWEEP_S

    async def _keep_days(self) -> None:
        now_us = self._clock.wall_us()
        try:
            await self._catalogue.write(partitions.make_days, now_us)
            await self._catalogue.write(partitions.drop_empty, now_us - _EMPTY_AFTER_US)
        except OperationalError as error:
            # Somebody holds the table: there are days for a week, and the default partition behind them.
            log.warning("retention: the catalogue's days wait for the next sweep: %s", error)

    async def _finish(self, objects: Sequence[StoredObject]) -> None:
        """The steps after the first, for objects that are garbage. What storage refuses waits for the next sweep,
        so that locked objects hold nobody up.
        """
        gone = await self._delete_objects(objects)
        for camera_id in sorted({one.ref.camera_id for one in gone}):
            await self._forget(camera_id, [one for one in gone if one.ref.camera_id == camera_id])
        await self._destroy_keys({one.key_id for one in gone})

    async def _delete_objects(self, objects: Sequence[StoredObject]) -> list[StoredObject]:
        """Those that are gone from the bucket now. Raises StorageError when storage is not to be reached."""
        outcomes = await self._store.delete_many([(one.object_key, one.version_id) for one in objects])
        failures = [error for error in outcomes if error is not None]
        lost = [error for error in failures if error.code not in REFUSED]
        if lost:
            self._sweep_at = self._clock.monotonic()
        if lost and len(failures) == len(objects):
            raise lost[-1]
        if failures:
            log.warning("retention: %d of %d objects stay for now: %s", len(failures), len(objects), failures[-1])
        return [one for one, error in zip(objects, outcomes, strict=True) if error is None]

    async def _forget(self, camera_id: str, gone: Sequence[StoredObject], username: str = "mediasrv") -> None:
        """Drops the garbage rows of one camera's objects, in one transaction with the entry that says so."""
        size_bytes = sum(one.size_bytes for one in gone)
        detail = {
            "objects": len(gone),
            "size_bytes": size_bytes,
            "start": from_us(min(one.started_us for one in gone)).isoformat(),
            "end": from_us(max(one.ended_us for one in gone)).isoformat(),
        }
        event = Event("retention.deleted", camera_id, username=username, detail=detail)
        await self._access_log.write(event, footage_queries.drop_garbage, [one.object_id for one in gone])
        self.state.deleted_objects += len(gone)
        self.state.deleted_bytes += size_bytes

    async def _destroy_keys(self, among: Collection[str] | None) -> None:
        """Destroys the wrapped keys that nothing needs any more: of `among`, or of all."""
        if among is not None and not among:
            return
        in_use = self._keys_in_use()
        begun_before_us = self._clock.wall_us() - KEY_MARGIN_S * SECOND_US
        records = await self._catalogue.read(
            footage_queries.unneeded_keys, begun_before_us, self._settings.batch, among
        )
        for key_id, data in records:
            record = parse_key_record(data)
            if key_id not in in_use and record.period_us + record.period_s * SECOND_US < begun_before_us:
                await self._destroy_key(record)

    async def _destroy_key(self, record: KeyRecord) -> None:
        """The bucket's copy first: a crash in between leaves the row, from which the next sweep begins again."""
        await self._store.delete(record.bucket_key, bucket=self._key_bucket)
        detail = {"key_id": record.key_id, "period": from_us(record.period_us).isoformat()}
        subject = f"{record.camera}/{record.stream}"
        event = Event("retention.key_destroyed", subject, username="mediasrv", detail=detail)
        await self._access_log.write(event, footage_queries.destroy_key, record.key_id, self._clock.wall_us())
        self.state.destroyed_keys += 1
