"""Connections to the catalogue's database: SQLite through the standard library, PostgreSQL through pg8000.

What differs between the two is said here once: how a connection is made and found dead, and which errors mean what.
`OperationalError` is a database that does not answer now: the same may succeed later. `IntegrityError` is a row that
breaks a key. No error tells values of a row.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, OperationalError

from mediasrv.settings import CatalogueSettings, read_secret

_TOLD: Final = frozenset("SCMntc")
"""Of an error of PostgreSQL: severity, SQLSTATE, message, constraint, table, column. Its detail would quote the row."""
_NOT_NOW: Final = ("08", "28", "3D", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE: connection, login, no such database, rollback, resources, locks, shutdown, system
(PostgreSQL's manual, appendix A).
"""
_BROKEN_KEY: Final = "23"
_GRACE_S: Final = 5.0
"""The server gives a query up first; this end only where nothing comes any more."""


def make_engine(url: str, settings: CatalogueSettings) -> Engine:
    """For a URL that `settings.checks` has let pass."""
    engine = _postgresql(url, settings) if url.startswith("postgresql") else _sqlite(url, settings.busy_timeout_s)
    event.listen(engine, "handle_error", _name_failure)
    return engine


def _sqlite(url: str, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # FULL: a commit that was acknowledged survives a power cut; WAL alone would not promise it.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgresql(url: str, settings: CatalogueSettings) -> Engine:
    where = make_url(url).set(drivername="postgresql+pg8000")
    engine = create_engine(where, hide_parameters=True, connect_args=_connect_args(where.host, settings))
    driver: Any = engine.dialect.loaded_dbapi

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: Any, named: dict[str, Any]) -> Any:
        # Read anew for each connection: a password that was changed needs no restart.
        password = read_secret(settings.password) if settings.password else None
        try:
            return driver.connect(*args, **named, password=password)
        except OSError as error:
            raise driver.OperationalError(str(error)) from error

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, _record: object, _fairy: object) -> None:
        # As `pool_pre_ping`, which does not know the plain OSError that pg8000 lets through.
        try:
            connection.execute_simple("SELECT 1")
        except (OSError, driver.Error) as error:
            raise DisconnectionError from error

    return engine


def _connect_args(host: str | None, settings: CatalogueSettings) -> dict[str, Any]:
    args: dict[str, Any] = {"application_name": "mediasrv", "ssl_context": _tls(host, settings.tls_ca_file)}
    if settings.query_timeout_s:
        args["timeout"] = settings.query_timeout_s + _GRACE_S
        args["startup_params"] = {"statement_timeout": str(round(settings.query_timeout_s * 1000))}
    return args


def _tls(host: str | None, ca_file: str) -> ssl.SSLContext | bool:
    """Verified TLS to anything that is not this machine; `False` asks for none."""
    if not ca_file and (host is None or _is_here(host)):
        return False
    return ssl.create_default_context(cafile=ca_file or None)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name_failure(context: ExceptionContext) -> BaseException | None:
    """The error as SQLAlchemy should have named it, for both databases alike; None where it did."""
    error = context.original_exception
    if isinstance(error, OSError):
        context.is_disconnect = True
        return OperationalError(context.statement, None, error, hide_parameters=True)
    told = error.args[0] if error.args else None
    if not isinstance(told, dict):
        if type(error).__name__ == "InterfaceError" and "pg8000" in type(error).__module__:
            context.is_disconnect = True
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None
    for key in told.keys() - _TOLD:  # in place: the errors that it came from hold the same
        del told[key]
    state = str(told.get("C", ""))
    kind: type[DBAPIError] = DBAPIError
    if state.startswith(_NOT_NOW):
        kind = OperationalError
    elif state.startswith(_BROKEN_KEY):
        kind = IntegrityError
    return kind(context.statement, None, error, hide_parameters=True)
