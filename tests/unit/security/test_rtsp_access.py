"""RTSP logins and the guard of that door: whose they are, what they open, when they end, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediasrv.catalogue import accounts
from mediasrv.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted, TooManyRequests
from mediasrv.media.access_unit import StreamName, StreamRef
from mediasrv.security import rtsp_logins
from mediasrv.security.accounts import COMMAND_LINE
from mediasrv.security.rtsp_access import RtspAccess, Visitor
from mediasrv.security.rtsp_logins import RtspLogins, login_key
from mediasrv.security.sessions import MOST_ISSUED, token_id
from tests.unit.web.fakes import CHEAP, NORTH, SOUTH, World, make_world

REMOTE = "192.0.2.1"
SEED = bytes(range(32))
REF = StreamRef(NORTH, StreamName.MAIN)


class Rig:
    def __init__(self, world: World, seed: bytes = SEED) -> None:
        services = world.services
        self.world = world
        self.logins = RtspLogins(services.catalogue, services.access_log, services.sessions, world.clock, seed)
        find_place = services.places.find
        self.access = RtspAccess(self.logins, services.sessions, services.access_log, find_place, world.clock, CHEAP)

    async def login(self, account: str = "lan", **options: object) -> tuple[str, str]:
        found = await self.world.services.sessions.identify(await self.token(account))
        return await self.logins.create(found.principal_id, account, "VMS", **options)  # type: ignore[arg-type]

    async def token(self, account: str) -> str:
        return await self.world.services.accounts.create_token(account, "test")

    async def enter(self, login: tuple[str, str]) -> Visitor:
        return await self.access.authenticate(login[0], REMOTE, lambda password: password == login[1])


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("catalogue.db*"))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_world(tmp_path) as world:
        await world.account("lan", "viewer", place="north")
        yield Rig(world)


async def test_a_login_opens_what_its_principal_may_watch_and_no_more(rig: Rig) -> None:
    visitor = await rig.enter(await rig.login())
    await rig.access.admit(visitor, NORTH)
    await rig.access.started(visitor, REF, "rtsp")
    for unseen in (SOUTH, "no-such", "../etc"):
        with pytest.raises(NotFound) as refused:
            await rig.access.admit(visitor, unseen)
        assert refused.value.code == "camera_not_found"
    entry = (await rig.world.log())[-1]
    assert (entry.action, entry.subject, entry.username, entry.remote) == ("live.started", str(REF), "lan", REMOTE)
    assert entry.detail == {"login": visitor.login, "by": "rtsp"}


async def test_seeing_a_camera_is_not_yet_watching_it(rig: Rig) -> None:
    await rig.world.account("admin", "administrator")
    visitor = await rig.enter(await rig.login("admin"))
    for _ in range(2):
        with pytest.raises(NotPermitted):
            await rig.access.admit(visitor, NORTH)
    assert (await rig.world.actions("access.denied")) == ["access.denied"]
    assert not await rig.access.may_watch(visitor, NORTH)


async def test_a_login_of_one_camera_opens_that_alone(rig: Rig) -> None:
    await rig.world.services.accounts.grant("lan", "viewer", "south", purpose="test")
    visitor = await rig.enter(await rig.login(camera_id=SOUTH))
    await rig.access.admit(visitor, SOUTH)
    with pytest.raises(NotFound):
        await rig.access.admit(visitor, NORTH)
    assert not await rig.access.may_watch(visitor, NORTH)


async def test_a_wrong_password_and_a_wrong_name_are_told_apart_by_nobody(rig: Rig) -> None:
    name, password = await rig.login()
    asked: list[str] = []

    def note(tried: str) -> bool:
        asked.append(tried)
        return False

    told = set()
    for username in (name, "rtsp-nobodyatall", "lan"):
        with pytest.raises(NotAuthenticated) as refused:
            await rig.access.authenticate(username, REMOTE, note)
        told.add((refused.value.code, refused.value.sentence))
    assert len(told) == 1
    assert len(asked) == 3, "each is asked for its proof, so that the answer takes as long"
    assert asked[0] == password
    entries = [entry for entry in await rig.world.log() if entry.action == "login.failed"]
    assert [(entry.username, entry.detail) for entry in entries] == [("", {})] * 3


async def test_guessing_is_limited_and_said_once(rig: Rig) -> None:
    login = await rig.login()
    for _ in range(CHEAP.login_attempts):
        with pytest.raises(NotAuthenticated):
            await rig.enter((login[0], "wrong"))
    for _ in range(2):
        with pytest.raises(TooManyRequests):
            await rig.enter(login)
    assert await rig.world.actions("login.limited") == ["login.limited"]
    rig.world.clock.advance(CHEAP.login_window_s + 1)
    await rig.enter(login)
    for _ in range(3 * CHEAP.login_attempts):
        await rig.enter(login)


@pytest.mark.parametrize("how", ["grant", "login", "token", "account", "expiry", "camera"])
async def test_whatever_is_revoked_ends_the_right_within_four_seconds(rig: Rig, how: str) -> None:
    services = rig.world.services
    token = await rig.token("lan")
    identity = await services.sessions.identify(token)
    login = await rig.login(issued_by=identity.token_hash, ttl_s=100)
    visitor = await rig.enter(login)
    assert await rig.access.may_watch(visitor, NORTH)
    if how == "grant":
        for grant in await services.catalogue.read(accounts.list_grants):
            await services.accounts.revoke_grant(grant.grant_id)
    elif how == "login":
        (listed,) = await rig.logins.valid(identity)
        await rig.logins.revoke(identity, listed.login_id, "")
    elif how == "token":
        await services.sessions.revoke_token(identity, token_id(identity.token_hash), "")
    elif how == "account":
        await services.accounts.disable_user("lan")
    elif how == "expiry":
        rig.world.clock.advance(97)
    else:
        await rig.world.cameras.remove(NORTH, COMMAND_LINE)
    rig.world.clock.advance(4)
    assert not await rig.access.may_watch(visitor, NORTH)
    with pytest.raises((NotAuthenticated, NotFound)):
        await rig.access.admit(visitor, NORTH)
    if how not in ("grant", "camera"):
        with pytest.raises(NotAuthenticated):
            await rig.enter(login)


async def test_a_login_is_no_token_and_a_token_no_login(rig: Rig) -> None:
    name, password = await rig.login()
    token = await rig.token("lan")
    for shown in (name, password, login_key(name).hex()):
        with pytest.raises(NotAuthenticated):
            await rig.world.services.sessions.identify(shown)
    assert await rig.logins.find(token) is None
    visitor = await rig.enter((name, password))
    identity = await rig.world.services.sessions.recall(visitor.key)
    assert identity is not None
    assert identity.kind == "rtsp"


async def test_even_a_token_of_the_same_hash_would_open_no_door_of_http(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = await rig.login()
    monkeypatch.setattr("mediasrv.security.sessions.hash_token", lambda token: login_key(name))
    with pytest.raises(NotAuthenticated):
        await rig.world.services.sessions.identify("anything")


async def test_another_nodes_key_and_a_moved_secret_open_nothing(rig: Rig, tmp_path: Path) -> None:
    login, other = await rig.login(), await rig.login()
    stranger = Rig(rig.world, bytes(32))
    assert await stranger.logins.find(login[0]) is None
    identity = await rig.world.services.sessions.identify(await rig.token("lan"))
    assert {one.username for one in await stranger.logins.valid(identity)} == {""}
    with rig.world.services.catalogue.engine.begin() as connection:
        connection.exec_driver_sql(
            "update credential set sealed = (select sealed from credential where token_hash = ?) where token_hash = ?",
            (login_key(other[0]), login_key(login[0])),
        )
    assert await rig.logins.find(login[0]) is None


async def test_the_secret_stands_nowhere_in_plain(rig: Rig, tmp_path: Path) -> None:
    login = await rig.login()
    await rig.enter(login)
    assert login[1].encode() not in all_bytes(tmp_path)
    secret = await rig.logins.find(login[0])
    assert secret is not None
    assert login[1] not in repr(secret)
    assert not any(login[1] in str(entry) for entry in await rig.world.log())


async def test_logins_are_bounded_and_outlive_a_flood_of_sessions_of_their_token(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp_logins, "MOST_LOGINS", 2)
    sessions, token = rig.world.services.sessions, await rig.token("lan")
    identity = await sessions.identify(token)
    login = await rig.login(issued_by=identity.token_hash)
    await rig.login()
    with pytest.raises(InvalidRequest) as refused:
        await rig.login()
    assert refused.value.code == "too_many_logins"
    rig.world.clock.advance(1)
    for _ in range(MOST_ISSUED + 2):
        await sessions.exchange(token, None, REMOTE)
    assert await rig.logins.find(login[0]) is not None


async def test_the_command_line_makes_one_for_an_account(rig: Rig) -> None:
    login = await rig.logins.create_for(" Lan ", "NVR", None, None)
    assert (await rig.enter(login)).username == "lan"
    with pytest.raises(NotFound):
        await rig.logins.create_for("nobody", "NVR", None, None)
    with pytest.raises(NotFound):
        await rig.logins.create_for("lan", "NVR", None, "no-such")
