"""The sealed format of recording objects (docs/format.md, 1), in memory: no file, no network, no clock.

    object = header  ciphertext*  footer  trailer

`ObjectSealer` makes the sealed parts of one object, `build_footer` ends it; `parse_footer` and
`ObjectIndex.verify` are the way back. Whatever is not exactly as its node signed it raises
FootageRefused with a code that names what is wrong.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediasrv.clock import SECOND_US, from_us
from mediasrv.errors import FootageRefused
from mediasrv.media.access_unit import Part, StreamName, StreamRef, TrackKind
from mediasrv.storage.keys import NodeKey, verify_signature

HEADER_MAGIC: Final = b"MSRVOBJ1"
FOOTER_MAGIC: Final = b"MSRVFTR1"
TRAILER_MAGIC: Final = b"MSRVEND1"
TRAILER_BYTES: Final = 12
TAG_BYTES: Final = 16
DESCRIPTOR_BYTES: Final = 32
HEADER_LIMIT: Final = 1 << 16
SIGNATURE_BYTES: Final = 64

INIT: Final = 1
INDEPENDENT: Final = 2
DISCONTINUITY: Final = 4

_PART_CONTEXT: Final = b"mediasrv part v1"
_OBJECT_CONTEXT: Final = b"mediasrv object v1"
_KEY_CONTEXT: Final = b"mediasrv object key v1"
_DESCRIPTOR: Final = struct.Struct(">BBHIqQI4x")
_ENTRY: Final = struct.Struct(">QI32s16s")
_FOOTER: Final = struct.Struct(">8sB3xI16s32s")
_TRAILER: Final = struct.Struct(">I8s")


class Ended(IntEnum):
    """How an object ended: by its recorder, or found open after a restart."""

    CLOSED = 1
    RECOVERED = 2


class Descriptor(NamedTuple):
    """What is plain of a part: `decode_time` and `duration` count `clock_rate`, `started_us` is wall time."""

    track: int
    flags: int
    access_units: int
    clock_rate: int
    started_us: int
    decode_time: int
    duration: int

    def pack(self) -> bytes:
        return _DESCRIPTOR.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Descriptor:
        return cls(*_DESCRIPTOR.unpack(data))

    @classmethod
    def of_part(cls, part: Part, flags: int = 0) -> Descriptor:
        flags |= INDEPENDENT if part.independent else 0
        media = part.format
        return cls(
            media.kind, flags, part.access_units, media.clock_rate, part.started_us, part.decode_time, part.duration
        )

    @classmethod
    def of_init(cls, part: Part) -> Descriptor:
        """Of the init segment that `part` needs: at that part's time, without length."""
        media = part.format
        return cls(media.kind, INIT, 0, media.clock_rate, part.started_us, part.decode_time, 0)

    @property
    def is_init(self) -> bool:
        return bool(self.flags & INIT)

    @property
    def independent(self) -> bool:
        return bool(self.flags & INDEPENDENT)

    @property
    def kind(self) -> TrackKind:
        return TrackKind(self.track)

    @property
    def duration_s(self) -> float:
        return self.duration / self.clock_rate

    @property
    def ended_us(self) -> int:
        return self.started_us + self.duration * SECOND_US // self.clock_rate


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """Who made an object, of what, under which key. Ids are hex digits: `object_id` 64, `key_id` 32."""

    object_id: str
    cell: str
    camera: str
    stream: str
    session: str
    epoch: int
    seq: int
    node_id: str
    incarnation: str
    key_id: str
    started_us: int

    @property
    def ref(self) -> StreamRef:
        return StreamRef(self.camera, StreamName(self.stream))

    @property
    def object_key(self) -> str:
        """Where it lies in the bucket: docs/format.md, 2.3."""
        date = from_us(self.started_us).astimezone(UTC).strftime("%Y%m%d")
        return f"{self.cell}/{self.camera}/{self.stream}/{date}/{self.epoch:016x}/{self.session}/{self.seq:06d}"

    def build(self) -> bytes:
        """The header's bytes; what is stored and signed is exactly these."""
        # Hex, as in the object key: 64 bits do not survive a JSON reader that has only doubles (RFC 8259, 6).
        fields = (
            {"format": 1} | {name: getattr(self, name) for name in self.__slots__} | {"epoch": f"{self.epoch:016x}"}
        )
        document = json.dumps(fields, separators=(",", ":")).encode()
        return HEADER_MAGIC + len(document).to_bytes(4, "big") + document


