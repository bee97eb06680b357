"""The server's core of RTSP: the same events however the bytes are cut, and one plain end for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.wire.rtsp_messages import build_response, parse_header
from mediasrv.wire.rtsp_server import (
    MOST_BODY_BYTES,
    MOST_HEADER_BYTES,
    Event,
    PacketReceived,
    ProtocolBroken,
    RequestReceived,
    RtspServer,
)

REQUEST = b"OPTIONS rtsp://192.0.2.1/cam RTSP/1.0\r\nCSeq: 7\r\nX-Two: a\r\nx-two:b\r\n\r\n"


def receive(*pieces: bytes) -> list[Event]:
    core = RtspServer()
    return [event for piece in pieces for event in core.receive(piece)]


def test_a_request_as_it_stands() -> None:
    (event,) = receive(REQUEST)
    assert event == RequestReceived("OPTIONS", "rtsp://192.0.2.1/cam", {"cseq": ["7"], "x-two": ["a", "b"]}, b"", "7")


@given(st.lists(st.integers(1, 200), max_size=30), st.binary(max_size=300))
def test_requests_packets_and_bodies_are_the_same_however_they_are_cut(cuts: list[int], body: bytes) -> None:
    told = b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 8\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    packet = b"$\x01" + len(body).to_bytes(2, "big") + body
    stream = REQUEST + packet + b"\r\n\r\n" + told + packet + REQUEST
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    events = receive(*pieces, stream[at:])
    assert [type(event) for event in events] == [
        *(RequestReceived, PacketReceived, RequestReceived, PacketReceived, RequestReceived)
    ]
    assert events[1] == PacketReceived(1, body)
    assert isinstance(events[2], RequestReceived)
    assert events[2].body == body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),
        (b"get / RTSP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"RTSP/1.0 200 OK\r\n\r\n", 400),
        (b"OPTIONS  RTSP/1.0\r\n\r\n", 400),
        (b"OPTIONS rtsp://a\x00b RTSP/1.0\r\n\r\n", 400),
        (b"OPTIONS * RTSP/3.0\r\n\r\n", 505),
        (b"OPTIONS " + b"a" * 1025 + b" RTSP/1.0\r\n\r\n", 414),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: x\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY_BYTES + 1), 413),
        (b"OPTIONS * RTSP/1.0\r\n" + b"A" * MOST_HEADER_BYTES, 400),
    ],
)
def test_what_cannot_be_followed_ends_it_and_nothing_behind_is_read(data: bytes, status: int) -> None:
    assert receive(data, REQUEST, REQUEST) == [ProtocolBroken(status)]


@pytest.mark.parametrize("cseq", [b"", b"CSeq: \r\n", b"CSeq: 1 2\r\n", b"CSeq: 12345678901\r\n", b"CSeq: -1\r\n"])
def test_a_sequence_that_could_not_be_answered_is_none(cseq: bytes) -> None:
    (event,) = receive(b"OPTIONS * RTSP/1.0\r\n" + cseq + b"\r\n")
    assert isinstance(event, RequestReceived)
    assert event.cseq == ""


@given(st.binary(max_size=20_000))
def test_whatever_comes_the_rest_that_is_kept_is_bounded(data: bytes) -> None:
    core = RtspServer()
    for at in range(0, len(data), 977):
        core.receive(data[at : at + 977])
        assert len(core._rest) <= 4 + 65_535 + MOST_HEADER_BYTES + MOST_BODY_BYTES


def test_an_answer_reads_back() -> None:
    head, _, body = build_response(461, "9", [("Session", "x")], b"v=0").partition(b"\r\n\r\n")
    first, headers = parse_header(head)
    assert first == "RTSP/1.0 461 Unsupported Transport"
    assert (headers["cseq"], headers["session"], headers["content-length"], body) == (["9"], ["x"], ["3"], b"v=0")
