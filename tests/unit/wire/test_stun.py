"""STUN: RFC 5769's vectors, and what is broken or forged is refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire import stun

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769, 2.1
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# The XOR-MAPPED-ADDRESS of RFC 5769, 2.2 and 2.3
MAPPED_V4 = bytes.fromhex("002000080001a147e112a643")
MAPPED_V6 = bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


def request(**changes: object) -> bytes:
    values: dict[str, object] = {"use_candidate": True, "priority": 1, "tie_breaker": 2}
    return stun.build_binding_request(TRANSACTION, "ours:theirs", b"secret", **{**values, **changes})  # type: ignore[arg-type]


def test_the_sample_request_of_rfc_5769_is_read_and_authentic() -> None:
    message = stun.parse_message(SAMPLE_REQUEST)
    assert (message.kind, message.transaction_id) == (stun.BINDING_REQUEST, TRANSACTION)
    assert message.username == "evtj:h6vY"
    assert message.controlled
    assert not message.use_candidate
    assert message.unknown == ()
    assert message.is_authentic(PASSWORD)
    assert not message.is_authentic(PASSWORD + b"x")


@pytest.mark.parametrize(
    ("host", "mapped"),
    [
        ("192.0.2.1", MAPPED_V4),
        ("::ffff:192.0.2.1", MAPPED_V4),
        ("2001:db8:1234:5678:11:2233:4455:6677", MAPPED_V6),
        ("2001:db8:1234:5678:11:2233:4455:6677%eth0", MAPPED_V6),
    ],
)
def test_a_success_holds_the_address_as_rfc_5769_writes_it(host: str, mapped: bytes) -> None:
    answer = stun.build_success(stun.parse_message(SAMPLE_REQUEST), (host, 32853), PASSWORD)
    assert answer[20 : 20 + len(mapped)] == mapped
    read = stun.parse_message(answer)
    assert (read.kind, read.transaction_id) == (stun.BINDING_SUCCESS, TRANSACTION)
    assert read.is_authentic(PASSWORD)


def test_a_request_of_ours_is_read_back() -> None:
    message = stun.parse_message(request())
    assert (message.username, message.use_candidate, message.controlled) == ("ours:theirs", True, False)
    assert message.is_authentic(b"secret")
    assert not stun.parse_message(request(use_candidate=False)).use_candidate


def test_errors_are_authentic_and_name_the_unknown_attributes() -> None:
    unknown = struct.pack(">HHI", 0x7FF0, 4, 1)
    body = request()
    strange = body[:2] + struct.pack(">H", len(unknown)) + body[4:20] + unknown
    message = stun.parse_message(strange)
    assert message.unknown == (0x7FF0,)
    answer = stun.build_error(message, 420, b"secret")
    assert stun.parse_message(answer).is_authentic(b"secret")
    assert struct.pack(">HHH", 0x000A, 2, 0x7FF0) in answer


def test_an_attribute_behind_message_integrity_does_not_count() -> None:
    honest = request(use_candidate=False)[:-8]
    smuggled = honest + struct.pack(">HH", 0x0025, 0)
    message = stun.parse_message(smuggled[:2] + struct.pack(">H", len(smuggled) - 20) + smuggled[4:])
    assert message.is_authentic(b"secret")
    assert not message.use_candidate


def test_any_flipped_bit_is_noticed_even_without_a_fingerprint() -> None:
    whole = request()[:-8]
    whole = whole[:2] + struct.pack(">H", len(whole) - 20) + whole[4:]
    assert stun.parse_message(whole).is_authentic(b"secret")
    for bit in range(len(whole) * 8):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(ProtocolError):
            assert not stun.parse_message(bytes(altered)).is_authentic(b"secret"), bit


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SAMPLE_REQUEST[:19],
        SAMPLE_REQUEST[:-4],
        SAMPLE_REQUEST + bytes(4),
        b"\x80" + SAMPLE_REQUEST[1:],
        SAMPLE_REQUEST[:4] + bytes(4) + SAMPLE_REQUEST[8:],
        SAMPLE_REQUEST[:-1] + b"\0",
        struct.pack(">HH", 1, 4) + SAMPLE_REQUEST[4:20] + struct.pack(">HH", 6, 1),
        struct.pack(">HH", 1, 8) + SAMPLE_REQUEST[4:20] + struct.pack(">HHI", 8, 4, 0),
    ],
    ids=["empty", "short", "cut", "long", "type", "cookie", "fingerprint", "attribute", "integrity"],
)
def test_what_is_no_stun_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        stun.parse_message(data)


@given(st.binary(max_size=120))
def test_arbitrary_attributes_raise_nothing_but_protocol_errors(body: bytes) -> None:
    body += bytes(-len(body) % 4)
    with contextlib.suppress(ProtocolError):
        stun.parse_message(struct.pack(">HH", 1, len(body)) + stun.MAGIC_COOKIE + TRANSACTION + body)
