"""Credentials at rest, redaction, the limit on guessing, passwords."""

import logging
import re
import secrets

import pytest

from mediasrv.clock import SystemClock
from mediasrv.errors import CameraError, InvalidRequest, NotAuthenticated
from mediasrv.security.credentials import CredentialVault
from mediasrv.security.login_limit import LoginLimit
from mediasrv.security.passwords import LONGEST, Passwords, check_password
from mediasrv.security.path_tokens import PATTERN, PathTokens
from mediasrv.security.redaction import RedactingFormatter, redact, tells
from mediasrv.security.sessions import new_token
from tests.clocks import SimulatedClock
from tests.unit.web.fakes import CHEAP

# --- credentials ---------------------------------------------------------------------------------


def test_credentials_open_only_for_their_camera_and_node() -> None:
    seed = secrets.token_bytes(32)
    sealed = CredentialVault(seed).seal("gate-1", "admin", "mật khẩu: s3cret")
    assert CredentialVault(seed).open("gate-1", sealed) == ("admin", "mật khẩu: s3cret")
    assert b"admin" not in sealed
    assert b"s3cret" not in sealed
    for vault, camera_id in ((CredentialVault(seed), "gate-2"), (CredentialVault(secrets.token_bytes(32)), "gate-1")):
        with pytest.raises(CameraError) as refused:
            vault.open(camera_id, sealed)
        assert refused.value.code == "credentials_unreadable"


def test_an_altered_byte_of_sealed_credentials_is_found() -> None:
    vault = CredentialVault(bytes(32))
    sealed = vault.seal("gate-1", "admin", "secret")
    for position in range(len(sealed)):
        broken = bytearray(sealed)
        broken[position] ^= 1
        with pytest.raises(CameraError):
            vault.open("gate-1", bytes(broken))
    for length in range(len(sealed)):
        with pytest.raises(CameraError):
            vault.open("gate-1", sealed[:length])


def test_sealing_twice_gives_different_bytes() -> None:
    vault = CredentialVault(bytes(32))
    assert vault.seal("gate-1", "a", "b") != vault.seal("gate-1", "a", "b")


# --- redaction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "GET /hls/gate-1/index.m3u8?token={secret} HTTP/1.1",
        "GET /a?start=1&TOKEN={secret}&end=2",
        "connecting to rtsp://admin:{secret}@192.0.2.1:554/main",
        "connecting to rtsp://{secret}@192.0.2.1/",
        "rtsp://192.0.2.1/live?user=admin&pwd={secret}&channel=1",
        "rtsp://192.0.2.1:554/user=admin_password={secret}_channel=1_stream=0.sdp?real_stream",
        "rtsp://192.0.2.1:554/user=admin&password={secret}&channel=1",
        "rtsp://192.0.2.1:554/user=admin&passwd={secret}",
        "Authorization: Bearer {secret}",
        "Authorization: Digest username=admin, response={secret}",
        "Cookie: a=b; mediasrv_session={secret}; c=d",
        "GET /invite/{secret} 200",
        "token {secret} was used",
    ],
)
def test_secrets_are_taken_out_of_lines(line: str) -> None:
    secret = new_token()
    assert secret not in redact(line.format(secret=secret))
    assert "***" in redact(line.format(secret=secret))


def test_a_token_in_a_path_is_taken_out_of_lines() -> None:
    token = PathTokens(bytes(32), SystemClock(), 60.0, 60.0).issue(bytes(32), "gate-1")
    assert re.fullmatch(PATTERN, token)
    assert redact(f"GET /hls/t/{token}/gate-1/main/video/7.1.m4s") == "GET /hls/t/***/gate-1/main/video/7.1.m4s"


def test_a_path_token_outlives_a_restart_and_no_longer() -> None:
    clock = SimulatedClock()
    token = PathTokens(bytes(32), clock, 60.0, 3600.0).issue(bytes(32), "gate-1")
    clock.advance(600)
    restarted = PathTokens(bytes(32), clock, 60.0, 3600.0)
    assert restarted.use(token, "gate-1") == bytes(32)
    clock.advance(61)
    for tokens in (restarted, PathTokens(bytes([1]) * 32, clock, 60.0, 3600.0)):
        with pytest.raises(NotAuthenticated):
            tokens.use(token, "gate-1")


