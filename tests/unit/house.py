"""An archive in memory and its playback, for tests of what reads recorded footage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mediasrv.catalogue.footage_queries import StoredObject
from mediasrv.catalogue.spans import Span
from mediasrv.clock import SECOND_US
from mediasrv.errors import FootageError, FootageRefused
from mediasrv.media.access_unit import StreamRef
from mediasrv.playback import Playback
from mediasrv.retrieval.playlists import Rendition
from mediasrv.settings import HlsSettings
from mediasrv.storage.footage import Footage
from mediasrv.storage.sealing import ObjectCipher, ObjectIndex, footer_length, header_length
from tests.archive import NODE_ID, Archive, Sealed
from tests.clocks import SimulatedClock
from tests.unit.media.streams import (
    REF,
    STARTED_US,
)
from tests.vod import MediaPlaylist, read_playlist

VIDEO_TRACK, AUDIO_TRACK = Rendition.VIDEO, Rendition.AUDIO


class MemoryStore:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, key: str, body: Sequence[bytes], crc32c: int, *, bucket: str | None = None) -> None:
        self.objects[key] = b"".join(body)


class MemoryFootage:
    """Opens objects that lie in memory; `waiting` are the ones in the spool."""

    def __init__(self, archive: Archive, store: MemoryStore) -> None:
        self.archive = archive
        self.store = store
        self.waiting: list[Sealed] = []
        self.refused: set[str] = set()
        self.leaving: list[Sealed] = []
        """Those of `waiting` that are stored, and gone from the spool, by the time one of their parts is asked for."""
        self.reads = 0
        self.indexed: set[str] = set()

    async def index(self, row: StoredObject) -> ObjectIndex:
        self.indexed.add(row.object_id)
        if row.object_id in self.refused:
            raise FootageRefused("The signature was not made by the node it names.", code="signature_wrong")
        return self._index(self.store.objects[row.object_key])

    def spooled(self, ref: StreamRef, within: Span) -> list[ObjectIndex]:
        return [self._index(one.body) for one in self.waiting if one.header.ref == ref]

    def find_spooled(self, object_id: str) -> ObjectIndex | None:
        return next((self._index(one.body) for one in self.waiting if one.header.object_id == object_id), None)

    async def parts(self, index: ObjectIndex, first: int, last: int) -> list[bytes]:
        self.reads += 1
        for gone in [one for one in self.leaving if one.header.object_id == index.header.object_id]:
            self.leaving.remove(gone)
            await self.archive.keep(gone)
            self.waiting.remove(gone)
            raise FootageError("It has left the spool.", code="footage_moved")
        key = next(key for key in self.archive.keys.values() if key.key_id == index.header.key_id)
        cipher = ObjectCipher(index.header, key.secret)
        body = self.store.objects.get(index.header.object_key) or next(
            one.body for one in self.waiting if one.header.object_id == index.header.object_id
        )
        opened = []
        for number in range(first, last + 1):
            entry = index.entries[number]
            sealed = body[entry.offset : entry.offset + entry.length]
            opened.append(cipher.open(number, entry.descriptor.pack(), sealed))
        return opened

    def _index(self, body: bytes) -> ObjectIndex:
        header, footer = body[: header_length(body)], body[-footer_length(body) :]
        return ObjectIndex.verify(header, footer, len(body), {NODE_ID: self.archive.node_key.public})


class House:
    """An archive and its playback."""

    def __init__(self, directory: Path) -> None:
        store = MemoryStore()
        self.archive = Archive(directory, store, "keys", SimulatedClock(STARTED_US + 3600 * SECOND_US))
        self.footage = MemoryFootage(self.archive, store)
        self.playback = Playback(self.archive.catalogue, cast(Footage, self.footage), HlsSettings(), self.archive.clock)

    async def playlist(
        self, start_s: float, end_s: float, track: Rendition = VIDEO_TRACK, ref: StreamRef = REF
    ) -> MediaPlaylist:
        body = await self.playback.media_playlist(ref, track, at(start_s), at(end_s))
        return read_playlist(body.decode())

    async def fetch(self, uri: str) -> bytes:
        object_id, track, name = uri.split("/")
        kind = Rendition(track)
        if name.startswith("init-"):
            number = int(name.removeprefix("init-").removesuffix(".mp4"))
            return await self.playback.init(REF.camera_id, object_id, kind, number)
        first, last = name.removesuffix(".m4s").split("-")
        return await self.playback.segment(REF.camera_id, object_id, kind, int(first), int(last))


def at(seconds: float) -> int:
    return STARTED_US + round(seconds * SECOND_US)
