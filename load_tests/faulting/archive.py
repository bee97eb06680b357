"""What a running server has stored, harmed object by object: readers refuse each harm, `check` names it, nothing else.

Readers are the server itself, by HTTP, and the same reader afresh, which has no index in memory yet.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urljoin

from load_tests.faulting.rig import FaultFound, Rig
from load_tests.faulting.storage_proxy import Fault
from load_tests.faulting.tampering import HARMS, bit_flips, own_footage
from load_tests.server import ApiError
from load_tests.stack import wait_for
from mediasrv.app import check
from mediasrv.catalogue import footage_queries
from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.check import Checker, Finding, read_spool
from mediasrv.clock import SECOND_US, SystemClock, from_us
from mediasrv.errors import FootageError
from mediasrv.offline import Offline, offline, open_identities
from mediasrv.settings import Settings, load_settings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.keys import NodeKey
from mediasrv.storage.object_store import ObjectStore, crc32c_of
from mediasrv.storage.sealing import header_length, parse_header

_OBJECTS: Final = 4
"""So many are stored before the first is harmed."""
_LATER_US: Final = 3600 * SECOND_US
HARMLESS: Final = frozenset({"appended"})
"""Readers ask for no byte beyond those that the row knows of."""
BY_READING_ALONE: Final = frozenset({"same checksum"})
"""Harms that `check` finds only where it reads footage."""


class LaterClock(SystemClock):
    """An hour on, when nobody's object is too young to be an orphan."""

    @staticmethod
    def wall_us() -> int:
        return SystemClock.wall_us() + _LATER_US


@dataclass
class Archive:
    """The server's own catalogue, keys and buckets, seen from a process beside it."""

    settings: Settings
    base: Offline
    store: ObjectStore
    rig: Rig

    async def rows(self) -> list[StoredObject]:
        pairs = await self.base.catalogue.read(footage_queries.objects_by_key, "", None, 1000)
        return [row for row, _ in pairs]

    async def refusal(self, row: StoredObject) -> str:
        """Why a reader that has never seen this object refuses it; empty where it does not."""
        identities = open_identities(self.settings, SystemClock())
        keyring = KeyRing(identities, CatalogueKeys(self.base.catalogue), SystemClock(), 0.0)
        footage = Footage(self.store, None, keyring)
        try:
            await footage.check_parts(await footage.index(row))
        except FootageError as error:
            return error.code
        finally:
            footage.close()
            identities.close()
        return ""

    async def overwrite(self, key: str, body: bytes) -> None:
        """As a forger does, with a tool of its own."""
        client, bucket = self.rig.stack.s3.client(), self.settings.storage.bucket
        await asyncio.to_thread(client.put_object, bucket, key, io.BytesIO(body), len(body))

    async def put_back(self, key: str, body: bytes) -> None:
        await self.store.delete(key)
        await self.store.put(key, [body], crc32c_of([body]))

    async def findings(self, *, whole: bool) -> dict[str, str]:
        """The code of each finding of `mediasrv check` by what it is about."""
        report = await check(self.settings, repair=False, whole=whole)
        return {one.subject: one.code for one in report.findings}

    async def found_later(self, key: str, *, repair: bool = False) -> list[Finding]:
        """What `check` says of this key an hour from now."""
        spool = await asyncio.to_thread(read_spool, self.settings.data_path(self.settings.spool.directory, "spool"))
        keyring = KeyRing([], CatalogueKeys(self.base.catalogue), SystemClock(), 0.0)
        footage = Footage(self.store, None, keyring)
        checker = Checker(
            self.base.catalogue, self.store, footage, self.settings.storage.key_bucket, spool, LaterClock(), _no_sweep
        )
        try:
            report = await checker.run(repair=repair)
        finally:
            footage.close()
        return [one for one in report.findings if one.subject == key]

    async def played(self, row: StoredObject) -> list[bytes | str]:
        """Each segment of this object's span as the server gives it, or the code by which it refuses it."""
        return await asyncio.to_thread(_segments, self.rig, row)


async def _no_sweep() -> None:
    """Deletes nothing: only objects are looked at."""


@asynccontextmanager
async def opened_archive(rig: Rig) -> AsyncIterator[Archive]:
    """All but what is recorded now is stored by then."""
    files = rig.stack.server.files
    os.environ.update(files.environment)
    settings = load_settings(files.config)
    await asyncio.to_thread(_store_some, rig)
    async with offline(settings) as base, ObjectStore(settings.storage) as store:
        yield Archive(settings, base, store, rig)


def _store_some(rig: Rig) -> None:
    while rig.status["storage"]["objects_stored"] < _OBJECTS:
        stored = rig.status["storage"]["objects_stored"]
        rig.record_on(2.0)
        rig.end_objects()
        wait_for(lambda stored=stored: rig.status["storage"]["objects_stored"] > stored, 30)  # type: ignore[misc]
    rig.record_on()


