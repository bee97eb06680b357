"""Digest from the server's side, answered by the client's; and a model of nonces under replay, expiry and strangers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.rtsp_auth import Authenticator, digest_hash
from mediasrv.wire.rtsp_challenge import Challenger, Credentials, parse_authorization

URL = "rtsp://192.0.2.1/cam/main"
NONCE_S = 300.0


def challenger() -> Challenger:
    numbers = itertools.count()
    return Challenger("mediasrv", lambda: f"nonce-{next(numbers)}", NONCE_S)


def parsed(header: str | None) -> Credentials:
    found = parse_authorization(header or "")
    assert found is not None
    return found


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_our_own_client_is_believed_with_the_right_password_only(algorithm: str) -> None:
    server, client = challenger(), Authenticator("rtsp-x", 'pass "w" \\ ord', lambda: "c")
    offered = [one for one in server.challenges(0.0, basic=False) if one.endswith(f"algorithm={algorithm}")]
    assert client.adopt(offered, authorised=False)
    given = parsed(client.authorization("DESCRIBE", URL))
    assert server.check_nonce(given, 1.0)
    assert server.proves(given, "DESCRIBE", URL, 'pass "w" \\ ord')
    assert not server.proves(given, "DESCRIBE", URL, "another")
    assert not server.proves(given, "PLAY", URL, 'pass "w" \\ ord')
    assert not server.proves(given, "DESCRIBE", "rtsp://192.0.2.1/other/main", 'pass "w" \\ ord')


def test_a_client_that_knows_no_qop_is_believed_under_a_fresh_nonce() -> None:
    server = challenger()
    server.challenges(0.0, basic=False)
    secret, target = digest_hash("MD5", "u", "mediasrv", "p"), digest_hash("MD5", "PLAY", URL)
    response = digest_hash("MD5", secret, "nonce-0", target)
    header = f'Digest username="u", realm="mediasrv", nonce="nonce-0", uri="{URL}", response="{response}"'
    given = parsed(header)
    assert server.check_nonce(given, 1.0)
    assert server.proves(given, "PLAY", URL, "p")
    assert not server.check_nonce(given, NONCE_S)


@pytest.mark.parametrize(
    "change",
    [
        {"realm": "other"},
        {"algorithm": "MD5-sess"},
        {"algorithm": "SHA-512"},
        {"qop": "auth-int"},
        {"cnonce": ""},
        {"uri": "rtsp://192.0.2.1/other"},
        {"response": ""},
    ],
)
def test_an_answer_to_another_question_proves_nothing(change: dict[str, str]) -> None:
    server, client = challenger(), Authenticator("u", "p", lambda: "c")
    client.adopt(server.challenges(0.0, basic=False), authorised=False)
    given = parsed(client.authorization("PLAY", URL))
    assert server.proves(given, "PLAY", URL, "p")
    assert not server.proves(Credentials("u", {**given.parameters, **change}), "PLAY", URL, "p")


def test_basic_is_offered_where_it_is_secured_and_read() -> None:
    assert [one.split(" ")[0] for one in challenger().challenges(0.0, basic=True)] == ["Digest", "Digest", "Basic"]
    given = parsed("Basic dTpwOnE=")
    assert (given.username, given.password, given.is_basic) == ("u", "p:q", True)
    assert challenger().proves(given, "PLAY", URL, "p:q")
    assert "p:q" not in repr(given)


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !", "Basic dTpw\x00", "Bearer x", "Digest", "Digest a=b", "x" * 3000]
)
def test_what_is_no_authorization_is_none(header: str) -> None:
    assert parse_authorization(header) is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(1, 200)),
        st.tuples(st.just("challenge"), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 3), st.integers(0, 6)),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_nonce_and_count_is_taken_twice_none_after_its_time_and_none_of_another_connection(
    steps: list[tuple[str, float, int] | tuple[str, float]],
) -> None:
    server, now = challenger(), 0.0
    taken: set[tuple[str, int]] = set()
    issued: dict[str, float] = {}
    for step in steps:
        if step[0] == "wait":
            now += step[1]
        elif step[0] == "challenge":
            offered = server.challenges(now, basic=False, stale=bool(step[1]))
            nonce = offered[0].partition('nonce="')[2].partition('"')[0]
            issued.setdefault(nonce, now)
        else:
            nonce, count = f"nonce-{step[1]}", int(step[2])
            given = Credentials("u", {"nonce": nonce, "qop": "auth", "nc": f"{count:08x}", "cnonce": "c"})
            if server.check_nonce(given, now):
                assert (nonce, count) not in taken
                assert nonce in issued
                assert nonce == list(issued)[-1], "only the last one counts"
                assert now < issued[nonce] + NONCE_S
                assert count > 0
                taken.add((nonce, count))
