"""The simulated cameras' Digest and Basic, against the examples of the RFC."""

from __future__ import annotations

import base64

import pytest

from load_tests.camera_farm import http_auth
from load_tests.camera_farm.http_auth import Authenticator

RFC_NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
RFC_ANSWER = (
    'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1"'
)


@pytest.fixture
def auth(monkeypatch: pytest.MonkeyPatch) -> Authenticator:
    monkeypatch.setattr(http_auth.secrets, "token_hex", lambda _size: RFC_NONCE)
    return Authenticator("testrealm@host.com", "Mufasa", "Circle Of Life", schemes=("digest", "basic"), qop=True)


def test_the_example_of_rfc_2617_is_accepted(auth: Authenticator) -> None:
    assert auth.accepts(RFC_ANSWER, "GET", "/dir/index.html")


def test_the_example_of_rfc_7616_is_accepted_and_told_from_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    monkeypatch.setattr(http_auth.secrets, "token_hex", lambda _size: nonce)
    answer = (
        f'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
        f'nonce="{nonce}", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"'
    )
    account = ("http-auth@example.org", "Mufasa", "Circle of Life")
    auth = Authenticator(*account, schemes=("digest-sha256", "digest"), qop=True)
    assert auth.accepts(answer, "GET", "/dir/index.html")
    assert not auth.accepts(answer.replace("SHA-256", "MD5"), "GET", "/dir/index.html")
    assert not Authenticator(*account, schemes=("digest",), qop=True).accepts(answer, "GET", "/dir/index.html")
    assert ["algorithm=SHA-256" in challenge for challenge in auth.challenges("")] == [True, False]


@pytest.mark.parametrize(
    "broken",
    [
        RFC_ANSWER.replace("6629", "6620"),
        RFC_ANSWER.replace("Mufasa", "Scar"),
        RFC_ANSWER.replace("dcd9", "dcd8"),
        "Digest",
        "",
        "Basic !!!",
    ],
)
def test_any_other_answer_is_refused(auth: Authenticator, broken: str) -> None:
    assert not auth.accepts(broken, "GET", "/dir/index.html")


def test_an_answer_holds_for_its_method_and_address_only(auth: Authenticator) -> None:
    assert not auth.accepts(RFC_ANSWER, "POST", "/dir/index.html")
    assert not auth.accepts(RFC_ANSWER, "GET", "/other")


def test_basic_is_accepted_only_where_it_is_offered(auth: Authenticator) -> None:
    basic = "Basic " + base64.b64encode(b"Mufasa:Circle Of Life").decode()
    assert auth.accepts(basic, "GET", "/")
    assert not Authenticator("r", "Mufasa", "Circle Of Life", schemes=("digest",), qop=True).accepts(basic, "GET", "/")


def test_an_expired_nonce_is_called_stale() -> None:
    auth = Authenticator("cam", "admin", "pw", schemes=("digest",), qop=False)
    nonce = auth.challenges("")[0].split('nonce="')[1].split('"')[0]
    auth.expire_nonce()
    assert "stale=true" in auth.challenges(f'Digest nonce="{nonce}"')[0]
    assert "stale" not in auth.challenges('Digest nonce="of another"')[0]
