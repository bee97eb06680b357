"""Sessions, tokens, accounts, grants and the first administrator's link."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from mediasrv.catalogue import accounts as rows
from mediasrv.catalogue.tables import credential, principal
from mediasrv.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, TooManyRequests
from mediasrv.security.policy import Permission
from mediasrv.security.sessions import CACHE_S, MOST_TOKENS, hash_token, token_id
from tests.unit.web.fakes import CHEAP, PASSWORD, World, make_world

REMOTE = "192.0.2.1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as made:
        yield made


async def add_user(world: World, username: str = "lan") -> None:
    await world.services.accounts.create_user(username, PASSWORD)


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("catalogue.db*"))


# --- logging in ----------------------------------------------------------------------------------


async def test_login_gives_a_session_that_identifies(world: World) -> None:
    await add_user(world)
    token = await world.services.sessions.login(" Lan ", PASSWORD, REMOTE)
    identity = await world.services.sessions.identify(token)
    assert (identity.username, identity.kind, identity.grants) == ("lan", "session", ())
    entry = (await world.log())[-1]
    assert (entry.action, entry.username, entry.remote) == ("login", "lan", REMOTE)


async def test_wrong_password_and_unknown_user_are_told_apart_by_nobody(world: World) -> None:
    await add_user(world)
    refusals = []
    for username, password in (("lan", "wrong password 1"), ("nobody", PASSWORD)):
        with pytest.raises(NotAuthenticated) as refused:
            await world.services.sessions.login(username, password, REMOTE)
        refusals.append((refused.value.code, refused.value.sentence))
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == "login_failed"


async def test_failed_logins_are_logged_without_unknown_names(world: World) -> None:
    """People type their password into the name's field."""
    await add_user(world)
    for username in ("lan", "my secret password"):
        with pytest.raises(NotAuthenticated):
            await world.services.sessions.login(username, "wrong password 1", REMOTE)
    failed = [entry for entry in await world.log() if entry.action == "login.failed"]
    assert [entry.username for entry in failed] == ["lan", ""]


async def test_guessing_is_limited_and_recovers(world: World) -> None:
    await add_user(world)
    for _ in range(CHEAP.login_attempts):
        with pytest.raises(NotAuthenticated):
            await world.services.sessions.login("lan", "wrong password 1", REMOTE)
    for _ in range(5):
        with pytest.raises(TooManyRequests) as limited:
            await world.services.sessions.login("lan", PASSWORD, REMOTE)
    assert 0 < limited.value.retry_after_s <= CHEAP.login_window_s + 1
    assert (await world.actions("login.limited")) == ["login.limited"]
    world.clock.advance(CHEAP.login_window_s)
    await world.services.sessions.login("lan", PASSWORD, REMOTE)


async def test_parallel_guesses_do_not_overtake_the_limit(world: World) -> None:
    await add_user(world)
    guesses = (world.services.sessions.login("lan", f"wrong password {n}", REMOTE) for n in range(20))
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(one, NotAuthenticated) for one in outcomes) == CHEAP.login_attempts
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == 20 - CHEAP.login_attempts


async def test_a_disabled_account_neither_logs_in_nor_keeps_what_it_had(world: World) -> None:
    await add_user(world)
    token = await world.services.sessions.login("lan", PASSWORD, REMOTE)
    await world.services.accounts.disable_user("lan")
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.login("lan", PASSWORD, REMOTE)


async def test_a_machine_account_has_no_password_to_guess(world: World) -> None:
    await world.account("robot", "viewer")
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.login("robot", "", REMOTE)


# --- tokens --------------------------------------------------------------------------------------


async def test_no_token_or_password_is_in_the_catalogue(world: World, tmp_path: Path) -> None:
    await add_user(world)
    session = await world.services.sessions.login("lan", PASSWORD, REMOTE)
    token = await world.services.accounts.create_token("lan", "script")
    invite = await world.services.accounts.first_invite()
    assert invite is not None
    stored = all_bytes(tmp_path)
    for secret in (session, token, invite, PASSWORD):
        assert secret.encode() not in stored
        assert secret.removeprefix("msrv_").encode() not in stored


async def test_a_session_expires(world: World) -> None:
    await add_user(world)
    token = await world.services.sessions.login("lan", PASSWORD, REMOTE)
    world.clock.advance(CHEAP.session_s - 1)
    await world.services.sessions.identify(token)
    world.clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)


async def test_expiry_is_seen_while_cached(world: World) -> None:
    await add_user(world)
    token = await world.services.accounts.create_token("lan", "short", ttl_s=1)
    await world.services.sessions.identify(token)
    world.clock.advance(1.0)
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)


