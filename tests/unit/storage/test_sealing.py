"""The sealed format: known bytes stay readable, and nothing but what was sealed is accepted."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import FootageRefused
from mediasrv.storage.keys import Identity, NodeKey, parse_key_record
from mediasrv.storage.receipts import verify_receipt
from mediasrv.storage.sealing import (
    Descriptor,
    Ended,
    ObjectCipher,
    ObjectIndex,
    ObjectSealer,
    check_tag,
    footer_length,
    header_length,
    parse_header,
)
from tests.unit.storage.sealed import (
    DATA_KEY,
    HEADER,
    IDENTITY,
    NODE,
    NODE_KEYS,
    OTHER_NODE,
    Sealed,
    descriptors,
    plain_parts,
    seal_object,
)

VECTORS = json.loads((Path(__file__).parents[2] / "peers/format/v1.json").read_text())
OBJECT = base64.b64decode(VECTORS["object"])


def open_whole(body: bytes, node_keys: dict[str, bytes] = NODE_KEYS) -> list[bytes]:
    header = body[: header_length(body)]
    index = ObjectIndex.verify(header, body[-footer_length(body) :], len(body), node_keys)
    cipher = ObjectCipher(index.header, DATA_KEY)
    plain = []
    for number, entry in enumerate(index.entries):
        sealed = body[entry.offset : entry.offset + entry.length]
        check_tag(number, entry, sealed)
        plain.append(cipher.open(number, entry.descriptor.pack(), sealed))
    return plain


def test_an_object_of_version_1_opens() -> None:
    assert open_whole(OBJECT) == plain_parts()


def test_the_same_input_gives_the_same_bytes_as_in_version_1() -> None:
    assert seal_object().body == OBJECT


def test_a_key_record_of_version_1_opens() -> None:
    record = parse_key_record(base64.b64decode(VECTORS["key_record"]))
    record.verify(NODE.public)
    assert record.unwrap([IDENTITY]) == DATA_KEY
    assert record.bucket_key == "cell-1/gate-1/main/" + "1d" * 16


@pytest.mark.parametrize(
    ("name", "node", "openers"),
    [
        ("key_record_of_three", NODE, ("place", "authority", "escrow")),
        ("key_record_wrapped_anew", OTHER_NODE, ("authority", "escrow")),
    ],
)
def test_a_key_record_of_several_recipients_opens_for_each_of_them(
    name: str, node: NodeKey, openers: tuple[str, ...]
) -> None:
    record = parse_key_record(base64.b64decode(VECTORS[name]))
    record.verify(node.public)
    identities = {of: Identity(_private(of)) for of in ("place", "authority", "escrow")}
    assert set(record.wrapped) == {identities[of].recipient for of in openers}
    assert [record.unwrap([identities[of]]) for of in openers] == [DATA_KEY] * len(openers)


def test_a_receipt_of_version_1_is_verified() -> None:
    assert verify_receipt(VECTORS["receipt"], OTHER_NODE.public)["key_id"] == HEADER.key_id


def _private(of: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["seeds"][of]))


def test_the_index_says_what_was_sealed() -> None:
    index = ObjectIndex.verify(HEADER.build(), seal_object().footer, len(OBJECT), NODE_KEYS)
    assert index.header == HEADER
    assert index.ended is Ended.CLOSED
    assert [entry.descriptor for entry in index.entries] == descriptors()
    assert HEADER.object_key == "cell-1/gate-1/main/20260921/0001000000000007/5e5e5e5e5e5e5e5e/000003"


def test_a_header_survives_a_reader_that_knows_more_members() -> None:
    document = json.loads(HEADER.build()[12:]) | {"later": 1}
    data = json.dumps(document).encode()
    assert parse_header(b"MSRVOBJ1" + len(data).to_bytes(4, "big") + data) == HEADER


def swapped(sealed: Sealed) -> bytes:
    sealed.parts[1], sealed.parts[2] = sealed.parts[2], sealed.parts[1]
    return sealed.body


def swapped_with_one_of_its_length(_: Sealed) -> bytes:
    """Each is whole where the other was, under a footer that fits."""
    return swapped(seal_object(plain=[b"plain part %d" % number for number in range(5)]))


def part_altered(sealed: Sealed) -> bytes:
    sealed.parts[2] = bytes((sealed.parts[2][0] ^ 1,)) + sealed.parts[2][1:]
    return sealed.body


def part_missing(sealed: Sealed) -> bytes:
    del sealed.parts[3]
    return sealed.body


def of_another_object(sealed: Sealed) -> bytes:
    other = seal_object(replace(HEADER, object_id="0b" * 32))
    sealed.parts[2] = other.parts[2]
    return sealed.body


def header_altered(sealed: Sealed) -> bytes:
    sealed.header = sealed.header.replace(b"gate-1", b"gate-2")
    return sealed.body


def session_altered(sealed: Sealed) -> bytes:
    """A member of the header that no key is derived from: only the signed hash tells."""
    sealed.header = sealed.header.replace(HEADER.session.encode(), b"5f" * 8)
    return sealed.body


def made_anew_with_the_data_key(sealed: Sealed) -> bytes:
    """Whoever can open footage could seal other footage in its place, and it would open."""
    forged = plain_parts()[2].swapcase()
    sealed.parts[2] = ObjectCipher(HEADER, DATA_KEY).seal(2, descriptors()[2].pack(), forged)
    return sealed.body


def descriptor_altered(sealed: Sealed) -> bytes:
    sealed.footer = sealed.footer.replace(descriptors()[2].pack(), descriptors()[3].pack(), 1)
    return sealed.body


def signed_by_another(sealed: Sealed) -> bytes:
    return seal_object(node=OTHER_NODE).body


def of_an_unknown_node(sealed: Sealed) -> bytes:
    return seal_object(replace(HEADER, node_id="node-9")).body


TAMPERINGS: list[tuple[Callable[[Sealed], bytes], str]] = [
    (swapped, "part_altered"),
    (swapped_with_one_of_its_length, "part_altered"),
    (part_altered, "part_not_opened"),
    (part_missing, "object_truncated"),
    (of_another_object, "part_altered"),
    (made_anew_with_the_data_key, "part_altered"),
    (header_altered, "header_altered"),
    (session_altered, "header_altered"),
    (descriptor_altered, "signature_wrong"),
    (signed_by_another, "signature_wrong"),
    (of_an_unknown_node, "signer_unknown"),
    (lambda sealed: sealed.body[:-1], "magic_wrong"),
    (lambda sealed: b"X" + sealed.body[1:], "magic_wrong"),
    (lambda sealed: sealed.header + sealed.footer, "object_truncated"),
    (lambda sealed: sealed.header + b"".join(sealed.parts) + b"more" + sealed.footer, "object_truncated"),
    (lambda sealed: sealed.header + sealed.parts[0], "magic_wrong"),
]


@pytest.mark.parametrize(("tamper", "code"), TAMPERINGS)
def test_a_changed_object_is_refused_with_a_code_that_says_what_is_wrong(
    tamper: Callable[[Sealed], bytes], code: str
) -> None:
    with pytest.raises(FootageRefused) as refused:
        open_whole(tamper(seal_object()))
    assert refused.value.code == code


@given(st.integers(0, len(OBJECT) - 1), st.integers(1, 255))
def test_no_byte_of_an_object_can_be_changed(position: int, change: int) -> None:
    altered = bytearray(OBJECT)
    altered[position] ^= change
    with pytest.raises(FootageRefused):
        open_whole(bytes(altered))


@given(st.integers(0, len(OBJECT) - 1))
def test_an_object_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(FootageRefused):
        open_whole(OBJECT[:length])


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_is_raised(data: bytes) -> None:
    for parse in (open_whole, parse_header, parse_key_record):
        with pytest.raises(FootageRefused):
            parse(data)


@given(st.binary(max_size=80))
def test_a_garbled_document_is_refused_and_nothing_else_is_raised(document: bytes) -> None:
    for parse, magic in ((parse_header, b"MSRVOBJ1"), (parse_key_record, b"MSRVKEY1")):
        with pytest.raises(FootageRefused):
            parse(magic + len(document).to_bytes(4, "big") + document + bytes(64))


def test_a_part_opens_at_its_own_place_only() -> None:
    sealer = ObjectSealer(HEADER, DATA_KEY)
    _, first, sealed = sealer.seal(descriptors()[0], b"plain")
    index, second, again = sealer.seal(descriptors()[0], b"plain")
    assert (index, first) == (1, second)
    assert sealed != again
    cipher = ObjectCipher(HEADER, DATA_KEY)
    for number, descriptor, header in (
        (1, first, HEADER),
        (0, descriptors()[1].pack(), HEADER),
        (0, first, replace(HEADER, epoch=1)),
        (0, first, replace(HEADER, camera="gate-2")),
        (0, first, replace(HEADER, stream="sub")),
    ):
        with pytest.raises(FootageRefused):
            ObjectCipher(header, DATA_KEY).open(number, descriptor, sealed)
    assert cipher.open(0, first, sealed) == b"plain"


def test_a_descriptor_is_32_bytes_and_comes_back() -> None:
    one = Descriptor(2, 7, 65_535, 48_000, -5, (1 << 63) + 1, (1 << 32) - 1)
    assert len(one.pack()) == 32
    assert Descriptor.unpack(one.pack()) == one
    assert Descriptor(1, 0, 12, 90_000, 1_000_000, 0, 45_000).ended_us == 1_500_000
