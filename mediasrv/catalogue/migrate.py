"""Brings a catalogue to the schema this program knows. Every start calls `upgrade`; it is safe to run at once
from several processes, and works from an installed package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.places import ensure_root

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_ID: Final = 0x6D656469  # any constant: upgrades of one PostgreSQL database wait for each other


def upgrade(url: str) -> None:
    """Creates or upgrades the catalogue at `url` in one transaction, and makes the root place. Blocks."""
    catalogue = Catalogue(url)
    try:
        with catalogue.engine.begin() as connection:
            _lock(connection)
            command.upgrade(_config(connection), "head")
            ensure_root(connection)
    finally:
        catalogue.close()


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
