"""The RTSP client core: messages and packets in any cut, authentication, junk, and what must be refused."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire.rtsp import (
    MOST_JUNK_BYTES,
    EndRequested,
    Event,
    ResponseReceived,
    RtspClient,
)
from mediasrv.wire.rtsp_auth import Authenticator

URL = "rtsp://192.0.2.10/cam"


class Harness:
    """A client with two channels attached, whose packets are kept as bytes."""

    def __init__(self, username: str = "", password: str = "", *, attached: bool = True) -> None:
        self.packets: list[tuple[int, bytes]] = []
        self.junk_at: list[float] = []
        self.events: list[Event] = []
        self.client = RtspClient(Authenticator(username, password), self.junk_at.append, 65_536)
        if attached:
            for channel in (0, 1):
                self.client.attach(channel, self._sink(channel))

    def _sink(self, channel: int) -> Callable[[bytes, int, int, float], int]:
        def take(data: bytes, start: int, stop: int, now: float) -> int:
            if data[start] >> 6 != 2:
                return -1
            self.packets.append((channel, data[start:stop]))
            return stop

        return take

    def receive(self, data: bytes, now: float = 0.0) -> list[Event]:
        events = list(self.client.receive(data, now))
        self.events += events
        return events

    def request(self, method: str = "DESCRIBE") -> str:
        self.client.request(method, URL, 0.0)
        return self.client.data_to_send().decode()


def packet(body: bytes, channel: int = 0) -> bytes:
    payload = b"\x80" + body
    return struct.pack("!BBH", 0x24, channel, len(payload)) + payload


def response(sequence: int, status: str = "200 OK", extra: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{extra}{length}\r\n".encode() + body


STREAM = (
    response(1, extra="Session: 7A;timeout=20\r\n", body=b"hello")
    + packet(b"one" * 30)
    + packet(b"two", 1)
    + b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 99\r\n\r\n"
    + packet(b"$$$$three$")
    + b"\r\n"
    + response(2, "404 Not Found")
    + packet(b"")
)


def outcome(cuts: list[int]) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]], bytes, int]:
    harness = Harness()
    harness.request()
    harness.request()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        harness.receive(STREAM[start:end])
    answers = [(event.status, event.body) for event in harness.events if isinstance(event, ResponseReceived)]
    return harness.packets, answers, harness.client.data_to_send(), harness.client.resyncs


WHOLE = outcome([])


def test_packets_responses_and_requests_come_out_of_one_stream() -> None:
    packets, answers, sent, resyncs = WHOLE
    assert [channel for channel, _ in packets] == [0, 1, 0, 0]
    assert answers == [(200, b"hello"), (404, b"")]
    assert sent == b"RTSP/1.0 200 OK\r\nCSeq: 99\r\n\r\n"
    assert resyncs == 0


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_a_cut_at_any_byte_changes_nothing(cut: int) -> None:
    assert outcome([cut]) == WHOLE


def test_single_bytes_change_nothing() -> None:
    assert outcome(list(range(len(STREAM)))) == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cuts_change_nothing(cuts: list[int]) -> None:
    assert outcome(cuts) == WHOLE


def test_requests_carry_session_and_rising_cseq() -> None:
    harness = Harness()
    assert harness.request() == f"DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: mediasrv\r\n\r\n"
    harness.receive(response(1, extra="Session: AB;timeout=20\r\n"))
    assert "CSeq: 2\r\n" in (second := harness.request("PLAY"))
    assert "Session: AB\r\n" in second
    assert harness.client.timeout_s == 20


@pytest.mark.parametrize(
    ("header", "session", "timeout_s"),
    [("12;timeout=0", "12", 60), ("12 ; Timeout = 5", "12", 5), ("12;timeout=x", "12", 60), ("a b", "", 60)],
)
def test_session_headers_are_taken_with_care(header: str, session: str, timeout_s: int) -> None:
    harness = Harness()
    harness.request()
    harness.receive(response(1, extra=f"Session: {header}\r\n"))
    assert (harness.client.session_id, harness.client.timeout_s) == (session, timeout_s)


def test_answers_are_matched_by_cseq_and_strangers_ignored() -> None:
    harness = Harness()
    first = harness.client.request("OPTIONS", URL, 1.0)
    second = harness.client.request("DESCRIBE", URL, 1.0)
    assert harness.receive(response(77)) == []
    assert harness.receive(response(1, "100 Continue")) == []
    (late,) = harness.receive(response(2), 1.5)
    (early,) = harness.receive(response(1), 2.0)
    assert isinstance(late, ResponseReceived)
    assert isinstance(early, ResponseReceived)
    assert (late.request, early.request) == (second, first)
    assert late.round_trip_s == 0.5


def test_an_answer_without_cseq_belongs_to_the_only_request_that_waits() -> None:
    harness = Harness()
    harness.request()
    assert len(harness.receive(b"RTSP/1.0 200 OK\r\n\r\n")) == 1


def test_a_challenge_is_answered_once_and_the_right_answer_comes_out() -> None:
    harness = Harness("admin", "secret")
    assert "Authorization" not in harness.request()
    challenge = 'WWW-Authenticate: Digest realm="cam", nonce="abc"\r\n'
    assert harness.receive(response(1, "401 Unauthorized", challenge)) == []
    retry = harness.client.data_to_send().decode()
    assert "CSeq: 2\r\n" in retry
    assert 'Authorization: Digest username="admin"' in retry
    assert "secret" not in retry
    (answer,) = harness.receive(response(2))
    assert isinstance(answer, ResponseReceived)
    assert answer.status == 200
    assert "Authorization" in harness.request("SETUP")


def test_a_wrong_password_comes_out_as_401_after_one_try() -> None:
    harness = Harness("admin", "wrong")
    harness.request()
    challenge = 'WWW-Authenticate: Digest realm="cam", nonce="{}"\r\n'
    harness.receive(response(1, "401 Unauthorized", challenge.format(1)))
    (answer,) = harness.receive(response(2, "401 Unauthorized", challenge.format(2)))
    assert isinstance(answer, ResponseReceived)
    assert answer.status == 401


def test_an_endlessly_stale_nonce_ends_after_three_tries() -> None:
    harness = Harness("admin", "p")
    harness.request()
    for sequence in (1, 2, 3):
        challenge = f'WWW-Authenticate: Digest realm="cam", nonce="{sequence}", stale=true\r\n'
        events = harness.receive(response(sequence, "401 Unauthorized", challenge))
    assert len(events) == 1


def test_a_redirect_tells_where_to() -> None:
    harness = Harness()
    told = harness.receive(b"REDIRECT * RTSP/1.0\r\nCSeq: 732\r\nLocation: rtsp://192.0.2.11:8001\r\n\r\n")
    assert told == [EndRequested("REDIRECT", "rtsp://192.0.2.11:8001")]
    assert harness.client.data_to_send() == b"RTSP/1.0 200 OK\r\nCSeq: 732\r\n\r\n"


def test_a_server_that_ends_the_session_is_answered_and_told() -> None:
    harness = Harness()
    assert harness.receive(b"TEARDOWN rtsp://x RTSP/1.0\r\nCSeq: 3\r\n\r\n") == [EndRequested("TEARDOWN")]
    assert b"CSeq: 3" in harness.client.data_to_send()


@pytest.mark.parametrize(
    "junk", [b"\0" * 777, b"$\0\xff\xff" + b"x" * 50, b"RTSQ/1.0", b"garbage $ and $\0more$\1" * 9]
)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 40, 200])
def test_after_junk_the_next_packet_is_found_in_any_cut(junk: bytes, cut: int) -> None:
    harness = Harness()
    follow = packet(b"after") + packet(b"second", 1)
    stream = packet(b"before") + junk + follow * 400
    for start in range(0, len(stream), cut):
        harness.receive(stream[start : start + cut], 5.0)
    assert set(harness.packets) <= {(0, b"\x80before"), (0, b"\x80after"), (1, b"\x80second")}
    assert harness.packets[-2:] == [(0, b"\x80after"), (1, b"\x80second")]
    assert harness.client.resyncs >= (0 if junk.startswith(b"$") else 1)
    assert len(harness.junk_at) == harness.client.resyncs


def test_a_cut_packet_filled_up_with_the_next_is_not_delivered() -> None:
    harness = Harness()
    harness.receive(packet(b"whole") + packet(b"cut short")[:-4] + packet(b"swallowed") + packet(b"next"))
    assert [body for _, body in harness.packets] == [b"\x80whole", b"\x80swallowed", b"\x80next"]
    assert len(harness.junk_at) == 1


def test_junk_is_told_before_the_packet_after_it() -> None:
    harness = Harness()
    order: list[str] = []
    client = RtspClient(Authenticator("", ""), lambda now: order.append("junk"), 1000)

    def take(data: bytes, start: int, stop: int, now: float) -> int:
        order.append("packet")
        return stop

    client.attach(0, take)
    client.receive(packet(b"a"), 0.0)
    client.receive(b"junkjunk" + packet(b"b"), 0.0)
    assert order == ["packet", "junk", "packet"]
    assert harness.junk_at == []


def test_a_response_is_found_after_junk() -> None:
    harness = Harness()
    harness.request()
    (answer,) = harness.receive(b"\0\0\0\0" + response(1))
    assert isinstance(answer, ResponseReceived)


def test_packets_on_channels_nobody_set_up_are_passed_over() -> None:
    harness = Harness()
    harness.receive(packet(b"a") + packet(b"stranger", 6) + packet(b"b"))
    assert [body for _, body in harness.packets] == [b"\x80a", b"\x80b"]
    assert harness.client.resyncs == 0


def test_endless_junk_is_an_error() -> None:
    harness = Harness()
    harness.receive(packet(b"a"))
    for _ in range(MOST_JUNK_BYTES // 1024):
        harness.receive(b"j" * 1024)
    with pytest.raises(ProtocolError):
        harness.receive(b"jjjjj")


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\0\0",
        b"RTSP/1.0 nonsense\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"x" * 20_000,
    ],
)
def test_a_server_of_another_protocol_is_refused_at_once(greeting: bytes) -> None:
    harness = Harness(attached=False)
    harness.request()
    with pytest.raises(ProtocolError):
        harness.receive(greeting)


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_any_bytes_are_followed_or_refused_within_bounds(chunks: list[bytes], attached: bool) -> None:
    harness = Harness("u", "p", attached=attached)
    harness.request()
    try:
        for chunk in chunks:
            harness.receive(chunk)
    except ProtocolError:
        return
    assert len(harness.client._rest) <= max(65_539, 16_384 + 65_536)


@given(
    st.lists(
        st.sampled_from(
            [packet(b"abc"), packet(b"", 1), response(1), b"$", b"\0", b"RTSP/1.0 ", b"\r\n", b"$\0\0\4\x80"]
        ),
        max_size=30,
    ),
    st.integers(1, 40),
)
def test_any_mixture_of_fragments_is_followed_or_refused(pieces: list[bytes], step: int) -> None:
    harness = Harness("u", "p")
    stream = b"".join(pieces)
    try:
        for start in range(0, len(stream), step):
            harness.receive(stream[start : start + step])
    except ProtocolError:
        return


def test_waiting_requests_are_bounded() -> None:
    harness = Harness()
    for _ in range(100):
        harness.request("GET_PARAMETER")
    assert len(harness.client._pending) == 8


def test_a_channel_is_attached_once() -> None:
    harness = Harness()
    with pytest.raises(ProtocolError):
        harness.client.attach(0, lambda data, start, stop, now: stop)
    with pytest.raises(ProtocolError):
        harness.client.attach(256, lambda data, start, stop, now: stop)


def test_a_sink_may_take_packets_behind_its_own() -> None:
    starts: list[int] = []
    client = RtspClient(Authenticator("", ""), lambda now: None, 1000)

    def take(data: bytes, start: int, stop: int, now: float) -> int:
        starts.append(start)
        return stop + len(packet(b"second")) if len(starts) == 1 else stop

    client.attach(0, take)
    client.receive(packet(b"first") + packet(b"second") + packet(b"third"), 0.0)
    assert len(starts) == 2


def test_a_detached_client_still_takes_answers() -> None:
    harness = Harness()
    harness.request("TEARDOWN")
    harness.client.detach()
    assert len(harness.receive(packet(b"late") + response(1))) == 1
    assert harness.packets == []
