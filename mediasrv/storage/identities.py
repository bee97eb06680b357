"""Where private keys come from, and the identities that a process may use, for as long as it needs them.

A reference says where a key lies; it is PEM (PKCS #8) wherever that is:

    file:PATH        a file that nobody but its owner may read
    env:NAME         a variable of the environment
    systemd:NAME     a credential of the service (systemd.exec(5), LoadCredential)
    command:WORDS    what a program prints, for key services: split as a shell would, but no shell runs it

What a program prints reaches neither a log nor an error, nor does what it says on standard error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from mediasrv.clock import Clock
from mediasrv.errors import KeyUnavailable, SettingsError
from mediasrv.settings import KEY_SCHEMES
from mediasrv.storage.keys import Identity, read_private

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
"""Sources that failed, or that held no identity for a key, are asked again no sooner than this."""

_OUTPUT_BYTES: Final = 64 * 1024


class Wrapped(Protocol):
    """A key record, or a sealed document's head."""

    def unwrap(self, identities: Sequence[Identity]) -> bytes:
        """Raises KeyUnavailable where it was wrapped to none of these."""
        ...


# --- one source ----------------------------------------------------------------------------------


def read_reference(reference: str, timeout_s: float, environ: Mapping[str, str] | None = None) -> bytes:
    """The PEM of a key. Blocks for `timeout_s` at most. Raises SettingsError, never with anything secret in it."""
    scheme, _, name = reference.partition(":")
    known = os.environ if environ is None else environ
    if scheme == "file":
        return read_private(Path(name))
    if scheme == "env":
        if name not in known:
            raise SettingsError(f"The environment variable {name} is not set.", code="key_file_missing")
        return known[name].encode()
    if scheme == "systemd":
        return _read_credential(name, known)
    if scheme == "command":
        return _run(shlex.split(name), timeout_s)
    raise SettingsError(
        "A key must be a reference: file:PATH, env:NAME, systemd:NAME or command:WORDS.", code="settings_secret_plain"
    )


def describe(reference: str) -> str:
    """What may be shown of a reference: of a command its program alone, for its words may be secret."""
    scheme, _, name = reference.partition(":")
    if scheme not in KEY_SCHEMES:
        return "(no reference)"
    return f"command:{(name.split() or [''])[0]}" if scheme == "command" else reference


def _read_credential(name: str, environ: Mapping[str, str]) -> bytes:
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory or not name or "/" in name:
        raise SettingsError(f"There is no credential {name!r} of the service.", code="key_file_missing")
    try:
        # Its mode is systemd's own affair: an access list of the service's user looks like a group's right to read.
        return (Path(directory) / name).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The service's credential {name} cannot be read: {error.strerror}.", code="key_file_missing"
        ) from error


def _run(words: Sequence[str], timeout_s: float) -> bytes:
    """What the program prints. It is ended, with all it started, when it takes longer or prints too much."""
    program = words[0] if words else ""
    try:
        process = subprocess.Popen(  # noqa: S603 - the words of the configuration, and no shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, ValueError, IndexError) as error:
        raise SettingsError(f"The key command {program} cannot be run.", code="key_command_failed") from error
    deadline = time.monotonic() + timeout_s
    try:
        printed = _read_until(process, deadline)
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise SettingsError(
            f"The key command {program} did not answer within {timeout_s:g} s.", code="key_command_failed"
        ) from error
    finally:
        _end(process)
    if status:
        raise SettingsError(f"The key command {program} failed with status {status}.", code="key_command_failed")
    return printed


def _read_until(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Raises TimeoutError at the deadline, and where more is printed than a key can be."""
    printed = bytearray()
    if process.stdout is None:
        return b""
    poll = select.poll()  # select() knows no descriptor above 1023, and a server has many
    poll.register(process.stdout, select.POLLIN)
    while len(printed) <= _OUTPUT_BYTES:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        more = os.read(process.stdout.fileno(), _OUTPUT_BYTES)
        if not more:
            return bytes(printed)
        printed += more
    raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: its group, whose number is its own until it is waited for."""
    if process.stdout is not None:
        process.stdout.close()
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# --- those of a process --------------------------------------------------------------------------


class Identities:
    """The identities of this process: read when footage is to be opened, forgotten `keep_s` later.

    A source that fails takes nothing from the others. `references` is asked each time, since a rotation may have
    added one. Reading happens in a thread of its own, once for all who wait.
    """

    def __init__(
        self, references: Callable[[], Sequence[str]], clock: Clock, keep_s: float, timeout_s: float = 10.0
    ) -> None:
        self._references = references
        self._clock = clock
        self._keep_s = keep_s
        self._timeout_s = timeout_s
        self._held: tuple[Identity, ...] = ()
        self._failed = False
        self._read_at: float | None = None
        self._reading: asyncio.Future[tuple[tuple[Identity, ...], bool]] | None = None
        self._thread = ThreadPoolExecutor(1, "identities")

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    async def unwrap(self, record: Wrapped) -> bytes:
        """The data key. Raises KeyUnavailable: `identity_unavailable` where a source failed that might have opened
        it, else `key_unavailable`; FootageRefused where it does not open.
        """
        for age_s in (RETRY_S if self._failed else self._keep_s, RETRY_S):
            await self._read(age_s)
            try:
                return record.unwrap(self._held)
            except KeyUnavailable as error:
                refusal = error
        if self._failed:
            raise KeyUnavailable(
                "An identity of this server cannot be had now; footage opens again when it can.",
                code="identity_unavailable",
            ) from refusal
        raise refusal

    @property
    def held(self) -> int:
        """How many lie in memory."""
        return len(self._held)

    def expire(self) -> None:
        """Forgets what has been held for long enough."""
        if self._read_at is not None and self._clock.monotonic() - self._read_at >= self._keep_s:
            self._held, self._read_at = (), None

    async def _read(self, age_s: float) -> None:
        """What is held was read less than `age_s` ago."""
        self.expire()
        if self._read_at is not None and self._clock.monotonic() - self._read_at < age_s:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read_all)
        reading = self._reading
        held, failed = await asyncio.shield(reading)  # who gives up must not take it from the others
        if self._reading is reading:
            self._reading = None
        # Also where somebody has begun to read anew meanwhile: who waited for this one must not find nothing.
        self._held, self._failed = held, failed
        self._read_at = self._clock.monotonic()

    def _read_all(self) -> tuple[tuple[Identity, ...], bool]:
        found, failed = [], False
        for reference in self._references():
            try:
                found.append(Identity.from_pem(read_reference(reference, self._timeout_s), describe(reference)))
            except SettingsError as error:
                failed = True
                log.warning("an identity cannot be had: %s [%s]", error.sentence, error.code)
        return tuple(found), failed


class HeldIdentities(Identities):
    """Identities that are there already, and stay."""

    def __init__(self, identities: Sequence[Identity], clock: Clock) -> None:
        super().__init__(tuple, clock, 0.0)
        self._fixed = tuple(identities)

    async def unwrap(self, record: Wrapped) -> bytes:
        return record.unwrap(self._fixed)
