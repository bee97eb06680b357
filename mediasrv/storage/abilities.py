"""What an S3 server can do, found out by trying it: the word "S3-compatible" covers much.

mediasrv needs a few things of a store that many lack. They are tried at every start, with objects of a few bytes
below `_probe/`; what is lacking is named, and refused unless `storage.tolerate` takes it.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Collection
from enum import StrEnum
from typing import Final

from mediasrv.errors import SettingsError, StorageError
from mediasrv.storage.object_store import ObjectStore, crc32c_of

log = logging.getLogger(__name__)

PROBE_PREFIX: Final = "_probe/"
_BODY: Final = b"what a store can do is found out by trying it"
_OTHER: Final = b"another"
_UNKNOWN: Final = frozenset({"storage_unreachable", "storage_timeout", "storage_refused", "storage_full"})
"""Such an answer says nothing of what the server can do."""


class Ability(StrEnum):
    """`checksums`: a body that does not match its crc32c is refused, and the checksum is told later. Without it what
    is stored is verified by reading it back. `conditional_writes`: nothing is overwritten (`If-None-Match: *`).
    Without it two nodes that take each other's place may overwrite each other's footage. `ranges` and `listing` are
    needed in any case.
    """

    CHECKSUMS = "checksums"
    CONDITIONAL_WRITES = "conditional_writes"
    RANGES = "ranges"
    LISTING = "listing"


TOLERABLE: Final = frozenset({Ability.CHECKSUMS, Ability.CONDITIONAL_WRITES})


async def find_lacking(store: ObjectStore) -> frozenset[Ability]:
    """Tries everything in the footage bucket. Raises StorageError where the store does not answer or refuses us."""
    lacking: set[Ability] = set()
    prefix = f"{PROBE_PREFIX}{secrets.token_hex(8)}/"
    whole, broken = prefix + "whole", prefix + "broken"
    try:
        await _try_checksums(store, whole, broken, lacking)
        await _try_conditional_write(store, whole, lacking)
        await _try_range(store, whole, lacking)
        if whole not in [one.key async for one in store.list(prefix)]:
            lacking.add(Ability.LISTING)
    finally:
        for key in (whole, broken):
            await _remove(store, key)
    return frozenset(lacking)


async def prepare(store: ObjectStore, tolerated: Collection[str]) -> frozenset[Ability]:
    """Has the store used as far as it goes; what it lacks. Raises SettingsError `storage_unfit` for what is lacking and
    not tolerated, StorageError where the store does not answer.
    """
    lacking = await find_lacking(store)
    refused = sorted(lacking - (TOLERABLE & set(tolerated)))
    if refused:
        sentence = f"The object store lacks {', '.join(refused)} (docs/limits.md, Storage; setting storage.tolerate)."
        raise SettingsError(sentence, code="storage_unfit")
    if lacking:
        log.warning("the object store lacks %s, which storage.tolerate takes", ", ".join(sorted(lacking)))
    store.reads_back = Ability.CHECKSUMS in lacking
    store.looks_first = Ability.CONDITIONAL_WRITES in lacking
    return lacking


async def _try_checksums(store: ObjectStore, whole: str, broken: str, lacking: set[Ability]) -> None:
    try:
        await store.put(whole, [_BODY], crc32c_of([_BODY]))
    except StorageError as error:
        if error.code in _UNKNOWN:
            raise
        lacking.add(Ability.CHECKSUMS)
    try:
        await store.put(broken, [_BODY], crc32c_of([_OTHER]))
    except StorageError as error:
        if error.code in _UNKNOWN:
            raise
    else:
        lacking.add(Ability.CHECKSUMS)  # it says back what it was told
    if await store.head(broken) is not None:
        lacking.add(Ability.CHECKSUMS)


async def _try_conditional_write(store: ObjectStore, whole: str, lacking: set[Ability]) -> None:
    try:
        await store.put(whole, [_OTHER], crc32c_of([_OTHER]))
    except StorageError as error:
        if error.code in _UNKNOWN:
            raise
    head = await store.head(whole)
    if head is None or head.size_bytes != len(_BODY):
        lacking.add(Ability.CONDITIONAL_WRITES)


async def _try_range(store: ObjectStore, whole: str, lacking: set[Ability]) -> None:
    try:
        data = await store.get_range(whole, 1, 3)
    except StorageError as error:
        if error.code in _UNKNOWN:
            raise
        lacking.add(Ability.RANGES)
        return
    if data not in (_BODY[1:4], _OTHER[1:4]):
        lacking.add(Ability.RANGES)


async def _remove(store: ObjectStore, key: str) -> None:
    """A locked bucket keeps the few bytes until their time has come."""
    with contextlib.suppress(StorageError):
        versions = [one.version_id async for one in store.list(key) if one.key == key]
        for version_id in versions or [None]:
            await store.delete(key, version_id)
