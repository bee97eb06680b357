"""The stand-alone reader agrees with the product, and refuses what the product refuses."""

from __future__ import annotations

import ast
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mediasrv.storage.keys import NodeKey, create_data_key, parse_key_record
from tests.peers import open_object
from tests.unit.storage.sealed import (
    IDENTITY,
    IDENTITY_PRIVATE,
    NODE,
    OTHER_NODE,
    Sealed,
    descriptors,
    plain_parts,
    seal_object,
)
from tests.unit.storage.test_sealing import TAMPERINGS

VECTORS = json.loads((Path(__file__).parent / "format/v1.json").read_text())
OBJECT = base64.b64decode(VECTORS["object"])
KEY_RECORD = base64.b64decode(VECTORS["key_record"])


def open_parts(body: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    return open_object.open_object(body, KEY_RECORD, IDENTITY_PRIVATE, NODE.public)[1]


def test_it_opens_what_the_product_sealed() -> None:
    assert open_parts(seal_object().body) == [
        (tuple(descriptor), plain) for descriptor, plain in zip(descriptors(), plain_parts(), strict=True)
    ]


# The reader is handed one node's key: it has no register in which a node could be missing.
@pytest.mark.parametrize(("tamper", "code"), [one for one in TAMPERINGS if one[1] != "signer_unknown"])
def test_it_refuses_what_was_changed(tamper: Callable[[Sealed], bytes], code: str) -> None:
    with pytest.raises(open_object.Refused):
        open_parts(tamper(seal_object()))


@pytest.mark.parametrize("node", [NODE, OTHER_NODE])
def test_it_refuses_another_key_and_a_key_that_another_made(node: NodeKey) -> None:
    forged = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", node, [IDENTITY.recipient])
    with pytest.raises(open_object.Refused):
        open_object.open_object(seal_object().body, forged.record.to_bytes(), IDENTITY_PRIVATE, NODE.public)


def test_a_key_record_that_another_node_signed_is_refused_whatever_it_holds() -> None:
    """The right key, too: who wraps keys could hand out ones that only he knows."""
    record = parse_key_record(KEY_RECORD)
    resigned = replace(record, signature=OTHER_NODE.sign(b"mediasrv key v1" + record.document))
    with pytest.raises(open_object.Refused, match="signature"):
        open_object.open_key(resigned.to_bytes(), IDENTITY_PRIVATE, NODE.public)


def test_who_is_no_recipient_opens_nothing() -> None:
    with pytest.raises(open_object.Refused, match="others"):
        open_object.open_object(seal_object().body, KEY_RECORD, X25519PrivateKey.generate(), NODE.public)


@pytest.mark.parametrize("of", ["place", "authority", "escrow"])
def test_each_recipient_of_a_key_opens_the_object(of: str) -> None:
    record = base64.b64decode(VECTORS["key_record_of_three"])
    parts = open_object.open_object(OBJECT, record, private(of), NODE.public)[1]
    assert [plain for _, plain in parts] == plain_parts()


def test_the_escrow_opens_what_another_node_wrapped_anew_and_the_lost_identity_no_longer() -> None:
    record = base64.b64decode(VECTORS["key_record_wrapped_anew"])
    parts = open_object.open_object(OBJECT, record, private("escrow"), NODE.public, OTHER_NODE.public)[1]
    assert [plain for _, plain in parts] == plain_parts()
    with pytest.raises(open_object.Refused, match="others"):
        open_object.open_object(OBJECT, record, private("place"), NODE.public, OTHER_NODE.public)
    with pytest.raises(open_object.Refused, match="signature"):
        open_object.open_object(OBJECT, record, private("escrow"), NODE.public)


def test_a_receipt_is_verified_by_the_format_alone() -> None:
    document, signature = VECTORS["receipt"]["document"].encode(), bytes.fromhex(VECTORS["receipt"]["signature"])
    open_object.verify(OTHER_NODE.public, signature, b"mediasrv key receipt v1" + document)
    with pytest.raises(open_object.Refused):
        open_object.verify(OTHER_NODE.public, signature, b"mediasrv key receipt v1" + document + b" ")


def private(of: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["seeds"][of]))


def test_it_stands_alone() -> None:
    source = Path(open_object.__file__).read_text()
    assert len(source.splitlines()) < 150
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert not [name for name in imported if name.startswith("mediasrv")]
