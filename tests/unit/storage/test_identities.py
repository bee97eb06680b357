"""Where private keys come from, and for how long a process holds them."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import pytest

from mediasrv.errors import KeyUnavailable, SettingsError
from mediasrv.storage.footage import KeyRing
from mediasrv.storage.identities import RETRY_S, Identities, describe, read_reference
from mediasrv.storage.keys import DataKey, Identity, create_data_key, write_private
from tests.clocks import SimulatedClock
from tests.unit.storage.sealed import IDENTITY, NODE

PEM = IDENTITY.to_pem()


def data_key(number: int = 0, identity: Identity = IDENTITY) -> DataKey:
    return create_data_key("cell-1", f"cam-{number}", "main", 0, 3600, "node-1", NODE, [identity.recipient])


def program(path: Path, body: str) -> str:
    """A reference to a program of these lines of Python."""
    path.write_text(f"import sys, time, pathlib\n{body}\n")
    return f"command:{sys.executable} {path}"


class Catalogue:
    """A `KeySource` of some keys."""

    def __init__(self, *keys: DataKey) -> None:
        self.records = {key.key_id: key.record.to_bytes() for key in keys}

    async def node_key(self, node_id: str) -> bytes | None:
        return NODE.public

    async def key_record(self, key_id: str) -> bytes | None:
        return self.records.get(key_id)


# --- references ----------------------------------------------------------------------------------


def test_a_key_comes_from_a_file_the_environment_a_credential_or_a_program(tmp_path: Path) -> None:
    write_private(tmp_path / "a.key", PEM)
    (tmp_path / "credential").write_bytes(PEM)
    environ = {"PLACE_KEY": PEM.decode(), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    printed = program(tmp_path / "fetch.py", f"print({PEM.decode()!r}, end='')")
    for reference in (f"file:{tmp_path}/a.key", "env:PLACE_KEY", "systemd:credential", printed):
        pem = read_reference(reference, 10.0, environ)
        assert Identity.from_pem(pem, "it").recipient == IDENTITY.recipient, reference


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "a.key", PEM)
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(SettingsError, match="0600") as refused:
        read_reference(f"file:{tmp_path}/a.key", 1.0)
    assert refused.value.code == "key_file_open"


@pytest.mark.parametrize(
    "reference", ["env:NOWHERE", "systemd:nothing", "systemd:../a.key", "file:/nowhere/a.key", "command:/nowhere/x"]
)
def test_what_is_not_there_is_said(tmp_path: Path, reference: str) -> None:
    write_private(tmp_path / "a.key", PEM)
    directory = tmp_path / "credentials"
    directory.mkdir()
    with pytest.raises(SettingsError) as refused:
        read_reference(reference, 1.0, {"CREDENTIALS_DIRECTORY": str(directory)})
    assert refused.value.code in ("key_file_missing", "key_command_failed")


@pytest.mark.parametrize(
    "body",
    [
        "print('hunter2'); sys.exit(3)",
        "print('hunter2'); sys.stderr.write('hunter2')",
        "print('hunter2' * 99999)",
    ],
)
def test_what_a_program_says_reaches_no_error(tmp_path: Path, body: str) -> None:
    """It fails, it prints what is no key, it prints without end."""
    with pytest.raises(SettingsError) as refused:
        Identity.from_pem(read_reference(program(tmp_path / "x.py", body), 10.0), "it")
    told = [refused.value, refused.value.__cause__, refused.value.__context__]
    assert "hunter2" not in " ".join(str(one) for one in told)


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = "import subprocess, os\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    note = f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(60)"
    with pytest.raises(SettingsError, match="did not answer"):
        read_reference(program(tmp_path / "hang.py", f"{child}\n{note}"), 2.0)
    for pid in pids.read_text().split():
        assert _is_gone(int(pid)), pid


def test_what_a_program_left_behind_is_ended_too(tmp_path: Path) -> None:
    """It has ended itself, and its child holds the output open."""
    pid = tmp_path / "pid"
    child = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    body = f"{child}\npathlib.Path({str(pid)!r}).write_text(str(child.pid))"
    with pytest.raises(SettingsError, match="did not answer"):
        read_reference(program(tmp_path / "leave.py", body), 2.0)
    assert _is_gone(int(pid.read_text()))


def _is_gone(pid: int) -> bool:
    """The grandchild is no child of ours: somebody else reaps it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_words_of_a_command_are_not_shown() -> None:
    assert describe("command:/bin/vault read --token=hunter2") == "command:/bin/vault"
    assert describe("hunter2") == "(no reference)"


# --- held by a process ---------------------------------------------------------------------------


class Source:
    """A program that counts its calls, and fails or hangs to order."""

    def __init__(self, directory: Path) -> None:
        self.calls, self.broken = directory / "calls", directory / "broken"
        self.reference = program(
            directory / "fetch.py",
            f"with open({str(self.calls)!r}, 'a') as file: file.write('x')\n"
            f"if pathlib.Path({str(self.broken)!r}).exists(): sys.exit(1)\n"
            f"print({PEM.decode()!r}, end='')",
        )

    @property
    def count(self) -> int:
        return len(self.calls.read_text()) if self.calls.exists() else 0


