"""The access log: durable, without holes, and every way of tampering with it is found."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mediasrv.catalogue import Catalogue
from mediasrv.catalogue.migrate import upgrade
from mediasrv.catalogue.tables import access_log
from mediasrv.security.access_log import (
    GENESIS,
    AccessLog,
    Broken,
    Event,
    Head,
    Tampering,
    append_events,
    compare,
    link,
    read_entries,
    read_head,
    verify,
)
from tests.clocks import SimulatedClock
from tests.databases import url_for

ENTRIES = 6


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    url = url_for(tmp_path)
    upgrade(url)
    made = Catalogue(url)
    yield made
    made.close()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
async def filled(catalogue: Catalogue, clock: SimulatedClock) -> AccessLog:
    log = AccessLog(catalogue, clock)
    for number in range(1, ENTRIES + 1):
        await log.append(Event("login", f"session {number}", "p1", "lan", "192.0.2.1", {"n": number}))
        clock.advance(1.0)
    return log


async def test_entries_are_numbered_from_one_and_linked(filled: AccessLog, catalogue: Catalogue) -> None:
    entries = await catalogue.read(read_entries, 100)
    assert [entry.entry for entry in entries] == [6, 5, 4, 3, 2, 1]
    assert entries[0].detail == {"n": 6}
    assert await catalogue.read(verify) is None
    assert await catalogue.read(compare, await filled.head()) is None


async def test_pages_go_backwards(filled: AccessLog, catalogue: Catalogue) -> None:
    assert [entry.entry for entry in await catalogue.read(read_entries, 2, 5)] == [4, 3]


async def test_an_empty_log_has_the_genesis_head(catalogue: Catalogue) -> None:
    assert await catalogue.read(read_head) == Head(0, GENESIS)
    assert await catalogue.read(verify) is None


def edit(column: str, value: Any) -> Callable[[Connection], None]:
    return lambda connection: _run(
        connection, update(access_log).where(access_log.c.entry == 3).values({column: value})
    )


def _run(connection: Connection, statement: Any) -> None:
    connection.execute(statement)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("principal_id", "p2"),
        ("principal_id", None),
        ("username", "minh"),
        ("remote", "192.0.2.2"),
        ("action", "logout"),
        ("subject", "session 4"),
        ("detail", '{"n":4}'),
        ("detail", '{"n": 3}'),
        ("entry_hash", bytes(32)),
    ],
)
async def test_an_edited_field_is_found(filled: AccessLog, catalogue: Catalogue, column: str, value: Any) -> None:
    await catalogue.write(edit(column, value))
    assert await catalogue.read(verify) == Broken(3, Tampering.EDITED, "its content was changed")


async def test_an_edited_time_is_found(filled: AccessLog, catalogue: Catalogue) -> None:
    at = await catalogue.read(lambda c: c.execute(select(access_log.c.at).where(access_log.c.entry == 4)).scalar_one())
    await catalogue.write(edit("at", at))
    assert await catalogue.read(verify) == Broken(3, Tampering.EDITED, "its content was changed")


async def test_a_deleted_entry_is_found(filled: AccessLog, catalogue: Catalogue) -> None:
    await catalogue.write(lambda c: _run(c, delete(access_log).where(access_log.c.entry == 3)))
    assert await catalogue.read(verify) == Broken(3, Tampering.EDITED, "the entry is missing")


async def test_a_deletion_that_renumbers_the_rest_is_found(filled: AccessLog, catalogue: Catalogue) -> None:
    def close_the_hole(connection: Connection) -> None:
        connection.execute(delete(access_log).where(access_log.c.entry == 3))
        for entry in range(4, ENTRIES + 1):
            moved = update(access_log).where(access_log.c.entry == entry).values(entry=entry - 1)
            connection.execute(moved)

    await catalogue.write(close_the_hole)
    assert await catalogue.read(verify) == Broken(3, Tampering.EDITED, "it does not continue the entry before")


async def test_a_truncated_tail_is_found_against_a_known_head(filled: AccessLog, catalogue: Catalogue) -> None:
    known = await filled.head()
    await catalogue.write(lambda c: _run(c, delete(access_log).where(access_log.c.entry > 4)))
    assert await catalogue.read(verify) is None
    missing = "the entries up to 6 that were signed for are missing"
    assert await catalogue.read(compare, known) == Broken(5, Tampering.TRUNCATED, missing)


async def test_a_fork_is_found_against_a_known_head(filled: AccessLog, catalogue: Catalogue) -> None:
    """Who can compute hashes can make a consistent fork; only the copied head tells."""
    known = await filled.head()

    def rewrite(connection: Connection) -> None:
        connection.execute(delete(access_log).where(access_log.c.entry > 4))
        append_events(connection, [Event("login", "nothing to see", username="lan")] * 3, 1)

    await catalogue.write(rewrite)
    assert await catalogue.read(verify) is None
    other = "it is another entry than the one that was signed for"
    assert await catalogue.read(compare, known) == Broken(6, Tampering.FORKED, other)


async def test_a_hole_at_a_known_head_is_no_truncation(filled: AccessLog, catalogue: Catalogue) -> None:
    known = await filled.head()
    await filled.append(Event("login", "one more"))
    await catalogue.write(lambda c: _run(c, delete(access_log).where(access_log.c.entry == known.entry)))
    assert await catalogue.read(compare, known) == Broken(6, Tampering.EDITED, "the entry is missing")


async def test_the_run_after_a_known_head_is_walked_alone(filled: AccessLog, catalogue: Catalogue) -> None:
    """What came before is not read again, what came after is."""
    known = await catalogue.read(read_head, SimulatedClock().wall_us() + 3_500_000)
    assert known.entry == 4
    await catalogue.write(edit("username", "minh"))
    assert await catalogue.read(verify, known) is None
    await catalogue.write(lambda c: _run(c, update(access_log).where(access_log.c.entry == 5).values(username="minh")))
    assert await catalogue.read(verify, known) == Broken(5, Tampering.EDITED, "its content was changed")


def test_fields_cannot_run_into_each_other() -> None:
    """The canonical form keeps `a` + `bc` apart from `ab` + `c`."""
    hashes = {
        link(GENESIS, 1, 1, None, "a", "bc", "x", "y", "{}"),
        link(GENESIS, 1, 1, None, "ab", "c", "x", "y", "{}"),
        link(GENESIS, 1, 1, "", "a", "bc", "x", "y", "{}"),
        link(GENESIS, 11, 1, None, "a", "bc", "x", "y", "{}"),
        link(GENESIS, 1, 11, None, "a", "bc", "x", "y", "{}"),
        link(bytes(31) + b"\x01", 1, 1, None, "a", "bc", "x", "y", "{}"),
    }
    assert len(hashes) == 6


async def test_odd_texts_are_kept_as_hashed(catalogue: Catalogue, clock: SimulatedClock) -> None:
    log = AccessLog(catalogue, clock)
    await log.append(Event("login", "s" * 1000, None, "\ud800\x00Cổng\n", "r" * 100, {"x": "\ud800 \x00 ế"}))
    assert await catalogue.read(verify) is None
    entry = (await catalogue.read(read_entries, 1))[0]
    assert (len(entry.subject), len(entry.remote)) == (400, 64)


async def test_entries_at_once_share_commits_and_leave_no_hole(catalogue: Catalogue, clock: SimulatedClock) -> None:
    log = AccessLog(catalogue, clock)
    commits = count_writes(catalogue)
    await asyncio.gather(*(log.append(Event("login", f"{number}")) for number in range(200)))
    subjects = [entry.subject for entry in await catalogue.read(read_entries, 1000)]
    assert sorted(subjects, key=int) == [str(number) for number in range(200)]
    assert await catalogue.read(verify) is None
    assert commits.count < 10


async def test_append_returns_only_when_committed(catalogue: Catalogue, clock: SimulatedClock) -> None:
    """Held back in the writer's thread: the entry may not be called written before."""
    log, go_on = AccessLog(catalogue, clock), threading.Event()
    held = asyncio.get_running_loop().run_in_executor(catalogue._writer, go_on.wait)
    appending = asyncio.create_task(log.append(Event("login", "x")))
    await asyncio.wait({appending}, timeout=0.05)
    assert not appending.done()
    go_on.set()
    await held
    await appending
    assert (await log.head()).entry == 1


