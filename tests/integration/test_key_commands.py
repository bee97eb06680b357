"""`mediasrv keys` as a person types it: who may open what is recorded. What needs storage is in test_lost_key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mediasrv.cli import main
from mediasrv.storage.keys import Identity, write_private

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command on a configuration of these `[sealing]` and `[server]` lines; status, and all it said."""
    config = tmp_path / "mediasrv.toml"

    def run(*words: str, sealing: str = "", roles: str = '["record", "unseal", "web"]') -> tuple[int, str]:
        config.write_text(f'[server]\ndata_dir = "{tmp_path}/data"\nroles = {roles}\n[sealing]\n{sealing}\n')
        status = main(["keys", *words, "--config", str(config)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def recipient_of(path: Path) -> str:
    return Identity.load(path).recipient


def log(tmp_path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(data(tmp_path) / "catalogue.db")) as catalogue:
        return list(catalogue.execute("select action, username from access_log order by entry"))


def test_a_first_identity_is_named_and_a_lost_one_is_not_replaced(keys: Run, tmp_path: Path) -> None:
    status, said = keys("create")
    first = recipient_of(data(tmp_path) / "identity.key")
    assert (status, f"identity.key {first}" in said) == (0, True)
    (data(tmp_path) / "identity.key").unlink()
    assert keys("create")[0] == 0
    assert not (data(tmp_path) / "identity.key").exists()
    status, said = keys("list")
    assert status == 0
    assert f"place      {first}  node-1" in said
    assert "0 kept: 0 wrapped to the present recipients" in said


def test_a_rotation_makes_an_identity_and_keeps_the_old_one(keys: Run, tmp_path: Path) -> None:
    keys("create")
    first = recipient_of(data(tmp_path) / "identity.key")
    status, said = keys("rotate", "--by", "lan")
    (path,) = data(tmp_path).glob("identity-*.key")
    assert status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert recipient_of(path) in said
    assert f"retired {first}" in said
    _, said = keys("list")
    assert said.count("retired 20") == 1
    assert all(f"{one}  {recipient_of(one)}" in said for one in (path, data(tmp_path) / "identity.key"))
    assert log(tmp_path) == [("keys.recipient_added", "lan"), ("keys.recipient_retired", "lan")]


def test_where_identities_are_configured_a_rotation_says_what_to_add(keys: Run, tmp_path: Path) -> None:
    write_private(tmp_path / "place.key", Identity.generate().to_pem())
    old = recipient_of(tmp_path / "place.key")
    sealing = f'recipients = ["{old}"]\nidentities = ["file:{tmp_path}/place.key"]'
    status, said = keys("rotate", sealing=sealing)
    assert (status, "--out FILE" in said) == (1, True)
    status, said = keys("rotate", "--out", str(tmp_path / "new.key"), sealing=sealing)
    assert status == 0
    assert f'Add "file:{tmp_path}/new.key" to sealing.identities' in said
    # The old one is configured, and opened here: so it was the place's, and retires.
    assert f"retired {old}" in said
    elsewhere = Identity.generate().recipient
    status, said = keys("rotate", "--public-key", elsewhere.upper(), sealing=sealing)
    assert (status, elsewhere in said) == (0, True)
    status, said = keys("rotate", "--out", str(tmp_path / "new.key"), sealing=sealing)
    assert (status, "key_file_exists" in said) == (1, True)


def test_a_node_that_may_not_open_footage_makes_no_identity(keys: Run, tmp_path: Path) -> None:
    sealing, roles = f'recipients = ["{Identity.generate().recipient}"]', '["record"]'
    status, said = keys("rotate", sealing=sealing, roles=roles)
    assert (status, "--public-key" in said) == (1, True)
    status, _ = keys("rotate", "--public-key", Identity.generate().recipient, sealing=sealing, roles=roles)
    assert status == 0
    assert not list(data(tmp_path).glob("identity*"))


def test_an_escrow_is_written_once_or_printed_and_kept_nowhere(keys: Run, tmp_path: Path) -> None:
    keys("create")
    stick = tmp_path / "stick" / "escrow.key"
    status, said = keys("escrow", "--label", "the safe", "--out", str(stick))
    assert (status, recipient_of(stick) in said, "PRIVATE" in said) == (0, True, False)
    assert stick.stat().st_mode & 0o777 == 0o600
    status, said = keys("escrow", "--label", "the safe", "--out", str(stick))
    assert (status, "key_file_exists" in said) == (1, True)
    status, said = keys("escrow", "--label", "another safe", "--print")
    pem = said[said.index("-----BEGIN") : said.index("END PRIVATE KEY-----") + 21]
    assert Identity.from_pem(pem.encode(), "it").recipient in said
    secrets = [stick.read_bytes().splitlines()[1], pem.splitlines()[1].encode()]
    for path in data(tmp_path).rglob("*"):
        assert path.is_dir() or not any(secret in path.read_bytes() for secret in secrets), path
    assert keys("list")[1].count("escrow     ") == 2


def test_recipients_come_and_go(keys: Run, tmp_path: Path) -> None:
    keys("create")
    first, authority = recipient_of(data(tmp_path) / "identity.key"), Identity.generate().recipient
    assert keys("add-recipient", authority, "--label", "the court")[0] == 0
    status, said = keys("add-recipient", authority, "--label", "the court")
    assert (status, "recipient_exists" in said) == (1, True)
    assert keys("add-recipient", "beef", "--label", "the court")[0] == 1
    assert keys("retire-recipient", first)[0] == 0
    status, said = keys("retire-recipient", authority)
    assert (status, "recipient_last" in said) == (1, True)
    assert [action for action, _ in log(tmp_path)].count("keys.recipient_added") == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["destroy", "--reason", "r"], "choice_missing"),
        (["re-wrap"], "choice_missing"),
        (["re-wrap", "--all", "--camera", "gate-1"], "choice_missing"),
        (["re-wrap", "--from", "2026-05-01T00:00:00"], "no zone"),
        (["re-wrap", "--from", "yesterday"], "no time"),
        (["re-wrap", "--all", "--identity", "file:/nowhere/x.key"], "key_file_missing"),
    ],
)
def test_what_is_not_meant_clearly_is_not_done(keys: Run, words: list[str], code: str) -> None:
    keys("create")
    status, said = keys(*words)
    assert (status, code in said) == (1, True), said


def test_list_says_which_identity_cannot_be_had_and_nothing_of_what_a_command_says(keys: Run, tmp_path: Path) -> None:
    recipient = Identity.generate().recipient
    sealing = (
        f'recipients = ["{recipient}"]\n'
        f'identities = ["command:/bin/echo hunter2", "file:{tmp_path}/none.key", "env:NOT_SET"]'
    )
    status, said = keys("list", sealing=sealing)
    assert status == 0
    assert f"authority  {recipient}  sealing.recipients" in said
    assert "holds no private key" in said
    assert "none.key cannot be read" in said
    assert "NOT_SET is not set" in said
    assert "hunter2" not in said


def test_a_key_in_the_configuration_is_refused_and_not_shown(keys: Run) -> None:
    status, said = keys("list", sealing='identities = ["hunter2"]')
    assert (status, "settings_secret_plain" in said, "hunter2" in said) == (1, True, False)
    status, said = keys("create", sealing='node_key = "hunter2"')
    assert (status, "settings_secret_plain" in said, "hunter2" in said) == (1, True, False)
