"""Whom new data keys are wrapped to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mediasrv.errors import Conflict, NotFound, SettingsError
from mediasrv.storage.keys import Identity, create_data_key
from mediasrv.storage.recipients import Recipient, RecipientRole, Recipients
from tests.unit.storage.sealed import NODE

FIRST, SECOND, THIRD = (Identity.generate().recipient for _ in range(3))
AT = "2026-05-01T00:00:00+00:00"


def recipient(public_key: str, role: RecipientRole = RecipientRole.PLACE) -> Recipient:
    return Recipient(public_key, "a label", role, AT)


def test_those_of_the_file_and_those_of_the_settings_count_each_once(tmp_path: Path) -> None:
    recipients = Recipients(tmp_path / "recipients.json", [FIRST, SECOND.upper()])
    recipients.add(recipient(SECOND))
    recipients.add(recipient(THIRD, RecipientRole.ESCROW))
    assert list(Recipients(tmp_path / "recipients.json", [FIRST, SECOND])) == [FIRST, SECOND, THIRD]
    assert {one.public_key: one.role for one in recipients.all()} == {
        SECOND: "place", THIRD: "escrow", FIRST: "authority"
    }  # fmt: skip


def test_a_server_that_runs_takes_a_change_in_with_the_next_data_key(tmp_path: Path) -> None:
    path = tmp_path / "recipients.json"
    serving, command = Recipients(path, [FIRST]), Recipients(path, [FIRST])
    command.add(recipient(SECOND))
    key = create_data_key("cell-1", "gate-1", "main", 0, 3600, "node-1", NODE, serving)
    assert list(key.record.wrapped) == [FIRST, SECOND]
    command.retire(FIRST, AT)  # although it is configured
    assert list(serving) == [SECOND]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"recipients": [{"public_key": "zz"}]}', b"\xff", None])
def test_a_file_that_breaks_while_serving_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    """Recording goes on, wrapped to whom it was before."""
    path = tmp_path / "recipients.json"
    serving = Recipients(path)
    serving.add(recipient(FIRST))
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        with pytest.raises(SettingsError):
            Recipients(path)
    assert list(serving) == [FIRST]


def test_the_last_recipient_stays(tmp_path: Path) -> None:
    recipients = Recipients(tmp_path / "recipients.json")
    recipients.add(recipient(FIRST))
    with pytest.raises(Conflict) as refused:
        recipients.retire(FIRST, AT)
    assert refused.value.code == "recipient_last"
    with pytest.raises(NotFound):
        recipients.retire(SECOND, AT)
    with pytest.raises(Conflict):
        recipients.add(recipient(FIRST))
    with pytest.raises(SettingsError):
        recipients.add(recipient("ff" * 31))


def test_a_change_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipients.json"
    recipients = Recipients(path)
    recipients.add(recipient(FIRST))

    def dies(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(OSError, match="full"):
        recipients.add(recipient(SECOND))
    assert list(Recipients(path)) == [FIRST]
