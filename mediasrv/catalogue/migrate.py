"""Brings a catalogue to the schema this program knows. Every start calls `upgrade`; it is safe to run at once
from several processes, and works from an installed package.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from mediasrv.catalogue import Catalogue, partitions
from mediasrv.catalogue.places import ensure_root
from mediasrv.clock import SystemClock
from mediasrv.errors import Unavailable
from mediasrv.settings import CatalogueSettings

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_ID: Final = 0x6D656469  # any constant: upgrades of one PostgreSQL database wait for each other


_DEFAULT: Final = CatalogueSettings()


def upgrade(url: str, settings: CatalogueSettings = _DEFAULT) -> None:
    """Creates or upgrades the catalogue at `url` in one transaction, and makes the root place. Blocks.

    Raises Unavailable `catalogue_failed` where the database does not answer or lets nobody in.
    """
    catalogue = Catalogue(url, replace(settings, query_timeout_s=0.0))  # a step may have to move years of rows
    try:
        with catalogue.engine.begin() as connection:
            _lock(connection)
            command.upgrade(_config(connection), "head")
            ensure_root(connection)
            partitions.make_days(connection, SystemClock.wall_us())
    except OperationalError as error:
        raise Unavailable(f"The catalogue does not answer: {_explain(error)}", code="catalogue_failed") from error
    finally:
        catalogue.close()


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})


def _explain(error: OperationalError) -> str:
    told = error.orig.args[0] if error.orig is not None and error.orig.args else ""
    return str(told.get("M", "") if isinstance(told, dict) else told)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
