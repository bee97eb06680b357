"""Where a test's catalogue lies: SQLite in its directory, or PostgreSQL under the fixture `on_postgresql`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load_tests.postgres import PostgresServer
from mediasrv.catalogue.migrate import upgrade


class Databases:
    """Those of one test on a PostgreSQL server: one for each directory, a copy of `template` or empty."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.template = "template0"
        self._names: dict[Path, str] = {}

    def url(self, directory: Path) -> str:
        if directory not in self._names:
            self._names[directory] = self.server.create_database(self.template)
        return self.server.url(self._names[directory])

    def drop(self) -> None:
        for name in self._names.values():
            self.server.drop_database(name)


_current: list[Databases] = []


def url_for(directory: Path) -> str:
    """The URL of a directory's catalogue, as `Catalogue` takes it; the same one each time."""
    return _current[-1].url(directory) if _current else f"sqlite:///{directory / 'catalogue.db'}"


def make_template(server: PostgresServer) -> str:
    """A database of the present schema: to copy it is faster than to go through all steps again."""
    name = server.create_database()
    upgrade(server.url(name))
    return name


@contextmanager
def all_on(server: PostgresServer, template: str = "template0") -> Iterator[Databases]:
    """Within the block every catalogue is on this server."""
    databases = Databases(server)
    databases.template = template
    _current.append(databases)
    try:
        yield databases
    finally:
        _current.remove(databases)
        databases.drop()