async def test_a_failed_write_is_told_to_its_caller_and_tried_again_for_others(
    catalogue: Catalogue, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(catalogue, clock)
    real, failures = catalogue.write, [OSError("disk full")]

    async def write(query: Any, *args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(query, *args)

    monkeypatch.setattr(catalogue, "write", write)
    outcomes = await asyncio.gather(
        *(log.append(Event("login", f"{number}")) for number in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(OSError) == 1
    entries = await catalogue.read(read_entries, 100)
    assert len(entries) == 4
    assert await catalogue.read(verify) is None


async def test_a_cancelled_append_is_written_and_blocks_nobody(catalogue: Catalogue, clock: SimulatedClock) -> None:
    log = AccessLog(catalogue, clock)
    first = asyncio.create_task(log.append(Event("login", "first")))
    second = asyncio.create_task(log.append(Event("login", "second")))
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert {entry.subject for entry in await catalogue.read(read_entries, 9)} == {"first", "second"}


async def test_once_makes_one_entry_of_a_viewing(catalogue: Catalogue, clock: SimulatedClock) -> None:
    log = AccessLog(catalogue, clock)
    event = Event("live.started", "gate-1/main", "p1", "lan")
    for _ in range(10):
        await asyncio.gather(*(log.once(event, 60.0) for _ in range(5)))
        clock.advance(50.0)
    assert (await log.head()).entry == 1
    clock.advance(60.0)
    await log.once(event, 60.0)
    await log.once(Event("live.started", "gate-2/main", "p1", "lan"), 60.0)
    await log.once(Event("live.started", "gate-1/main", "p2", "minh"), 60.0)
    assert (await log.head()).entry == 4


async def test_once_remembers_nothing_that_was_not_written(
    catalogue: Catalogue, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(catalogue, clock)

    async def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(catalogue, "write", fail)
        with pytest.raises(OSError, match="disk full"):
            await log.once(Event("live.started", "gate-1/main"), 60.0)
    await log.once(Event("live.started", "gate-1/main"), 60.0)
    assert (await log.head()).entry == 1


async def test_a_change_and_its_entry_are_one(catalogue: Catalogue, clock: SimulatedClock) -> None:
    log = AccessLog(catalogue, clock)

    def fail(connection: Connection) -> None:
        append_events(connection, [Event("x", "half done")], 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await log.write(Event("changed", "x"), fail)
    assert (await log.head()).entry == 0


async def test_two_processes_share_the_numbers(tmp_path: Path, catalogue: Catalogue, clock: SimulatedClock) -> None:
    other = Catalogue(catalogue.url)
    try:
        logs = [AccessLog(catalogue, clock), AccessLog(other, clock)]
        await asyncio.gather(*(logs[number % 2].append(Event("login", f"{number}")) for number in range(40)))
        for number in range(20):
            await asyncio.gather(*(log.append(Event("login", f"{number}")) for log in logs))
    finally:
        other.close()
    assert (await logs[0].head()).entry == 80
    assert await catalogue.read(verify) is None


async def test_numbers_taken_by_another_are_tried_again(
    catalogue: Catalogue, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(catalogue, clock)
    real, conflicts = catalogue.write, [IntegrityError("insert", {}, Exception("taken"))] * 3

    async def write(query: Any, *args: Any) -> Any:
        if conflicts:
            raise conflicts.pop()
        return await real(query, *args)

    monkeypatch.setattr(catalogue, "write", write)
    await log.append(Event("login", "x"))
    assert (await log.head()).entry == 1


class Counted:
    count = 0


def count_writes(catalogue: Catalogue) -> Counted:
    counted, real = Counted(), catalogue.write

    async def write(query: Any, *args: Any) -> Any:
        counted.count += 1
        return await real(query, *args)

    catalogue.write = write  # type: ignore[method-assign, assignment]
    return counted


async def test_the_database_refuses_a_second_entry_of_a_number(filled: AccessLog, catalogue: Catalogue) -> None:
    def double(connection: Connection) -> None:
        row = connection.execute(select(access_log).where(access_log.c.entry == 3)).mappings().one()
        connection.execute(insert(access_log).values(**row))

    with pytest.raises(IntegrityError):
        await catalogue.write(double)