def test_a_path_token_is_of_one_camera_whether_it_was_seen_before_or_not() -> None:
    clock = SimulatedClock()
    token = PathTokens(bytes(32), clock, 60.0, 3600.0).issue(bytes(32), "gate-1")
    tokens = PathTokens(bytes(32), clock, 60.0, 3600.0)
    with pytest.raises(NotAuthenticated):
        tokens.use(token, "gate-2")
    tokens.use(token, "gate-1")
    with pytest.raises(NotAuthenticated):
        tokens.use(token, "gate-2")


@pytest.mark.parametrize(
    "words", ["400 Not hunter2-secret", "Bad Basic YWRtaW46aHVudGVyMi1zZWNyZXQ=", "cut: hunter", "cut: Basic YWRtaW46"]
)
def test_words_that_tell_the_login_are_known(words: str) -> None:
    assert tells(words, "admin", "hunter2-secret")


@pytest.mark.parametrize("words", ["", "454 Session Not Found", "the hun", "admin"])
def test_other_words_do_not_tell_it(words: str) -> None:
    assert not tells(words, "admin", "hunter2-secret")
    assert not tells(words, "", "")


def test_redaction_leaves_other_text_alone() -> None:
    line = "gate-1/main: camera_lost at rtsp://192.0.2.1:554/main?channel=1, 25 units, admin@site"
    assert redact(line) == line


def test_formatter_redacts_arguments_and_tracebacks() -> None:
    token = new_token()
    record = logging.LogRecord("x", logging.INFO, "f", 1, "asked %s", (f"/a?token={token}",), None)
    try:
        raise ValueError(f"rtsp://user:{token}@host/")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    text = RedactingFormatter("%(message)s").format(record)
    assert token not in text
    assert "ValueError" in text


# --- the limit on guessing -----------------------------------------------------------------------


def test_attempts_beyond_the_limit_wait_for_the_window() -> None:
    limit = LoginLimit(3, 60.0)
    assert [limit.attempt("192.0.2.1", "a", now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]
    assert limit.attempt("192.0.2.1", "a", 3.0) == 57.0
    assert limit.attempt("192.0.2.1", "b", 3.0) == 0.0
    assert limit.attempt("192.0.2.2", "a", 3.0) == 0.0
    assert limit.attempt("192.0.2.1", "a", 60.0) == 0.0


def test_success_forgets_the_name_but_not_what_the_address_did() -> None:
    limit = LoginLimit(3, 60.0)
    for now in range(2):
        limit.attempt("192.0.2.1", "a", float(now))
    limit.succeeded("192.0.2.1", "a")
    assert [limit.attempt("192.0.2.1", "a", 3.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.attempt("192.0.2.1", "a", 3.0) > 0.0


def test_many_names_from_one_address_are_limited_too() -> None:
    limit = LoginLimit(3, 60.0)
    outcomes = [limit.attempt("192.0.2.1", f"user-{number}", 0.0) for number in range(40)]
    assert outcomes.count(0.0) == 15


def test_memory_of_attempts_is_bounded() -> None:
    limit = LoginLimit(3, 60.0, most_keys=100)
    for number in range(1000):
        limit.attempt(f"192.0.2.{number}", "a", 0.0)
    assert len(limit._counted) == 100


# --- passwords -----------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["short", "x" * (LONGEST + 1), "aaaaaaaaaaaaaaaa", "administrator"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidRequest):
        check_password(password, "Administrator")


async def test_passwords_are_hashed_with_argon2id_and_verified() -> None:
    passwords = Passwords(CHEAP)
    try:
        hashed = await passwords.hash("correct horse battery")
        assert hashed.startswith("$argon2id$")
        assert await passwords.verify(hashed, "correct horse battery")
        assert not await passwords.verify(hashed, "correct horse batterx")
        assert not await passwords.verify(None, "correct horse battery")
        assert not await passwords.verify("garbage", "correct horse battery")
    finally:
        passwords.close()


async def test_an_unknown_user_costs_a_hash_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(CHEAP)
    calls: list[str] = []
    real = passwords._hasher.verify

    class Counting:
        hash = passwords._hasher.hash

        @staticmethod
        def verify(hashed: str, password: str) -> bool:
            calls.append(hashed)
            return real(hashed, password)

    monkeypatch.setattr(passwords, "_hasher", Counting)
    try:
        assert not await passwords.verify(None, "whatever it is")
        assert len(calls) == 1
    finally:
        passwords.close()
