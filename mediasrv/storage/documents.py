"""Sealed documents (docs/format.md, 6): what is no footage and yet must be neither read nor changed by a thief.

Journal segments and backups are such. A document is made and opened as a stream, so that it may be larger than memory;
what comes out of `open_document` counts only once it has come to its end, where the signature is.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediasrv.errors import FootageRefused
from mediasrv.storage.keys import (
    DATA_KEY_BYTES,
    Identity,
    parse_wrapped,
    unwrap_key,
    verify_signature,
    wrap_data_key,
    wrapped_json,
)

MAGIC: Final = b"MSRVDOC1"
_CONTEXT: Final = b"mediasrv document v1"
_PIECE_BYTES: Final = 1 << 20
_TAG_BYTES: Final = 16
_HEAD_LIMIT: Final = 1 << 20
_SIGNATURE_BYTES: Final = 64

Sign = Callable[[bytes], bytes]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DocumentHead:
    """What is plain: what kind of document it is, who made it and when, and who can open it. `about` is the kind's."""

    kind: str
    node_id: str
    made_us: int
    key_id: str
    wrapped: Mapping[str, bytes]
    about: Mapping[str, Any]

    def unwrap(self, identities: Sequence[Identity]) -> bytes:
        """What opens it. Raises KeyUnavailable where it was made for none of these identities."""
        return unwrap_key(self.key_id, self.wrapped, identities)


def seal_document(
    pieces: Iterable[bytes],
    kind: str,
    about: Mapping[str, Any],
    node_id: str,
    made_us: int,
    sign: Sign,
    recipients: Sequence[str],
) -> Iterator[bytes]:
    """The document, buffer by buffer. `pieces` are of any size."""
    key_id, secret = secrets.token_hex(16), secrets.token_bytes(DATA_KEY_BYTES)
    wrapped = wrapped_json(wrap_data_key(key_id, secret, recipients))
    fields = {"format": 1, "kind": kind, "node_id": node_id, "made_us": made_us, "key_id": key_id, "wrapped": wrapped}
    head = json.dumps(fields | {"about": dict(about)}, separators=(",", ":")).encode()
    first = MAGIC + len(head).to_bytes(4, "big") + head
    digest = hashlib.sha256(first)
    cipher, bound = AESGCM(secret), digest.digest()
    yield first
    for index, (piece, is_last) in enumerate(_cut(pieces)):
        sealed = cipher.encrypt(_nonce(index), piece, _associated(bound, index, is_last))
        buffer = (len(sealed) | is_last << 31).to_bytes(4, "big") + sealed
        digest.update(buffer)
        yield buffer
    yield sign(_CONTEXT + digest.digest())


def read_head(source: Readable) -> DocumentHead:
    """The plain part, whose signature is not verified yet. Raises FootageRefused `document_broken`."""
    return _parse_head(_read_first(source)[12:])


def open_document(source: Readable, secret: bytes, public_key: bytes) -> Iterator[bytes]:
    """The pieces of a document from its first byte on, by what its head unwraps to. To be trusted only when the last
    one came without an error. Raises FootageRefused for what was altered, cut or signed by another key.
    """
    first = _read_first(source)
    cipher = AESGCM(secret)
    bound = hashlib.sha256(first).digest()
    for index, (sealed, is_last) in enumerate(_walk(source, first, public_key)):
        try:
            yield cipher.decrypt(_nonce(index), sealed, _associated(bound, index, is_last))
        except InvalidTag as error:
            raise FootageRefused("A piece of the document was altered.", code="document_altered") from error


def verify_document(source: Readable, public_key: bytes) -> DocumentHead:
    """Its plain part, where this key signed the whole: no identity is needed. Raises FootageRefused."""
    first = _read_first(source)
    for _ in _walk(source, first, public_key):
        pass
    return _parse_head(first[12:])


def _walk(source: Readable, first: bytes, public_key: bytes) -> Iterator[tuple[bytes, bool]]:
    """The sealed pieces and whether each is the last; then verifies the signature."""
    digest = hashlib.sha256(first)
    is_last = False
    while not is_last:
        size = _read(source, 4)
        is_last, length = bool(size[0] & 0x80), int.from_bytes(size, "big") & 0x7FFFFFFF
        if not _TAG_BYTES <= length <= _PIECE_BYTES + _TAG_BYTES:
            raise FootageRefused("The document's pieces cannot be read.", code="document_broken")
        sealed = _read(source, length)
        digest.update(size + sealed)
        yield sealed, is_last
    verify_signature(public_key, _read(source, _SIGNATURE_BYTES), _CONTEXT + digest.digest())
    if source.read(1):
        raise FootageRefused("Something follows the document's end.", code="document_altered")


def _cut(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Pieces of at most 1 MiB, and whether each is the last; at least one."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > _PIECE_BYTES:
            yield bytes(waiting[:_PIECE_BYTES]), False
            del waiting[:_PIECE_BYTES]
    yield bytes(waiting), True


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _associated(bound: bytes, index: int, is_last: bool) -> bytes:
    return bound + index.to_bytes(4, "big") + bytes((is_last,))


def _read(source: Readable, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise FootageRefused("The document is cut off.", code="document_truncated")
    return data


def _read_first(source: Readable) -> bytes:
    """Magic, length and head."""
    start = _read(source, 12)
    length = int.from_bytes(start[8:], "big")
    if start[:8] != MAGIC or length > _HEAD_LIMIT:
        raise FootageRefused("This is no sealed document.", code="document_broken")
    return start + _read(source, length)


def _parse_head(data: bytes) -> DocumentHead:
    try:
        fields = json.loads(data)
        if fields["format"] != 1:
            raise FootageRefused("The document is of a format this version does not know.", code="format_unknown")
        wrapped = parse_wrapped(fields["wrapped"])
        kind, node_id, key_id = str(fields["kind"]), str(fields["node_id"]), str(fields["key_id"])
        return DocumentHead(kind, node_id, int(fields["made_us"]), key_id, wrapped, dict(fields["about"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FootageRefused("The document's head cannot be read.", code="document_broken") from error
