"""Sealed documents: what is sealed comes back whole, and nothing else does."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import FootageRefused, KeyUnavailable
from mediasrv.storage.documents import open_document, read_head, seal_document, verify_document
from mediasrv.storage.keys import Identity, NodeKey

NODE, STRANGER = NodeKey.generate(), NodeKey.generate()
IDENTITY, ESCROW = Identity.generate(), Identity.generate()


def seal(pieces: Iterable[bytes], sign: NodeKey = NODE) -> bytes:
    recipients = [IDENTITY.recipient, ESCROW.recipient]
    return b"".join(seal_document(pieces, "backup", {"number": 7}, "node-1", 1_700, sign.sign, recipients))


def unseal(data: bytes, identity: Identity = IDENTITY, key: NodeKey = NODE) -> bytes:
    secret = read_head(io.BytesIO(data)).unwrap([identity])
    return b"".join(open_document(io.BytesIO(data), secret, key.public))


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_what_is_sealed_comes_back_to_each_recipient(pieces: list[bytes]) -> None:
    document = seal(pieces)
    assert unseal(document) == unseal(document, ESCROW) == b"".join(pieces)


def test_a_large_one_goes_through_in_pieces_and_shows_nothing() -> None:
    plain = b"a person's name" * 300_000
    document = seal([plain])
    assert unseal(document) == plain
    assert b"a person's name" not in document


def test_its_head_says_what_it_is() -> None:
    head = verify_document(io.BytesIO(seal([b"x"])), NODE.public)
    assert (head.kind, head.node_id, head.made_us, head.about) == ("backup", "node-1", 1_700, {"number": 7})


def test_every_changed_byte_is_found() -> None:
    document = seal([b"0123456789" * 10])
    for at in range(len(document)):
        spoiled = document[:at] + bytes((document[at] ^ 1,)) + document[at + 1 :]
        with pytest.raises((FootageRefused, KeyUnavailable)):
            unseal(spoiled)
        with pytest.raises(FootageRefused):
            verify_document(io.BytesIO(spoiled), NODE.public)


def test_every_cut_and_whatever_follows_is_found() -> None:
    document = seal([b"0123456789" * 10])
    for changed in [*(document[:size] for size in range(0, len(document), 7)), document + b"\0"]:
        with pytest.raises(FootageRefused):
            verify_document(io.BytesIO(changed), NODE.public)


def test_a_strangers_signature_and_a_strangers_identity_are_refused() -> None:
    with pytest.raises(FootageRefused) as refused:
        unseal(seal([b"x"], STRANGER))
    assert refused.value.code == "signature_wrong"
    with pytest.raises(KeyUnavailable):
        unseal(seal([b"x"]), Identity.generate())
