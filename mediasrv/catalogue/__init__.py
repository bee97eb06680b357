"""The catalogue: what exists, where it lies and who may see it. SQLite by default, PostgreSQL by URL.

`Catalogue` is the door. Queries are plain functions of a SQLAlchemy `Connection`, grouped by what they
are about (`recordings`, `cameras`, `accounts`, …); they run in the catalogue's own threads, never on
the event loop:

    rows = await catalogue.read(recordings.in_span, ref, started_at, ended_at)
    await catalogue.write(recordings.commit_recording, row)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


class Catalogue:
    """One writer thread and a few readers over one engine. `write` runs in one transaction, whole or not at all."""

    def __init__(self, url: str, busy_timeout_s: float = 10.0) -> None:
        self.url = url
        self.engine = _create_engine(url, busy_timeout_s)
        self._writer = ThreadPoolExecutor(1, "catalogue-write")
        self._readers = ThreadPoolExecutor(4, "catalogue-read")

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a query that changes nothing, in a reader thread."""

        def run() -> T:
            with self.engine.connect() as connection:
                return query(connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a query in a transaction of its own, in the writer thread; committed when it returns."""

        def run() -> T:
            with self.engine.begin() as connection:
                return query(connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    def close(self) -> None:
        """Waits for queries under way. Call from the loop's thread at the end."""
        self._writer.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def _create_engine(url: str, busy_timeout_s: float) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # FULL: a commit that was acknowledged survives a power cut; WAL alone would not promise it.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
