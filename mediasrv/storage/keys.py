"""Keys of the sealed format (docs/format.md, 2): the node's signing key, identities that unseal, wrapped data keys.

Recording needs a node key and public recipients only; an `Identity` is needed to read footage of an
earlier start. Private keys are files that nobody but their owner may read.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediasrv.errors import FootageRefused, KeyUnavailable, SettingsError
from mediasrv.storage.whole_files import write_whole

DATA_KEY_BYTES: Final = 32
_WRAP_INFO: Final = b"mediasrv data key v1"
_RECORD_CONTEXT: Final = b"mediasrv key v1"
_RECORD_MAGIC: Final = b"MSRVKEY1"
_RECORD_LIMIT: Final = 1 << 20
_SIGNATURE_BYTES: Final = 64
_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class NodeKey:
    """The Ed25519 key with which a node signs what it stores; its public half is registered in the catalogue."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> NodeKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> NodeKey:
        """Raises SettingsError for a file that others may read or that holds no such key."""
        if not path.exists():
            write_private(path, private_pem(Ed25519PrivateKey.generate()))
        return cls.from_pem(read_private(path), str(path))

    @classmethod
    def from_pem(cls, pem: bytes, source: str) -> NodeKey:
        """`source` is what a SettingsError may name."""
        key = _parse_pem(pem, source)
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{source} holds no Ed25519 key.", code="key_file_invalid")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message (RFC 8032, 5.1.6)."""
        return self._private.sign(message)

    def to_pem(self) -> bytes:
        """The private key, for a sealed backup."""
        return private_pem(self._private)

    def derive(self, info: bytes) -> bytes:
        """A 32-byte secret of this node for the use that `info` names, such as sealing camera credentials."""
        return HKDF(hashes.SHA256(), 32, None, info).derive(self._private.private_bytes_raw())


