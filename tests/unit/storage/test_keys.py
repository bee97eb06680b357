"""Node keys, identities and wrapped data keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediasrv.errors import FootageRefused, KeyUnavailable, SettingsError
from mediasrv.storage.keys import DataKey, Identity, NodeKey, create_data_key, parse_key_record, parse_recipient
from tests.unit.storage.sealed import IDENTITY, NODE, OTHER_NODE


def data_key(*identities: Identity) -> DataKey:
    recipients = [identity.recipient for identity in identities]
    return create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, recipients)


def test_each_recipient_opens_the_data_key_and_nobody_else() -> None:
    authority, stranger = Identity.generate(), Identity.generate()
    key = data_key(IDENTITY, authority)
    record = parse_key_record(key.record.to_bytes())
    assert record.unwrap([IDENTITY]) == record.unwrap([stranger, authority]) == key.secret
    with pytest.raises(KeyUnavailable):
        record.unwrap([stranger])


def test_a_key_sealed_for_another_key_id_does_not_open() -> None:
    first, second = data_key(IDENTITY), data_key(IDENTITY)
    sealed = first.record.wrapped[IDENTITY.recipient]
    with pytest.raises(FootageRefused) as refused:
        IDENTITY.unwrap(second.key_id, sealed)
    assert refused.value.code == "key_not_opened"


def test_a_record_of_another_node_or_with_a_changed_byte_is_refused() -> None:
    record = data_key(IDENTITY).record
    record.verify(NODE.public)
    with pytest.raises(FootageRefused):
        record.verify(OTHER_NODE.public)
    data = bytearray(record.to_bytes())
    data[data.index(b"gate-1")] ^= 1
    with pytest.raises(FootageRefused):
        parse_key_record(bytes(data)).verify(NODE.public)


def test_the_secret_is_in_no_repr() -> None:
    key = data_key(IDENTITY)
    for text in (repr(key), str(key), f"{key!r}"):
        assert key.secret.hex() not in text
        assert repr(key.secret) not in text


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "node.key"
    first = NodeKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert NodeKey.load_or_create(path).public == first.public
    assert [one.name for one in path.parent.iterdir()] == ["node.key"]
    identity = Identity.load_or_create(tmp_path / "identity.key")
    assert Identity.load(tmp_path / "identity.key").recipient == identity.recipient


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    NodeKey.load_or_create(tmp_path / "node.key")
    (tmp_path / "node.key").chmod(0o640)
    with pytest.raises(SettingsError) as refused:
        NodeKey.load_or_create(tmp_path / "node.key")
    assert refused.value.code == "key_file_open"


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsError):
        NodeKey.load_or_create(path)


def test_a_key_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    NodeKey.load_or_create(tmp_path / "node.key")
    with pytest.raises(SettingsError):
        Identity.load(tmp_path / "node.key")


def test_secrets_derived_for_two_uses_differ() -> None:
    assert NODE.derive(b"one") == NODE.derive(b"one") != NODE.derive(b"two")
    assert NODE.derive(b"one") != OTHER_NODE.derive(b"one")


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "gate"])
def test_what_is_no_public_key_is_no_recipient(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_recipient(text)
