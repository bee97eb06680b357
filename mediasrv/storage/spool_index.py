"""What waits in the spool, in memory, and how it is found again from the log's records at start. Pure."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from mediasrv.errors import FootageRefused
from mediasrv.media.access_unit import TrackKind
from mediasrv.storage.keys import KeyRecord, parse_key_record
from mediasrv.storage.sealing import Descriptor, Ended, ObjectHeader, parse_header
from mediasrv.storage.spool_log import Place, RecordType, Scanned, parse_part_head

log = logging.getLogger(__name__)

# 64 bytes a part instead of some 300 as tuples: a full spool holds half a million.
_PLACE: Final = struct.Struct(">IQI32s16s")


@dataclass(slots=True, eq=False)
class SpooledObject:
    """An object that waits in the spool. Its places are those of durable parts only.

    `first_file` is -1 until its first record is durable; `ended` is None while it is being recorded.
    While it is `busy` (an upload is under way) it is not given up;
    `drop_noted`: the listener was told that it will be.
    """

    header: ObjectHeader
    header_bytes: bytes
    key_record: KeyRecord
    first_file: int = -1
    ended: Ended | None = None
    sealed_bytes: int = 0
    busy: bool = False
    drop_noted: bool = False
    _places: bytearray = field(default_factory=bytearray)
    _spans_us: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def object_id(self) -> str:
        return self.header.object_id

    @property
    def parts(self) -> int:
        """Number of durable parts."""
        return len(self._places) // _PLACE.size

    @property
    def span_us(self) -> tuple[int, int] | None:
        """Start and end of what is durable: of its video, or of its audio where there is no video."""
        return self._spans_us.get(TrackKind.VIDEO) or self._spans_us.get(TrackKind.AUDIO)

    def span_of(self, parts: int) -> tuple[int, int] | None:
        """`span_us` of the first `parts` parts alone."""
        shorter = SpooledObject(self.header, self.header_bytes, self.key_record)
        shorter._rebuild(self.places()[:parts])
        return shorter.span_us

    def places(self, first: int = 0, last: int | None = None) -> list[Place]:
        """Places of parts `first` to `last`, both included."""
        end = self.parts if last is None else last + 1
        return [Place._make(item) for item in islice(_PLACE.iter_unpack(self._places), first, end)]

    def add(self, place: Place) -> None:
        """The next part has become durable."""
        self._places += _PLACE.pack(*place)
        self.sealed_bytes += place.length
        descriptor = Descriptor.unpack(place.descriptor)
        # Without a clock rate it is damaged: that is found, and said, when the part is read.
        if not descriptor.is_init and descriptor.clock_rate:
            started_us, ended_us = self._spans_us.get(descriptor.track, (descriptor.started_us, 0))
            self._spans_us[descriptor.track] = (started_us, max(ended_us, descriptor.ended_us))

    def move(self, first_file: int, places: Iterable[Place]) -> None:
        """The same parts lie elsewhere now."""
        self.first_file = first_file
        self._places = bytearray().join(_PLACE.pack(*place) for place in places)

    def cut(self, parts: int) -> None:
        """Keeps only the first `parts` parts."""
        self._rebuild(self.places()[:parts])

    def replace(self, index: int, place: Place) -> None:
        """Part `index` was written once more."""
        places = self.places()
        places[index] = place
        self._rebuild(places)

    def _rebuild(self, places: Iterable[Place]) -> None:
        self._places, self._spans_us, self.sealed_bytes = bytearray(), {}, 0
        for place in places:
            self.add(place)


def replay(records: Iterable[Scanned]) -> dict[str, SpooledObject]:
    """Objects that still wait, oldest first, from all records of the log in order.

    A batch whose sync failed is written again, so records may come twice. Of parts the last one counts: a power cut may
    have spoilt what a failed sync left behind, and nobody looks into the parts of older files here.
    """
    index = _Replay()
    for record in records:
        try:
            index.apply(record)
        except FootageRefused as error:
            log.error("spool: a record of type %d is refused: %s", record.kind, error.sentence)
    return index.objects


class _Replay:
    def __init__(self) -> None:
        self.objects: dict[str, SpooledObject] = {}
        self._keys: dict[str, KeyRecord] = {}
        self._gone: set[str] = set()

    def apply(self, record: Scanned) -> None:
        match record.kind:
            case RecordType.KEY:
                key = parse_key_record(record.body)
                self._keys[key.key_id] = key
            case RecordType.BEGIN:
                self._begin(record)
            case RecordType.PART:
                self._part(record)
            case RecordType.END:
                self._end(record.body)
            case RecordType.RELEASED | RecordType.DROPPED:
                object_id = record.body[:32].hex()
                self._gone.add(object_id)
                self.objects.pop(object_id, None)

    def _begin(self, record: Scanned) -> None:
        header = parse_header(record.body)
        if header.object_id in self.objects or header.object_id in self._gone:
            return
        key = self._keys.get(header.key_id)
        if key is None:
            raise FootageRefused(f"Object {header.object_id} has no key in the spool.", code="key_unavailable")
        self.objects[header.object_id] = SpooledObject(header, record.body, key, record.position.file)

    def _part(self, record: Scanned) -> None:
        object_id, index, descriptor = parse_part_head(record.body)
        item = self.objects.get(object_id.hex())
        if item is None or index > item.parts:
            return
        place = Place(*record.position, record.sealed_bytes, descriptor, record.tag)
        if index == item.parts:
            item.add(place)
        else:
            item.replace(index, place)

    def _end(self, body: bytes) -> None:
        item = self.objects.get(body[:32].hex())
        if item is not None:
            item.ended = Ended(body[32])