def header_length(start: bytes) -> int:
    """Length of the header that an object begins with, from its first 12 bytes."""
    if start[:8] != HEADER_MAGIC:
        raise FootageRefused("The object does not begin as a recording object.", code="magic_wrong")
    length = int.from_bytes(start[8:12], "big")
    if len(start) < 12 or length > HEADER_LIMIT:
        raise FootageRefused("The object's header is too short or too long.", code="header_broken")
    return 12 + length


def parse_header(data: bytes) -> ObjectHeader:
    """A whole header, nothing after it; unknown members are ignored."""
    if header_length(data) != len(data):
        raise FootageRefused("The object's header is cut.", code="header_broken")
    try:
        fields = json.loads(data[12:])
        if fields["format"] != 1:
            raise FootageRefused("The object is of a format this version does not know.", code="format_unknown")
        numbers = {
            "epoch": int(fields["epoch"], 16),
            "seq": int(fields["seq"]),
            "started_us": int(fields["started_us"]),
        }
        texts = {name: str(fields[name]) for name in ObjectHeader.__slots__ if name not in numbers}
        StreamName(texts["stream"])
        if len(bytes.fromhex(texts["object_id"])) != 32 or len(bytes.fromhex(texts["key_id"])) != 16:
            raise ValueError("ids of another length")
    except (ValueError, KeyError, TypeError) as error:
        raise FootageRefused("The object's header cannot be read.", code="header_broken") from error
    return ObjectHeader(**texts, **numbers)  # type: ignore[arg-type]


class ObjectCipher:
    """AES-256-GCM under the key of one object, each part bound to its object, place and descriptor."""

    __slots__ = ("_aead", "_context")

    def __init__(self, header: ObjectHeader, data_key: bytes) -> None:
        object_id = bytes.fromhex(header.object_id)
        self._aead = AESGCM(_object_key(header, object_id, data_key))
        self._context = _PART_CONTEXT + object_id

    def seal(self, index: int, descriptor: bytes, plain: bytes) -> bytes:
        """Ciphertext and tag. The caller never seals two parts under one index: it is the nonce."""
        return self._aead.encrypt(index.to_bytes(12, "big"), plain, self._associated(index, descriptor))

    def open(self, index: int, descriptor: bytes, sealed: bytes) -> bytes:
        """Raises FootageRefused (`part_not_opened`) for anything but what was sealed at that place."""
        try:
            return self._aead.decrypt(index.to_bytes(12, "big"), sealed, self._associated(index, descriptor))
        except InvalidTag as error:
            raise FootageRefused(f"Part {index} does not open.", code="part_not_opened") from error

    def _associated(self, index: int, descriptor: bytes) -> bytes:
        return self._context + index.to_bytes(4, "big") + descriptor


class ObjectSealer:
    """Seals the parts of one new object, in order; counts the nonce itself, so that none comes twice."""

    __slots__ = ("_cipher", "header", "parts", "size_bytes")

    def __init__(self, header: ObjectHeader, data_key: bytes) -> None:
        self.header = header
        self.parts = 0
        self.size_bytes = 0
        self._cipher = ObjectCipher(header, data_key)

    def seal(self, descriptor: Descriptor, plain: bytes) -> tuple[int, bytes, bytes]:
        """The part's index, its packed descriptor, and its sealed bytes."""
        index, packed = self.parts, descriptor.pack()
        self.parts += 1
        sealed = self._cipher.seal(index, packed, plain)
        self.size_bytes += len(sealed)
        return index, packed, sealed


class PartEntry(NamedTuple):
    """A line of the part index; `offset` counts from the object's first byte, `length` includes the tag."""

    offset: int
    length: int
    descriptor: Descriptor
    tag: bytes


def build_footer(
    header: bytes, parts: Iterable[tuple[int, bytes, bytes]], ended: Ended, key_id: str, node_key: NodeKey
) -> bytes:
    """Footer and trailer of an object of these parts (length, packed descriptor, tag), in order."""
    entries, offset = bytearray(), len(header)
    for length, descriptor, tag in parts:
        entries += _ENTRY.pack(offset, length, descriptor, tag)
        offset += length
    head = _FOOTER.pack(
        FOOTER_MAGIC, ended, len(entries) // _ENTRY.size, bytes.fromhex(key_id), sha256(header).digest()
    )
    signed = head + bytes(entries)
    footer = signed + node_key.sign(_OBJECT_CONTEXT + signed)
    return footer + _TRAILER.pack(len(footer), TRAILER_MAGIC)