async def test_logout_ends_the_session_at_once(world: World) -> None:
    await add_user(world)
    token = await world.services.sessions.login("lan", PASSWORD, REMOTE)
    await world.services.sessions.logout(await world.services.sessions.identify(token), REMOTE)
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)
    assert (await world.log())[-1].action == "logout"


async def test_what_another_process_revokes_ends_within_the_cache_time(world: World) -> None:
    token = await world.account("lan", "viewer")
    await world.services.sessions.identify(token)
    now_us = world.clock.wall_us()
    await world.services.catalogue.write(rows.revoke_credential, hash_token(token), now_us)
    world.clock.advance(CACHE_S + 0.001)
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)
    assert CACHE_S <= 5.0


async def test_a_storm_of_requests_asks_the_catalogue_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await world.account("lan", "viewer")
    asked = 0
    real = world.services.catalogue.read

    async def read(*args: object) -> object:
        nonlocal asked
        asked += 1
        return await real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(world.services.catalogue, "read", read)
    await asyncio.gather(*(world.services.sessions.identify(token) for _ in range(100)))
    assert asked == 1
    assert not world.services.sessions._waiting


@pytest.mark.parametrize("token", ["", "msrv_unknown", "x" * 100_000, "\ud800", "msrv_" + "A" * 43])
async def test_unknown_tokens_are_refused(world: World, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)


async def test_an_invite_is_no_session(world: World) -> None:
    invite = await world.services.accounts.first_invite()
    assert invite is not None
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(invite)


async def test_tokens_are_listed_and_revoked_by_their_owner_only(world: World) -> None:
    mine, others = await world.account("lan", "viewer"), await world.account("minh", "viewer")
    sessions = world.services.sessions
    me, other = await sessions.identify(mine), await sessions.identify(others)
    assert [token_id(token.token_hash) for token in await sessions.tokens(me)] == [token_id(hash_token(mine))]
    with pytest.raises(NotFound):
        await sessions.revoke_token(other, token_id(hash_token(mine)), REMOTE)
    await sessions.revoke_token(me, token_id(hash_token(mine)), REMOTE)
    with pytest.raises(NotAuthenticated):
        await sessions.identify(mine)
    await sessions.identify(others)


async def test_the_number_of_tokens_is_bounded(world: World) -> None:
    await add_user(world)
    for number in range(MOST_TOKENS):
        await world.services.accounts.create_token("lan", f"t{number}")
    with pytest.raises(InvalidRequest) as refused:
        await world.services.accounts.create_token("lan", "one more")
    assert refused.value.code == "too_many_tokens"


async def test_expired_sessions_are_forgotten(world: World) -> None:
    await add_user(world)
    for _ in range(3):
        await world.services.sessions.login("lan", PASSWORD, REMOTE)
        world.clock.advance(CHEAP.session_s + 1)
    await world.services.sessions.login("lan", PASSWORD, REMOTE)
    kept = await world.services.catalogue.read(lambda c: c.execute(select(credential)).all())
    assert len(kept) == 1


# --- grants --------------------------------------------------------------------------------------


async def test_a_grant_takes_effect_and_ends_at_once_and_is_logged(world: World) -> None:
    token = await world.account("lan")
    sessions, accounts, now_us = world.services.sessions, world.services.accounts, world.clock.wall_us()
    assert not (await sessions.identify(token)).may(Permission.LIVE_VIEW, "root/north/", now_us)
    grant_id = await accounts.grant("lan", "viewer", "north", purpose="case 7")
    identity = await sessions.identify(token)
    assert identity.may(Permission.LIVE_VIEW, "root/north/", now_us)
    assert not identity.may(Permission.LIVE_VIEW, "root/south/", now_us)
    await accounts.revoke_grant(grant_id)
    assert not (await sessions.identify(token)).may(Permission.LIVE_VIEW, "root/north/", now_us)
    given, revoked = (entry for entry in await world.log() if entry.action.startswith("grant."))
    assert (given.action, given.subject, given.detail["purpose"]) == ("grant.given", "lan", "case 7")
    assert (revoked.action, revoked.detail) == ("grant.revoked", {"role": "viewer", "place": "north"})


async def test_a_grant_ends_with_its_window_while_cached(world: World) -> None:
    token = await world.account("lan")
    ends_us = world.clock.wall_us() + 1_000_000
    await world.services.accounts.grant("lan", "auditor", purpose="case 7", ends_us=ends_us)
    identity = await world.services.sessions.identify(token)
    assert identity.may(Permission.FOOTAGE_VIEW, "root/", ends_us - 1)
    assert not identity.may(Permission.FOOTAGE_VIEW, "root/", ends_us)


