"""An archive made for tests: sealed objects in a store and their rows, without a recorder and without waiting."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, insert

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.recordings import StoredRecording, commit_recordings, put_data_key
from mediasrv.catalogue.tables import hold, node
from mediasrv.clock import SECOND_US, from_us
from mediasrv.media.access_unit import AccessUnit, Part, StreamRef, TrackKind
from mediasrv.media.fmp4 import init_segment
from mediasrv.media.segmenter import Segmenter
from mediasrv.storage.keys import DataKey, Identity, NodeKey, create_data_key
from mediasrv.storage.object_store import crc32c_of
from mediasrv.storage.sealing import Descriptor, Ended, ObjectHeader, ObjectSealer, build_footer
from tests.clocks import SimulatedClock
from tests.databases import url_for

NODE_ID, CELL, INCARNATION = "node-1", "cell-1", "1" * 32
OBJECT_S = 10.0
KEY_PERIOD_S = 3600


class Store(Protocol):
    async def put(self, key: str, body: Sequence[bytes], crc32c: int, *, bucket: str | None = None) -> object: ...


@dataclass(frozen=True)
class Sealed:
    """A whole object in memory, and what the catalogue says of it."""

    header: ObjectHeader
    body: bytes
    row: StoredRecording


class Archive:
    """One node's catalogue, keys, and what was recorded into `store`."""

    def __init__(self, directory: Path, store: Store, key_bucket: str, clock: SimulatedClock) -> None:
        self.clock = clock
        self.store = store
        self.key_bucket = key_bucket
        self.node_key = NodeKey.generate()
        self.identity = Identity.generate()
        self.catalogue_path = directory / "catalogue.db"
        url = url_for(directory)
        upgrade(url)
        self.catalogue = Catalogue(url)
        self.keys: dict[tuple[StreamRef, int], DataKey] = {}

    async def register(self) -> None:
        await self.catalogue.write(_register, self.node_key.public, self.clock.wall_us())

    async def record(self, units: Iterable[AccessUnit], object_s: float = OBJECT_S) -> list[Sealed]:
        """Seals, stores and catalogues one session of one stream; the objects in order."""
        sealed = self.seal(units, object_s)
        for one in sealed:
            await self.keep(one)
        return sealed

    async def keep(self, one: Sealed) -> None:
        await self.put(one)
        await self.catalogue.write(commit_recordings, [one.row], INCARNATION, self.clock.wall_us())

    async def put(self, one: Sealed) -> None:
        """Into the bucket with its key, the key's row too, but no recording row."""
        key = next(key for key in self.keys.values() if key.key_id == one.header.key_id)
        record = key.record.to_bytes()
        await self.store.put(key.record.bucket_key, [record], crc32c_of([record]), bucket=self.key_bucket)
        await self.catalogue.write(put_data_key, key.record, self.clock.wall_us())
        await self.store.put(one.header.object_key, [one.body], one.row.crc32c)

    def seal(self, units: Iterable[AccessUnit], object_s: float = OBJECT_S) -> list[Sealed]:
        """Objects of about `object_s`, each beginning with a keyframe and with its init segments."""
        segmenter = Segmenter(0.48)
        parts = [part for unit in units for part in segmenter.push(unit)] + segmenter.finish()
        return [self._seal(number, run) for number, run in enumerate(_object_runs(parts, object_s))]

    def _seal(self, seq: int, parts: Sequence[Part]) -> Sealed:
        session, started_us = parts[0].session, min(part.started_us for part in parts)
        key = self._key(session.ref, started_us)
        ref = session.ref
        header = ObjectHeader(
            secrets.token_hex(32), CELL, ref.camera_id, str(ref.stream), session.session_id,
            session.epoch, seq, NODE_ID, INCARNATION, key.key_id, started_us,
        )  # fmt: skip
        sealer, sealed, known = ObjectSealer(header, key.secret), [], set[TrackKind]()
        for part in parts:
            if part.format.kind not in known:
                known.add(part.format.kind)
                sealed.append(sealer.seal(Descriptor.of_init(part), init_segment(part.format)))
            sealed.append(sealer.seal(Descriptor.of_part(part), part.fragment))
        head = header.build()
        index = [(len(data), descriptor, data[-16:]) for _, descriptor, data in sealed]
        footer = build_footer(head, index, Ended.CLOSED, key.key_id, self.node_key)
        media = b"".join(data for _, _, data in sealed)
        body = head + media + footer
        ended_us = max(Descriptor.of_part(part).ended_us for part in parts)
        row = StoredRecording(
            header, header.object_key, None, Ended.CLOSED, started_us, ended_us,
            len(body), crc32c_of([body]), len(head) + len(media),
        )  # fmt: skip
        return Sealed(header, body, row)

    def _key(self, ref: StreamRef, at_us: int) -> DataKey:
        period_us = at_us - at_us % (KEY_PERIOD_S * SECOND_US)
        if (ref, period_us) not in self.keys:
            self.keys[ref, period_us] = create_data_key(
                CELL, ref.camera_id, str(ref.stream), period_us, KEY_PERIOD_S, NODE_ID, self.node_key,
                [self.identity.recipient],
            )  # fmt: skip
        return self.keys[ref, period_us]

    async def place_hold(self, camera_id: str, start_us: int, end_us: int) -> None:
        await self.catalogue.write(_place_hold, camera_id, start_us, end_us, self.clock.wall_us())


def _object_runs(parts: Sequence[Part], object_s: float) -> list[list[Part]]:
    runs: list[list[Part]] = []
    for part in parts:
        keyframe = part.format.kind is TrackKind.VIDEO and part.independent
        if not runs or (keyframe and part.started_us - runs[-1][0].started_us >= (object_s - 0.1) * SECOND_US):
            runs.append([])
        runs[-1].append(part)
    return runs


def _register(connection: Connection, public_key: bytes, now_us: int) -> None:
    connection.execute(insert(node).values(node_id=NODE_ID, public_key=public_key, registered_at=from_us(now_us)))


def _place_hold(connection: Connection, camera_id: str, start_us: int, end_us: int, now_us: int) -> None:
    values = {"started_at": from_us(start_us), "ended_at": from_us(end_us), "placed_at": from_us(now_us)}
    connection.execute(insert(hold).values(camera_id=camera_id, reason="a case", placed_by="someone", **values))