def _segments(rig: Rig, row: StoredObject) -> list[bytes | str]:
    client, camera_id = rig.stack.client, row.ref.camera_id
    start, end = (at.isoformat().replace("+", "%2B") for at in (from_us(row.started_us), from_us(row.ended_us)))
    url = f"/playback/{camera_id}/video.m3u8?start={start}&end={end}&stream={row.ref.stream}"
    try:
        lines = client.fetch(url).decode().splitlines()
    except ApiError as error:
        return [error.code or str(error.status)]
    got: list[bytes | str] = []
    for line in lines:
        if not line.startswith("#") and row.object_id in line:
            try:
                got.append(client.fetch(urljoin(url, line)))
            except ApiError as error:
                got.append(error.code or str(error.status))
    return got


# --- the faults ----------------------------------------------------------------------------------


async def bit_flip(archive: Archive, dice: random.Random) -> dict[str, Any]:
    """One bit in each region of a stored object."""
    row = dice.choice(await archive.rows())
    body = await archive.store.get(row.object_key)
    return {name: await _harmed(archive, row, body, harmed, name) for name, harmed in bit_flips(body, dice).items()}


async def forger(archive: Archive, dice: random.Random) -> dict[str, Any]:
    """Somebody with all public keys and write access to the bucket."""
    rows = await archive.rows()
    row, other = dice.sample(rows, 2)
    body, others = await archive.store.get(row.object_key), await archive.store.get(other.object_key)
    done: dict[str, Any] = {}
    for name, harm in HARMS.items():
        done[name] = await _harmed(archive, row, body, harm(body, dice), name)
    done["swapped"] = await _harmed(archive, row, body, others, "swapped")
    header = parse_header(body[: header_length(body)])
    fresh = replace(header, seq=header.seq + 1000 + dice.randrange(1000)).object_key
    done["replayed"] = await _planted(archive, fresh, body)
    done["planted"] = await _planted(archive, fresh, own_footage(body, NodeKey.generate()))
    return done


async def corrupt_read(archive: Archive, dice: random.Random) -> dict[str, Any]:
    """The store is sound, and what comes from it is not: refused while it lasts, and played after that."""
    row = dice.choice(await archive.rows())
    before = await archive.played(row)
    archive.rig.fail_storage(Fault.CORRUPT_READ)
    try:
        code, now = await archive.refusal(row), await archive.played(row)
    finally:
        archive.rig.fail_storage(Fault.NONE)
    if not code or any(isinstance(one, bytes) and one != was for one, was in zip(now, before, strict=False)):
        raise FaultFound(f"what came altered was taken: {code} {now}")
    if not (refused := sorted({one for one in now if isinstance(one, str)})):
        raise FaultFound("nothing of it was refused")
    if await archive.played(row) != before:
        raise FaultFound("what was refused once is refused for good")
    return {"reader": code, "playback": refused}


async def _harmed(archive: Archive, row: StoredObject, body: bytes, harmed: bytes, name: str) -> str:
    """The code by which readers refuse it. Raises FaultFound where one does not, or where `check` does not see it."""
    before = await archive.played(row)
    if not before or not all(isinstance(one, bytes) for one in before):
        raise FaultFound(f"{name}: before any harm playback gives {[one for one in before if isinstance(one, str)]}")
    await archive.overwrite(row.object_key, harmed)
    try:
        code = await archive.refusal(row)
        if not code and name not in HARMLESS:
            raise FaultFound(f"{name}: a reader takes it")
        now = await archive.played(row)
        if wrong := [one for one, was in zip(now, before, strict=False) if isinstance(one, bytes) and one != was]:
            raise FaultFound(f"{name}: {len(wrong)} segments are played that are not what was recorded")
        for whole in (True, False):
            found = await archive.findings(whole=whole)
            wanted = {} if name in BY_READING_ALONE and not whole else {row.object_key: "object_altered"}
            if found != wanted:
                raise FaultFound(f"{name}: `check`, whole {whole}, says {found}, and a reader {code}")
    finally:
        await archive.put_back(row.object_key, body)
    if await archive.refusal(row):
        raise FaultFound(f"{name}: it is refused now that it is what it was")
    return code or "read as it was"


async def _planted(archive: Archive, key: str, body: bytes) -> str:
    """What `check` says of an object that no row names, an hour later; it gets no row, even from `--repair`."""
    rows = len(await archive.rows())
    await archive.overwrite(key, body)
    try:
        for repair in (False, True):
            found = await archive.found_later(key, repair=repair)
            if [(one.code, one.repaired) for one in found] != [("object_orphaned", False)]:
                raise FaultFound(f"planted: `check` says {found}")
    finally:
        await archive.store.delete(key)
    known = {row.object_key for row in await archive.rows()}
    if key in known or len(known) < rows:
        raise FaultFound("a planted object has got a row")
    return found[0].sentence


ARCHIVE_FAULTS: Final[dict[str, Callable[[Archive, random.Random], Awaitable[dict[str, Any]]]]] = {
    "s3_corrupt_read": corrupt_read,
    "bit_flip": bit_flip,
    "forger": forger,
}


async def harm_archive(name: str, rig: Rig, times: int) -> list[dict[str, Any]]:
    """One of `ARCHIVE_FAULTS` as often as told; what each harm is refused by."""
    done = []
    async with opened_archive(rig) as archive:
        for _ in range(times):
            refused = await ARCHIVE_FAULTS[name](archive, rig.dice)
            rig.note(fault=name, refused=refused)
            done.append(refused)
        if found := await archive.findings(whole=True):
            raise FaultFound(f"after all is put back: {found}")
    return done
