"""RFC 4571: datagrams in a stream, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediasrv.errors import ProtocolError
from mediasrv.wire.tcp import LEAST_BYTES, MOST_BYTES, Deframer, frame_run

DATAGRAM = st.binary(min_size=LEAST_BYTES, max_size=60)


@given(st.lists(DATAGRAM, max_size=8), st.integers(1, 200))
def test_datagrams_come_out_as_they_went_in_wherever_the_stream_is_cut(datagrams: list[bytes], cut: int) -> None:
    stream = b"".join(frame_run(one, len(one)) for one in datagrams)
    deframer, found = Deframer(), list[bytes]()
    for at in range(0, len(stream), cut):
        found += deframer.receive(stream[at : at + cut])
    assert found == datagrams


@given(st.binary(min_size=LEAST_BYTES, max_size=900), st.integers(LEAST_BYTES, 100))
def test_a_run_is_framed_packet_by_packet(joined: bytes, size: int) -> None:
    packets = [joined[at : at + size] for at in range(0, len(joined), size)]
    assert frame_run(joined, size) == b"".join(len(one).to_bytes(2, "big") + one for one in packets)


@pytest.mark.parametrize("size", [0, LEAST_BYTES - 1, MOST_BYTES + 1, 0xFFFF])
def test_a_datagram_that_is_too_short_or_too_long_ends_the_stream(size: int) -> None:
    datagrams = Deframer().receive(frame_run(bytes(20), 20) + size.to_bytes(2, "big"))
    assert next(datagrams) == bytes(20)
    with pytest.raises(ProtocolError):
        next(datagrams)


def test_what_is_not_whole_is_kept_and_no_more_than_one_datagram() -> None:
    deframer = Deframer()
    assert list(deframer.receive(frame_run(bytes(MOST_BYTES), MOST_BYTES)[:-1])) == []
    assert len(deframer._rest) == MOST_BYTES + 1
    assert list(deframer.receive(bytes(1))) == [bytes(MOST_BYTES)]
    assert deframer._rest == b""
