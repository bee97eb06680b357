"""Signed heads of the access log, kept in a second place."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from mediasrv.catalogue.tables import access_log
from mediasrv.errors import FootageRefused, StorageError
from mediasrv.security.access_log import Event, Head, verify
from mediasrv.security.head_witness import HeadWitness, build_signed_head, parse_signed_head
from tests.unit.web.fakes import World, make_world

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
HEAD = Head(7, bytes(range(32)))


def public_key(node_id: str) -> bytes | None:
    return KEY.public_key().public_bytes_raw() if node_id == "node-1" else None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as made:
        yield made


def test_a_signed_head_is_read_back() -> None:
    assert parse_signed_head(build_signed_head("node-1", HEAD, 5, KEY.sign), public_key) == HEAD


def test_an_altered_foreign_or_unregistered_head_is_refused() -> None:
    signed = build_signed_head("node-1", HEAD, 5, KEY.sign)
    outer = json.loads(signed)
    outer["document"] = outer["document"].replace('"entry": 7', '"entry": 6')
    for bad in (
        json.dumps(outer).encode(),
        build_signed_head("node-1", HEAD, 5, OTHER.sign),
        build_signed_head("node-2", HEAD, 5, KEY.sign),
    ):
        with pytest.raises(FootageRefused) as refused:
            parse_signed_head(bad, public_key)
        assert refused.value.code == "signature_wrong"


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(FootageRefused):
        parse_signed_head(data, public_key)


async def test_a_truncation_is_found_against_the_copy(world: World) -> None:
    copies: list[bytes] = []

    async def publish(head: Head, signed: bytes) -> None:
        copies.append(signed)

    witness = HeadWitness(world.services.access_log, "node-1", KEY.sign, publish, world.clock)
    await world.services.access_log.append(Event("login", "one"))
    await world.services.access_log.append(Event("login", "two"))
    await witness.publish_now()
    await witness.publish_now()
    assert len(copies) == 1  # nothing new
    known = parse_signed_head(copies[0], public_key)
    catalogue = world.services.catalogue
    assert await catalogue.read(verify, known) is None
    await catalogue.write(lambda c: c.execute(delete(access_log).where(access_log.c.entry == 2)).rowcount)
    broken = await catalogue.read(verify, known)
    assert broken is not None
    assert broken.entry == 2


async def test_a_head_that_could_not_be_copied_is_copied_next_time(world: World) -> None:
    copies: list[int] = []
    failures = [StorageError("not reached")]

    async def publish(head: Head, signed: bytes) -> None:
        if failures:
            raise failures.pop()
        copies.append(head.entry)

    witness = HeadWitness(world.services.access_log, "node-1", KEY.sign, publish, world.clock)
    await world.services.access_log.append(Event("login", "one"))
    with pytest.raises(StorageError):
        await witness.publish_now()
    await witness.publish_now()
    assert copies == [1]
