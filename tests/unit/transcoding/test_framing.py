from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.transcoding.framing import (
    Consumed,
    End,
    Failed,
    Message,
    MessageReader,
    Ready,
    Unit,
    Wish,
    build_message,
)

u32, i64 = st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ready, st.booleans()),
    st.builds(Wish, u32, st.binary(max_size=300)),
    st.builds(Unit, u32, i64, i64, st.booleans(), st.binary(max_size=300), st.booleans()),
    st.builds(End, u32),
    st.builds(Consumed, u32, u32, st.integers(0, 2**64 - 1)),
    st.builds(Failed, st.text(max_size=200)),
)


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_messages_survive_any_cut_of_the_bytes(sent: list[Message], cuts: list[int]) -> None:
    data, reader, got, at = b"".join(map(build_message, sent)), MessageReader(), list[Message](), 0
    while at < len(data):
        step = cuts[at % len(cuts)]
        got += reader.feed(data[at : at + step])
        at += step
    assert got == sent


@given(st.binary(max_size=400))
def test_whatever_comes_is_a_message_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        MessageReader(most_bytes=1000).feed(data)


def test_a_message_that_says_it_is_too_long_is_refused_before_it_comes() -> None:
    with pytest.raises(ProtocolError):
        MessageReader(most_bytes=100).feed((101).to_bytes(4, "big") + b"\x03")


def test_a_message_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ProtocolError):
        MessageReader().feed(b"\x00\x00\x00\x00\x63")


def test_a_long_reason_is_cut() -> None:
    (got,) = MessageReader().feed(build_message(Failed("x" * 5000)))
    assert isinstance(got, Failed)
    assert len(got.sentence) == 1000
