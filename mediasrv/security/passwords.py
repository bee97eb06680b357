"""Passwords: argon2id (RFC 9106), in two threads of their own: logins neither block the loop nor eat the machine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mediasrv.errors import InvalidRequest, TooManyRequests
from mediasrv.settings import SecuritySettings

T = TypeVar("T")
SHORTEST: Final = 12
LONGEST: Final = 256
MOST_WAITING: Final = 32


def check_password(password: str, username: str) -> None:
    """Raises InvalidRequest for one that may not be chosen. Length beats classes of letters (NIST SP 800-63B)."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest(
            f"A password has {SHORTEST} to {LONGEST} characters; a few words in a row make a good one.",
            code="password_invalid",
        )
    if password.casefold() == username.casefold() or len(set(password)) < 5:
        raise InvalidRequest("This password is too easy to guess.", code="password_invalid")


class Passwords:
    """Hashes and verifies. At most `MOST_WAITING` wait for a thread; more are told to come back."""

    def __init__(self, settings: SecuritySettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._threads = ThreadPoolExecutor(2, "passwords")
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """False for a wrong password. None, an unknown user, takes as long as a wrong one and is False."""
        return await self._run(lambda: self._verify(password_hash, password))

    def close(self) -> None:
        self._threads.shutdown()

    def _verify(self, password_hash: str | None, password: str) -> bool:
        if len(password) > LONGEST:
            return False
        if self._nobody is None:
            self._nobody = self._hasher.hash(secrets.token_urlsafe())
        try:
            return self._hasher.verify(password_hash or self._nobody or "", password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise TooManyRequests("Too many people log in at this moment.", code="login_busy", retry_after_s=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
