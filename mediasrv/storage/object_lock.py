"""Whether a store keeps what it is told to lock. Some take the headers of Object Lock and delete all the same: evidence
in such a store would only seem safe, so it is tried at every start.
"""

from __future__ import annotations

import secrets
from typing import Final

from mediasrv.clock import SECOND_US, Clock
from mediasrv.errors import SettingsError, StorageError
from mediasrv.settings import StorageSettings
from mediasrv.storage.object_store import ObjectStore, crc32c_of

LOCK_PROBE_PREFIX: Final = "_lock_probe/"
LOCK_PROBE_S: Final = 60
_BODY: Final = [b"a locked version outlives its deletion"]
_UNKNOWN: Final = frozenset({"storage_unreachable", "storage_timeout", "storage_full"})
"""Such an answer says nothing of whether the bucket locks."""


async def prove_lock(store: ObjectStore, settings: StorageSettings, clock: Clock) -> None:
    """Locks a tiny version for a minute, and tries to delete it. Does nothing where `storage.object_lock` is off.

    Raises SettingsError `object_lock_unproved` where it is gone then, or was not taken; StorageError where the store
    does not answer.
    """
    if settings.object_lock == "off":
        return
    now_us = clock.wall_us()
    key = f"{LOCK_PROBE_PREFIX}{now_us}-{secrets.token_hex(4)}"
    until_us = now_us + LOCK_PROBE_S * SECOND_US
    try:
        version_id = (await store.put(key, _BODY, crc32c_of(_BODY), locked_until_us=until_us)).version_id
    except StorageError as error:
        if error.code in _UNKNOWN:
            raise
        raise _unproved(settings, "it refuses an object that is to be locked") from error
    if version_id is None:
        raise _unproved(settings, "it keeps no versions; Object Lock is chosen when a bucket is made")
    if not await _outlives_deletion(store, key, version_id):
        raise _unproved(settings, "a version under retention was deleted all the same")
    await _clear(store)


async def _outlives_deletion(store: ObjectStore, key: str, version_id: str) -> bool:
    try:
        await store.delete(key, version_id)
    except StorageError as error:
        if error.code != "storage_refused":
            raise
    return await store.head(key, version_id=version_id) is not None


async def _clear(store: ObjectStore) -> None:
    """Deletes the probes of earlier starts; what is still locked waits for a later one."""
    await store.delete_many([(one.key, one.version_id) async for one in store.list(LOCK_PROBE_PREFIX)])


def _unproved(settings: StorageSettings, why: str) -> SettingsError:
    return SettingsError(
        f"storage.object_lock is {settings.object_lock}, but bucket {settings.bucket!r} does not lock objects: {why}.",
        code="object_lock_unproved",
    )
