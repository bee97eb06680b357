"""Basic and Digest answers against the examples of their RFCs, and the rules of when to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.rtsp_auth import Authenticator, parse_challenges

RFC2617 = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"'
)
RFC7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
PASSWORD = "Circle of Life"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def answer(challenge: str, password: str = PASSWORD, cnonce: str = CNONCE) -> str:
    authenticator = Authenticator("Mufasa", password, lambda: cnonce)
    assert authenticator.adopt([challenge], authorised=False)
    return authenticator.authorization("GET", "/dir/index.html") or ""


def test_the_example_of_rfc_2617() -> None:
    value = answer(RFC2617, password="Circle Of Life", cnonce="0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in value
    assert "qop=auth, nc=00000001" in value
    assert 'opaque="5ccc"' in value


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: str, response: str) -> None:
    assert f'response="{response}"' in answer(RFC7616.format(algorithm))


def test_digest_without_qop_is_answered_as_rfc_2069_says() -> None:
    value = answer(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"', password="CircleOfLife"
    )
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in value
    assert "qop" not in value


def test_session_variants_hash_the_nonces_into_the_secret() -> None:
    assert answer(RFC7616.format("MD5-sess")) != answer(RFC7616.format("MD5"))


def test_session_variants_keep_the_client_nonce_that_their_secret_was_made_of() -> None:
    nonces = iter(["first", "second", "third"])
    authenticator = Authenticator("Mufasa", PASSWORD, lambda: next(nonces))
    authenticator.adopt([RFC7616.format("MD5-sess")], authorised=False)
    answers = [authenticator.authorization("GET", "/") or "" for _ in range(2)]
    assert all('cnonce="first"' in each for each in answers)
    assert ["nc=00000001" in answers[0], "nc=00000002" in answers[1]] == [True, True]


def test_basic_is_answered() -> None:
    assert answer('Basic realm="x"') == "Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl"


def test_the_strongest_of_several_challenges_is_taken() -> None:
    headers = ['Basic realm="a", Digest realm="b", nonce="n1"', 'Digest realm="c", algorithm=SHA-256, nonce="n2"']
    authenticator = Authenticator("u", "p")
    assert authenticator.adopt(headers, authorised=False)
    assert 'realm="c"' in (authenticator.authorization("GET", "/") or "")
    assert [challenge.scheme for challenge in parse_challenges(headers)] == ["basic", "digest", "digest"]


def test_the_count_rises_with_each_use_of_a_nonce() -> None:
    authenticator = Authenticator("u", "p")
    authenticator.adopt([RFC2617], authorised=False)
    authenticator.authorization("GET", "/")
    assert "nc=00000002" in (authenticator.authorization("GET", "/") or "")


def test_a_refused_password_is_not_tried_twice() -> None:
    authenticator = Authenticator("u", "p")
    assert authenticator.adopt(['Digest realm="x", nonce="1"'], authorised=False)
    assert not authenticator.adopt(['Digest realm="x", nonce="1"'], authorised=True)
    assert not authenticator.adopt(['Digest realm="x", nonce="2"'], authorised=True)
    assert not authenticator.adopt(['Digest realm="x", nonce="1", stale=true'], authorised=True)


def test_a_stale_nonce_or_a_new_one_after_success_is_worth_another_try() -> None:
    authenticator = Authenticator("u", "p")
    authenticator.adopt(['Digest realm="x", nonce="1"'], authorised=False)
    assert authenticator.adopt(['Digest realm="x", nonce="2", stale=TRUE'], authorised=True)
    authenticator.accepted()
    assert authenticator.adopt(['Digest realm="x", nonce="3"'], authorised=True)


@pytest.mark.parametrize("header", ["Negotiate", 'Digest realm="x"', 'Digest nonce="1", algorithm=SHA-512', "", "=,="])
def test_challenges_that_cannot_be_answered_are_not(header: str) -> None:
    authenticator = Authenticator("u", "p")
    assert not authenticator.adopt([header], authorised=False)
    assert authenticator.authorization("GET", "/") is None


def test_without_a_user_name_nothing_is_answered() -> None:
    assert not Authenticator("", "").adopt([RFC2617], authorised=False)


def test_the_password_is_never_shown() -> None:
    assert "hunter2" not in repr(Authenticator("u", "hunter2"))


@given(st.lists(st.text(max_size=200), max_size=4), st.text(max_size=20), st.text(max_size=20))
def test_any_challenge_is_answered_on_one_line_or_not_at_all(headers: list[str], method: str, uri: str) -> None:
    authenticator = Authenticator("u", "p")
    if authenticator.adopt(["Digest nonce=1", *headers], authorised=False):
        assert authenticator.authorization(method, uri)


def test_control_characters_of_a_challenge_do_not_get_into_our_requests() -> None:
    authenticator = Authenticator("admin", "secret")
    assert authenticator.adopt(['Digest realm="cam\nInjected: 1", nonce="a\rb"'], authorised=False)
    answer = authenticator.authorization("DESCRIBE", "rtsp://192.0.2.1/cam")
    assert answer is not None
    assert 'realm="camInjected: 1", nonce="ab"' in answer
    assert not set(answer) & {"\r", "\n"}
