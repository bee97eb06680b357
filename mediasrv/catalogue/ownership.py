"""Who may record what: node incarnations and the fencing numbers (epochs) of cameras.

`Ownership` is the interface; `FileLockOwnership` serves one machine: whoever holds the lock on the data
directory owns all cameras. Leases in a shared database will be another implementation of the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.tables import camera_epoch, generation, incarnation, node
from mediasrv.clock import Clock, from_us
from mediasrv.errors import SettingsError

log = logging.getLogger(__name__)

RENEW_S: Final = 5.0
_GENERATION_SHIFT: Final = 48


class Ownership(Protocol):
    """A running mediasrv's right to record. `lost` is set when it no longer holds, and never unset."""

    lost: asyncio.Event

    async def join(self) -> str:
        """Takes part as a new incarnation, whose id it returns. Raises SettingsError when it may not."""

    async def renew(self) -> None:
        """Says that this incarnation is alive."""

    async def claim(self, camera_id: str) -> int:
        """Becomes the owner of a camera; the new epoch, higher than any before it."""

    async def release(self, camera_id: str, reason: str) -> None:
        """Gives a camera up."""

    async def leave(self) -> None:
        """An orderly end of this incarnation."""


class FileLockOwnership:
    """`Ownership` on one machine: a lock on a file in the data directory, and rows in the catalogue."""

    def __init__(self, data_dir: Path, catalogue: Catalogue, node_id: str, public_key: bytes, clock: Clock) -> None:
        self.lost = asyncio.Event()
        self.incarnation = secrets.token_hex(16)
        self._lock_path = data_dir / "lock"
        self._catalogue = catalogue
        self._node_id = node_id
        self._public_key = public_key
        self._clock = clock
        self._lock: int | None = None

    async def join(self) -> str:
        lock = _lock_file(self._lock_path)
        try:
            await self._catalogue.write(_join, self._node_id, self._public_key, self.incarnation, self._clock.wall_us())
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return self.incarnation

    async def run(self) -> None:
        """Renews every few seconds until cancelled; a catalogue that fails for a while is no loss of the lock."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self.renew()
            except SQLAlchemyError as error:
                log.warning("the catalogue did not take the sign of life: %s", type(error).__name__)

    async def renew(self) -> None:
        await self._catalogue.write(_renew, self.incarnation, self._clock.wall_us())

    async def claim(self, camera_id: str) -> int:
        return await self._catalogue.write(_claim, camera_id, self._node_id, self.incarnation, self._clock.wall_us())

    async def release(self, camera_id: str, reason: str) -> None:
        await self._catalogue.write(_release, camera_id, self.incarnation, reason, self._clock.wall_us())

    async def leave(self) -> None:
        await self._catalogue.write(_leave, self.incarnation, self._clock.wall_us())
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """No server runs on this data directory meanwhile. Raises SettingsError `data_dir_in_use`."""
    lock = _lock_file(data_dir / "lock")
    try:
        yield
    finally:
        os.close(lock)


def _lock_file(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SettingsError(
            f"Another mediasrv runs on the data directory {path.parent}.", code="data_dir_in_use"
        ) from error
    return descriptor


def _join(connection: Connection, node_id: str, public_key: bytes, incarnation_id: str, now_us: int) -> None:
    registered = connection.execute(select(node.c.public_key).where(node.c.node_id == node_id)).scalar_one_or_none()
    if registered is None:
        values: dict[str, Any] = {"node_id": node_id, "public_key": public_key, "registered_at": from_us(now_us)}
        connection.execute(insert(node).values(values))
    elif registered != public_key:
        raise SettingsError(
            f"Node {node_id!r} is registered with another signing key: give this one another server.node_name.",
            code="node_key_changed",
        )
    _end_epochs(connection, camera_epoch.c.node_id == node_id, "server_down", now_us)
    times = {"started_at": from_us(now_us), "alive_at": from_us(now_us)}
    connection.execute(insert(incarnation).values({"incarnation": incarnation_id, "node_id": node_id} | times))
    if connection.execute(select(generation.c.generation)).first() is None:
        connection.execute(insert(generation).values(generation=1, at=from_us(now_us)))


def _renew(connection: Connection, incarnation_id: str, now_us: int) -> None:
    which = incarnation.c.incarnation == incarnation_id
    connection.execute(update(incarnation).where(which).values(alive_at=from_us(now_us)))


def _leave(connection: Connection, incarnation_id: str, now_us: int) -> None:
    _end_epochs(connection, camera_epoch.c.incarnation == incarnation_id, "server_down", now_us)
    which = incarnation.c.incarnation == incarnation_id
    connection.execute(update(incarnation).where(which).values(alive_at=from_us(now_us), ended_at=from_us(now_us)))


def _claim(connection: Connection, camera_id: str, node_id: str, incarnation_id: str, now_us: int) -> int:
    of_camera = camera_epoch.c.camera_id == camera_id
    current = connection.execute(select(func.max(generation.c.generation))).scalar_one() or 1
    last = connection.execute(select(func.max(camera_epoch.c.epoch)).where(of_camera)).scalar_one() or 0
    epoch = max((current << _GENERATION_SHIFT) + 1, last + 1)
    _end_epochs(connection, of_camera, "owner_change", now_us)
    values = {"camera_id": camera_id, "epoch": epoch, "node_id": node_id, "incarnation": incarnation_id}
    connection.execute(insert(camera_epoch).values(values | {"granted_at": from_us(now_us)}))
    return int(epoch)


def _release(connection: Connection, camera_id: str, incarnation_id: str, reason: str, now_us: int) -> None:
    mine = (camera_epoch.c.camera_id == camera_id) & (camera_epoch.c.incarnation == incarnation_id)
    _end_epochs(connection, mine, reason, now_us)


def _end_epochs(connection: Connection, which: Any, reason: str, now_us: int) -> None:
    running = camera_epoch.c.ended_at.is_(None)
    connection.execute(update(camera_epoch).where(which, running).values(ended_at=from_us(now_us), reason=reason))