class Identity:
    """The X25519 key that opens what was wrapped to `recipient` (64 hex digits)."""

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self.recipient: str = private.public_key().public_bytes_raw().hex()

    @classmethod
    def generate(cls) -> Identity:
        return cls(X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Raises SettingsError for a file that is missing, that others may read, or that holds no such key."""
        return cls.from_pem(read_private(path), str(path))

    @classmethod
    def from_pem(cls, pem: bytes, source: str) -> Identity:
        """`source` is what a SettingsError may name."""
        key = _parse_pem(pem, source)
        if not isinstance(key, X25519PrivateKey):
            raise SettingsError(f"{source} holds no X25519 key.", code="key_file_invalid")
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        if not path.exists():
            write_private(path, private_pem(X25519PrivateKey.generate()))
        return cls.load(path)

    def to_pem(self) -> bytes:
        return private_pem(self._private)

    def unwrap(self, key_id: str, sealed: bytes) -> bytes:
        """A data key wrapped to this identity; raises FootageRefused when it does not open."""
        try:
            return _SUITE.decrypt(sealed, self._private, _wrap_info(key_id))
        except (InvalidTag, ValueError) as error:
            raise FootageRefused(f"Data key {key_id} does not open.", code="key_not_opened") from error


def wrap_data_key(key_id: str, data_key: bytes, recipients: Iterable[str]) -> dict[str, bytes]:
    """The data key sealed to each recipient (64 hex digits): HPKE base mode, enc and ciphertext."""
    info = _wrap_info(key_id)
    return {recipient: _SUITE.encrypt(data_key, parse_recipient(recipient), info) for recipient in recipients}


def unwrap_key(key_id: str, wrapped: Mapping[str, bytes], identities: Sequence[Identity]) -> bytes:
    """What `wrap_data_key` wrapped; raises KeyUnavailable when it was wrapped to none of these identities."""
    for identity in identities:
        sealed = wrapped.get(identity.recipient)
        if sealed is not None:
            return identity.unwrap(key_id, sealed)
    raise KeyUnavailable(f"No identity here opens data key {key_id}.")


def wrapped_json(wrapped: Mapping[str, bytes]) -> list[dict[str, str]]:
    """As it stands in documents (docs/format.md, 2.1)."""
    return [
        {"recipient": recipient, "sealed": base64.b64encode(sealed).decode()} for recipient, sealed in wrapped.items()
    ]


def parse_wrapped(items: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Raises ValueError, KeyError, TypeError for what is nothing wrapped."""
    return {str(item["recipient"]): base64.b64decode(item["sealed"]) for item in items}


def parse_recipient(text: str) -> X25519PublicKey:
    """Raises SettingsError for anything but 64 hex digits of an X25519 public key."""
    try:
        return X25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise SettingsError(f"{text[:80]!r} is no recipient: an X25519 public key of 64 hex digits.") from error


@dataclass(frozen=True, slots=True)
class DataKey:
    """An AES-256 key of one stream and period. `secret` is in no repr; only `record` is ever stored."""

    key_id: str
    secret: bytes
    record: KeyRecord

    def __repr__(self) -> str:
        return f"DataKey({self.key_id})"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A wrapped data key as kept in spool, key bucket and catalogue: a document and the node's signature of it."""

    key_id: str
    cell: str
    camera: str
    stream: str
    period_us: int
    period_s: int
    node_id: str
    wrapped: Mapping[str, bytes]
    document: bytes
    signature: bytes

    @property
    def bucket_key(self) -> str:
        return f"{self.cell}/{self.camera}/{self.stream}/{self.key_id}"

    def to_bytes(self) -> bytes:
        return b"".join((_RECORD_MAGIC, len(self.document).to_bytes(4, "big"), self.document, self.signature))

    def verify(self, public_key: bytes) -> None:
        """Raises FootageRefused unless the node of this public key signed it."""
        verify_signature(public_key, self.signature, _RECORD_CONTEXT + self.document)

    def unwrap(self, identities: Sequence[Identity]) -> bytes:
        """The data key. Raises as `unwrap_key` does."""
        return unwrap_key(self.key_id, self.wrapped, identities)


def create_data_key(
    cell: str,
    camera: str,
    stream: str,
    period_us: int,
    period_s: int,
    node_id: str,
    node_key: NodeKey,
    recipients: Iterable[str],
) -> DataKey:
    """A new random data key, wrapped to `recipients` and signed by the node."""
    key_id, secret = secrets.token_hex(16), secrets.token_bytes(DATA_KEY_BYTES)
    of: dict[str, object] = {
        "cell": cell, "camera": camera, "stream": stream, "period_us": period_us, "period_s": period_s
    }  # fmt: skip
    return DataKey(key_id, secret, _wrapped_record(key_id, secret, of, node_id, node_key, recipients))


def rewrap(record: KeyRecord, secret: bytes, node_id: str, node_key: NodeKey, recipients: Iterable[str]) -> KeyRecord:
    """The record of the same data key, wrapped to these recipients and to no others; signed by this node."""
    of: dict[str, object] = {
        name: getattr(record, name) for name in ("cell", "camera", "stream", "period_us", "period_s")
    }
    return _wrapped_record(record.key_id, secret, of, node_id, node_key, recipients)


def _wrapped_record(
    key_id: str, secret: bytes, of: Mapping[str, object], node_id: str, node_key: NodeKey, recipients: Iterable[str]
) -> KeyRecord:
    wrapped = wrapped_json(wrap_data_key(key_id, secret, recipients))
    document = _json({"format": 1, "key_id": key_id, **of, "node_id": node_id, "wrapped": wrapped})
    return _parse_document(document, node_key.sign(_RECORD_CONTEXT + document))


def parse_key_record(data: bytes) -> KeyRecord:
    """A stored key record, its signature not yet verified; raises FootageRefused when it is malformed."""
    length = int.from_bytes(data[8:12], "big")
    if data[:8] != _RECORD_MAGIC or length > _RECORD_LIMIT or len(data) != 12 + length + _SIGNATURE_BYTES:
        raise FootageRefused("This is no key record.", code="key_record_broken")
    return _parse_document(data[12 : 12 + length], data[12 + length :])


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raises FootageRefused (`signature_wrong`) unless `public_key` (Ed25519, 32 bytes) made the signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise FootageRefused("The signature was not made by the node it names.", code="signature_wrong") from error


def _parse_document(document: bytes, signature: bytes) -> KeyRecord:
    try:
        fields = json.loads(document)
        if fields["format"] != 1:
            raise FootageRefused("The key record is of a format this version does not know.", code="format_unknown")
        key_id, cell, camera, stream, node_id = (
            str(fields[name]) for name in ("key_id", "cell", "camera", "stream", "node_id")
        )
        period_us, period_s = int(fields["period_us"]), int(fields["period_s"])
        wrapped = parse_wrapped(fields["wrapped"])
        if len(bytes.fromhex(key_id)) != 16:
            raise ValueError("a key id of another length")
    except (ValueError, KeyError, TypeError) as error:
        raise FootageRefused("The key record's document cannot be read.", code="key_record_broken") from error
    return KeyRecord(
        key_id, cell, camera, stream, period_us, period_s, node_id, wrapped, document=document, signature=signature
    )


def _wrap_info(key_id: str) -> bytes:
    return _WRAP_INFO + bytes.fromhex(key_id)


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def write_private(path: Path, data: bytes) -> None:
    """For its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, 0o600)


def private_pem(key: PrivateKeyTypes) -> bytes:
    """PKCS #8, not encrypted: its file is what protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_private(path: Path) -> bytes:
    """Raises SettingsError for a file that is missing, or that others may read."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} may be read by others; its mode must be 0600.", code="key_file_open")
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The key file {path} cannot be read: {error.strerror}.", code="key_file_missing"
        ) from error


def _parse_pem(pem: bytes, source: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause stays out: a parser's message may quote what it was given.
        raise SettingsError(f"{source} holds no private key.", code="key_file_invalid") from None
