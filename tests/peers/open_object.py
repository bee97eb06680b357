"""Opens a sealed recording object by docs/format.md alone: it imports nothing of mediasrv.

    python open_object.py OBJECT KEY_RECORD IDENTITY_PEM NODE_PUBLIC_KEY_HEX[,HEX] [OUT_DIR]

prints what the object says of itself and writes the plain parts of each track to OUT_DIR/TRACK.mp4.
A second HEX is that of the node which wrapped the key anew, where that is another one.
Exit status 1 and one line say why an object is refused.
"""

import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FOOTER = struct.Struct(">8sB3xI16s32s")
ENTRY = struct.Struct(">QI32s16s")
DESCRIPTOR = struct.Struct(">BBHIqQI4x")


class Refused(Exception):
    """The object, or its key, is not what its node made."""


def require(condition: bool, why: str) -> None:
    if not condition:
        raise Refused(why)


def verify(node_public: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(node_public).verify(signature, message)
    except InvalidSignature:
        raise Refused("a foreign signature") from None


def open_key(record: bytes, identity: X25519PrivateKey, node_public: bytes) -> tuple[str, bytes]:
    """Section 2.1: key id and data key."""
    require(record[:8] == b"MSRVKEY1", "no key record")
    length = int.from_bytes(record[8:12], "big")
    document, signature = record[12 : 12 + length], record[12 + length :]
    verify(node_public, signature, b"mediasrv key v1" + document)
    fields = json.loads(document)
    recipient = identity.public_key().public_bytes_raw().hex()
    sealed = [base64.b64decode(one["sealed"]) for one in fields["wrapped"] if one["recipient"] == recipient]
    require(len(sealed) == 1, "the key is sealed to others")
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    info = b"mediasrv data key v1" + bytes.fromhex(fields["key_id"])
    try:
        return fields["key_id"], suite.decrypt(sealed[0], identity, info)
    except InvalidTag:
        raise Refused("the data key does not open") from None


def read_index(data: bytes, node_public: bytes) -> tuple[dict, int, list[tuple[int, int, bytes, bytes]]]:
    """Sections 1.1, 1.3 to 1.5: the header, how the object ended, and its entries."""
    require(len(data) > 24 and data[:8] == b"MSRVOBJ1" and data[-8:] == b"MSRVEND1", "no recording object")
    header = data[: 12 + int.from_bytes(data[8:12], "big")]
    footer_at = len(data) - 12 - int.from_bytes(data[-12:-8], "big")
    footer = data[max(0, footer_at) : -12]
    require(footer_at >= len(header) and len(footer) >= FOOTER.size + 64, "the object is cut")
    signed, signature = footer[:-64], footer[-64:]
    magic, ended, count, key_id, header_hash = FOOTER.unpack_from(signed)
    require(magic == b"MSRVFTR1" and len(signed) == FOOTER.size + count * ENTRY.size, "the footer is broken")
    require(header_hash == hashlib.sha256(header).digest(), "the header was altered")
    verify(node_public, signature, b"mediasrv object v1" + signed)
    document = json.loads(header[12:])
    require(document["format"] == 1 and document["key_id"] == key_id.hex(), "the header is not of this key")
    entries, at = list(ENTRY.iter_unpack(signed[FOOTER.size :])), len(header)
    for offset, length, _, _ in entries:
        require(offset == at, "parts are not one after the other")
        at += length
    require(at == footer_at, "the object's length is not that of its parts")
    return document, ended, entries


def object_key(document: dict, data_key: bytes) -> bytes:
    """Section 2.2."""
    info = b"mediasrv object key v1"
    for name in ("camera", "stream"):
        text = document[name].encode()
        info += len(text).to_bytes(2, "big") + text
    info += bytes.fromhex(document["epoch"])
    return HKDF(hashes.SHA256(), 32, bytes.fromhex(document["object_id"]), info).derive(data_key)


def open_object(
    data: bytes, key_record: bytes, identity: X25519PrivateKey, node_public: bytes, wrapper_public: bytes | None = None
) -> tuple[dict, list[tuple[tuple, bytes]]]:
    """The header's document and all parts in order: descriptor and plain bytes. Raises Refused."""
    document, _, entries = read_index(data, node_public)
    key_id, data_key = open_key(key_record, identity, wrapper_public or node_public)
    require(key_id == document["key_id"], "this is the key of other objects")
    cipher = AESGCM(object_key(document, data_key))
    context = b"mediasrv part v1" + bytes.fromhex(document["object_id"])
    parts = []
    for index, (offset, length, descriptor, tag) in enumerate(entries):
        sealed = data[offset : offset + length]
        require(sealed[-16:] == tag, f"part {index} is not the one that was signed")
        try:
            plain = cipher.decrypt(index.to_bytes(12, "big"), sealed, context + index.to_bytes(4, "big") + descriptor)
        except InvalidTag:
            raise Refused(f"part {index} does not open") from None
        parts.append((DESCRIPTOR.unpack(descriptor), plain))
    return document, parts


def main(argv: list[str]) -> int:
    data, record, pem = (Path(name).read_bytes() for name in argv[:3])
    identity = serialization.load_pem_private_key(pem, None)
    assert isinstance(identity, X25519PrivateKey)
    try:
        document, parts = open_object(data, record, identity, *map(bytes.fromhex, argv[3].split(",")))
    except Refused as refused:
        print(f"refused: {refused}")
        return 1
    print(json.dumps({**document, "parts": len(parts)}))
    for (track, *_), plain in parts if len(argv) > 4 else ():
        with (Path(argv[4]) / f"{track}.mp4").open("ab") as out:
            out.write(plain)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
