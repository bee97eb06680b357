"""Exports over an archive in a real S3 server: cameras, footage of them, and somebody who may export it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from load_tests.media import aac_frames, alaw_frames, encoded_clip, opus_frames, split_avcc
from mediasrv.catalogue.cameras import insert_camera
from mediasrv.catalogue.places import add_place, ensure_root
from mediasrv.catalogue.recordings import CatalogueKeys
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.export import Export, Exports, ExportState
from mediasrv.exporting.manifest import Wish
from mediasrv.media.access_unit import AccessUnit, AudioFormat, Codec, Format, Session, StreamName, StreamRef
from mediasrv.media.nal import join_avcc, parameter_sets, video_format
from mediasrv.security.access_log import AccessLog
from mediasrv.security.accounts import Accounts
from mediasrv.security.passwords import Passwords
from mediasrv.security.sessions import Sessions
from mediasrv.settings import ExportSettings, StorageSettings
from mediasrv.storage.footage import Footage, KeyRing
from mediasrv.storage.object_store import ObjectStore
from tests.archive import NODE_ID, Archive
from tests.clocks import SimulatedClock
from tests.unit.media.streams import STARTED_US
from tests.unit.web.fakes import CHEAP, row

RATE = 25
SEI = b"\x06\x05\x1d" + b"mediasrv export keeps this SEI"[:29] + b"\x80"
"""User data unregistered (ISO/IEC 14496-10, D.1.7), as cameras sign their pictures with."""

SOUNDS = {
    Codec.AAC: (AudioFormat(Codec.AAC, 48_000, 1, bytes.fromhex("1188")), aac_frames, 1024),
    Codec.OPUS: (AudioFormat(Codec.OPUS, 48_000, 1), opus_frames, 960),
    Codec.PCMA: (AudioFormat(Codec.PCMA, 8000, 1), alaw_frames, 160),
}


def session(camera_id: str = "gate-1", name: str = "one", start_s: float = 0.0) -> Session:
    return Session(name, StreamRef(camera_id, StreamName.MAIN), 1, at(start_s), 0.0)


def at(seconds: float) -> int:
    return STARTED_US + round(seconds * SECOND_US)


def pictures(
    of: Session, seconds: float, *, size: tuple[int, int] = (320, 180), kbps: int = 200, start_s: float = 0.0
) -> Iterator[AccessUnit]:
    """Really encoded pictures, each with an SEI of its own, from `start_s` of the session on."""
    clip = encoded_clip(*size, RATE, kbps, 2.0, 4.0)
    format = video_format(*parameter_sets(split_avcc(clip[0])))
    for number, payload in enumerate(itertools.islice(itertools.cycle(clip), round(seconds * RATE))):
        nals = split_avcc(payload)
        slices = next(index for index, nal in enumerate(nals) if nal[0] & 31 in (1, 5))
        nals.insert(slices, SEI)
        dts = round(start_s * 90_000) + number * 3600
        yield _unit(of, format, dts, nals[slices + 1][0] & 31 == 5, join_avcc(nals))


def sounds(of: Session, seconds: float, codec: Codec = Codec.AAC, start_s: float = 0.0) -> Iterator[AccessUnit]:
    format, frames, length = SOUNDS[codec]
    count = int((seconds - start_s) * format.clock_rate / length)
    first = round(start_s * format.clock_rate)
    for number, payload in enumerate(itertools.islice(itertools.cycle(frames()), count)):
        yield _unit(of, format, first + number * length, True, payload)


def _unit(of: Session, format: Format, dts: int, keyframe: bool, payload: bytes) -> AccessUnit:
    return AccessUnit(of, format, dts, dts, of.started_us + dts * SECOND_US // format.clock_rate, keyframe, payload)


@dataclass
class Rig:
    """`directory` is the data directory of the server that exports."""

    archive: Archive
    store: ObjectStore
    exports: Exports
    accounts: Accounts
    access_log: AccessLog
    principal_id: str
    directory: Path

    def wish(self, start_s: float, end_s: float, *cameras: str) -> Wish:
        span = Span(at(start_s), at(end_s))
        names = cameras or ("gate-1",)
        return Wish(names, StreamName.MAIN, span, "Vụ án 12/2026 <b>", self.principal_id, "lan", "192.0.2.7")

    async def make(self, start_s: float, end_s: float, *cameras: str) -> Export:
        """A finished export. Fails with its error."""
        export = await self.exports.start(self.wish(start_s, end_s, *cameras))
        assert export.task is not None
        await asyncio.wait_for(asyncio.wait({export.task}), 60)
        assert export.state is ExportState.READY, export.error
        return export

    async def fetch(self, export: Export, start: int = 0, end: int | None = None) -> bytes:
        assert export.package is not None
        size = export.package.size_bytes
        return b"".join([data async for data in self.exports.read(export, start, size if end is None else end)])


@contextlib.asynccontextmanager
async def export_rig(directory: Path, storage: StorageSettings, **changes: Any) -> AsyncIterator[Rig]:
    clock = SimulatedClock(STARTED_US + 3600 * SECOND_US)
    async with ObjectStore(storage) as store:
        await store.ensure_buckets()
        archive = Archive(directory, store, storage.key_bucket, clock)
        await archive.register()
        catalogue = archive.catalogue
        keyring = KeyRing([archive.identity], CatalogueKeys(catalogue), clock, 300.0)
        footage = Footage(store, None, keyring)
        log, passwords = AccessLog(catalogue, clock), Passwords(CHEAP)
        accounts = Accounts(catalogue, log, passwords, Sessions(catalogue, log, passwords, clock, CHEAP), clock, CHEAP)
        settings = replace(ExportSettings(), **changes)
        place = directory / "exports"
        exports = Exports(catalogue, footage, log, NODE_ID, archive.node_key, place, settings, clock)
        await catalogue.write(ensure_root)
        await catalogue.write(add_place, "north", "root", "province", "Bắc <i>")
        for camera_id in ("gate-1", "gate-2"):
            await catalogue.write(insert_camera, row(camera_id, "north"))
        principal_id = await accounts.create_user("lan", None)
        await accounts.grant("lan", "auditor", "north", purpose="a case")
        running = asyncio.create_task(exports.run())
        try:
            async with asyncio.timeout(5):
                while not place.is_dir():  # noqa: ASYNC110 - a directory has no event
                    await asyncio.sleep(0.01)
            yield Rig(archive, store, exports, accounts, log, principal_id, directory)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            footage.close()
            passwords.close()
            catalogue.close()


def unpack(body: bytes) -> dict[str, bytes]:
    """The files of a ZIP, by a reader that checks it."""
    with zipfile.ZipFile(BytesIO(body)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def manifest_of(files: dict[str, bytes]) -> Any:
    return json.loads(files["manifest.json"])
