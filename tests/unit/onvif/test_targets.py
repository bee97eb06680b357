"""Lists of addresses as people write them, and factory passwords."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import InvalidRequest
from mediasrv.onvif import Login, Target, parse_devices, parse_table, parse_targets, with_login
from mediasrv.onvif.passwords import factory_logins, weak_login


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("192.0.2.5", ["192.0.2.5"]),
        (" cam-1:8000,\n http://cam-2/onvif/x ; cam-1:8000", ["cam-1:8000", "http://cam-2/onvif/x"]),
        ("192.0.2.0/30", ["192.0.2.1", "192.0.2.2"]),
        ("192.0.2.9/30:8080", ["192.0.2.9:8080", "192.0.2.10:8080"]),
        ("192.0.2.7/32", ["192.0.2.7"]),
        ("192.0.2.254-192.0.3.1", ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]),
        ("192.0.2.5-7:81", ["192.0.2.5:81", "192.0.2.6:81", "192.0.2.7:81"]),
        ("[2001:db8::1]:8000", ["[2001:db8::1]:8000"]),
    ],
)
def test_addresses_ranges_and_networks(text: str, addresses: list[str]) -> None:
    assert parse_targets(text) == addresses


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no address"),
        (" , ", "no address"),
        ("10.0.0.0/8", "more than 1024"),
        ("0.0.0.0-255.255.255.255", "more than 1024"),
        ("192.0.2.9-5", "192.0.2.9-5"),
        ("192.0.2.1-999", "192.0.2.1-999"),
        ("999.0.2.1-5", "999.0.2.1-5"),
        ("192.0.2.0/33", "192.0.2.0/33"),
        ("cam-1 ftp://x", "ftp://x"),
    ],
)
def test_what_is_no_list_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named.replace("[", ".")) as caught:
        parse_targets(text)
    assert caught.value.code == "addresses_invalid"


def test_a_password_in_a_list_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_targets("http://admin:hunter2@cam")
    assert "hunter2" not in str(caught.value)


@given(st.text(alphabet="0123456789./-:, ;\nacmht", max_size=60))
def test_any_list_is_read_or_refused_and_bounded(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert 0 < len(parse_targets(text, most=50)) <= 50


def test_a_table_with_named_columns_in_any_order() -> None:
    text = "\ufeffname;Password;ADDRESS;floor\nCổng;s3;192.0.2.5;2\n;;;\nSân;;rtsp://192.0.2.6/a;1\n"
    assert parse_table(text) == [
        Target("192.0.2.5", password="s3", name="Cổng"),
        Target("rtsp://192.0.2.6/a", name="Sân"),
    ]


def test_a_table_without_names_has_a_usual_order() -> None:
    assert parse_table('192.0.2.5,admin,"a,b",Gate,site-1\r\n192.0.2.6') == [
        Target("192.0.2.5", "admin", "a,b", "Gate", "site-1"),
        Target("192.0.2.6"),
    ]


@pytest.mark.parametrize("text", ["", "address\n", "192.0.2.1\n\n,admin\n", "a\x00b", "address,name\nnot an address,x"])
def test_a_table_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_table(text)
    assert caught.value.code == "addresses_invalid"


@given(st.text(max_size=120))
def test_any_table_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_table(text)


def test_a_password_stays_out_of_what_is_printed() -> None:
    assert "hunter2" not in repr(Target("cam", "admin", "hunter2")) + repr(Login("admin", "hunter2"))


# --- passwords --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("", "", "password_empty"),
        ("admin", "", "password_empty"),
        ("admin", "12345", "password_default"),
        ("root", "pass", "password_default"),
        ("admin", "meinsm", "password_default"),
        ("Lan", "lan", "password_default"),
        ("admin", "Tr0ng-b3o.Nui", ""),
    ],
)
def test_logins_that_anybody_could_guess(username: str, password: str, code: str) -> None:
    assert weak_login(Login(username, password)) == code


def test_a_maker_has_its_own_factory_logins() -> None:
    assert factory_logins("HIKVISION Digital")[0] == Login("admin", "12345")
    assert factory_logins("AXIS")[0] == Login("root", "pass")
    assert len(factory_logins("No Name")) == 2


# --- devices of a survey ------------------------------------------------------------------------------


def test_devices_are_addresses_and_rtsp_urls_without_their_logins() -> None:
    found = parse_devices("10.0.0.5 rtsp://admin:p%40ss@10.0.0.7:554/ch1?a=1, 10.0.0.8-9 10.0.0.5")
    assert [(one.address, one.username, one.password) for one in found] == [
        ("10.0.0.5", "", ""),
        ("rtsp://10.0.0.7:554/ch1?a=1", "admin", "p@ss"),
        ("10.0.0.8", "", ""),
        ("10.0.0.9", "", ""),
    ]


@pytest.mark.parametrize(
    "url", ["rtsp://", "rtsp://admin:se/cret@10.0.0.7/", "rtsp://10.0.0.7:port/", "rtsp://h\u00f6/"]
)
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_devices(url)
    assert caught.value.code == "addresses_invalid"
    assert "se/cret" not in caught.value.sentence


def test_a_login_in_a_url_of_a_table_leaves_the_address() -> None:
    [one] = parse_table("rtsp://admin:secret@10.0.0.7/ch1")
    assert (one.address, one.username, one.password) == ("rtsp://10.0.0.7/ch1", "admin", "secret")
    with pytest.raises(InvalidRequest):
        parse_table("rtsp://admin:se/cret@10.0.0.7/ch1")


def test_a_common_login_is_for_those_without_their_own() -> None:
    own, none = with_login(parse_table("10.0.0.5,lan,x\n10.0.0.6"), "admin", "y")
    assert (own.username, own.password, none.username, none.password) == ("lan", "x", "admin", "y")


def test_discovery_takes_no_rtsp_url() -> None:
    with pytest.raises(InvalidRequest):
        parse_targets("rtsp://10.0.0.7/ch1")
