"""PostgreSQL that is away, slow or shut: each gets its error, nothing waits for ever, and no secret is told."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from load_tests.postgres import GUARDED, PostgresServer, postgres
from mediasrv.catalogue import Catalogue, accounts
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.places import ROOT_PLACE_ID, list_places
from mediasrv.catalogue.tables import place, principal
from mediasrv.clock import from_us
from mediasrv.errors import Conflict, Unavailable
from mediasrv.recording.facts import Facts
from mediasrv.security.access_log import AccessLog, Event, verify
from mediasrv.settings import CatalogueSettings
from tests.clocks import SimulatedClock
from tests.databases import Databases
from tests.integration.node import until
from tests.unit.security.test_access_log import count_writes

WITHIN_S = 20.0


@pytest.fixture
def url(on_postgresql: Databases, tmp_path: Path) -> str:
    return on_postgresql.url(tmp_path)


@pytest.fixture
async def catalogue(url: str) -> AsyncIterator[Catalogue]:
    made = Catalogue(url)
    yield made
    made.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop and kill."""
    with postgres() as server:
        yield server


@pytest.fixture
def guarded(on_postgresql: Databases, tmp_path: Path) -> tuple[str, Path]:
    """A URL whose user has a password, and a file with that."""
    server, password = on_postgresql.server, tmp_path / "password"
    on_postgresql.url(tmp_path)
    database = on_postgresql.url(tmp_path).rpartition("/")[2]
    server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {GUARDED}", database)
    password.write_text(server.password + "\n")
    return server.url(database, GUARDED), password


async def test_a_password_comes_by_reference(guarded: tuple[str, Path]) -> None:
    url, password = guarded
    catalogue = Catalogue(url, CatalogueSettings(password=f"file:{password}"))
    assert [one.place_id for one in await catalogue.read(list_places)] == [ROOT_PLACE_ID]
    assert password.read_text().strip() not in repr(catalogue.engine) + repr(catalogue.__dict__)
    catalogue.close()


def test_a_wrong_password_is_said_in_a_sentence_without_it(guarded: tuple[str, Path]) -> None:
    url, password = guarded
    password.write_text("not the right one")
    with pytest.raises(Unavailable, match="password authentication failed") as refused:
        upgrade(url, CatalogueSettings(password=f"file:{password}"))
    assert refused.value.code == "catalogue_failed"
    assert "not the right one" not in _whole(refused.value)


def test_a_server_that_is_not_there_is_said_in_a_sentence(own_server: PostgresServer) -> None:
    own_server.stop()
    with pytest.raises(Unavailable, match="does not answer") as refused:
        upgrade(own_server.url("postgres"))
    assert refused.value.code == "catalogue_failed"
    own_server.start_again().stop()


async def test_the_catalogue_comes_back_with_its_server(own_server: PostgresServer) -> None:
    database = own_server.create_database()
    upgrade(own_server.url(database))
    catalogue = Catalogue(own_server.url(database))
    assert await catalogue.read(list_places)
    own_server.kill()
    for _ in range(3):
        with pytest.raises(OperationalError):
            await catalogue.read(list_places)
        with pytest.raises(OperationalError):
            await catalogue.write(_add_principal, "p0", "nobody")
    server = own_server.start_again()
    try:
        assert len(await catalogue.read(list_places)) == 1
        await catalogue.write(_add_principal, "p1", "lan")
        # Only restarted: each connection of the pool is dead, and nobody notices.
        server.kill()
        server = server.start_again()
        assert len(await catalogue.read(list_places)) == 1
        await catalogue.write(_add_principal, "p2", "minh")
    finally:
        catalogue.close()
        server.stop()


async def test_a_connection_that_dies_under_a_query_is_an_operational_error(catalogue: Catalogue) -> None:
    def die(connection: Connection) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        connection.execute(text("SELECT 1"))

    with pytest.raises(OperationalError):
        await catalogue.write(die)
    assert await catalogue.read(list_places)


async def test_a_query_that_takes_too_long_is_given_up(url: str) -> None:
    catalogue = Catalogue(url, CatalogueSettings(query_timeout_s=0.2))
    began = time.monotonic()
    with pytest.raises(OperationalError, match="statement timeout"):
        await catalogue.read(lambda connection: connection.execute(text("SELECT pg_sleep(30)")))
    assert time.monotonic() - began < WITHIN_S
    assert await catalogue.read(list_places)
    catalogue.close()


