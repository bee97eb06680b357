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
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection

from mediasrv.catalogue.engine import make_engine
from mediasrv.settings import CatalogueSettings

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT: Final = CatalogueSettings()


class Catalogue:
    """One writer thread and a few readers over one engine. `write` runs in one transaction, whole or not at all.

    `url` holds no password: `settings.password` refers to it.
    """

    def __init__(self, url: str, settings: CatalogueSettings = _DEFAULT) -> None:
        self.url = url
        self.engine = make_engine(url, settings)
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