@pytest.mark.parametrize(
    ("username", "role", "place", "purpose", "error"),
    [
        ("lan", "root", "root", "x", InvalidRequest),
        ("lan", "viewer", "nowhere", "x", NotFound),
        ("nobody", "viewer", "root", "x", NotFound),
        ("lan", "viewer", "root", "  ", InvalidRequest),
    ],
)
async def test_grants_that_make_no_sense_are_refused_and_not_logged(
    world: World, username: str, role: str, place: str, purpose: str, error: type[Exception]
) -> None:
    await add_user(world)
    with pytest.raises(error):
        await world.services.accounts.grant(username, role, place, purpose=purpose)
    assert await world.actions("grant.") == []


async def test_user_names_are_one_whatever_their_case(world: World) -> None:
    await add_user(world, "Lan")
    with pytest.raises(Conflict):
        await add_user(world, "lAN")
    for bad in ("", "a b", "ế", "-a", "a" * 101, "(invited) x"):
        with pytest.raises(InvalidRequest):
            await add_user(world, bad)


async def test_a_new_password_ends_sessions(world: World) -> None:
    await add_user(world)
    token = await world.services.sessions.login("lan", PASSWORD, REMOTE)
    await world.services.accounts.set_password("lan", "another long password")
    with pytest.raises(NotAuthenticated):
        await world.services.sessions.identify(token)
    await world.services.sessions.login("lan", "another long password", REMOTE)


# --- the first administrator ---------------------------------------------------------------------


async def test_the_link_makes_one_administrator_once(world: World) -> None:
    accounts, sessions = world.services.accounts, world.services.sessions
    token = await accounts.first_invite()
    assert token is not None
    session = await accounts.accept_invite(token, "Lan", PASSWORD, REMOTE)
    identity = await sessions.identify(session)
    assert identity.may(Permission.GRANT_MANAGE, "root/", world.clock.wall_us())
    assert not identity.may(Permission.FOOTAGE_VIEW, "root/", world.clock.wall_us())
    with pytest.raises(NotAuthenticated) as refused:
        await accounts.accept_invite(token, "minh", PASSWORD, REMOTE)
    assert refused.value.code == "invite_invalid"
    assert await accounts.first_invite() is None
    assert await world.actions("invite") == ["invite.created", "invite.accepted"]
    await sessions.login("lan", PASSWORD, REMOTE)


async def test_two_that_use_the_link_at_once_get_one_account(world: World) -> None:
    token = await world.services.accounts.first_invite()
    assert token is not None
    outcomes = await asyncio.gather(
        *(world.services.accounts.accept_invite(token, f"user-{n}", PASSWORD, REMOTE) for n in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, str) for one in outcomes) == 1
    names = await world.services.catalogue.read(lambda c: c.execute(select(principal.c.username)).scalars().all())
    assert len(names) == 1


async def test_a_new_start_replaces_the_link_and_makes_no_second_account(world: World) -> None:
    accounts = world.services.accounts
    first, second = await accounts.first_invite(), await accounts.first_invite()
    assert first is not None
    assert second is not None
    with pytest.raises(NotAuthenticated):
        await accounts.accept_invite(first, "lan", PASSWORD, REMOTE)
    await accounts.accept_invite(second, "lan", PASSWORD, REMOTE)


async def test_the_link_expires(world: World) -> None:
    token = await world.services.accounts.first_invite()
    assert token is not None
    world.clock.advance(CHEAP.invite_s + 1)
    with pytest.raises(NotAuthenticated):
        await world.services.accounts.accept_invite(token, "lan", PASSWORD, REMOTE)


async def test_a_weak_password_does_not_use_up_the_link(world: World) -> None:
    token = await world.services.accounts.first_invite()
    assert token is not None
    with pytest.raises(InvalidRequest):
        await world.services.accounts.accept_invite(token, "lan", "short", REMOTE)
    await world.services.accounts.accept_invite(token, "lan", PASSWORD, REMOTE)


async def test_no_link_while_an_administrator_exists_and_one_when_the_last_is_disabled(world: World) -> None:
    await add_user(world)
    await world.services.accounts.grant("lan", "administrator", purpose="first")
    assert await world.services.accounts.first_invite() is None
    await world.services.accounts.disable_user("lan")
    assert await world.services.accounts.first_invite() is not None