def footer_length(tail: bytes) -> int:
    """Length of the footer with its trailer, from an object's last bytes (12 at least)."""
    if len(tail) < TRAILER_BYTES:
        raise FootageRefused("The object is too short to be one.", code="object_truncated")
    length, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    if magic != TRAILER_MAGIC:
        raise FootageRefused("The object does not end as a recording object.", code="magic_wrong")
    if length < _FOOTER.size + SIGNATURE_BYTES:
        raise FootageRefused("The object's footer is cut.", code="object_truncated")
    return int(length) + TRAILER_BYTES


@dataclass(frozen=True, slots=True)
class ObjectIndex:
    """A verified object: who made it, how it ended, and where each part lies."""

    header: ObjectHeader
    ended: Ended
    entries: tuple[PartEntry, ...]
    footer_offset: int
    size_bytes: int

    @classmethod
    def verify(
        cls,
        header: bytes,
        footer: bytes,
        size_bytes: int,
        node_keys: Mapping[str, bytes],
    ) -> ObjectIndex:
        """Checks all that docs/format.md, 1.5 asks, but for the parts themselves.

        `footer` is the footer with its trailer, `size_bytes` the whole object's length, `node_keys` the
        registered public keys. Raises FootageRefused.
        """
        if footer_length(footer) != len(footer):
            raise FootageRefused("The object's footer is cut.", code="object_truncated")
        signed, signature = (
            footer[: -TRAILER_BYTES - SIGNATURE_BYTES],
            footer[-TRAILER_BYTES - SIGNATURE_BYTES : -TRAILER_BYTES],
        )
        magic, ended, count, key_id, header_hash = _FOOTER.unpack_from(signed)
        if magic != FOOTER_MAGIC:
            raise FootageRefused("The object's footer does not begin as one.", code="magic_wrong")
        parsed = parse_header(header)
        if header_hash != sha256(header).digest() or key_id.hex() != parsed.key_id:
            raise FootageRefused("The object's header is not the one that was signed.", code="header_altered")
        public_key = node_keys.get(parsed.node_id)
        if public_key is None:
            raise FootageRefused(f"No node {parsed.node_id!r} is registered.", code="signer_unknown")
        verify_signature(public_key, signature, _OBJECT_CONTEXT + signed)
        entries = _parse_entries(signed, count, len(header), size_bytes - len(footer))
        return cls(parsed, _parse_ended(ended), entries, size_bytes - len(footer), size_bytes)


def check_tag(index: int, entry: PartEntry, sealed: bytes) -> None:
    """Raises FootageRefused (`part_altered`) unless these are the length and tag that were signed."""
    if len(sealed) != entry.length or sealed[-TAG_BYTES:] != entry.tag:
        raise FootageRefused(f"Part {index} is not the one that was signed.", code="part_altered")


def _parse_entries(signed: bytes, count: int, first_offset: int, end_offset: int) -> tuple[PartEntry, ...]:
    if len(signed) != _FOOTER.size + count * _ENTRY.size:
        raise FootageRefused("The object's footer has another length than its entries.", code="entries_broken")
    entries, expected = [], first_offset
    for offset, length, descriptor, tag in _ENTRY.iter_unpack(signed[_FOOTER.size :]):
        if offset != expected or length < TAG_BYTES:
            raise FootageRefused("The object's parts are not one after the other.", code="entries_broken")
        entries.append(PartEntry(offset, length, Descriptor.unpack(descriptor), tag))
        expected += length
    if expected != end_offset:
        raise FootageRefused("The object's length is not that of its parts.", code="object_truncated")
    return tuple(entries)


def _parse_ended(value: int) -> Ended:
    try:
        return Ended(value)
    except ValueError as error:
        raise FootageRefused("The object's footer does not say how it ended.", code="entries_broken") from error


def _object_key(header: ObjectHeader, object_id: bytes, data_key: bytes) -> bytes:
    info = bytearray(_KEY_CONTEXT)
    for text in (header.camera.encode(), header.stream.encode()):
        info += len(text).to_bytes(2, "big") + text
    info += header.epoch.to_bytes(8, "big")
    return HKDF(hashes.SHA256(), 32, object_id, bytes(info)).derive(data_key)