async def test_broken_keys_have_one_name_and_tell_no_values(catalogue: Catalogue) -> None:
    await catalogue.write(_add_principal, "p1", "hidden name")
    errors = []
    for query in (_add_twice, _add_without_key, _add_without_name):
        with pytest.raises(DBAPIError) as refused:
            await catalogue.write(query)
        errors.append(refused.value)
    assert [type(error) for error in errors] == [IntegrityError] * 3
    assert "hidden" not in "".join(_whole(error) for error in errors)


async def test_facts_wait_for_the_database_and_are_not_lost(
    own_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """pg8000's own name for a lost connection is one that the recorder takes for a fact that is refused."""
    database = own_server.create_database()
    upgrade(own_server.url(database))
    catalogue = Catalogue(own_server.url(database))
    facts = Facts(_NoSpool(), catalogue)  # type: ignore[arg-type]
    running = asyncio.create_task(facts.run())
    await catalogue.read(list_places)
    own_server.kill()
    with caplog.at_level(logging.WARNING):
        facts.note(lambda connection: _add_principal(connection, "p1", "lan"))
        await until(lambda: "does not take facts" in caplog.text, WITHIN_S)
    server = own_server.start_again()
    try:
        async with asyncio.timeout(WITHIN_S):
            await facts.drained()
        assert facts.lost == 0
        assert await catalogue.read(accounts.find_by_username, "lan") is not None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        catalogue.close()
        server.stop()


# --- several writers -----------------------------------------------------------------------------


async def test_many_processes_append_to_one_chain(url: str, catalogue: Catalogue) -> None:
    others = [Catalogue(url) for _ in range(6)]
    counts = [count_writes(one) for one in others]
    logs = [AccessLog(one, SimulatedClock()) for one in others]
    for number in range(25):
        await asyncio.gather(*(log.append(Event("login", f"{number}")) for log in logs))
    assert [one.count for one in counts] == [25] * 6, "each waits for its turn, and none tries in vain"
    for one in others:
        one.close()
    assert (await AccessLog(catalogue, SimulatedClock()).head()).entry == 6 * 25
    assert await catalogue.read(verify) is None


async def test_of_two_who_take_a_name_at_once_one_is_told_that_it_is_taken(url: str, catalogue: Catalogue) -> None:
    other, both = Catalogue(url), threading.Barrier(2, timeout=WITHIN_S)
    logs = [AccessLog(one, SimulatedClock()) for one in (catalogue, other)]
    late = [True, True]

    def add(connection: Connection, number: int) -> None:
        if accounts.find_by_username(connection, "lan") is None and late[number]:
            late[number] = False
            both.wait()  # both have looked, and neither has seen the other
        accounts.add_principal(connection, f"p{number}", "lan", None, 1)

    answers = await asyncio.gather(
        *(log.write(Event("user.added", "lan"), add, number) for number, log in enumerate(logs)),
        return_exceptions=True,
    )
    other.close()
    assert [type(one) for one in answers if one is not None] == [Conflict]
    assert await catalogue.read(verify) is None


# --- inside --------------------------------------------------------------------------------------


class _NoSpool:
    mark = 0

    async def synced(self, mark: int) -> None:
        pass


def _add_principal(connection: Connection, principal_id: str, username: str) -> None:
    accounts.add_principal(connection, principal_id, username, "hidden hash", 1)


def _add_twice(connection: Connection) -> None:
    values = {"principal_id": "p2", "username": "hidden name", "password_hash": "hidden", "created_at": from_us(1)}
    connection.execute(insert(principal).values(values))


def _add_without_key(connection: Connection) -> None:
    values = {"place_id": "hidden", "parent_id": "hidden too", "level": "site", "name": "x", "path": "x/"}
    connection.execute(insert(place).values(values))


def _add_without_name(connection: Connection) -> None:
    values = {"principal_id": "hidden", "username": None, "password_hash": "hidden", "created_at": from_us(1)}
    connection.execute(insert(principal).values(values))


def _whole(error: BaseException) -> str:
    """All that a log would say of it."""
    return "".join(traceback.format_exception(error))
