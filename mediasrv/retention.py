"""Retention: deletes footage that its policy no longer covers, never early, never under a hold.

`plan` decides, purely; `RetentionTask` carries out, in the order of steps that a crash between any two
of them leaves repairable (docs/architecture.md):

    1. one transaction: garbage rows, recording rows gone, gap rows with the cause `retention`, outbox
    2. DELETE of each object's version in the bucket
    3. one transaction: garbage rows gone, entry in the access log
    4. a data key that neither recording, garbage nor spool needs: out of the key bucket, then out of the catalogue

Events of cameras go by the same ages, and stay under the same holds; they lie in the catalogue alone.
Each round begins with what an earlier one left. The task deletes nothing while the wall clock has
jumped against monotonic time: a clock that is a year ahead must not empty the archive.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from mediasrv.catalogue import Catalogue, camera_events, data_keys, footage_queries
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US, Clock, from_us
from mediasrv.errors import MediasrvError, StorageError
from mediasrv.security.access_log import AccessLog, Event
from mediasrv.settings import RetentionSettings
from mediasrv.storage.keys import KeyRecord, parse_key_record

log = logging.getLogger(__name__)

DAY_S: Final = 86_400
SETTLE_S: Final = DAY_S
"""A jump of the clock that nobody took back for so long is taken as the truth (a machine that was suspended)."""

KEY_MARGIN_S: Final = 3600
"""A period's key is looked at so long after its period: the object that was open at its end has ended by then."""

SWEEP_S: Final = 3600
REFUSED: Final = frozenset({"storage_refused"})
"""What storage says of one object that is locked; anything else says that storage itself is away."""

_BEGINNING: Final = (0, "")
_PARALLEL_DELETES: Final = 8
_MOST_BACKOFF_S: Final = 600.0


# --- the plan ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of a camera is kept. 0 means no bound, for each of the two."""

    max_age_s: float
    max_size_bytes: int

    def expired_before_us(self, now_us: int) -> int | None:
        """What ended by then is older than the policy allows; None where age has no bound."""
        return None if not self.max_age_s else now_us - round(self.max_age_s * SECOND_US)


class Reason(StrEnum):
    AGE = "age"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Deletion:
    stored: StoredObject
    reason: Reason


def plan(
    rows: Sequence[StoredObject],
    policy: Policy,
    holds: Sequence[Span],
    now_us: int,
    stored_bytes: int | None = None,
    newest: Collection[str] = (),
) -> list[Deletion]:
    """What of a camera's `rows` goes, oldest first: by age, then by size until the rest fits.

    `rows` may be only the oldest; then `stored_bytes` says how much there is in all. An object that touches
    a hold never goes, though it counts as stored. Size never takes an object of `newest`, the last of each
    stream: a bound too small for one object must not stop recording from leaving anything.
    """
    excess_bytes = (sum(one.size_bytes for one in rows) if stored_bytes is None else stored_bytes) - (
        policy.max_size_bytes
    )
    expired_before_us = policy.expired_before_us(now_us)
    going: list[Deletion] = []
    for one in sorted(rows, key=lambda row: (row.started_us, row.object_id)):
        if _is_held(one, holds):
            continue
        if expired_before_us is not None and one.ended_us <= expired_before_us:
            going.append(Deletion(one, Reason.AGE))
        elif policy.max_size_bytes and excess_bytes > 0 and one.object_id not in newest:
            going.append(Deletion(one, Reason.SIZE))
        else:
            continue
        excess_bytes -= one.size_bytes
    return going


def _is_held(one: StoredObject, holds: Sequence[Span]) -> bool:
    # Closed at both ends, unlike coverage: a hold that begins where an object ends keeps it.
    return any(hold.start_us <= one.ended_us and one.started_us <= hold.end_us for hold in holds)


class ClockGuard:
    """Says by how much wall time has jumped against monotonic time. Pure: both are arguments."""

    def __init__(self, jump_s: float, wall_us: int, monotonic: float, settle_s: float = SETTLE_S) -> None:
        self._jump_us = jump_s * SECOND_US
        self._settle_s = settle_s
        self._trusted_us = _offset_us(wall_us, monotonic)
        self._jumped_to_us = 0.0
        self._jumped_at: float | None = None

    def jumped_s(self, wall_us: int, monotonic: float) -> float:
        """Seconds of a jump beyond the bound that has not settled, or 0.0: wall time may be acted upon."""
        offset_us = _offset_us(wall_us, monotonic)
        jump_us = offset_us - self._trusted_us
        if abs(jump_us) <= self._jump_us:
            self._jumped_at = None
            return 0.0
        if self._jumped_at is None or abs(offset_us - self._jumped_to_us) > SECOND_US:
            self._jumped_to_us, self._jumped_at = offset_us, monotonic
        if monotonic - self._jumped_at >= self._settle_s:
            self._trusted_us, self._jumped_at = offset_us, None
            return 0.0
        return jump_us / SECOND_US