async def test_a_command_is_called_once_for_many_keys_and_again_when_its_time_is_over(tmp_path: Path) -> None:
    source, clock, keys = Source(tmp_path), SimulatedClock(0), [data_key(number) for number in range(5)]
    ring = KeyRing(Identities(lambda: [source.reference], clock, 300.0), Catalogue(*keys), clock, 300.0)
    assert source.count == 0  # nothing is read before it is needed
    for key in keys:
        assert await ring.data_key(key.key_id) == key.secret
    assert source.count == 1
    clock.advance(299.0)
    assert await ring.data_key(keys[0].key_id) == keys[0].secret
    assert (source.count, ring.held) == (1, 5)
    clock.advance(1.0)
    ring.expire()
    assert ring.held == 0
    assert await ring.data_key(keys[0].key_id) == keys[0].secret
    assert (source.count, ring.held) == (2, 1)


async def test_what_runs_beside_forgets_in_time_and_all_at_the_end(tmp_path: Path) -> None:
    clock, keys = SimulatedClock(0), [data_key(number) for number in range(2)]
    ring = KeyRing([IDENTITY], Catalogue(*keys), clock, 0.5)
    running = asyncio.create_task(ring.run())
    await ring.data_key(keys[0].key_id)
    clock.advance(0.5)
    async with asyncio.timeout(5):
        while ring.held:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    await ring.data_key(keys[1].key_id)
    running.cancel()
    await asyncio.wait([running])
    assert ring.held == 0


async def test_opened_keys_in_memory_are_bounded(tmp_path: Path) -> None:
    clock, keys = SimulatedClock(0), [data_key(number) for number in range(5)]
    ring = KeyRing([IDENTITY], Catalogue(*keys), clock, 300.0, most=2)
    for key in keys:
        await ring.data_key(key.key_id)
        assert ring.held <= 2
    assert await ring.data_key(keys[0].key_id) == keys[0].secret


async def test_identities_are_forgotten_in_time(tmp_path: Path) -> None:
    path, clock, first, second = tmp_path / "a.key", SimulatedClock(0), data_key(1), data_key(2)
    write_private(path, PEM)
    identities = Identities(lambda: [f"file:{path}"], clock, 60.0)
    ring = KeyRing(identities, Catalogue(first, second), clock, 60.0)
    await ring.data_key(first.key_id)
    assert identities.held == 1
    path.unlink()
    assert await ring.data_key(second.key_id) == second.secret
    clock.advance(60.0)
    ring.expire()
    assert identities.held == 0
    with pytest.raises(KeyUnavailable) as refused:
        await ring.data_key(first.key_id)
    assert refused.value.code == "identity_unavailable"


async def test_a_key_service_that_fails_is_asked_seldom_and_comes_back_by_itself(tmp_path: Path) -> None:
    source, clock, key = Source(tmp_path), SimulatedClock(0), data_key()
    source.broken.touch()
    ring = KeyRing(Identities(lambda: [source.reference], clock, 300.0), Catalogue(key), clock, 300.0)
    for _ in range(4):
        with pytest.raises(KeyUnavailable) as refused:
            await ring.data_key(key.key_id)
        assert (refused.value.code, refused.value.status) == ("identity_unavailable", 503)
    assert source.count == 1
    source.broken.unlink()
    clock.advance(RETRY_S)
    assert await ring.data_key(key.key_id) == key.secret


async def test_one_source_that_fails_takes_nothing_from_the_others(tmp_path: Path) -> None:
    source, clock, key, foreign = Source(tmp_path), SimulatedClock(0), data_key(), data_key(1, Identity.generate())
    ring = KeyRing(
        Identities(lambda: ["env:NOWHERE", source.reference], clock, 300.0), Catalogue(key, foreign), clock, 300.0
    )
    assert await ring.data_key(key.key_id) == key.secret
    with pytest.raises(KeyUnavailable) as refused:
        await ring.data_key(foreign.key_id)
    assert refused.value.code == "identity_unavailable"  # the failed one might have opened it


async def test_an_identity_that_a_rotation_added_is_found_without_a_restart(tmp_path: Path) -> None:
    new, clock, files = Identity.generate(), SimulatedClock(0), [tmp_path / "a.key"]
    write_private(files[0], PEM)
    old_key, new_key = data_key(), data_key(1, new)
    identities = Identities(lambda: [f"file:{path}" for path in files], clock, 300.0)
    ring = KeyRing(identities, Catalogue(old_key, new_key), clock, 300.0)
    await ring.data_key(old_key.key_id)
    files.append(tmp_path / "b.key")
    write_private(files[1], new.to_pem())
    clock.advance(RETRY_S)
    assert await ring.data_key(new_key.key_id) == new_key.secret


async def test_many_who_wait_share_one_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, clock, keys = Source(tmp_path), SimulatedClock(0), [data_key(number) for number in range(8)]
    ring = KeyRing(Identities(lambda: [source.reference], clock, 300.0), Catalogue(*keys), clock, 300.0)
    with caplog.at_level(logging.DEBUG):
        opened = await asyncio.gather(*(ring.data_key(key.key_id) for key in keys))
    assert opened == [key.secret for key in keys]
    assert source.count == 1
    assert "PRIVATE" not in caplog.text
