"""Fragments of trickled candidates and ICE restarts, as RFC 9725 shows them and as nobody should send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import InvalidRequest
from mediasrv.wire.ice import Credentials
from mediasrv.wire.sdp_fragment import IceDescription, build_fragment, parse_fragment

# RFC 9725, figure 5.
RESTART = """a=ice-options:trickle ice2
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=ice-ufrag:ysXw
a=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1
""".replace("\n", "\r\n")


def test_a_restart_is_read_and_answered_for_the_same_section() -> None:
    description = parse_fragment(RESTART)
    section = ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0")
    assert description == IceDescription("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k", section)
    answer = build_fragment(section, Credentials("ours", "our-password", "ysXw", ""), ["a=candidate:x", "a=end"])
    assert answer.split("\r\n") == [
        "a=ice-lite",
        *section,
        "a=ice-ufrag:ours",
        "a=ice-pwd:our-password",
        "a=candidate:x",
        "a=end",
        "",
    ]


def test_credentials_of_several_sections_must_be_the_same() -> None:
    assert parse_fragment(RESTART * 2).fragment == "ysXw"
    with pytest.raises(InvalidRequest) as refused:
        parse_fragment(RESTART + RESTART.replace("ysXw", "other"))
    assert refused.value.code == "fragment_invalid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        RESTART.replace("a=ice-pwd", "a=x"),
        RESTART.replace("a=ice-ufrag", "a=x"),
        RESTART.replace("ysXw", "abc"),
        RESTART.replace("ysXw", "a b c d"),
        RESTART.replace("vw5LmwG4y/e6dPP/zAP9Gp5k", "short"),
        RESTART + "what is this\r\n",
        RESTART + "a=x\r\n" * 1000,
        RESTART + "a=" + "x" * 70_000,
    ],
    ids=["empty", "no SDP", "no password", "no fragment", "short", "characters", "guessable", "line", "lines", "long"],
)
def test_what_is_no_fragment_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_fragment(text)
    assert refused.value.code == "fragment_invalid"


@given(st.text(max_size=200))
def test_nothing_else_is_raised(text: str) -> None:
    for whole in (text, RESTART + text):
        try:
            parse_fragment(whole)
        except InvalidRequest:
            continue