def _offset_us(wall_us: int, monotonic: float) -> float:
    return wall_us - monotonic * SECOND_US


# --- carrying it out -----------------------------------------------------------------------------


class ObjectDeleter(Protocol):
    """What retention needs of the object store. To delete what is not there is no error."""

    async def delete(self, key: str, version_id: str | None = None, *, bucket: str | None = None) -> None:
        """Deletes that version; without `bucket` from the one of recordings. Raises StorageError."""


class Condition(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    FAILING = "failing"


@dataclass(slots=True)
class RetentionState:
    """`code` is `clock_jumped` while paused, an error's code while failing, else empty."""

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
    or keys of footage that is still to be stored would be destroyed.
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
    ) -> None:
        self.state = RetentionState()
        self._catalogue = catalogue
        self._store = object_store
        self._key_bucket = key_bucket
        self._keys_in_use = keys_in_use
        self._access_log = access_log
        self._clock = clock
        self._settings = settings
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
        if self._is_paused():
            return
        self.state.condition, self.state.code = Condition.RUNNING, ""
        if self._clock.monotonic() >= self._sweep_at:
            await self.sweep()
        policies = await self._catalogue.read(footage_queries.policies)
        for camera_id in await self._catalogue.read(footage_queries.cameras_with_footage):
            await self._expire(camera_id, effective_policy(policies.get(camera_id, (None, None)), self._settings))
        await self._expire_events(
            {camera_id: effective_policy(own, self._settings) for camera_id, own in policies.items()}
        )
        self.state.waiting_garbage = await self._catalogue.read(footage_queries.count_garbage)
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

    def _failed(self, code: str, pause_s: float) -> float:
        self.state.condition, self.state.code = Condition.FAILING, code
        return max(self._settings.interval_s, min(2 * pause_s, _MOST_BACKOFF_S))

    async def _expire(self, camera_id: str, policy: Policy) -> None:
        """Plans and deletes batch by batch until nothing of this camera is due."""
        while True:
            now_us = self._clock.wall_us()
            found = await self._catalogue.read(
                footage_queries.candidates,
                camera_id,
                policy.expired_before_us(now_us),
                policy.max_size_bytes,
                now_us,
                self._settings.batch,
            )
            due = plan(found.objects, policy, found.holds, now_us, found.stored_bytes, found.newest)
            batch = [(one.stored.object_id, str(one.reason)) for one in due[: self._settings.batch]]
            if not batch or self._is_paused():
                return
            going = await self._catalogue.write(footage_queries.mark_garbage, batch, now_us)
            if not going:
                return
            await self._finish(going)

    async def _expire_events(self, policies: Mapping[str, Policy]) -> None:
        """Deletes what cameras told longer ago than their footage is kept, batch by batch."""
        while not self._is_paused():
            now_us = self._clock.wall_us()
            bounds = {camera_id: policy.expired_before_us(now_us) for camera_id, policy in policies.items()}
            before_us = {camera_id: bound_us for camera_id, bound_us in bounds.items() if bound_us is not None}
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

    async def sweep(self) -> None:
        """What earlier rounds left: objects that storage would not let go, unused keys. Raises StorageError."""
        last = _BEGINNING
        while batch := await self._catalogue.read(footage_queries.garbage_after, last, self._settings.batch):
            await self._finish([stored for _, stored in batch])
            marked_us, newest = batch[-1]
            last = (marked_us, newest.object_id)
        await self._destroy_keys(None)
        self._sweep_at = self._clock.monotonic() + SWEEP_S

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
        at_once = asyncio.Semaphore(_PARALLEL_DELETES)

        async def delete(one: StoredObject) -> StorageError | None:
            async with at_once:
                try:
                    await self._store.delete(one.object_key, one.version_id)
                except StorageError as error:
                    return error
            return None

        outcomes = await asyncio.gather(*(delete(one) for one in objects))
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


def effective_policy(own: tuple[int | None, int | None], defaults: RetentionSettings) -> Policy:
    """A camera's own bounds (days, bytes), each where it is set, else the default."""
    days, size_bytes = own
    return Policy(
        (defaults.max_age_days if days is None else days) * DAY_S,
        defaults.max_size_bytes if size_bytes is None else size_bytes,
    )
